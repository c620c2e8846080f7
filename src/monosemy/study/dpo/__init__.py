"""Trainings from preferences side by side: the plan of the comparison, and the trainings that it names."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from annotated_types import Ge, Gt, Len
from pydantic import AfterValidator, BeforeValidator, model_validator

from monosemy.core.config import Plan
from monosemy.lm.config import (
    AlignmentConfig,
    JudgeConfig,
    Loss,
    MeasureConfig,
    Objective,
    PreferenceConfig,
    WarmUp,
    parse_judge,
)
from monosemy.results.result import Role, register_family
from monosemy.study.scenarios import once, rising

BASE = "base"
BASELINE = "dpo"


@dataclass(frozen=True)
class Variant:
    """One way of training, or the model before."""

    name: str
    title: str
    role: Role
    objective: Objective | None
    """The objective; None for the model before."""


register_family(
    {
        BASELINE: Variant(BASELINE, "DPO", "baseline", Objective()),
        BASE: Variant(BASE, "the model before", "control", None),
    }
)


def _objective(value: Any) -> Any:
    """``l1=0.001`` on the command line as an objective."""
    if not isinstance(value, str):
        return value
    name, _, weight = value.partition("=")
    if name not in ("l1", "dropout") or not weight:
        raise ValueError("an ablation is written l1=0.001 or dropout=0.1")
    return {"regularizer": name, "weight": weight}


def _judge(value: Any) -> Any:
    return parse_judge(value) if isinstance(value, str) else value


class DpoPlan(Plan):
    """A comparison of trainings from preferences: models, objectives, seeds."""

    kind: Literal["dpo"] = "dpo"
    """Kind of study."""
    models: Annotated[tuple[str, ...], Len(1), AfterValidator(once)]
    """Folders or names of causal language models."""
    data: PreferenceConfig
    """Preference pairs."""
    weights: Annotated[tuple[Annotated[float, Ge(0)], ...], AfterValidator(rising)] = (1e-5, 1e-4, 1e-3)
    """Weights of the decorrelation regulariser of DecPO."""
    ablations: tuple[Annotated[Objective, BeforeValidator(_objective)], ...] = (
        Objective(regularizer="l1", weight=1e-3),
        Objective(regularizer="dropout", weight=0.1),
    )
    """Other regularisers with their strengths, such as l1=0.001,dropout=0.1."""
    losses: Annotated[tuple[Loss, ...], AfterValidator(once)] = ()
    """Other losses of TRL beside that of DPO, such as ipo,hinge; without a regulariser."""
    widths: tuple[Annotated[int, Gt(0)], ...] = ()
    """Hidden widths: models of the one model's architecture with random weights; they need a warm-up."""
    warm_up: WarmUp | None = None
    """Supervised training on the chosen answers before; its result is the reference model."""
    training: AlignmentConfig = AlignmentConfig()
    """Settings of preference training."""
    measuring: MeasureConfig = MeasureConfig()
    """Settings of the measurements."""
    judge: Annotated[JudgeConfig | None, BeforeValidator(_judge)] = None
    """Judge of the answers as KIND:MODEL, such as toxicity:pairs.jsonl or llama-guard."""
    held_out: str | None = None
    """Texts for perplexity, as a text file or a table; by default texts that each reference model writes itself."""
    pairs: Annotated[int, Ge(1)] | None = None
    """Maximal number of train pairs of a training, drawn anew for each seed."""
    test_pairs: Annotated[int, Ge(2)] = 200
    """Maximal number of test pairs."""
    n_seeds: Annotated[int, Ge(1)] = 3
    """Number of trainings of every kind; each draws pairs and their order anew."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.widths and self.warm_up is None:
            raise ValueError("widths make models with random weights, which have no preferences; add a warm_up")
        if self.widths and len(self.models) > 1:
            raise ValueError("widths are those of one model's architecture; give one model")
        # The default is in every plan.yaml, and means nothing there.
        if self.training.rank != AlignmentConfig().rank and self.training.method == "full":
            raise ValueError("training.rank is that of an adapter; set training.method=lora, or leave it out")
        names = [variant.name for variant in variants(self)]
        repeated = next((name for name in names if names.count(name) > 1), None)
        if repeated is not None:
            raise ValueError(f"{repeated} is named twice; name it once")
        return self

    def files(self) -> list[Path]:
        """Return the models and texts that the plan names; results depend on their content."""
        named = [*self.models, *([] if self.held_out is None else [self.held_out])]
        return [*super().files(), *(Path(name) for name in named if Path(name).exists())]


def variants(plan: DpoPlan) -> list[Variant]:
    """Return the model before, DPO, DecPO at each weight, the ablations and the other losses, in this order."""
    decpo = [
        Variant(f"decpo-{weight:g}", "", "monosemantic", Objective(regularizer="decorrelation", weight=weight))
        for weight in plan.weights
    ]
    ablations = [Variant(_ablation_name(objective), "", "control", objective) for objective in plan.ablations]
    losses = [Variant(loss, "", "control", Objective(loss=loss)) for loss in plan.losses]
    first = [Variant(BASE, "", "baseline", None), Variant(BASELINE, "", "baseline", Objective())]
    return [*first, *decpo, *ablations, *losses]


def _ablation_name(objective: Objective) -> str:
    loss = "" if objective.loss == "sigmoid" else f"{objective.loss}+"
    return f"{loss}{objective.regularizer}-{objective.weight:g}"
