"""`monosemy activations`: what a layer of a model puts out, kept on disk."""

from pathlib import Path
from typing import Annotated

import typer

from monosemy.cli.shared import Device, Json, Quiet
from monosemy.core.console import make_console


def activations(
    model: Annotated[
        str, typer.Argument(help="Folder or name of a transformers model; or file or folder of `monosemy pretrain`.")
    ],
    layer: Annotated[str, typer.Option(help="Name of a module, such as model.layers.12 or encoder.layer.3.output.")],
    out: Annotated[Path, typer.Option(help="Folder for the activations. Goes on where it was.")],
    texts: Annotated[
        str | None, typer.Option(help="Texts for a text model: .txt with one a line, or a table with a column of them.")
    ] = None,
    images: Annotated[
        str | None, typer.Option(help="Images for an image encoder, as for `monosemy pretrain --data`.")
    ] = None,
    column: Annotated[str | None, typer.Option(help="Column of the texts or images.")] = None,
    tokens: Annotated[str, typer.Option(help="Of each text or map: all tokens, the last, or their mean.")] = "all",
    max_tokens: Annotated[int, typer.Option(help="Longer texts are cut.")] = 512,
    batch_size: Annotated[int, typer.Option(help="Texts or images at once.")] = 32,
    precision: Annotated[str, typer.Option(help="Of the numbers on disk: float32, float16 or bfloat16.")] = "float32",
    device: Device = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Write the activations of a layer to disk, to train sparse autoencoders on them.

    Kill it and call it again: it goes on after its last whole shard.

    **Examples**

    `monosemy activations gpt2 --layer transformer.h.6 --texts corpus.txt --out activations/`

    `monosemy activations runs/simclr --layer backbone --images cifar-100-python/ --out activations/`

    `monosemy sae train activations/ --width 4096 --k 32`
    """
    from monosemy.commands.activations import ActivationsRequest, execute

    request = ActivationsRequest(
        model=model, layer=layer, out=out, texts=texts, images=images, column=column, tokens=tokens,
        max_tokens=max_tokens, batch_size=batch_size, precision=precision, device=device,
    )  # fmt: skip
    execute(request, make_console(quiet, json), as_json=json)
