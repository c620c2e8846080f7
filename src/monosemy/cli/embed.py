"""`monosemy embed`: embeddings of texts or images, with their labels and splits, in one file."""

from pathlib import Path
from typing import Annotated, Any

import typer

from monosemy.cli.options import Json, Quiet, with_settings
from monosemy.core.config import Config, validated
from monosemy.core.console import Progress, json_text, make_console, print_line, progress
from monosemy.data.config import DataConfig
from monosemy.encoders.config import ENCODER_FILE, Layer
from monosemy.errors import InputError

app = typer.Typer(add_completion=False)
FORMAT = ".npz"


class EmbedConfig(Config):
    """Inputs to embed, and the encoder."""

    data: DataConfig
    encoder: str | None = None
    """A text model by name or folder, or an encoder of `monosemy pretrain`. Texts: all-MiniLM-L6-v2 by default."""
    layer: Layer = "features"
    """Layer of an encoder of `monosemy pretrain`: features or backbone."""


@app.command("embed")
@with_settings(
    EmbedConfig,
    {
        "Data": {
            "--input-column": "data.input_column",
            "--label-column": "data.label_column",
            "--on-bad-row": "data.on_bad_row",
        },
        "Encoder": {"--encoder": "encoder", "--layer": "layer"},
    },
    {"data": "data.source"},
)
def command(
    settings: dict[str, Any],
    out: Annotated[Path, typer.Option(help="File of the embeddings, .npz.", rich_help_panel="Output")],
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Embed texts or images; labels and splits of the source go into the same file.

    Rows that were embedded before come from the cache.

    **Examples**

    `monosemy embed queries.csv --out embeddings.npz`

    `monosemy embed photos/ --encoder runs/simclr --out embeddings.npz`

    `monosemy study --data embeddings.npz`
    """
    config = validated(EmbedConfig, settings, "The command")
    if out.suffix.lower() != FORMAT:
        raise InputError(f"--out {str(out)!r} does not end in {FORMAT}; give such a name.")
    # Imported here: `--help` needs none of them.
    import numpy as np

    from monosemy.core.files import atomic_path
    from monosemy.data.load import read_rows

    console = make_console(quiet, json)
    rows = read_rows(config.data.source, config.data, labelled=False)
    messages = list(rows.messages)
    with progress(console) as on_progress:
        if isinstance(rows.inputs, tuple):
            embeddings, kept = _text_embeddings(rows.inputs, config, messages, on_progress), np.arange(len(rows))
        elif rows.kind == "images":
            embeddings, kept = _image_embeddings(rows, config, messages, on_progress)
        else:
            raise InputError(f"{config.data.source} holds embeddings already; give texts or images.")
    arrays = {"embeddings": embeddings}
    for name, values in (("labels", rows.labels), ("split", rows.splits)):
        if values is not None:
            arrays[name] = np.array([values[i] for i in kept])
    try:
        with atomic_path(out) as temporary:
            np.savez(temporary, **arrays)
    except OSError as error:
        raise InputError(f"out={str(out)!r} cannot be written to ({error.strerror}); give another.") from error
    if json:
        shapes = {name: list(array.shape) for name, array in arrays.items()}
        print(json_text({"out": out, "arrays": shapes, "messages": messages}))
    for message in messages:
        print_line(console, message)
    print_line(console, f"{len(embeddings):,} embeddings of {embeddings.shape[1]:,} dimensions in {out}")
    if "labels" in arrays:
        print_line(console, f"To study them: monosemy study --data {out}")


def _text_embeddings(texts: tuple[str, ...], config: EmbedConfig, messages: list[str], on_progress: Progress) -> Any:
    from monosemy.encoders.text import MINILM, TextEncoder

    encoder = TextEncoder(config.encoder or MINILM)
    finding = encoder.truncation(texts)
    messages += [] if finding is None else [finding.message]
    return encoder.encode(texts, lambda done, total: on_progress("Encoding texts", done, total))


def _image_embeddings(rows: Any, config: EmbedConfig, messages: list[str], on_progress: Progress) -> tuple[Any, Any]:
    """Return embeddings and the rows that they belong to."""
    import numpy as np

    from monosemy.data.splits import inputs_by_part
    from monosemy.encoders.image import embed, load_encoder

    if config.encoder is None:
        raise InputError(f"{config.data.source} holds images; name an encoder of `monosemy pretrain` by --encoder.")
    file = Path(config.encoder)
    encoder = load_encoder(file / ENCODER_FILE if (file / ENCODER_FILE).is_file() else file)
    shape = encoder.spec.image_shape
    decoded = inputs_by_part(rows.inputs, {"all": np.arange(len(rows))}, config.data, on_progress, shape[1:])
    messages += decoded.notices
    images = np.asarray(decoded.inputs["all"])
    if images.shape[1:] != shape:
        raise InputError(
            f"{config.data.source} has images of shape {images.shape[1:]}, but the encoder takes {shape}; give "
            f"such images."
        )
    embeddings = embed(encoder, images, config.layer, on_images=lambda *done: on_progress("Encoding images", *done))
    return embeddings, decoded.rows["all"]
