"""Embeddings of the rows of a source: texts and images are encoded, embeddings are taken as they are."""

from pathlib import Path

import numpy as np

from monosemy.core.console import Progress
from monosemy.data.config import DataConfig
from monosemy.data.dataset import Rows
from monosemy.data.splits import inputs_by_part
from monosemy.encoders.config import ENCODER_FILE, Layer
from monosemy.encoders.image import embed, load_encoder
from monosemy.encoders.text import MINILM, TextEncoder
from monosemy.errors import InputError

Embeddings = np.typing.NDArray[np.float32]


def embed_rows(
    rows: Rows, config: DataConfig, encoder: str | None, layer: Layer, messages: list[str], on_progress: Progress
) -> tuple[Embeddings, np.typing.NDArray[np.int64]]:
    """Return embeddings (N', D), and the rows that they belong to: images that cannot be read are left out.

    Args:
        encoder: a text model, or an encoder of `monosemy pretrain`; of texts the offline default where it is None.
        messages: list that gets messages for the user.

    Raises:
        InputError: images lack an encoder, or have another size than it takes; or embeddings have one.
    """
    if rows.kind == "embeddings":
        if encoder is not None:
            raise InputError(
                f"{config.source} holds embeddings, which no encoder takes; leave out encoder={encoder!r}."
            )
        return np.asarray(rows.inputs, dtype=np.float32), np.arange(len(rows))
    if isinstance(rows.inputs, tuple):
        of_texts = TextEncoder(encoder or MINILM)
        finding = of_texts.truncation(rows.inputs)
        messages += [] if finding is None else [finding.message]
        embeddings = of_texts.encode(rows.inputs, lambda done, total: on_progress("Encoding texts", done, total))
        return embeddings, np.arange(len(rows))
    return _of_images(rows, config, encoder, layer, messages, on_progress)


def _of_images(
    rows: Rows, config: DataConfig, encoder: str | None, layer: Layer, messages: list[str], on_progress: Progress
) -> tuple[Embeddings, np.typing.NDArray[np.int64]]:
    if encoder is None:
        raise InputError(f"{config.source} holds images; name an encoder of `monosemy pretrain` by --encoder.")
    file = Path(encoder)
    loaded = load_encoder(file / ENCODER_FILE if (file / ENCODER_FILE).is_file() else file)
    shape = loaded.spec.image_shape
    decoded = inputs_by_part(rows.inputs, {"all": np.arange(len(rows))}, config, on_progress, shape[1:])
    messages += decoded.notices
    images = np.asarray(decoded.inputs["all"])
    if images.shape[1:] != shape:
        raise InputError(
            f"{config.source} has images of shape {images.shape[1:]}, but the encoder takes {shape}; give such images."
        )
    embeddings = embed(loaded, images, layer, on_images=lambda *done: on_progress("Encoding images", *done))
    return embeddings, decoded.rows["all"]
