"""The ways of finetuning a language model that are compared; known without the libraries that do it.

The plan of a comparison of adapters: all that is needed to run it again.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from annotated_types import Ge, Gt, Len
from pydantic import AfterValidator, BaseModel, ConfigDict

from monosemy.core.config import merged
from monosemy.errors import InputError
from monosemy.features.registry import Role
from monosemy.lm.config import AdapterConfig, Dtype, JudgeConfig
from monosemy.study.lora.data import AdapterData, AdapterSource
from monosemy.study.probing.plan import Scenarios, check_labels

MethodName = Literal[
    "base",
    "lora",
    "lora-decay",
    "lora-half",
    "monolora-output",
    "monolora-hidden",
    "monolora-both",
    "monolora-weights",
    "monolora-output-rep",
    "monolora-hidden-rep",
    "monolora-both-rep",
    "monolora-weights-rep",
]
BASELINE: MethodName = "lora"


@dataclass(frozen=True)
class Method:
    """A way of finetuning."""

    name: MethodName
    title: str
    role: Role
    changes: dict[str, Any] = field(default_factory=dict)
    """Settings of AdapterConfig that differ from the plan's."""
    alpha_share: float = 1.0
    """Of the plan's alpha."""


def _mono(name: MethodName, formula: str) -> Method:
    placement = name.split("-")[1]
    activation = "rep_relu" if name.endswith("-rep") else "relu"
    title = f"MonoLoRA, {formula}" + (", gradient of GELU" if name.endswith("-rep") else "")
    changes = {"method": "monolora", "placement": placement, "non_negative": activation}
    return Method(name, title, "monosemantic", changes)


METHODS: dict[MethodName, Method] = {
    method.name: method
    for method in (
        Method(
            "base", "the model as it came; of a classifier the head alone is trained", "control", {"method": "head"}
        ),
        Method("lora", "LoRA", "baseline", {"method": "lora"}),
        Method("lora-decay", "LoRA, weight decay 0.1", "control", {"method": "lora", "weight_decay": 0.1}),
        Method("lora-half", "LoRA, half of alpha", "control", {"method": "lora"}, alpha_share=0.5),
        _mono("monolora-output", "s+(B A x)"),
        _mono("monolora-hidden", "B s+(A x)"),
        _mono("monolora-both", "s+(B s+(A x))"),
        _mono("monolora-weights", "s+(B) s+(A) x"),
        _mono("monolora-output-rep", "s+(B A x)"),
        _mono("monolora-hidden-rep", "B s+(A x)"),
        _mono("monolora-both-rep", "s+(B s+(A x))"),
        _mono("monolora-weights-rep", "s+(B) s+(A) x"),
    )
}
"""`lora` is the baseline; `lora-decay` and `lora-half` are controls that hold the update back without s+."""


_CLEAN = Scenarios()
_OF_LANGUAGE_MODELS = ("held_out", "judge", "judge_prompts", "lm_eval")


def _rising(values: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(sorted(set(values)))


def _once(names: tuple[MethodName, ...]) -> tuple[MethodName, ...]:
    return tuple(dict.fromkeys(names))


class AdapterPlan(BaseModel):
    """A comparison: model, data, methods, conditions, seeds, and what is measured."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    model: str
    """Folder or name."""
    data: AdapterSource
    methods: Annotated[tuple[MethodName, ...], Len(1), AfterValidator(_once)] = (
        "base",
        "lora",
        "monolora-output",
        "monolora-hidden",
    )
    scenarios: Scenarios = _CLEAN
    training: AdapterConfig = AdapterConfig()
    """Method, placement, activation, learning rate and seed come from the rest of the plan."""
    learning_rates: Annotated[tuple[Annotated[float, Gt(0)], ...], Len(1), AfterValidator(_rising)] = (1e-4,)
    """The grid, the same for every method; chosen for each adapter on validation, whose labels are as noisy as
    train's."""
    seeds: Annotated[int, Ge(1)] = 3
    seed: int = 0
    """Of the data's splits; the seeds of cells are derived from it."""
    dtype: Dtype = "auto"
    held_out: str | None = None
    """Texts, as a file with one a line or a table; perplexity on them tells what of a language model's ability is
    kept. What the model writes itself, where it is not given."""
    judge: JudgeConfig | None = None
    """Judges the answers of every model."""
    judge_prompts: Path | None = None
    """A prompt a line; the first prompts of the test split where it is not given."""
    n_answers: Annotated[int, Ge(1)] = 64
    """Prompts that are answered for the judge."""
    max_new_tokens: Annotated[int, Ge(1)] = 64
    lm_eval: tuple[str, ...] = ()
    """Tasks of the Language Model Evaluation Harness."""
    lm_eval_limit: Annotated[int, Ge(1)] | None = None
    """At most so many questions of each task."""

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)

    def training_of(self, method: MethodName, lr: float, seed: int) -> AdapterConfig:
        """The settings of one adapter."""
        chosen = METHODS[method]
        values = merged(self.training.model_dump(), chosen.changes)
        values |= {"alpha": self.training.alpha * chosen.alpha_share, "lr": lr, "seed": seed}
        return AdapterConfig.model_validate(values)


def check_plan(plan: AdapterPlan, data: AdapterData) -> None:
    """Raise where the plan asks for what the data cannot give."""
    if BASELINE not in plan.methods:
        raise InputError(f"The methods {', '.join(plan.methods)} lack {BASELINE!r}, the baseline; add it.")
    for name in ("input_noise", "corruptions", "shift", "given_labels"):
        if getattr(plan.scenarios, name):
            raise InputError(f"scenarios.{name} is given, but adapters know label_noise and few_labels; leave it out.")
    if data.labelled is not None:
        check_labels(plan.scenarios, data.labelled)
    elif plan.scenarios != _CLEAN:
        raise InputError(f"{data.name} has no labels to make noisy or few; leave the scenarios out.")
    if data.task == "classification":
        for name in _OF_LANGUAGE_MODELS:
            if getattr(plan, name):
                raise InputError(
                    f"{name} needs a language model, but a classifier is trained; set the task to generation."
                )
    if plan.judge is None and plan.judge_prompts is not None:
        raise InputError(f"judge_prompts {plan.judge_prompts} has no judge; name one, or leave it out.")
