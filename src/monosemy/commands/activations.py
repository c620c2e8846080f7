"""`monosemy activations`: a model and its inputs in, a folder of rows out."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor, nn

from monosemy.commands.words import data_config
from monosemy.core.console import Progress, json_text, progress
from monosemy.core.distributed import resolve_device
from monosemy.data.load import read_rows, read_texts
from monosemy.data.splits import inputs_by_part
from monosemy.encoders.activation_cache import Precision, Tokens, cache_activations
from monosemy.encoders.image import ENCODER_FILE, load_encoder, to_unit
from monosemy.errors import InputError


@dataclass(frozen=True)
class ActivationsRequest:
    """The words of the command."""

    model: str
    layer: str
    out: Path
    texts: str | None = None
    images: str | None = None
    column: str | None = None
    tokens: str = "all"
    max_tokens: int = 512
    batch_size: int = 32
    precision: str = "float32"
    device: str | None = None


def execute(request: ActivationsRequest, console: Console, *, as_json: bool = False) -> None:
    """Load the model, run it over its inputs, write the rows, print."""
    if (request.texts is None) == (request.images is None):
        raise InputError("Neither or both of --texts and --images are given; give the one that the model takes.")
    for name in ("max_tokens", "batch_size"):
        if getattr(request, name) < 1:
            raise InputError(f"--{name.replace('_', '-')} {getattr(request, name)} is not positive; choose 1 or more.")
    device = resolve_device(request.device)
    with progress(console) as on_progress:
        if request.texts is not None:
            model, batches, n = _text_model(request, request.texts, device)
        else:
            model, batches, n = _image_model(request, str(request.images), on_progress)
        what = "Texts" if request.texts is not None else "Images"
        rows = cache_activations(
            model,
            request.layer,
            batches,
            request.out,
            tokens=cast(Tokens, request.tokens),
            precision=cast(Precision, request.precision),
            device=device,
            on_rows=lambda done, found: on_progress(what, min(done * request.batch_size, n), n, f"{found:,} rows"),
        )
    if as_json:
        print(json_text({"folder": request.out, "layer": request.layer, "rows": rows}))
    console.print(
        f"{rows:,} rows of {request.layer} in {request.out}\n"
        f"What it is good for: monosemy sae train {request.out} --width 4096 --k 32",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def _text_model(request: ActivationsRequest, source: str, device: str) -> tuple[nn.Module, Iterator[Any], int]:
    texts = read_texts(source, request.column)
    from monosemy.lm.models import load_any_model

    loaded = load_any_model(request.model, device=device)
    longest = min(request.max_tokens, loaded.context)

    def batches() -> Iterator[dict[str, Tensor]]:
        for start in range(0, len(texts), request.batch_size):
            given = list(texts[start : start + request.batch_size])
            yield dict(loaded.tokenizer(given, return_tensors="pt", padding=True, truncation=True, max_length=longest))

    return loaded.model, batches(), len(texts)


def _image_model(
    request: ActivationsRequest, source: str, on_progress: Progress
) -> tuple[nn.Module, Iterator[Tensor], int]:
    path = Path(request.model)
    encoder = load_encoder(path / ENCODER_FILE if path.is_dir() else path)
    config = data_config(source, input_column=request.column)
    rows = read_rows(source, config, labelled=False)
    if rows.kind != "images":
        raise InputError(f"--images {source} holds {rows.kind}; give images.")
    size = encoder.spec.image_shape[1:]
    everything = {"all": np.arange(len(rows.inputs))}
    images = cast(NDArray[Any], inputs_by_part(rows.inputs, everything, config, on_progress, size)[0]["all"])
    if images.shape[1:] != encoder.spec.image_shape:
        raise InputError(
            f"{source} has images of shape {images.shape[1:]}, but the encoder takes {encoder.spec.image_shape}; give "
            f"such images."
        )

    def batches() -> Iterator[Tensor]:
        for start in range(0, len(images), request.batch_size):
            yield to_unit(torch.from_numpy(np.array(images[start : start + request.batch_size])))

    return encoder, batches(), len(images)
