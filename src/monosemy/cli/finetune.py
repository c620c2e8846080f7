"""`monosemy finetune`: image networks, and adapters of language models, plain and monosemantic side by side."""

from typing import Any

import typer

from monosemy.cli.options import Device, Executor, Json, Out, Quiet, Workers, with_settings
from monosemy.cli.studies import run_command
from monosemy.study.finetuning.plan import FinetunePlan

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.callback()
def _group() -> None:
    """Finetune networks and language models, plain and monosemantic, side by side."""


@app.command()
@with_settings(
    FinetunePlan,
    {
        "Data": {"--data": "data.source", "--label-column": "data.label_column"},
        "Comparison": {
            "--variants": "variants",
            "--scenario": "scenarios",
            "--label-noise": "label_noise.levels",
            "--n-seeds": "n_seeds",
            "--epochs": "training.epochs",
        },
    },
    {"encoder": "encoders"},
)
def images(
    settings: dict[str, Any],
    out: Out = None,
    executor: Executor = None,
    workers: Workers = None,
    device: Device = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Finetune image encoders with and without non-negative features, and compare their robustness.

    **Examples**

    `monosemy finetune images runs/simclr --data cifar-100-python/ --label-noise 0.4,0.8`

    `monosemy finetune images runs/simclr --scenario few-labels --set few_labels.fractions=0.1,0.2 --variants ce,nce`
    """
    run_command("finetuning", settings, out, executor, workers, device, quiet, json)
