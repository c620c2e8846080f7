"""`monosemy study`: what monosemantic features add under noise."""

from typing import Any

import typer

from monosemy.cli.options import Executor, Json, Out, Quiet, Workers, with_settings
from monosemy.cli.studies import run_command
from monosemy.study.probing.plan import ProbingPlan

app = typer.Typer(add_completion=False)


@app.command()
@with_settings(
    ProbingPlan,
    {
        "Data": {
            "--data": "data.source",
            "--label-column": "data.label_column",
            "--input-column": "data.input_column",
            "--encoder": "encoder.name",
        },
        "Comparison": {
            "--features": "features",
            "--scenario": "scenarios",
            "--label-noise": "label_noise.levels",
            "--n-seeds": "n_seeds",
        },
    },
)
def study(
    settings: dict[str, Any],
    out: Out = None,
    executor: Executor = None,
    workers: Workers = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Measure whether monosemantic features make a classifier more robust, by how much, and at what cost.

    **Examples**

    `monosemy study` — digit pairs: no data, no network, a few minutes

    `monosemy study --data queries.csv --scenario label-noise,few-labels`

    `monosemy study --data embeddings.npz --label-noise 0.2,0.4 --set sae.k=16`
    """
    # Jobs compute on the CPU, one per core; encoders of texts and images take a GPU by themselves.
    run_command("probing", settings, out, executor, workers, "cpu", quiet, json)
