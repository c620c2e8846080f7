"""The cells of a study: the labels that a classifier is trained on, and the inputs that it is tested on."""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from monosemy.corruptions import common, inputs, labels as noise
from monosemy.data import arrays, dataset
from monosemy.data.findings import Finding
from monosemy.errors import InputError, names, reason
from monosemy.results.statistics import CHANCE, packed
from monosemy.seeding import derive_seed, numpy_rng
from monosemy.study.folder import Row
from monosemy.study.scenarios import LabelPlan, ScenarioPlan

PlanT = TypeVar("PlanT", bound=LabelPlan)
_INPUT_NOISE = {
    "images": {"kind": "gaussian", "levels": (0.1, 0.2, 0.3)},
    "texts": {"kind": "typos", "levels": (0.05, 0.1, 0.2)},
}
_INPUT_KINDS = {"images": ("gaussian", "uniform"), "texts": ("typos", "token-drops"), "embeddings": ()}


BY_FEATURES = ("instance", "cluster")
"""Kinds of label noise that depend on the features of the rows."""
TrainingLabels = tuple[np.typing.NDArray[np.int64], np.typing.NDArray[np.int64]]
"""Labels of train and validation rows; -1 for a row that is not used."""
Mask = np.typing.NDArray[np.bool_]


@dataclass(frozen=True)
class Conditions:
    """The conditions of a plan on its data: all that noise depends on, read once."""

    plan: LabelPlan
    matrix: np.typing.NDArray[np.float64] | None = None
    """P(noisy | true) at rate 1, for noise of kind `matrix`."""
    drawn: "Mapping[tuple[Training, int], TrainingLabels]" = field(default_factory=dict)
    """Labels of train and validation under noise that depends on features, by condition and seed."""


def conditions(plan: LabelPlan, data: dataset.LabelledData, by_features: bool = False) -> Conditions:
    """Return the checked conditions of a plan.

    Args:
        by_features: the study embeds its inputs, so that noise can depend on them (:func:`draw_by_features`).

    Raises:
        InputError: the scenarios ask for labels or inputs that the data cannot give, or that carry no information.
    """
    settings, matrix = plan.label_noise, None
    if "given-labels" in plan.scenarios and data.noisy_labels is None:
        raise InputError(
            "The scenario given-labels needs a second label column; name it by --set data.noisy_label_column=NAME."
        )
    if "label-noise" in plan.scenarios:
        for level in settings.levels:
            noise.check_informative_rate(level, settings.kind, data.n_classes)
        if settings.kind in BY_FEATURES and not by_features:
            raise InputError(
                f"Label noise of kind {settings.kind!r} depends on embeddings, which this study has none of; choose "
                f"symmetric, pair or matrix."
            )
        if settings.kind == "matrix":
            matrix = _read_matrix(settings.matrix, data.n_classes)
    if "labels-per-class" in plan.scenarios and max(plan.labels_per_class.counts) > (n := _largest_class(data)):
        raise InputError(
            f"labels_per_class.counts={max(plan.labels_per_class.counts):g} exceeds the {n} train rows of the largest "
            f"class; choose at most {n}."
        )
    if isinstance(plan, ScenarioPlan):
        _check_inputs(plan, data)
    return Conditions(plan, matrix)


def _largest_class(data: dataset.LabelledData) -> int:
    return int(np.bincount(data.train.labels).max())


def small_classes(plan: LabelPlan, data: dataset.LabelledData) -> Finding | None:
    """Return that some classes have fewer train rows than the plan takes of each, if so: they are taken whole."""
    if "labels-per-class" not in plan.scenarios:
        return None
    most, sizes = max(plan.labels_per_class.counts), np.bincount(data.train.labels, minlength=data.n_classes)
    small = sizes[(sizes > 0) & (sizes < most)]
    if not len(small):
        return None
    return Finding(
        "labels",
        f"Of {most:g} labels a class, {len(small)} of {data.n_classes} classes have fewer train rows, at least "
        f"{small.min()}; they are taken whole.",
    )


