"""The plan of a comparison of feature sets under linear probes."""

from typing import Annotated, Literal, Self

from annotated_types import Ge, Gt, Len, Lt
from pydantic import AfterValidator, model_validator

from monosemy.core.config import Config
from monosemy.data.config import DataConfig
from monosemy.features.registry import FEATURE_SETS, FeatureName, SaeConfig
from monosemy.results.variants import register_family
from monosemy.study.probing.encoders import EncoderConfig
from monosemy.study.scenarios import Levels, ScenarioPlan, once

BASELINE = "dense"
register_family(FEATURE_SETS)


class ProbePlan(Config):
    """The linear probes; the same for every feature set."""

    epochs: Annotated[int, Ge(1)] = 10
    """Passes over the train rows."""
    min_steps: Annotated[int, Ge(0)] = 300
    """Least number of steps; small data gets more epochs."""
    batch_size: Annotated[int, Ge(1)] = 256
    """Rows per step."""
    lr: Annotated[float, Gt(0), Lt(2)] = 0.7
    """Peak step size in units of 1 / curvature of the features."""
    weight_decays: Levels = (0.0, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3)
    """Grid of weight decays; chosen for each cell on the validation split, which has the label noise of train."""
    cross_check: bool = False
    """Solve the first seed's clean and most noisy cell by L-BFGS too, and report both accuracies."""


class ProbingPlan(ScenarioPlan):
    """A comparison of feature sets under linear probes."""

    kind: Literal["probing"] = "probing"
    data: DataConfig = DataConfig()
    encoder: EncoderConfig = EncoderConfig()
    features: Annotated[tuple[FeatureName, ...], Len(1), AfterValidator(once)] | None = None
    """Feature sets to compare; by default those that fit the encoder."""
    cleanlab: bool = False
    """Run cleanlab's CleanLearning on the dense features as a further baseline under label noise."""
    sae: SaeConfig = SaeConfig()
    probe: ProbePlan = ProbePlan()

    @model_validator(mode="after")
    def _baselines_are_there(self) -> Self:
        if self.features is not None and BASELINE not in self.features:
            raise ValueError(f"the features {', '.join(self.features)} lack {BASELINE!r}, the baseline; add it")
        if self.cleanlab and not {"label-noise", "given-labels"} & set(self.scenarios):
            raise ValueError("the baseline cleanlab needs noisy labels; add the scenario label-noise")
        return self
