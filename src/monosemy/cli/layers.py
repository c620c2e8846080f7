"""`monosemy gauge`: language models layer by layer."""

from pathlib import Path
from typing import Annotated

import typer

from monosemy.cli.shared import OUT, Device, Json, Quiet
from monosemy.core.console import make_console


def gauge(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...",
            help="Causal language models or adapters: folders or names, as `name=model` with the name for the tables.",
        ),
    ],
    prompts: Annotated[
        Path | None, typer.Option(help="Texts: .txt with one a line, or a table. Without: the weight gauge alone.")
    ] = None,
    input_column: Annotated[str | None, typer.Option(help="Column of the prompts in a table.")] = None,
    encoder: Annotated[
        str | None,
        typer.Option(help="Text encoder for MonoScore, or none; default all-MiniLM-L6-v2 where it is installed."),
    ] = None,
    layers: Annotated[str | None, typer.Option(help="List of layers in an unknown architecture: model.layers.")] = None,
    up: Annotated[str | None, typer.Option(help="Up-projection in a layer: mlp.up_proj.")] = None,
    down: Annotated[str | None, typer.Option(help="Down-projection in a layer: mlp.down_proj.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Longer prompts keep their last tokens.")] = None,
    out: Annotated[Path, OUT] = Path("runs/gauge"),
    device: Device = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """How monosemantic are the layers of a language model, and what did training change?

    Feature decorrelation, effective rank, sparsity and MonoScore of the MLP's neurons at the last token of prompts, and
    the weight gauge |w| b where the MLP has biases; of several models side by side.

    **Examples**

    `monosemy gauge gpt2`

    `monosemy gauge base=my/model dpo=runs/dpo decpo=runs/decpo --prompts prompts.txt`
    """
    from monosemy.commands.gauge import GaugeRequest, execute

    request = GaugeRequest(
        models=models, prompts=prompts, input_column=input_column, encoder=encoder, layers=layers, up=up, down=down,
        max_tokens=max_tokens, out=out, device=device,
    )  # fmt: skip
    execute(request, make_console(quiet, json), as_json=json)