def stress_test(plan: LabelPlan) -> Finding | None:
    """Return that half of the labels or more are wrong in a way that features predict, if so."""
    settings = plan.label_noise
    if "label-noise" not in plan.scenarios or settings.kind not in BY_FEATURES or max(settings.levels) < 0.5:
        return None
    return Finding(
        "labels",
        f"label_noise={max(settings.levels):g} of the kind {settings.kind} is a stress test: half of the labels or "
        f"more are wrong in a way that features predict, so a classifier may learn the wrong ones.",
    )


def _read_matrix(path: Path | None, n_classes: int) -> np.typing.NDArray[np.float64]:
    if path is None:
        raise InputError("label_noise.kind is 'matrix' but label_noise.matrix is not set; name its file.")
    try:
        matrix = arrays.read_npy(path) if path.suffix == ".npy" else np.loadtxt(path, delimiter=",", ndmin=2)
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(f"The noise matrix {path} cannot be read ({reason(error)}); give .npy or .csv.") from error
    noise.check_transition_matrix(matrix, n_classes)
    return matrix


def _check_inputs(plan: ScenarioPlan, data: dataset.LabelledData) -> None:
    if "input-noise" in plan.scenarios:
        settings, allowed = plan.input_noise, _INPUT_KINDS[data.kind]
        if not allowed:
            raise InputError(f"The scenario input-noise needs images or texts, not {data.kind}; leave it out.")
        if settings.kind not in allowed:
            kinds = " or ".join(allowed)
            raise InputError(f"Input noise of kind {settings.kind!r} does not fit {data.kind}; choose {kinds}.")
        if data.kind == "texts":
            for level in settings.levels or ():
                noise.check_rate(level)
    if "corruptions" in plan.scenarios:
        if not isinstance(data.test.inputs, np.ndarray) or data.kind != "images":
            raise InputError(f"The scenario corruptions needs images, but {data.name} holds {data.kind}; leave it out.")
        for kind in plan.corruptions.kinds or ():
            if kind not in common.KINDS:
                close = difflib.get_close_matches(kind, common.KINDS, 1)
                raise InputError(
                    f"The corruption {kind!r} is unknown{f' (closest match: {close[0]})' if close else ''}; "
                    f"choose among {', '.join(common.KINDS)}."
                )
        common.check_images(data.test.inputs.shape[1:])
    if "shift" in plan.scenarios and not data.shifts:
        raise InputError("The scenario shift needs a shifted test set; name one by --set data.shifts={NAME: PATH}.")


def with_levels(plan: PlanT, data: dataset.LabelledData, rates: tuple[float, ...] = ()) -> PlanT:
    """Return the plan with the levels that depend on the data filled in where none were set.

    Args:
        rates: rates of label noise, of which those that leave information are taken; by default the plan's.
    """
    values: dict[str, dict[str, object]] = {}
    if "label-noise" in plan.scenarios and "levels" not in plan.label_noise.model_fields_set:
        rates = noise.informative_rates(rates or plan.label_noise.levels, plan.label_noise.kind, data.n_classes)
        values["label_noise"] = {"levels": rates}
    if "labels-per-class" in plan.scenarios and "counts" not in plan.labels_per_class.model_fields_set:
        counts = [count for count in plan.labels_per_class.counts if count <= _largest_class(data)]
        values["labels_per_class"] = {"counts": counts}
    if isinstance(plan, ScenarioPlan):
        if "input-noise" in plan.scenarios and data.kind in _INPUT_NOISE:
            values["input_noise"] = dict(_INPUT_NOISE[data.kind])
        if "corruptions" in plan.scenarios:
            values["corruptions"] = {"kinds": common.KINDS}
    return plan.with_defaults(values)


@dataclass(frozen=True)
class Training:
    """Treatment of the train and validation labels."""

    kind: str = "clean"
    level: float = 0.0


@dataclass(frozen=True)
class Evaluation:
    """Treatment of the test inputs, or the shifted set that replaces them."""

    kind: str = "clean"
    """`clean`, a kind of input noise, `corruption:KIND`, or `shift:NAME` with the name as the data has it."""
    level: float = 0.0

    @property
    def corruption(self) -> str | None:
        """The kind of common corruption; None for any other condition."""
        return self.kind.removeprefix("corruption:") if self.kind.startswith("corruption:") else None

    @property
    def shift(self) -> str | None:
        """The shifted set, by its name in the data; None for any other condition."""
        return self.kind.removeprefix("shift:") if self.kind.startswith("shift:") else None

    @property
    def seeded(self) -> bool:
        """True if every seed draws anew: input noise does; corruptions make one test set, as published."""
        return self.kind != "clean" and self.corruption is None and self.shift is None


