"""`monosemy finetune images`: encoders and labelled images in, a comparison of finetuned networks out."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from monosemy.commands.words import numbers, words
from monosemy.core.config import merged, read_yaml, validated
from monosemy.core.console import progress
from monosemy.core.distributed import resolve_device
from monosemy.core.executors import ExecutorConfig
from monosemy.corruptions.labels import informative_rates
from monosemy.data import digits
from monosemy.data.dataset import DataConfig, LabelledData
from monosemy.data.load import load_data
from monosemy.encoders.finetuning import FinetuneConfig
from monosemy.errors import InputError
from monosemy.study.finetuning.run import FinetunePlan, FinetuneResult, run_finetuning
from monosemy.study.probing.encoders import encoder_files, image_side

SCENARIOS = ("label-noise", "few-labels", "given-labels")
_RATES = (0.3, 0.6, 0.9)
_FRACTIONS = (0.1, 0.2, 0.5)


@dataclass(frozen=True)
class FinetuneRequest:
    """The words of the command; lists are still comma-separated text."""

    encoder: str
    data: DataConfig
    variants: str | None = None
    scenario: str = "label-noise"
    label_noise: str | None = None
    few_labels: str | None = None
    seeds: int = 3
    changes: dict[str, Any] = field(default_factory=dict)
    """Settings of FinetuneConfig given as options."""

    def source(self) -> DataConfig:
        """The data, in the size that the encoder takes where the user names none."""
        files = encoder_files(self.encoder)
        if not files:
            raise InputError(
                f"The encoder {self.encoder!r} is no file or folder of `monosemy pretrain`, or its training is not "
                f"finished; give a finished one."
            )
        return self.data.model_copy(update={"image_size": self.data.image_size or image_side(files)})

    def plan(self, data: LabelledData) -> FinetunePlan:
        """The whole plan, defaults that depend on the data filled in."""
        changes = self.changes
        if data.name == digits.NAME:  # a mirrored 2 is no 2
            changes = {"augmentation": "handwriting-pair"} | changes
        values: dict[str, Any] = {
            "data": self.source().model_dump(),
            "encoders": encoder_files(self.encoder),
            "scenarios": self._scenarios(data),
            "training": merged(FinetuneConfig().model_dump(), changes),
            "seeds": self.seeds,
        }
        if self.variants is not None:
            values["variants"] = words(self.variants)
        return validated(FinetunePlan, values, "The command")

    def _scenarios(self, data: LabelledData) -> dict[str, Any]:
        wanted = words(self.scenario)
        for name in wanted:
            if name not in SCENARIOS:
                raise InputError(f"The scenario {name!r} is unknown; choose among {', '.join(SCENARIOS)}.")
        for name, option, given in (
            ("label-noise", "--label-noise", self.label_noise),
            ("few-labels", "--few-labels", self.few_labels),
            ("given-labels", "--noisy-label-column", self.data.noisy_label_column),
            ("given-labels", "--noisy-labels", self.data.noisy_labels),
        ):
            if given is not None and name not in wanted:
                raise InputError(f"{option} {given} needs the scenario {name}; add it to --scenario.")
        chosen: dict[str, Any] = {"given_labels": "given-labels" in wanted}
        if "label-noise" in wanted:
            rates = numbers(self.label_noise, "--label-noise")
            chosen["label_noise"] = {"levels": rates or informative_rates(_RATES, "symmetric", data.n_classes)}
        if "few-labels" in wanted:
            chosen["few_labels"] = {"fractions": numbers(self.few_labels, "--few-labels") or _FRACTIONS}
        return chosen


def execute(
    request: FinetuneRequest,
    plan_path: Path | None,
    out: Path | None,
    executor: ExecutorConfig,
    device: str | None,
    console: Console,
    *,
    as_json: bool = False,
) -> FinetuneResult:
    """Load, run, write the folder with figures, and print."""
    from monosemy.study.finetuning.report import finetuning_json, print_finetuning, write_finetuning

    where = resolve_device(device)
    if plan_path is not None:
        plan = validated(FinetunePlan, read_yaml(plan_path, "plan"), str(plan_path))
        data = load_data(plan.data, plan.seed)
    else:
        data = load_data(request.source())
        plan = request.plan(data)
    folder = out or Path("runs") / f"finetune-{Path(data.name).stem}"
    with progress(console) as on_progress:
        result = run_finetuning(plan, data, folder, on_progress, where, executor)
        write_finetuning(result)
    if as_json:
        print(finetuning_json(result))
    print_finetuning(result, console)
    return result
