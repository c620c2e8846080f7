"""`monosemy finetune`: image networks, and adapters of language models, plain and monosemantic side by side."""

from typing import Any

import typer

from monosemy.cli.options import Device, Executor, Json, Out, Quiet, Workers, with_settings
from monosemy.cli.studies import run_command
from monosemy.study.finetuning.plan import FinetunePlan
from monosemy.study.lora.plan import LoraPlan

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


@app.command()
@with_settings(
    LoraPlan,
    {
        "Data": {"--data": "data.source"},
        "Comparison": {
            "--methods": "methods",
            "--scenario": "scenarios",
            "--label-noise": "label_noise.levels",
            "--n-seeds": "n_seeds",
            "--lr": "learning_rates",
            "--epochs": "training.epochs",
        },
    },
    {"model": "model"},
)
def lm(
    settings: dict[str, Any],
    out: Out = None,
    executor: Executor = None,
    workers: Workers = None,
    device: Device = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Finetune a language model with LoRA and with MonoLoRA: which learns better, stays sparser, forgets less?

    Several GPUs: `torchrun --nproc-per-node 4 -m monosemy finetune lm ...`

    **Examples**

    `monosemy finetune lm my-encoder/ --data sst2.jsonl.gz --scenario label-noise,few-labels --lr 0.001,0.005`

    `monosemy finetune lm my-model/ --data dolly.jsonl --set data.on_long=drop --set judge=toxicity:pairs.jsonl`
    """
    run_command("lora", settings, out, executor, workers, device, quiet, json)