@dataclass(frozen=True)
class Cell:
    """One point of a curve: scenario and level as they stand in the results."""

    scenario: str
    level: float
    training: Training = Training()
    evaluation: Evaluation = Evaluation()


CLEAN = Cell("clean", 0.0)


def make_cells(plan: LabelPlan, data: dataset.LabelledData) -> list[Cell]:
    """All cells of a plan, the clean one first. Cells that train on the same labels share their probe."""
    cells = [CLEAN]
    if "label-noise" in plan.scenarios:
        for level in plan.label_noise.levels:
            training = Training(plan.label_noise.kind, level) if level > 0 else Training()
            cells.append(Cell("label-noise", level, training))
    if "given-labels" in plan.scenarios and data.noisy_labels is not None:
        rate = float((data.noisy_labels[0] != data.train.labels).mean())
        cells.append(Cell("given-labels", round(rate, 4), Training("given", rate)))
    if "imbalance" in plan.scenarios:
        cells += [
            Cell("imbalance", ratio, Training("imbalance", ratio) if ratio > 1 else Training())
            for ratio in plan.imbalance.ratios
        ]
    if "few-labels" in plan.scenarios:
        for fraction in plan.few_labels.fractions:
            training = Training("few", fraction) if fraction < 1 else Training()
            cells.append(Cell("few-labels", fraction, training))
    if "labels-per-class" in plan.scenarios:
        cells += [
            Cell("labels-per-class", float(count), Training("per-class", float(count)))
            for count in plan.labels_per_class.counts
        ]
    return cells + (_input_cells(plan, data) if isinstance(plan, ScenarioPlan) else [])


def _input_cells(plan: ScenarioPlan, data: dataset.LabelledData) -> list[Cell]:
    cells = []
    if "input-noise" in plan.scenarios:
        assert plan.input_noise.kind is not None
        for level in plan.input_noise.levels or ():
            evaluation = Evaluation(plan.input_noise.kind, level) if level > 0 else Evaluation()
            cells.append(Cell("input-noise", level, Training(), evaluation))
    if "corruptions" in plan.scenarios:
        for kind in plan.corruptions.kinds or ():
            for severity in plan.corruptions.severities:
                evaluation = Evaluation(f"corruption:{kind}", float(severity))
                cells.append(Cell(evaluation.kind, evaluation.level, Training(), evaluation))
    if "shift" in plan.scenarios:
        shifts = [_shift_cell(name) for name in data.shifts]
        if len({(cell.scenario, cell.level) for cell in shifts}) < len(shifts):
            raise InputError(
                f"The shifted sets {names(data.shifts)} have a name and level twice, as X and X@1 do; rename one."
            )
        cells += shifts
    return cells


def training_cells(plan: LabelPlan, data: dataset.LabelledData) -> list[Cell]:
    """Return the first cell of each training condition: levels with the same labels share a model."""
    first: dict[Training, Cell] = {}
    for cell in make_cells(plan, data):
        first.setdefault(cell.training, cell)
    return list(first.values())


@dataclass(frozen=True)
class CellJob:
    """A model to train in a cell for one seed, as the job of a study; variants that share the model join their names.

    The name of the job is that of its files.
    """

    variant: str
    cell: Cell
    seed: int
    n_seeds: int = 1

    @property
    def name(self) -> str:
        return f"{self.variant}-{self.cell.scenario}-{self.cell.level:g}-{self.seed}"


def cell_rows(
    variant: str,
    cell: Cell,
    seed: int,
    metrics: Mapping[str, float],
    test_rows: Mapping[str, np.typing.NDArray[Any]] | None = None,
) -> list[Row]:
    """Return a row for each metric of a variant in a cell.

    Args:
        test_rows: values of the single test rows by metric, whose mean the metric is; bool for hits.
    """
    place = {"variant": variant, "scenario": cell.scenario, "level": cell.level, "seed": seed}
    carried = {metric: packed(values) for metric, values in (test_rows or {}).items()}
    return [place | {"metric": metric, "value": value} | carried.get(metric, {}) for metric, value in metrics.items()]


