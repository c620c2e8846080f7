"""The cells of a study: what a probe is trained on, and what it is tested on."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from monosemy.corruptions import common, inputs
from monosemy.corruptions.labels import few_labels, matrix_noise, pair_noise, symmetric_noise
from monosemy.data.dataset import Images, Inputs, LabelledData, Split, unit_pixels
from monosemy.errors import InputError
from monosemy.seeding import numpy_rng
from monosemy.study.probing.plan import Plan, Scenarios, noise_matrix


class Conditions(Protocol):
    """What a plan says of noise, whatever it trains."""

    @property
    def scenarios(self) -> Scenarios: ...

    @property
    def seed(self) -> int: ...


@dataclass(frozen=True)
class Training:
    """What is done to the labels of train and validation."""

    kind: str = "clean"
    level: float = 0.0


@dataclass(frozen=True)
class Evaluation:
    """What is done to the test inputs; or which shifted set takes their place."""

    kind: str = "clean"
    """`clean`, a kind of input noise, `corruption:KIND`, or `shift:NAME` with the name as the data has it."""
    level: float = 0.0

    @property
    def seeded(self) -> bool:
        """Whether every seed draws anew: so for input noise, whereas corruptions make one test set, as published."""
        return self.kind != "clean" and not self.kind.startswith(("corruption:", "shift:"))


@dataclass(frozen=True)
class Cell:
    """One point of a curve: scenario and level as they stand in the results."""

    scenario: str
    level: float
    training: Training
    evaluation: Evaluation


def make_cells(plan: Conditions, data: LabelledData) -> list[Cell]:
    """All cells of a plan, the clean one first. Cells that train on the same labels share their probe."""
    clean, scenarios = Cell("clean", 0.0, Training(), Evaluation()), plan.scenarios
    cells = [clean]
    if (noise := scenarios.label_noise) is not None:
        for level in noise.levels:
            training = Training(noise.kind, level) if level > 0 else Training()
            cells.append(Cell("label-noise", level, training, Evaluation()))
    if scenarios.given_labels and data.noisy_labels is not None:
        rate = float((data.noisy_labels[0] != data.train.labels).mean())
        cells.append(Cell("given-labels", round(rate, 4), Training("given", rate), Evaluation()))
    if (few := scenarios.few_labels) is not None:
        for fraction in few.fractions:
            training = Training("few", fraction) if fraction < 1 else Training()
            cells.append(Cell("few-labels", fraction, training, Evaluation()))
    if (corruption := scenarios.input_noise) is not None:
        for level in corruption.levels:
            evaluation = Evaluation(corruption.kind, level) if level > 0 else Evaluation()
            cells.append(Cell("input-noise", level, Training(), evaluation))
    if (common_corruptions := scenarios.corruptions) is not None:
        for kind in common_corruptions.kinds:
            for severity in common_corruptions.severities:
                evaluation = Evaluation(f"corruption:{kind}", float(severity))
                cells.append(Cell(evaluation.kind, evaluation.level, Training(), evaluation))
    if scenarios.shift:
        shifts = [_shift_cell(name) for name in data.shifts]
        if len({(cell.scenario, cell.level) for cell in shifts}) < len(shifts):
            raise InputError(
                f"The shifted sets {', '.join(data.shifts)} have a name and level twice, as X and X@1 do; rename one."
            )
        cells += shifts
    return cells


def _shift_cell(name: str) -> Cell:
    """`NAME@3` is level 3 of the scenario of NAME, any other name level 1 of its own."""
    stem, at, level = name.rpartition("@")
    scenario, place = (f"shift:{stem}", float(level)) if at and level.isdecimal() else (f"shift:{name}", 1.0)
    return Cell(scenario, place, Training(), Evaluation(f"shift:{name}"))


def training_labels(
    training: Training, plan: Conditions, data: LabelledData, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Labels of the train and the validation rows under a training condition; -1 for a row that is not used.

    The random draws depend on plan seed, condition and seed alone: every feature set sees the same labels.
    """
    labels = (data.train.labels, data.validation.labels)
    if training.kind == "clean":
        return labels
    if training.kind == "given":
        assert data.noisy_labels is not None
        return data.noisy_labels
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
    tested = tested_split(evaluation, data)
    clean, labels = tested.inputs, tested.labels
    if evaluation.kind == "clean" or evaluation.kind.startswith("shift:"):
        return clean, labels
    if evaluation.kind.startswith("corruption:"):
        assert isinstance(clean, np.ndarray)
        return corrupted(clean, evaluation, corruption_rng(evaluation, plan)), labels
    rng = numpy_rng(plan.seed, "input-noise", evaluation.kind, evaluation.level, seed)
    noise = plan.scenarios.input_noise
    assert noise is not None
    if isinstance(clean, tuple):
        assert noise.kind in ("typos", "token-drops")
        return inputs.corrupt_texts(clean, noise.kind, evaluation.level, rng), labels
    assert noise.kind in ("gaussian", "uniform")
    assert pixel_std is not None
    noisy = inputs.corrupt_images(unit_pixels(clean), noise.kind, evaluation.level, noise.protocol, rng, pixel_std)
    return noisy, labels


def tested_split(evaluation: Evaluation, data: LabelledData) -> Split:
    """The test split, or the shifted set that takes its place."""
    if evaluation.kind.startswith("shift:"):
        return data.shifts[evaluation.kind.removeprefix("shift:")]
    return data.test


def corruption_rng(evaluation: Evaluation, plan: Conditions) -> np.random.Generator:
    """The same for all seeds and feature sets; images in parts, one after the other, come out as all at once."""
    return numpy_rng(plan.seed, evaluation.kind, evaluation.level)


def corrupted(clean: Images, evaluation: Evaluation, rng: np.random.Generator) -> NDArray[np.float32]:
    """Images under a common corruption."""
    kind = evaluation.kind.removeprefix("corruption:")
    assert kind in common.KINDS
    return common.corrupt(unit_pixels(clean), kind, int(evaluation.level), rng)
