"""The commands that run studies: `study`, `finetune`, `align`, `toy`, `theory`; options, plan, run, print."""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import typer

from monosemy.cli.options import HIDDEN, Device, Executor, Json, Options, Out, Quiet, Workers, with_settings
from monosemy.core.config import Plan, validated
from monosemy.core.console import make_console, progress
from monosemy.study import dpo, finetuning, lora, probing
from monosemy.theory.plan import SeparabilityPlan, ToyPlan

study_app = typer.Typer(add_completion=False)
finetune_app = typer.Typer(no_args_is_help=True, add_completion=False)
align_app = typer.Typer(add_completion=False)
toy_app = typer.Typer(add_completion=False)
theory_app = typer.Typer(add_completion=False)


def study_command(
    app: typer.Typer,
    plan_type: type[Plan],
    options: Options,
    arguments: Mapping[str, str] | None = None,
    *,
    device: bool = False,
) -> Callable[[Callable[[], None]], None]:
    """Add the command that runs plans of a type; the decorated function gives its name and its help.

    Args:
        arguments: positional arguments, by the dotted names of their fields.
        device: whether the command has the option ``--device``; jobs compute on the CPU otherwise.
    """

    def decorate(described: Callable[[], None]) -> None:
        def run(settings: dict[str, Any], **running: Any) -> None:
            run_command(plan_type, settings, **({"device": "cpu"} | running))

        _, *offered = inspect.signature(run_command).parameters.values()
        run.__signature__ = inspect.Signature([  # type: ignore[attr-defined]
            option for option in offered if device or option.name != "device"
        ])  # fmt: skip
        run.__name__, run.__doc__ = described.__name__, described.__doc__
        app.command()(with_settings(plan_type, options, arguments)(run))

    return decorate


def run_command(
    plan_type: type[Plan],
    settings: dict[str, Any],
    out: Out = None,
    executor: Executor = None,
    workers: Workers = None,
    device: Device = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Load the data, run a study of its plan's kind into a folder, and print the result.

    Raises:
        InputError: a setting, the data or the folder does not fit.
    """
    # Imported here: `--help` needs none of them.
    from monosemy.core.distributed import joined_processes, resolve_device
    from monosemy.core.executors import executor_settings
    from monosemy.report.data import print_summary
    from monosemy.report.terminal import print_result, result_json
    from monosemy.study.engine import data_report, run_study
    from monosemy.study.registry import study_kind

    runs_on, plan = executor_settings(executor, workers), validated(plan_type, settings, "The command")
    kind = study_kind(plan.kind)
    with joined_processes(device) as processes:
        console = make_console(quiet or not processes.is_main, json)
        with progress(console) as on_progress:
            data = kind.load(plan, on_progress)
            if (found := data_report(data)) is not None:
                print_summary(found, console)
            folder = out or Path("runs") / kind.folder_name(plan, data)
            result = run_study(
                kind, plan, data, folder, on_progress=on_progress, executor=runs_on,
                device=resolve_device(device), processes=processes,
            )  # fmt: skip
        if json and processes.is_main:
            print(result_json(result))
        print_result(result, console, kind.sections(result))


@study_command(
    study_app,
    probing.ProbingPlan,
    {
        "Data": {"--data": "data.source", "--label-column": "data.label_column", "--encoder": "encoder.name"},
        "Comparison": {
            "--features": "features",
            "--classifiers": "classifiers",
            "--scenario": "scenarios",
            "--label-noise": "label_noise.levels",
            "--n-seeds": "n_seeds",
        },
        HIDDEN: {"--input-column": "data.input_column", "--on-bad-row": "data.on_bad_row"},
    },
)
def study() -> None:
    """Measure whether monosemantic features make a classifier more robust, by how much, and at what cost.

    **Examples**

    `monosemy study` — digit pairs: no data, no network, a few minutes

    `monosemy study --data queries.csv --scenario label-noise,few-labels`

    `monosemy study --data embeddings.npz --label-noise 0.2,0.4 --set sae.k=16`
    """


@finetune_app.callback()
def _group() -> None:
    """Finetune networks and language models, plain and monosemantic, side by side."""


@study_command(
    finetune_app,
    finetuning.FinetunePlan,
    {
        "Data": {"--data": "data.source", "--label-column": "data.label_column"},
        "Comparison": {
            "--variants": "variants",
            "--scenario": "scenarios",
            "--label-noise": "label_noise.levels",
            "--n-seeds": "n_seeds",
            "--epochs": "training.epochs",
        },
        HIDDEN: {"--on-bad-row": "data.on_bad_row"},
    },
    {"encoder": "encoders"},
    device=True,
)
def images() -> None:
    """Finetune image encoders with and without non-negative features, and compare their robustness.

    **Examples**

    `monosemy finetune images runs/simclr --data cifar-100-python/ --label-noise 0.4,0.8`

    `monosemy finetune images runs/simclr --scenario few-labels --set few_labels.fractions=0.1,0.2 --variants ce,nce`
    """


@study_command(
    finetune_app,
    lora.LoraPlan,
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
        HIDDEN: {"--on-bad-row": "data.on_bad_row"},
    },
    {"model": "model"},
    device=True,
)
def lm() -> None:
    """Finetune a language model with LoRA and with MonoLoRA: which learns better, stays sparser, forgets less?

    Several GPUs: `torchrun --nproc-per-node 4 -m monosemy finetune lm ...`

    **Examples**

    `monosemy finetune lm my-encoder/ --data sst2.jsonl.gz --scenario label-noise,few-labels --lr 0.001,0.005`

    `monosemy finetune lm my-model/ --data dolly.jsonl --set data.on_long=drop --set judge=toxicity:pairs.jsonl`
    """


@study_command(
    align_app,
    dpo.DpoPlan,
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
    device=True,
)
def align() -> None:
    """Train a language model from preferences by DPO and by DecPO: does decorrelation help, and at which weight?

    **Examples**

    `monosemy align my-model/ --data pairs.jsonl --weights 0.0001,0.001 --pairs 2000`

    `monosemy align my-model/ --data hh-rlhf.jsonl.gz --set training.method=lora --set losses=ipo,hinge --n-seeds 5`
    """


@study_command(
    toy_app,
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
def toy() -> None:
    """Toy model of superposition: is a code with one feature per dimension more robust to noise?

    Trains the toy model, probes its code and a code that keeps m features as they are, on clean labels, under label
    noise and under input noise, and shows for which sparsities and dimensions which of them is better.

    **Examples**

    `monosemy toy` — half a minute

    `monosemy toy --sparsity 0.9 --no-sweep` — where features really share dimensions
    """


@study_command(
    theory_app,
    SeparabilityPlan,
    {
        "Two features": {"--sparsity": "sparsities", "--weights": "weights", "--input-noise": "input_noise"},
        "Simulation": {"--classes": "classes", "--n-samples": "n_samples", "--n-seeds": "n_seeds"},
    },
)
def theory() -> None:
    """Separability J under label noise: closed forms for two features, simulation for more classes.

    Shows at which label noise the single feature x1 separates two classes better than a mixture, checks the closed
    forms by simulation, and compares J with a scale-free form.

    **Examples**

    `monosemy theory` — seconds

    `monosemy theory --sparsity 0.2,0.9 --weights 1,0.5 --input-noise 0.1`
    """