def chance_rows(variant: str, labels: np.typing.NDArray[np.int64]) -> list[Row]:
    """Return the share of the commonest class among the test rows, as a row of the baseline on clean labels."""
    share = float(np.bincount(labels).max() / len(labels))
    return cell_rows(variant, CLEAN, 0, {CHANCE: share})


def accuracy_rows(variant: str, cell: Cell, seed: int, hits: np.typing.NDArray[np.bool_]) -> list[Row]:
    """Return the accuracy of a variant in a cell, with its hits and misses on the single test rows (N,)."""
    return cell_rows(variant, cell, seed, {"accuracy": float(hits.mean())}, {"accuracy": hits})


def _shift_cell(name: str) -> Cell:
    """`NAME@3` is level 3 of the scenario of NAME, any other name level 1 of its own."""
    stem, at, level = name.rpartition("@")
    scenario, place = (f"shift:{stem}", float(level)) if at and level.isdecimal() else (f"shift:{name}", 1.0)
    return Cell(scenario, place, Training(), Evaluation(f"shift:{name}"))


_SUBSETS: dict[str, Callable[[np.typing.NDArray[np.int64], float, int, np.random.Generator], Mask]] = {
    "few": lambda labels, fraction, n_classes, rng: noise.few_labels(labels, fraction, rng),
    "per-class": lambda labels, count, n_classes, rng: noise.labels_per_class(labels, int(count), rng),
    "imbalance": noise.imbalanced,
}
"""Which rows keep their labels, by kind of training condition: level, number of classes and generator."""


def draw_by_features(
    plan: LabelPlan, data: dataset.LabelledData, features: tuple[np.typing.NDArray[Any], np.typing.NDArray[Any]]
) -> "dict[tuple[Training, int], TrainingLabels]":
    """Return the noisy labels of train and validation rows of every condition whose noise depends on features.

    Both are drawn together, for they share directions and clusters.

    Args:
        features: embeddings of train and validation rows, the same for all feature sets.

    Raises:
        InputError: the clusters do not allow so many wrong labels.
    """
    joined = np.concatenate([np.asarray(part, dtype=np.float32) for part in features])
    labels = np.concatenate([data.train.labels, data.validation.labels])
    found, clusters = {}, None
    for training in dict.fromkeys(cell.training for cell in make_cells(plan, data)):
        for seed in range(plan.n_seeds) if training.kind in BY_FEATURES else ():
            rng = numpy_rng(plan.seed, training.kind, training.level, seed)
            if training.kind == "instance":
                noisy = noise.instance_noise(labels, joined, training.level, data.n_classes, rng)
            else:
                count = noise.cluster_count(len(labels), data.n_classes)
                clusters = clusters or noise.find_clusters(joined, count, derive_seed(plan.seed, "clusters"))
                noisy = noise.cluster_noise(labels, clusters, training.level, data.n_classes, rng)
            found[training, seed] = (noisy[: len(data.train)], noisy[len(data.train) :])
    return found


def _validation_level(training: Training, data: dataset.LabelledData) -> float:
    """Return the level of a subset of the validation rows, so that they shrink by the same factor as train."""
    if training.kind != "per-class":
        return training.level
    return max(1, round(training.level * min(1.0, len(data.validation) / len(data.train))))


