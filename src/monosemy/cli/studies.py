"""The commands that run studies: `study`, `finetune`, `align`; options, plan, run, print."""

from pathlib import Path
from typing import Any

import typer

from monosemy.cli.options import Device, Executor, Json, Out, Quiet, Workers, executor_config, with_settings
from monosemy.core.config import validated
from monosemy.core.console import make_console, progress
from monosemy.study.dpo.plan import DpoPlan
from monosemy.study.finetuning.plan import FinetunePlan
from monosemy.study.lora.plan import LoraPlan
from monosemy.study.probing.plan import ProbingPlan

study_app = typer.Typer(add_completion=False)
align_app = typer.Typer(add_completion=False)
finetune_app = typer.Typer(no_args_is_help=True, add_completion=False)


def run_command(
    name: str,
    settings: dict[str, Any],
    out: Path | None,
    executor: str | None,
    workers: int | None,
    device: str | None,
    quiet: bool,
    json: bool,
) -> None:
    """Load the data, run a study of a kind into its folder, and print the result.

    Raises:
        InputError: a setting, the data or the folder does not fit.
    """
    runs_on = executor_config(executor, workers)
    # Imported here: `--help` needs none of them.
    from monosemy.core.distributed import joined_processes, resolve_device
    from monosemy.report.terminal import print_result, result_json
    from monosemy.study.engine import run_study
    from monosemy.study.registry import study_kind

    kind = study_kind(name)
    plan = validated(kind.plan_type, settings, "The command")
    with joined_processes(device) as processes:
        console = make_console(quiet or not processes.is_main, json)
        with progress(console) as on_progress:
            data = kind.load(plan, on_progress)
            folder = out or Path("runs") / kind.folder_name(plan, data)
            result = run_study(
                kind, plan, data, folder, on_progress=on_progress, executor=runs_on,
                device=resolve_device(device), processes=processes,
            )  # fmt: skip
        if json and processes.is_main:
            print(result_json(result))
        print_result(result, console, kind.sections(result))


@study_app.command()
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


@finetune_app.callback()
def _group() -> None:
    """Finetune networks and language models, plain and monosemantic, side by side."""


@finetune_app.command()
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


@finetune_app.command()
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


@align_app.command()
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
