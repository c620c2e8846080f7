"""The cells of a study: what a probe is trained on, and what it is tested on."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monosemy.corruptions import images, texts
from monosemy.corruptions.labels import few_labels, matrix_noise, pair_noise, symmetric_noise
from monosemy.data.labelled import Inputs, LabelledData
from monosemy.seeding import numpy_rng
from monosemy.study.plan import Plan, noise_matrix


@dataclass(frozen=True)
class Training:
    """What is done to the labels of train and validation."""

    kind: str = "clean"
    level: float = 0.0


@dataclass(frozen=True)
class Evaluation:
    """What is done to the test inputs; or which shifted set takes their place."""

    kind: str = "clean"
    level: float = 0.0


@dataclass(frozen=True)
class Cell:
    """One point of a curve: scenario and level as they stand in the results."""

    scenario: str
    level: float
    training: Training
    evaluation: Evaluation


def make_cells(plan: Plan, data: LabelledData) -> list[Cell]:
    """All cells of a plan, the clean one first. Cells that train on the same labels share their probe."""
    clean, scenarios = Cell("clean", 0.0, Training(), Evaluation()), plan.scenarios
    cells = [clean]
    if (noise := scenarios.label_noise) is not None:
        for level in noise.levels:
            training = Training(noise.kind, level) if level > 0 else Training()
            cells.append(Cell("label-noise", level, training, Evaluation()))
    if scenarios.given_labels and data.given_labels is not None:
        rate = float((data.given_labels[0] != data.train.labels).mean())
        cells.append(Cell("given-labels", round(rate, 4), Training("given", rate), Evaluation()))
    if (few := scenarios.few_labels) is not None:
        for fraction in few.fractions:
            training = Training("few", fraction) if fraction < 1 else Training()
            cells.append(Cell("few-labels", fraction, training, Evaluation()))
    if (corruption := scenarios.input_noise) is not None:
        for level in corruption.levels:
            evaluation = Evaluation(corruption.kind, level) if level > 0 else Evaluation()
            cells.append(Cell("input-noise", level, Training(), evaluation))
    if scenarios.shift:
        cells += [Cell(f"shift:{name}", 1.0, Training(), Evaluation(f"shift:{name}")) for name in data.shifts]
    return cells


def training_labels(
    training: Training, plan: Plan, data: LabelledData, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Labels of the train and the validation rows under a training condition; -1 for a row that is not used.

    The random draws depend on plan seed, condition and seed alone: every feature set sees the same labels.
    """
    labels = (data.train.labels, data.validation.labels)
    if training.kind == "clean":
        return labels
    if training.kind == "given":
        assert data.given_labels is not None
        return data.given_labels
    if training.kind == "few":
        # Generators that do not depend on the fraction: fewer labels are a subset of more. Validation shrinks too,
        # because who has few labels has few to choose hyper-parameters with.
        rngs = [numpy_rng(plan.seed, "few", seed, part) for part in ("train", "validation")]
        kept = [few_labels(y, training.level, rng) for y, rng in zip(labels, rngs, strict=True)]
        return np.where(kept[0], labels[0], -1), np.where(kept[1], labels[1], -1)
    rngs = [numpy_rng(plan.seed, training.kind, training.level, seed, part) for part in ("train", "validation")]
    if training.kind == "symmetric":
        noisy = [symmetric_noise(y, training.level, data.n_classes, r) for y, r in zip(labels, rngs, strict=True)]
    elif training.kind == "pair":
        noisy = [pair_noise(y, training.level, data.n_classes, r) for y, r in zip(labels, rngs, strict=True)]
    else:
        assert plan.scenarios.label_noise is not None
        full = noise_matrix(plan.scenarios.label_noise, data.n_classes)
        mixed = training.level * full + (1 - training.level) * np.eye(data.n_classes)
        noisy = [matrix_noise(y, mixed, r) for y, r in zip(labels, rngs, strict=True)]
    return noisy[0], noisy[1]


def evaluation_inputs(
    evaluation: Evaluation, plan: Plan, data: LabelledData, seed: int, pixel_std: NDArray[np.float32] | None
) -> tuple[Inputs, NDArray[np.int64]]:
    """Inputs and labels that a cell is tested on; the noise is the same for every feature set."""
    if evaluation.kind.startswith("shift:"):
        shifted = data.shifts[evaluation.kind.removeprefix("shift:")]
        return shifted.inputs, shifted.labels
    clean = data.test.inputs
    if evaluation.kind == "clean":
        return clean, data.test.labels
    rng = numpy_rng(plan.seed, "input-noise", evaluation.kind, evaluation.level, seed)
    noise = plan.scenarios.input_noise
    assert noise is not None
    if isinstance(clean, tuple):
        assert noise.kind in ("typos", "token-drops")
        return texts.corrupt(clean, noise.kind, evaluation.level, rng), data.test.labels
    assert noise.kind in ("gaussian", "uniform")
    assert pixel_std is not None
    noisy = images.corrupt(clean, noise.kind, evaluation.level, noise.protocol, rng, pixel_std)
    return noisy, data.test.labels
