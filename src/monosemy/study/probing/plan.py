"""The plan of a study: all that is needed to run it again."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import yaml
from annotated_types import Ge, Gt, Le, Len, Lt
from pydantic import AfterValidator, BaseModel, ConfigDict

from monosemy.core.config import read_yaml, validated
from monosemy.corruptions import common
from monosemy.corruptions.inputs import Protocol
from monosemy.corruptions.labels import check_rate, check_symmetric_rate, check_transition_matrix
from monosemy.data.arrays import read_npy
from monosemy.data.dataset import DataConfig, LabelledData
from monosemy.errors import InputError, needs_extra, reason
from monosemy.features.registry import FEATURE_SETS, SaeConfig
from monosemy.study.probing.encoders import Base, EncoderConfig


def _distinct(levels: tuple[float, ...]) -> tuple[float, ...]:
    if len(set(levels)) < len(levels):
        raise ValueError(f"{', '.join(f'{level:g}' for level in levels)} names a level twice")
    return levels


def _kinds(names: tuple[common.Kind, ...]) -> tuple[common.Kind, ...]:
    return tuple(dict.fromkeys(names))


Level = Annotated[float, Ge(0)]
Levels = Annotated[tuple[Level, ...], Len(1), AfterValidator(_distinct)]
LABEL_NOISE_LEVELS: tuple[float, ...] = (0.05, 0.1, 0.3, 0.6, 0.9)
"""Rates where the user names none, as far as they leave information in the labels."""
InputNoiseKind = Literal["gaussian", "uniform", "typos", "token-drops"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LabelNoise(_Section):
    """Train and validation labels are replaced at each of these rates."""

    levels: Levels = LABEL_NOISE_LEVELS
    kind: Literal["symmetric", "pair", "matrix"] = "symmetric"
    matrix: Path | None = None
    """For `matrix`: file (.npy or .csv) with P(noisy | true), a row a class; level t mixes in 1 - t of no noise."""


class InputNoise(_Section):
    """Test inputs are corrupted at each of these levels; the probe is the one trained clean."""

    levels: Levels
    kind: InputNoiseKind
    protocol: Protocol = "default"
    """For images: `default` adds centred noise in [0, 1] and clips; `paper` adds it after normalisation."""


class Corruptions(_Section):
    """Test images under each of these common corruptions at each severity; the probe is the one trained clean."""

    kinds: Annotated[tuple[common.Kind, ...], Len(1), AfterValidator(_kinds)] = common.KINDS
    severities: Annotated[tuple[Annotated[int, Ge(1), Le(5)], ...], Len(1), AfterValidator(_distinct)] = (1, 3, 5)


class FewLabels(_Section):
    """The probe is trained on a stratified fraction of the train rows."""

    fractions: Annotated[tuple[Annotated[float, Gt(0), Le(1)], ...], Len(1), AfterValidator(_distinct)] = (
        0.1,
        0.2,
        0.5,
    )


class Scenarios(_Section):
    """What the features are tested on beside clean data."""

    label_noise: LabelNoise | None = None
    input_noise: InputNoise | None = None
    corruptions: Corruptions | None = None
    few_labels: FewLabels | None = None
    given_labels: bool = False
    """Train on the data's second label column."""
    shift: bool = False
    """Test the clean probe on the data's shifted test sets."""


class ProbePlan(_Section):
    """The linear probes; the same for every feature set."""

    epochs: Annotated[int, Ge(1)] = 10
    min_steps: Annotated[int, Ge(0)] = 300
    """Small data gets more epochs until this many steps are made."""
    batch_size: Annotated[int, Ge(1)] = 256
    lr: Annotated[float, Gt(0), Lt(2)] = 0.7
    """Peak step size in units of 1 / curvature of the features."""
    weight_decays: Levels = (0.0, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3)
    """The grid; chosen for each cell on the validation split, which carries the same label noise as train."""
    cross_check: bool = False
    """Solve the first seed's clean and most noisy cell by L-BFGS too, and report both accuracies."""


class Plan(_Section):
    """A study: data, encoder, feature sets, scenarios, seeds."""

    version: Literal[1] = 1
    data: DataConfig
    encoder: EncoderConfig
    features: Annotated[tuple[str, ...], Len(1), AfterValidator(lambda names: tuple(dict.fromkeys(names)))]
    scenarios: Scenarios
    seeds: Annotated[int, Ge(1)] = 5
    cleanlab: bool = False
    """Run cleanlab's CleanLearning on the dense features as a further baseline under label noise."""
    sae: SaeConfig = SaeConfig()
    probe: ProbePlan = ProbePlan()
    seed: int = 0
    """Of the data's splits; the seeds of cells are derived from it."""

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def default_features(bases: Sequence[Base]) -> tuple[str, ...]:
    """The feature sets of a study where the user names none, as far as the encoder gives them."""
    return tuple(name for name, feature in FEATURE_SETS.items() if feature.base in bases and not feature.on_request)


