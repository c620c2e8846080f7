"""All that is needed to compare trainings from preferences again, and the trainings that it names."""

from dataclasses import dataclass
from typing import Annotated

import yaml
from annotated_types import Ge, Gt, Len
from pydantic import BaseModel, ConfigDict, model_validator

from monosemy.features.registry import Role
from monosemy.lm.config import AlignmentConfig, JudgeConfig, Loss, MeasureConfig, Objective, WarmUp
from monosemy.lm.preferences import PreferenceConfig

BASE = "base"
BASELINE = "dpo"


@dataclass(frozen=True)
class Variant:
    """What one column of the tables is."""

    name: str
    role: Role
    objective: Objective | None
    """None for the model as it is before."""


class AlignmentPlan(BaseModel):
    """The grid: models x objectives x seeds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: PreferenceConfig
    models: Annotated[tuple[str, ...], Len(1)]
    """Folders or names."""
    widths: tuple[Annotated[int, Gt(0)], ...] = ()
    """Instead of the one model: such of its architecture with these hidden widths and random weights."""
    warm_up: WarmUp | None = None
    """Supervised training of each model before; its result is the reference."""
    weights: tuple[Annotated[float, Ge(0)], ...] = (1e-5, 1e-4, 1e-3)
    """Of the decorrelation regulariser."""
    ablations: tuple[Objective, ...] = ()
    """Other regularisers."""
    losses: tuple[Loss, ...] = ()
    """Other losses than DPO's, without a regulariser."""
    training: AlignmentConfig = AlignmentConfig()
    measuring: MeasureConfig = MeasureConfig()
    judge: JudgeConfig | None = None
    held_out: str | None = None
    """A text file or a table with a column `text`; None for texts that each reference writes itself."""
    pairs: Annotated[int, Ge(1)] | None = None
    """Train pairs of each training, drawn anew for each seed; all of them where not given."""
    test_pairs: Annotated[int, Ge(2)] = 200
    seeds: Annotated[int, Ge(1)] = 3
    seed: int = 0
    """Of the data's splits, the test pairs and first weights; the seeds of trainings are derived from it."""

    @model_validator(mode="after")
    def _fits(self) -> "AlignmentPlan":
        if self.widths and self.warm_up is None:
            raise ValueError("widths make models with random weights, which know nothing to prefer; add a warm-up")
        if self.widths and len(self.models) > 1:
            raise ValueError("widths are of one model's architecture; give one model")
        names = [variant.name for variant in variants(self)]
        repeated = next((name for name in names if names.count(name) > 1), None)
        if repeated is not None:
            raise ValueError(f"{repeated} is named twice; name it once")
        return self

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def variants(plan: AlignmentPlan) -> list[Variant]:
    """The model before, DPO, DecPO at each weight, the ablations and the other losses, in this order."""
    decpo = [
        Variant(f"decpo-{weight:g}", "monosemantic", Objective(regularizer="decorrelation", weight=weight))
        for weight in plan.weights
    ]
    ablations = [Variant(_ablation_name(objective), "control", objective) for objective in plan.ablations]
    losses = [Variant(loss, "control", Objective(loss=loss)) for loss in plan.losses]
    first = [Variant(BASE, "baseline", None), Variant(BASELINE, "baseline", Objective())]
    return [*first, *decpo, *ablations, *losses]


def _ablation_name(objective: Objective) -> str:
    loss = "" if objective.loss == "sigmoid" else f"{objective.loss}+"
    return f"{loss}{objective.regularizer}-{objective.weight:g}"
