"""`monosemy align`: a language model and preference pairs in, DPO and DecPO side by side out."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from monosemy.commands.words import numbers, words
from monosemy.core.config import merged, read_yaml, validated
from monosemy.core.console import progress
from monosemy.core.distributed import resolve_device
from monosemy.core.executors import ExecutorConfig
from monosemy.errors import InputError
from monosemy.lm.config import parse_judge
from monosemy.lm.preferences import load_preferences
from monosemy.study.dpo.plan import AlignmentPlan
from monosemy.study.dpo.run import AlignmentResult, run_alignment


@dataclass(frozen=True)
class AlignRequest:
    """The words of the command; lists are still comma-separated text."""

    models: str
    data: dict[str, Any]
    """Settings of PreferenceConfig."""
    weights: str | None = None
    ablations: str | None = None
    losses: str | None = None
    layers: str | None = None
    widths: str | None = None
    warm_up: dict[str, Any] = field(default_factory=dict)
    """Settings of WarmUp; empty without one."""
    judge: str | None = None
    training: dict[str, Any] = field(default_factory=dict)
    """Settings of AlignmentConfig given as options."""
    measuring: dict[str, Any] = field(default_factory=dict)
    plan: dict[str, Any] = field(default_factory=dict)
    """Settings of the plan itself: seeds, pairs, test_pairs, held_out."""

    def full_plan(self) -> AlignmentPlan:
        """The whole plan.

        Raises:
            InputError: the model or the data is missing, or a setting is not valid.
        """
        if not words(self.models):
            raise InputError("MODEL is not given; name a model's folder, or a plan by --plan.")
        if "source" not in self.data:
            raise InputError("--data is not given; name a file of preference pairs, or a plan by --plan.")
        if self.warm_up and "epochs" not in self.warm_up:
            raise InputError(
                "--warm-up-pairs and --warm-up-lr are of a warm-up that is not asked for; add --warm-up 1."
            )
        if "rank" in self.training and self.training.get("method", "full") == "full":
            raise InputError(f"--rank {self.training['rank']} is of an adapter; add --method lora, or leave it out.")
        training = self.training | ({} if self.layers is None else {"layers": words(self.layers)})
        values = self.plan | {"data": self.data, "models": words(self.models), "training": training}
        if self.weights is not None:
            values["weights"] = numbers(self.weights, "--weights")
        if self.widths is not None:
            values["widths"] = [int(width) for width in numbers(self.widths, "--widths")]
        if self.losses is not None:
            values["losses"] = words(self.losses)
        if self.ablations is not None:
            values["ablations"] = _ablations(self.ablations)
        if self.judge is not None:
            values["judge"] = parse_judge(self.judge).model_dump()
        if self.warm_up:
            values["warm_up"] = self.warm_up
        return validated(AlignmentPlan, merged(values, {"measuring": self.measuring}), "The command")


def execute(
    request: AlignRequest,
    plan_path: Path | None,
    out: Path | None,
    executor: ExecutorConfig,
    device: str | None,
    console: Console,
    *,
    as_json: bool = False,
) -> AlignmentResult:
    """Load, run, write the folder with figures, and print."""
    from monosemy.study.dpo.report import alignment_json, print_alignment, write_alignment

    where = resolve_device(device)
    if plan_path is not None:
        plan = validated(AlignmentPlan, read_yaml(plan_path, "plan"), str(plan_path))
    else:
        plan = request.full_plan()
    data = load_preferences(plan.data, plan.seed)
    folder = out or Path("runs") / f"align-{Path(data.name).stem}"
    with progress(console) as on_progress:
        result = run_alignment(plan, data, folder, on_progress, where, executor)
        write_alignment(result)
    if as_json:
        print(alignment_json(result))
    print_alignment(result, console)
    return result


def _ablations(text: str) -> list[dict[str, Any]]:
    """`l1=0.001,dropout=0.1` as objectives."""
    found = []
    for word in words(text):
        name, _, weight = word.partition("=")
        if name not in ("l1", "dropout") or not weight:
            raise InputError(f"--ablations {word!r} is no ablation with its strength; write l1=0.001 or dropout=0.1.")
        found += [{"regularizer": name, "weight": number} for number in numbers(weight, "--ablations")]
    return found