def parse_plan(values: Any, where: str) -> Plan:
    """A validated plan from plain values; the first fault is said in one sentence."""
    return validated(Plan, values, where)


def read_plan(path: Path) -> Plan:
    """A plan from a YAML file."""
    return parse_plan(read_yaml(path, "plan"), str(path))


def noise_matrix(noise: LabelNoise, n_classes: int) -> np.ndarray:
    """The transition matrix at level 1, checked."""
    if noise.matrix is None:
        raise InputError("label_noise.kind is 'matrix' but label_noise.matrix is not given; name its file.")
    try:
        if noise.matrix.suffix == ".npy":
            matrix = read_npy(noise.matrix)
        else:
            matrix = np.loadtxt(noise.matrix, delimiter=",", ndmin=2)
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(
            f"The noise matrix {noise.matrix} cannot be read ({reason(error)}); give .npy or .csv."
        ) from error
    check_transition_matrix(matrix, n_classes)
    return matrix


def check_labels(scenarios: Scenarios, data: LabelledData) -> None:
    """Raise where the scenarios ask for labels that the data cannot give, or that would carry no information."""
    if scenarios.given_labels and data.noisy_labels is None:
        raise InputError("The scenario given-labels needs a second label column; name it by --noisy-label-column.")
    noise = scenarios.label_noise
    if noise is None:
        return
    for level in noise.levels:
        if noise.kind == "symmetric":
            check_symmetric_rate(level, data.n_classes)
        else:
            check_rate(level)
    if noise.kind == "matrix":
        noise_matrix(noise, data.n_classes)
    if noise.kind == "pair" and max(noise.levels) >= 0.5:
        raise InputError(
            f"The pair-noise rate {max(noise.levels):g} is not below 0.5, where the wrong class is as frequent as the "
            f"true one; choose lower levels."
        )


def check_plan(plan: Plan, data: LabelledData, bases: Sequence[Base]) -> None:
    """Raise where the plan asks for what the data or the encoder cannot give.

    Args:
        bases: the base representations that the encoder has.
    """
    for name in plan.features:
        if name not in FEATURE_SETS:
            raise InputError(f"The feature set {name!r} is unknown; choose among {', '.join(FEATURE_SETS)}.")
        base = FEATURE_SETS[name].base
        if base not in bases:
            raise InputError(
                f"The feature set {name!r} is made from {base!r} features, and the encoder {plan.encoder.name!r} gives "
                f"only {', '.join(bases)}; leave it out, or give an encoder that was trained so."
            )
    if "dense" not in plan.features:
        raise InputError(f"The features {', '.join(plan.features)} lack 'dense', the baseline of every gain; add it.")
    scenarios = plan.scenarios
    check_labels(scenarios, data)
    if scenarios.input_noise is not None:
        allowed = {"images": ("gaussian", "uniform"), "texts": ("typos", "token-drops"), "embeddings": ()}[data.kind]
        kind = scenarios.input_noise.kind
        if kind not in allowed:
            raise InputError(
                f"Input noise of kind {kind!r} does not fit {data.kind}; "
                + (f"choose {' or '.join(allowed)}." if allowed else "embeddings have no inputs to corrupt.")
            )
        if data.kind == "texts":
            for level in scenarios.input_noise.levels:
                check_rate(level)
    if scenarios.corruptions is not None:
        if not isinstance(data.test.inputs, np.ndarray) or data.kind != "images":
            raise InputError(f"The scenario corruptions needs images, but {data.name} holds {data.kind}; leave it out.")
        common.check_images(data.test.inputs.shape[1:])
    if scenarios.shift and not data.shifts:
        raise InputError("The scenario shift needs a shifted test set; name one by --shift NAME=PATH.")
    if plan.cleanlab:
        with needs_extra("cleanlab", "The baseline cleanlab"):
            import cleanlab  # noqa: F401
    if plan.cleanlab and scenarios.label_noise is None and not scenarios.given_labels:
        raise InputError("The baseline cleanlab needs noisy labels; add the scenario label-noise.")
