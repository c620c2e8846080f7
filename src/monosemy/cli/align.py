"""`monosemy align`: train a language model from preferences by DPO and by DecPO."""

from typing import Any

import typer

from monosemy.cli.options import Device, Executor, Json, Out, Quiet, Workers, with_settings
from monosemy.cli.studies import run_command
from monosemy.study.dpo.plan import DpoPlan

app = typer.Typer(add_completion=False)


@app.command()
@with_settings(
    DpoPlan,
    {
        "Data": {"--data": "data.source", "--pairs": "pairs"},
        "Comparison": {
            "--weights": "weights",
            "--ablations": "ablations",
            "--n-seeds": "n_seeds",
            "--lr": "training.lr",
            "--judge": "judge",
        },
    },
    {"model": "models"},
)
def align(
    settings: dict[str, Any],
    out: Out = None,
    executor: Executor = None,
    workers: Workers = None,
    device: Device = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Train a language model from preferences by DPO and by DecPO: does decorrelation help, and at which weight?

    **Examples**

    `monosemy align my-model/ --data pairs.jsonl --weights 0.0001,0.001 --pairs 2000`

    `monosemy align my-model/ --data hh-rlhf.jsonl.gz --set training.method=lora --set losses=ipo,hinge --n-seeds 5`
    """
    run_command("dpo", settings, out, executor, workers, device, quiet, json)
