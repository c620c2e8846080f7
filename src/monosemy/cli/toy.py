"""`monosemy toy`: toy models of superposition, and linear probes on their codes."""

from typing import Any

import typer

from monosemy.cli.options import Executor, Json, Out, Quiet, Workers, with_settings
from monosemy.cli.studies import run_command
from monosemy.theory.plan import ToyPlan

app = typer.Typer(add_completion=False)


@app.command()
@with_settings(
    ToyPlan,
    {
        "Toy model": {
            "--n-features": "n_features",
            "--n-dimensions": "n_dimensions",
            "--sparsity": "sparsity",
            "--steps": "training.steps",
        },
        "Comparison": {
            "--label-noise": "label_noise",
            "--input-noise": "input_noise",
            "--n-seeds": "n_seeds",
            "--sweep": "sweep",
        },
    },
)
def toy(
    settings: dict[str, Any],
    out: Out = None,
    executor: Executor = None,
    workers: Workers = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Toy model of superposition: is a code with one feature per dimension more robust to noise?

    Trains the toy model, probes its code and a code that keeps m features as they are, on clean labels, under label
    noise and under input noise, and shows for which sparsities and dimensions which of them is better.

    **Examples**

    `monosemy toy` — half a minute

    `monosemy toy --sparsity 0.9 --no-sweep` — where features really share dimensions
    """
    run_command("toy", settings, out, executor, workers, "cpu", quiet, json)
