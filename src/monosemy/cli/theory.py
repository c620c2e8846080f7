"""`monosemy theory`: separability under label noise, in closed form and by simulation."""

from typing import Any

import typer

from monosemy.cli.options import Executor, Json, Out, Quiet, Workers, with_settings
from monosemy.cli.studies import run_command
from monosemy.theory.plan import SeparabilityPlan

app = typer.Typer(add_completion=False)


@app.command()
@with_settings(
    SeparabilityPlan,
    {
        "Two features": {"--sparsity": "sparsities", "--weights": "weights", "--input-noise": "input_noise"},
        "Simulation": {"--classes": "classes", "--n-samples": "n_samples", "--n-seeds": "n_seeds"},
    },
)
def theory(
    settings: dict[str, Any],
    out: Out = None,
    executor: Executor = None,
    workers: Workers = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Separability J under label noise: closed forms for two features, simulation for more classes.

    Shows at which label noise the single feature x1 separates two classes better than a mixture, checks the closed
    forms by simulation, and compares J with a scale-free form.

    **Examples**

    `monosemy theory` — seconds

    `monosemy theory --sparsity 0.2,0.9 --weights 1,0.5 --input-noise 0.1`
    """
    run_command("theory", settings, out, executor, workers, "cpu", quiet, json)
