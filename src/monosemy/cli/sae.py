"""`monosemy sae`: sparse autoencoders of one's own."""

from pathlib import Path
from typing import Annotated

import typer

from monosemy.cli.completion import several_of
from monosemy.cli.sae_models import evaluate, export
from monosemy.cli.shared import Device, Json, Quiet
from monosemy.core.console import make_console

sae = typer.Typer(no_args_is_help=True, help="Sparse autoencoders on embeddings or activations of one's own.")


@sae.command()
def train(
    source: Annotated[
        str,
        typer.Argument(
            help="Rows to train on: .npy, .npz, .safetensors or .parquet; a folder of them (also of `monosemy "
            "activations`) or 'PATTERN*.parquet'; or a Hugging Face id."
        ),
    ],
    width: Annotated[str, typer.Option(help="Latents; several, comma-separated, for several on one reading.")] = "1024",
    k: Annotated[str, typer.Option(help="Active latents a row; several as for --width.")] = "32",
    activation: Annotated[
        str,
        typer.Option(
            help="topk, batchtopk, matryoshka, relu, jumprelu or gated; several as for --width.",
            autocompletion=several_of("monosemy.sae.estimators", "ActivationName"),
        ),
    ] = "topk",
    seed: Annotated[str, typer.Option(help="Of the initialisation; several as for --width.")] = "0",
    epochs: Annotated[int, typer.Option(help="Passes over the rows.")] = 1,
    steps: Annotated[int | None, typer.Option(help="Steps in all, instead of --epochs.")] = None,
    batch_size: Annotated[int, typer.Option(help="Rows a step, over all processes.")] = 1024,
    lr: Annotated[float, typer.Option(help="Peak learning rate of Adam.")] = 1e-3,
    column: Annotated[
        str | None, typer.Option(help="Column or tensor that holds the rows, where it has an unusual name.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder; default runs/sae-NAME. Goes on where it was.")] = None,
    minutes: Annotated[float, typer.Option(help="Stop at a checkpoint after this time.")] = float("inf"),
    device: Device = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Train one or several sparse autoencoders on rows that need not fit into memory.

    Kill it and call it again: it goes on from its last checkpoint. Several processes share the batch under `torchrun
    --nproc-per-node 4 -m monosemy sae train ...`.

    **Examples**

    `monosemy sae train embeddings.npy --width 4096 --k 32 --epochs 10`

    `monosemy sae train activations/ --width 2048,8192 --k 16,64 --activation topk,batchtopk --seed 0,1`
    """
    from monosemy.commands.sae_train import SaeTrainRequest, execute

    request = SaeTrainRequest(
        source=source, width=width, k=k, activation=activation, seed=seed, epochs=epochs, steps=steps,
        batch_size=batch_size, lr=lr, column=column, out=out, minutes=minutes, device=device,
    )  # fmt: skip
    execute(request, make_console(quiet, json), as_json=json)


sae.command("eval")(evaluate)
sae.command()(export)
