"""The plans of `monosemy toy` and `monosemy theory`, and the codes that both compare."""

from dataclasses import dataclass
from typing import Annotated, Literal, Self

from annotated_types import Ge, Gt, Le, Len, Lt
from pydantic import AfterValidator, model_validator

from monosemy.core.config import Config, Plan
from monosemy.results.result import Role, register_family
from monosemy.study.scenarios import Levels, once

CodeName = Literal["mono", "poly", "rotated"]
BASELINE: CodeName = "poly"
Sparsity = Annotated[float, Ge(0), Lt(1)]
Sparsities = Annotated[tuple[Sparsity, ...], Len(1), AfterValidator(once)]


@dataclass(frozen=True)
class Code:
    """A code of sparse features, or a score of two of them."""

    title: str
    role: Role


CODES: dict[CodeName, Code] = {
    "mono": Code("one feature per dimension", "monosemantic"),
    "poly": Code("several features per dimension", "baseline"),
    "rotated": Code("mono, randomly rotated", "control"),
}
register_family(CODES)


class ToyConfig(Config):
    """Training of the toy models."""

    steps: Annotated[int, Ge(1)] = 1500
    """Training steps of the toy models."""
    batch_size: Annotated[int, Ge(1)] = 64
    """Samples per step."""
    lr: Annotated[float, Gt(0)] = 1e-2
    """Peak step size of Adam, decayed to 0 by a cosine."""


class TaskConfig(Config):
    """Samples and linear probes of a classification task; the same for every code."""

    n_train: Annotated[int, Ge(2)] = 4000
    """Number of train samples."""
    n_validation: Annotated[int, Ge(1)] = 1000
    """Number of validation samples, which carry the same label noise as the train samples."""
    n_test: Annotated[int, Ge(1)] = 4000
    """Number of test samples."""
    weight_decays: Annotated[tuple[Annotated[float, Ge(0)], ...], Len(1)] = (0.0, 1e-3, 1e-2)
    """Weight decays in rising order; chosen for each code and level on the validation samples."""
    epochs: Annotated[int, Ge(1)] = 20
    """Passes over the train samples."""


class SweepConfig(Config):
    """A grid of sparsities and dimensions; noise is relative to the number of classes, so that cells are comparable."""

    n_features: Annotated[int, Ge(2)] = 20
    """Number n of features."""
    dimensions: Annotated[tuple[Annotated[int, Ge(1)], ...], Len(1), AfterValidator(once)] = (2, 5, 8, 10, 14, 18)
    """Numbers m of dimensions."""
    sparsities: Sparsities = (0.0, 0.2, 0.4, 0.6, 0.8, 0.95)
    """Sparsities S."""
    label_noise: Annotated[float, Gt(0), Lt(1)] = 0.9
    """Rate of label noise as a fraction of (C - 1) / C, where the labels of C classes carry no information."""
    input_noise: Annotated[float, Ge(0)] = 0.3
    """Standard deviation of Gaussian noise on test inputs."""
    n_seeds: Annotated[int, Ge(1)] = 5
    """Number of toy models and data sets in each cell."""
    task: TaskConfig = TaskConfig(n_train=1500, n_validation=500, n_test=2000, weight_decays=(0.0, 1e-2), epochs=10)


class ToyPlan(Plan):
    """Toy models of superposition and linear probes on their codes."""

    kind: Literal["toy"] = "toy"
    n_features: Annotated[int, Ge(2)] = 40
    """Number n of features of the input."""
    n_dimensions: Annotated[int, Ge(1)] = 20
    """Number m of dimensions of a code; at most n."""
    sparsity: Sparsity = 0.2
    """Probability S that a feature is 0."""
    label_noise: Levels = (0.3, 0.6, 0.9)
    """Rates of label noise in train and validation labels."""
    input_noise: Levels = (0.1, 0.3, 0.6)
    """Standard deviations of Gaussian noise on test inputs."""
    importance_decay: Annotated[float, Gt(0), Le(1)] = 1.0
    """Importance of feature i is this to the power i, with i from 0; 1 for equal importance."""
    pictured: Annotated[tuple[Sparsity, ...], AfterValidator(once)] = (0.2, 0.5, 0.8, 0.95)
    """Sparsities of the pictures of the learned matrices, beside the plan's own."""
    training: ToyConfig = ToyConfig()
    task: TaskConfig = TaskConfig()
    sweep: bool = True
    """Also compare mono with poly over a grid of sparsities and dimensions."""
    grid: SweepConfig = SweepConfig()
    """The grid of the sweep."""
    seed: int = 0
    """First of the n_seeds seeds of models, samples and noise."""

    @property
    def pictured_sparsities(self) -> tuple[float, ...]:
        """The sparsities of all toy models that are trained outside the sweep, the plan's own first."""
        return once((self.sparsity, *self.pictured))


class SeparabilityPlan(Plan):
    """Separability of scores under label noise: closed forms for two features, simulation for more."""

    kind: Literal["theory"] = "theory"
    sparsities: Sparsities = (0.0, 0.2, 0.5, 0.8)
    """Probabilities S that a feature is 0."""
    weights: tuple[float, float] = (1.0, 1.0)
    """Weights w1,w2 of the polysemantic score w1 x1 - w2 x2."""
    input_noise: Annotated[float, Ge(0), Lt(float("inf"))] = 0.0
    """Standard deviation of Gaussian noise on both features of the closed forms."""
    classes: Annotated[tuple[Annotated[int, Ge(2), Le(100)], ...], Len(1), AfterValidator(once)] = (2, 3, 5, 10)
    """Numbers of classes C to simulate."""
    n_samples: int = 100_000
    """Samples of each simulation; at least 100 per class."""
    n_seeds: Annotated[int, Ge(1)] = 10
    """Number of simulations of each kind."""
    seed: int = 0
    """First of the n_seeds seeds of the simulations."""

    @model_validator(mode="after")
    def _enough_samples(self) -> Self:
        if self.n_samples < 100 * max(self.classes):
            raise ValueError(
                f"n_samples={self.n_samples} is too few for {max(self.classes)} classes; give at least "
                f"{100 * max(self.classes)}"
            )
        return self
