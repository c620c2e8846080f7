"""What a study tests beside clean data: the scenarios of a plan and their settings.

This chapter imports no numerical library, for commands derive their options from it.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from annotated_types import Ge, Gt, Le, Len
from pydantic import AfterValidator, model_validator

from monosemy.core.config import Config, Plan


def _distinct(levels: tuple[float, ...]) -> tuple[float, ...]:
    if len(set(levels)) < len(levels):
        raise ValueError(f"{', '.join(f'{level:g}' for level in levels)} repeats a level")
    return tuple(sorted(levels))


def once(names: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the names without repetitions, in their order."""
    return tuple(dict.fromkeys(names))


def rising(values: tuple[float, ...]) -> tuple[float, ...]:
    """Return the values without repetitions, from the smallest to the largest."""
    return tuple(sorted(set(values)))


Level = Annotated[float, Ge(0)]
Levels = Annotated[tuple[Level, ...], Len(1), AfterValidator(_distinct)]
InputNoiseKind = Literal["gaussian", "uniform", "typos", "token-drops"]
NoiseKind = Literal["symmetric", "pair", "matrix", "instance", "cluster"]
LabelScenario = Literal["label-noise", "given-labels", "few-labels", "labels-per-class", "imbalance"]
"""Scenarios of the training labels alone."""
Scenario = Literal[
    "label-noise", "given-labels", "few-labels", "labels-per-class", "imbalance", "input-noise", "corruptions", "shift"
]


class LabelNoise(Config):
    """Train and validation labels are replaced at each of these rates."""

    levels: Levels = (0.05, 0.1, 0.2, 0.4, 0.6, 0.9)
    """Rates of label noise. Default rates that would leave no information in the labels are left out."""
    kind: NoiseKind = "symmetric"
    """Label noise: symmetric, pair, matrix, or by the features of the rows: instance, cluster."""
    matrix: Path | None = None
    """File (.npy or .csv) with P(noisy | true), one row a class; a rate t mixes it with 1 - t of no noise."""


class InputNoise(Config):
    """Test inputs are corrupted at each of these levels; the classifier is the one trained on clean data."""

    levels: Levels | None = None
    """Levels of input noise; by default 0.1, 0.2, 0.3 for images and 0.05, 0.1, 0.2 for texts."""
    kind: InputNoiseKind | None = None
    """Kind of input noise; by default gaussian for images and typos for texts."""
    protocol: Literal["default", "paper"] = "default"
    """Image noise: default (centred noise in [0, 1], clipped) or paper (after normalisation, unclipped)."""


class Corruptions(Config):
    """Test images are corrupted by each kind at each severity; the classifier is the one trained on clean data."""

    kinds: Annotated[tuple[str, ...], AfterValidator(once)] | None = None
    """Kinds of ImageNet-C, such as fog,gaussian_noise; by default all 15."""
    severities: Annotated[tuple[Annotated[int, Ge(1), Le(5)], ...], Len(1), AfterValidator(_distinct)] = (1, 3, 5)
    """Severities of the corruptions, 1 to 5."""


class FewLabels(Config):
    """The classifier is trained on a stratified fraction of the train rows."""

    fractions: Annotated[tuple[Annotated[float, Gt(0), Le(1)], ...], Len(1), AfterValidator(_distinct)] = (
        0.1,
        0.2,
        0.5,
    )
    """Fractions of the train rows that keep their labels."""


class LabelsPerClass(Config):
    """The classifier is trained on the same number of rows of each class.

    Validation rows shrink by the same factor, to at least one a class and never to more than train has.
    """

    counts: Annotated[tuple[Annotated[int, Ge(1)], ...], Len(1), AfterValidator(_distinct)] = (1, 2, 4, 8, 16)
    """Labels a class. Default counts above the rows of the largest class are left out."""


class Imbalance(Config):
    """Classes of the train rows are made unequal, with exponentially falling sizes."""

    ratios: Annotated[tuple[Annotated[float, Ge(1)], ...], Len(1), AfterValidator(_distinct)] = (10, 50)
    """Ratios of the largest to the smallest class."""


SECTIONS: dict[str, str] = {
    "label-noise": "label_noise",
    "few-labels": "few_labels",
    "labels-per-class": "labels_per_class",
    "imbalance": "imbalance",
    "input-noise": "input_noise",
    "corruptions": "corruptions",
}
"""The section of the settings of a scenario."""
_DATA_SETTINGS = {"given-labels": ("noisy_labels", "noisy_label_column"), "shift": ("shifts",)}
"""Settings of the data that only one scenario uses."""


class LabelPlan(Plan):
    """A plan whose training labels may be noisy or few."""

    scenarios: Annotated[tuple[LabelScenario, ...], AfterValidator(once)] = ("label-noise",)
    """Conditions beside clean labels: label-noise, given-labels, few-labels, labels-per-class, imbalance."""
    label_noise: LabelNoise = LabelNoise()
    """Noise of the train labels."""
    few_labels: FewLabels = FewLabels()
    """Fractions of the labels of the train rows."""
    labels_per_class: LabelsPerClass = LabelsPerClass()
    """Numbers of labels of each class."""
    imbalance: Imbalance = Imbalance()
    """Classes of unequal size."""

    @model_validator(mode="after")
    def _sections_are_used(self) -> Self:
        for scenario, section in SECTIONS.items():
            if section in self.model_fields_set and scenario not in self.scenarios:
                raise ValueError(f"the settings {section} need the scenario {scenario}; add it to the scenarios")
        for scenario, names in _DATA_SETTINGS.items():
            for name in names:
                if getattr(getattr(self, "data", None), name, None) and scenario not in self.scenarios:
                    raise ValueError(f"the setting data.{name} needs the scenario {scenario}; add it to the scenarios")
        return self

    def to_yaml(self) -> str:
        """Return the plan as the text of a ``plan.yaml``, without the settings of scenarios that are not run."""
        unused = {section for scenario, section in SECTIONS.items() if scenario not in self.scenarios}
        return self.as_yaml(exclude=unused)


class ScenarioPlan(LabelPlan):
    """A plan that also tests other inputs than the clean ones."""

    scenarios: Annotated[tuple[Scenario, ...], AfterValidator(once)] = ("label-noise",)  # type: ignore[assignment]
    """Conditions beside clean data: label-noise, given-labels, few-labels, labels-per-class, imbalance,
    input-noise, corruptions, shift."""
    input_noise: InputNoise = InputNoise()
    """Noise of the inputs."""
    corruptions: Corruptions = Corruptions()
    """Corruptions of the test images."""
