"""`monosemy finetune lm`: a language model and texts in, LoRA and MonoLoRA side by side out."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from monosemy.commands.words import numbers, words
from monosemy.core.config import read_yaml, validated
from monosemy.core.console import progress
from monosemy.core.distributed import joined_processes
from monosemy.core.executors import ExecutorConfig
from monosemy.corruptions.labels import informative_rates
from monosemy.errors import InputError
from monosemy.lm.config import parse_judge
from monosemy.study.lora.data import AdapterData, load_adapter_data
from monosemy.study.lora.plan import AdapterPlan
from monosemy.study.lora.run import AdapterResult, run_adapters

SCENARIOS = ("label-noise", "few-labels")
_RATES = (0.2, 0.4)
_FRACTIONS = (0.1, 0.5)


@dataclass(frozen=True)
class FinetuneLmRequest:
    """The words of the command; lists are still comma-separated text."""

    model: str
    data: dict[str, Any]
    """Settings of AdapterSource."""
    methods: str | None = None
    scenario: str | None = None
    label_noise: str | None = None
    few_labels: str | None = None
    label_words: str | None = None
    target_modules: str | None = None
    lr: str | None = None
    judge: str | None = None
    lm_eval: str | None = None
    training: dict[str, Any] = field(default_factory=dict)
    """Settings of AdapterConfig."""
    plan: dict[str, Any] = field(default_factory=dict)
    """Settings of the plan itself."""

    def full_plan(self) -> AdapterPlan:
        """The whole plan, but for levels of noise that depend on the data.

        Raises:
            InputError: the model or the data is missing, or a setting is not valid.
        """
        if not self.model:
            raise InputError("MODEL is not given; name a model's folder, or a plan by --plan.")
        if "source" not in self.data:
            raise InputError("--data is not given; name a file of texts, or a plan by --plan.")
        data, training = dict(self.data), dict(self.training)
        if self.label_words is not None:
            data["label_words"] = words(self.label_words)
        if self.target_modules is not None:
            training["target_modules"] = words(self.target_modules)
        values = self.plan | {"model": self.model, "data": data, "training": training}
        if self.methods is not None:
            values["methods"] = words(self.methods)
        if self.lr is not None:
            values["learning_rates"] = numbers(self.lr, "--lr")
        if self.judge is not None:
            values["judge"] = parse_judge(self.judge).model_dump()
        if self.lm_eval is not None:
            values["lm_eval"] = words(self.lm_eval)
        values["scenarios"] = self._scenarios()
        return validated(AdapterPlan, values, "The command")

    def _scenarios(self) -> dict[str, Any]:
        wanted = words(self.scenario or "")
        for name in wanted:
            if name not in SCENARIOS:
                raise InputError(f"The scenario {name!r} is unknown; choose among {', '.join(SCENARIOS)}.")
        for name, option, given in (
            ("label-noise", "--label-noise", self.label_noise),
            ("few-labels", "--few-labels", self.few_labels),
        ):
            if given is not None and name not in wanted:
                raise InputError(f"{option} {given} needs the scenario {name}; add it to --scenario.")
        chosen: dict[str, Any] = {}
        if "label-noise" in wanted:
            chosen["label_noise"] = {"levels": numbers(self.label_noise, "--label-noise") or _RATES}
        if "few-labels" in wanted:
            chosen["few_labels"] = {"fractions": numbers(self.few_labels, "--few-labels") or _FRACTIONS}
        return chosen

    def fitting(self, plan: AdapterPlan, data: AdapterData) -> AdapterPlan:
        """Rates of noise that nobody named, as far as they leave information in the labels."""
        noise = plan.scenarios.label_noise
        if noise is None or self.label_noise is not None or data.labelled is None:
            return plan
        rates = informative_rates(noise.levels, noise.kind, data.labelled.n_classes)
        scenarios = plan.scenarios.model_copy(update={"label_noise": noise.model_copy(update={"levels": rates})})
        return plan.model_copy(update={"scenarios": scenarios})


def execute(
    request: FinetuneLmRequest,
    plan_path: Path | None,
    out: Path | None,
    executor: ExecutorConfig,
    device: str | None,
    console: Console,
    as_json: bool = False,
) -> AdapterResult:
    """Load, run, write the folder with figures, and print."""
    from monosemy.study.lora.report import adapters_json, print_adapters, write_adapters

    with joined_processes(device) as processes:
        said = Console(quiet=console.quiet or not processes.is_main)
        if plan_path is not None:
            plan = validated(AdapterPlan, read_yaml(plan_path, "plan"), str(plan_path))
            data = load_adapter_data(plan.data, plan.seed)
        else:
            plan = request.full_plan()
            data = load_adapter_data(plan.data, plan.seed)
            plan = request.fitting(plan, data)
        folder = out or Path("runs") / f"finetune-{Path(data.name).stem}"
        with progress(said) as on_progress:
            result = run_adapters(plan, data, folder, on_progress, processes.device.type, processes, executor)
            if processes.is_main:
                write_adapters(result)
        if as_json and processes.is_main:
            print(adapters_json(result))
        print_adapters(result, said)
    return result