def training_labels(
    training: Training, conditions: Conditions, data: dataset.LabelledData, seed: int
) -> TrainingLabels:
    """Labels of the train and the validation rows under a training condition; -1 for a row that is not used.

    The random draws depend on plan seed, condition and seed alone: every feature set sees the same labels.
    """
    labels = (data.train.labels, data.validation.labels)
    if training.kind == "clean":
        return labels
    if training.kind == "given":
        assert data.noisy_labels is not None
        return data.noisy_labels
    if training.kind in BY_FEATURES:
        return conditions.drawn[training, seed]
    if training.kind in _SUBSETS:
        # Generators that do not depend on the level: fewer labels are a subset of more. Validation shrinks too,
        # because who has few labels has few to choose hyper-parameters with. The order of the classes, of which few
        # or many rows stay, is that of train.
        one = training.kind == "imbalance"
        rngs = [
            numpy_rng(conditions.plan.seed, training.kind, seed, "train" if one else part)
            for part in ("train", "validation")
        ]
        subset, levels = _SUBSETS[training.kind], (training.level, _validation_level(training, data))
        kept = [subset(y, level, data.n_classes, rng) for y, level, rng in zip(labels, levels, rngs, strict=True)]
        return np.where(kept[0], labels[0], -1), np.where(kept[1], labels[1], -1)
    condition = (training.kind, training.level, seed)
    rngs = [numpy_rng(conditions.plan.seed, *condition, part) for part in ("train", "validation")]
    if training.kind == "matrix":
        assert conditions.matrix is not None
        mixed = training.level * conditions.matrix + (1 - training.level) * np.eye(data.n_classes)
        noisy = [noise.matrix_noise(y, mixed, r) for y, r in zip(labels, rngs, strict=True)]
    else:
        draw = noise.symmetric_noise if training.kind == "symmetric" else noise.pair_noise
        noisy = [draw(y, training.level, data.n_classes, r) for y, r in zip(labels, rngs, strict=True)]
    return noisy[0], noisy[1]


def transition_matrix(
    training: Training, conditions: Conditions, data: dataset.LabelledData, seed: int
) -> np.typing.NDArray[np.float64]:
    """Return P(given | true), (C, C), by counting the labels of the used train rows; a class without rows is kept."""
    given, _ = training_labels(training, conditions, data, seed)
    used = given >= 0
    counts = np.zeros((data.n_classes, data.n_classes))
    np.add.at(counts, (data.train.labels[used], given[used]), 1)
    totals = counts.sum(axis=1, keepdims=True)
    return np.where(totals > 0, counts / np.maximum(totals, 1), np.eye(data.n_classes))


def evaluation_inputs(
    evaluation: Evaluation,
    plan: ScenarioPlan,
    data: dataset.LabelledData,
    seed: int,
    pixel_std: np.typing.NDArray[np.float32] | None,
) -> tuple[dataset.Inputs, np.typing.NDArray[np.int64]]:
    """Inputs and labels that a cell is tested on; the noise is the same for every feature set."""
    split = evaluation_split(evaluation, data)
    clean, labels = split.inputs, split.labels
    if evaluation.kind == "clean" or evaluation.shift is not None:
        return clean, labels
    if evaluation.corruption is not None:
        assert isinstance(clean, np.ndarray)
        return corrupted(clean, evaluation, corruption_rng(evaluation, plan)), labels
    rng = numpy_rng(plan.seed, "input-noise", evaluation.kind, evaluation.level, seed)
    kind, level = plan.input_noise.kind, evaluation.level
    if isinstance(clean, tuple):
        assert kind in ("typos", "token-drops")
        return inputs.corrupt_texts(clean, kind, level, rng), labels
    assert kind in ("gaussian", "uniform")
    assert pixel_std is not None
    pixels = dataset.unit_pixels(clean)
    return inputs.corrupt_images(pixels, kind, level, plan.input_noise.protocol, rng, pixel_std), labels


def evaluation_split(evaluation: Evaluation, data: dataset.LabelledData) -> dataset.Split:
    """The test split, or the shifted set that takes its place."""
    return data.test if evaluation.shift is None else data.shifts[evaluation.shift]


def corruption_rng(evaluation: Evaluation, plan: ScenarioPlan) -> np.random.Generator:
    """The same for all seeds and feature sets; images in parts, one after the other, come out as all at once."""
    return numpy_rng(plan.seed, evaluation.kind, evaluation.level)


def corrupted(clean: dataset.Images, evaluation: Evaluation, rng: np.random.Generator) -> np.typing.NDArray[np.float32]:
    """Images under a common corruption."""
    assert evaluation.corruption in common.KINDS
    return common.corrupt(dataset.unit_pixels(clean), evaluation.corruption, int(evaluation.level), rng)
