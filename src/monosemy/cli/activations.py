"""`monosemy activations`: the output of a layer, written to disk."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from monosemy.cli.options import Device, Json, Quiet, completion_of
from monosemy.core.console import Progress, json_text, make_console, print_line, progress
from monosemy.errors import InputError

if TYPE_CHECKING:
    from torch import nn

app = typer.Typer(add_completion=False)


@app.command()
def activations(
    model: Annotated[
        str, typer.Argument(help="Folder or name of a transformers model; or file or folder of `monosemy pretrain`.")
    ],
    layer: Annotated[str, typer.Option(help="Module, such as model.layers.12 or encoder.layer.3.output.")],
    data: Annotated[
        str,
        typer.Option(
            help="For a text model .txt with one text on each line, or a table; for an image encoder images, as for "
            "`monosemy pretrain`."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the activations; created if missing.")],
    input_column: Annotated[str | None, typer.Option(help="Column of the texts or images.")] = None,
    tokens: Annotated[
        str,
        typer.Option(
            help="Rows of each text or map: all tokens, the last, or their mean.",
            autocompletion=completion_of(("all", "last", "mean")),
        ),
    ] = "all",
    max_tokens: Annotated[int, typer.Option(help="Longer texts are truncated.")] = 512,
    batch_size: Annotated[int, typer.Option(help="Texts or images at once.")] = 32,
    dtype: Annotated[
        str,
        typer.Option(
            help="Type of the numbers on disk: float32, float16 or bfloat16.",
            autocompletion=completion_of(("float32", "float16", "bfloat16")),
        ),
    ] = "float32",
    device: Device = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Write the activations of a layer to disk, to train sparse autoencoders on them.

    Runs are resumable: run the same command again.

    **Examples**

    `monosemy activations gpt2 --layer transformer.h.6 --data corpus.txt --out activations/`

    `monosemy activations runs/simclr --layer backbone --data cifar-100-python/ --out activations/`

    `monosemy sae train activations/ --n-latents 4096 --k 32`
    """
    for name, value in (("--max-tokens", max_tokens), ("--batch-size", batch_size)):
        if value < 1:
            raise InputError(f"{name} {value} is not positive; choose 1 or more.")
    # Imported here: `--help` needs none of them.
    from monosemy.core.distributed import resolve_device
    from monosemy.encoders.activation_cache import Precision, Tokens, cache_activations
    from monosemy.encoders.config import ENCODER_FILE

    console, runs_on, path = make_console(quiet, json), resolve_device(device), Path(model)
    encoder_file = path / ENCODER_FILE if (path / ENCODER_FILE).is_file() else path
    with progress(console) as on_progress:
        if encoder_file.is_file() or encoder_file.suffix == ".safetensors":
            what = "Images"
            network, batches, n = _image_model(encoder_file, data, input_column, batch_size, on_progress)
        else:
            what = "Texts"
            network, batches, n = _text_model(model, data, input_column, batch_size, max_tokens, runs_on)
        rows = cache_activations(
            network,
            layer,
            batches,
            out,
            tokens=cast(Tokens, tokens),
            precision=cast(Precision, dtype),
            device=runs_on,
            on_rows=lambda done, written: on_progress(what, min(done * batch_size, n), n, f"{written:,} rows"),
        )
    if json:
        print(json_text({"folder": out, "layer": layer, "rows": rows}))
    print_line(console, f"{rows:,} rows of {layer} in {out}")
    print_line(console, f"To train on them: monosemy sae train {out} --n-latents 4096 --k 32")


def _text_model(
    model: str, source: str, column: str | None, batch_size: int, max_tokens: int, device: str
) -> "tuple[nn.Module, Iterator[Any], int]":
    """Return the model, tokenized batches, and the number of texts."""
    from monosemy.data.load import read_texts

    texts = read_texts(source, column)
    from monosemy.lm.models import load_any_model

    loaded = load_any_model(model, device=device)
    longest = min(max_tokens, loaded.context)

    def batches() -> Iterator[dict[str, Any]]:
        for start in range(0, len(texts), batch_size):
            part = list(texts[start : start + batch_size])
            yield dict(loaded.tokenizer(part, return_tensors="pt", padding=True, truncation=True, max_length=longest))

    return loaded.model, batches(), len(texts)


def _image_model(
    file: Path, source: str, column: str | None, batch_size: int, on_progress: Progress
) -> "tuple[nn.Module, Iterator[Any], int]":
    """Return the encoder, batches of images of its size, and their number."""
    import numpy as np
    import torch

    from monosemy.data.config import DataConfig
    from monosemy.data.load import read_rows
    from monosemy.data.splits import inputs_by_part
    from monosemy.encoders.image import load_encoder, to_unit

    encoder = load_encoder(file)
    config = DataConfig(source=source, input_column=column)
    rows = read_rows(source, config, labelled=False)
    if rows.kind != "images":
        raise InputError(f"--data {source} holds {rows.kind}, but {file} is an image encoder; give images.")
    shape = encoder.spec.image_shape
    everything = {"all": np.arange(len(rows.inputs))}
    images: Any = inputs_by_part(rows.inputs, everything, config, on_progress, shape[1:])[0]["all"]
    if images.shape[1:] != shape:
        raise InputError(
            f"{source} has images of shape {images.shape[1:]}, but the encoder takes {shape}; give such images."
        )

    def batches() -> Iterator[Any]:
        for start in range(0, len(images), batch_size):
            yield to_unit(torch.from_numpy(np.array(images[start : start + batch_size])))

    return encoder, batches(), len(images)
