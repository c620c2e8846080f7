"""Classifiers on the codes of the toy model, clean and under noise: does one feature per dimension pay?

The task. The label of x is the number of its largest feature among a set of candidates; x without an active
candidate is left out. Which set decides who can win, so there are two, and both are reported:

- ``all``: all n features are candidates, C = n. Neither code was told what matters, both have m numbers for n equally
  likely classes; the mono code is blind to n - m of them. This is the even-handed task.
- ``kept``: the m features that mono keeps are the candidates, C = m. Mono loses nothing that the label depends on,
  while poly spends its dimensions on all n: the most favourable case for mono.

The codes. ``mono`` is x's m most important features, one a dimension; ``poly`` is h = W x of the trained toy model;
``rotated`` is the control, mono turned by a random rotation: the same information, but every dimension mixes m
features. A probe that treats all directions alike cannot tell ``rotated`` from ``mono``; where mono beats poly and
rotated does too, the gain is due to WHAT the code keeps, not to its being monosemantic.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import ortho_group

from monosemy.classifiers.engine import ProbeConfig, Probes, predict, train_probes
from monosemy.corruptions.labels import symmetric_noise
from monosemy.functional.separability import class_moments, class_separability
from monosemy.seeding import derive_seed, numpy_rng
from monosemy.theory.simulation import spike_and_uniform

Task = Literal["all", "kept"]
Row = dict[str, Any]
Matrix = NDArray[np.float32]

TASKS: tuple[Task, ...] = ("all", "kept")
CODES = ("mono", "poly", "rotated")


@dataclass(frozen=True)
class TaskConfig:
    """Samples, noise levels and probes; the same for every code."""

    label_noise: tuple[float, ...] = (0.3, 0.6, 0.9)
    """Shares of train and validation labels replaced by a random other class."""
    input_noise: tuple[float, ...] = (0.1, 0.3, 0.6)
    """Standard deviations of Gaussian noise on the features of test inputs; the label is that of the clean x."""
    train: int = 4000
    validation: int = 1000
    test: int = 4000
    weight_decays: tuple[float, ...] = (0.0, 1e-3, 1e-2)
    """The grid, rising; chosen for each code and level on validation rows that carry the same label noise."""
    probe: ProbeConfig = field(default_factory=lambda: ProbeConfig(epochs=20))


def task_classes(task: Task, features: int, dimensions: int) -> int:
    """C of a task."""
    return features if task == "all" else dimensions


def task_labels(x: Matrix, task: Task, dimensions: int) -> NDArray[np.int64]:
    """The number of the largest candidate feature; -1 where no candidate is active."""
    candidates = x if task == "all" else x[:, :dimensions]
    return np.where(candidates.any(axis=1), candidates.argmax(axis=1), -1)


def draw_task(
    sparsity: float, features: int, dimensions: int, task: Task, samples: int, rng: np.random.Generator
) -> tuple[Matrix, NDArray[np.int64]]:
    """``samples`` inputs (N, n) that have a label, and their labels; inputs without one are drawn again."""
    kept: list[Matrix] = []
    have = 0
    while have < samples:
        x = spike_and_uniform((samples, features), sparsity, rng).astype(np.float32)
        x = x[task_labels(x, task, dimensions) >= 0]
        kept.append(x)
        have += len(x)
    x = np.concatenate(kept)[:samples]
    return x, task_labels(x, task, dimensions)


def make_codes(weight: Matrix, codes: Sequence[str], seed: int) -> dict[str, Matrix]:
    """Encoding matrices (m, n) by name; the code of x is x times the transpose. ``weight`` is W of the toy model."""
    m, n = weight.shape
    identity = np.eye(m, n, dtype=np.float32)
    makers: dict[str, Callable[[], Matrix]] = {
        "mono": lambda: identity,
        "poly": lambda: weight,
        "rotated": lambda: _rotation(m, seed) @ identity,
    }
    return {name: makers[name]() for name in codes}


def _rotation(m: int, seed: int) -> Matrix:
    if m == 1:
        return np.ones((1, 1), dtype=np.float32)
    return ortho_group.rvs(m, random_state=numpy_rng("toy-rotation", m, seed)).astype(np.float32)


def evaluate_codes(
    weight: Matrix, sparsity: float, task: Task, seed: int, config: TaskConfig, codes: Sequence[str] = CODES
) -> list[Row]:
    """Accuracies of tuned linear probes on each code, and J of the code; all codes see the same samples and noise.

    Args:
        weight: (m, n), W of a trained toy model.
        sparsity: S of the samples.
        seed: of samples, noise and rotation.

    Returns: rows with code, task, scenario, level, seed, metric, value; metric ``accuracy`` (share of right answers
        on clean test labels), ``weight_decay`` (chosen) or ``separability`` (|J| of the best dimension of a class
        pair, mean over pairs, on test inputs).
    """
    m, n = weight.shape
    n_classes = task_classes(task, n, m)
    rng = numpy_rng("toy-task", task, n, m, sparsity, seed)
    sizes = (config.train, config.validation, config.test)
    (x_train, y_train), (x_val, y_val), (x_test, y_test) = (
        draw_task(sparsity, n, m, task, size, rng) for size in sizes
    )
    levels = (0.0, *config.label_noise)
    train_labels = np.stack([symmetric_noise(y_train, eta, n_classes, rng) for eta in levels], axis=1)
    val_labels = np.stack([symmetric_noise(y_val, eta, n_classes, rng) for eta in levels], axis=1)
    noise = [rng.standard_normal(x_test.shape) for _ in config.input_noise]
    disturbed = [(x_test + s * e).astype(np.float32) for s, e in zip(config.input_noise, noise, strict=True)]
    rows: list[Row] = []
    for name, encoder in make_codes(weight, codes, seed).items():

        def row(scenario: str, level: float, metric: str, value: float, name: str = name) -> Row:
            place = {"code": name, "task": task, "scenario": scenario, "level": level, "seed": seed}
            return place | {"metric": metric, "value": value}

        tuned, decays = _tuned_probes(
            _encode(x_train, encoder), train_labels, _encode(x_val, encoder), val_labels, n_classes, config, seed
        )
        code = _encode(x_test, encoder)
        accuracy = (predict(tuned, code) == y_test[:, None]).mean(axis=0)
        for k, level in enumerate(levels):
            scenario = "label-noise" if k else "clean"
            rows.append(row(scenario, level, "accuracy", float(accuracy[k])))
            rows.append(row(scenario, level, "weight_decay", float(decays[k])))
        clean_probe = tuned.select(np.array([0]))
        for level, x in zip(config.input_noise, disturbed, strict=True):
            hits = predict(clean_probe, _encode(x, encoder))[:, 0] == y_test
            rows.append(row("input-noise", level, "accuracy", float(hits.mean())))
        moments = class_moments(code, y_test, n_classes)
        for k, level in enumerate(levels):
            scenario = "label-noise" if k else "clean"
            rows.append(row(scenario, level, "separability", class_separability(moments, level).mean()))
    return rows


def _encode(x: Matrix, encoder: Matrix) -> Matrix:
    """Codes (N, m), at least two columns wide: the probes need two, and one of zeros changes nothing."""
    code: Matrix = x @ encoder.T
    return code if code.shape[1] > 1 else np.concatenate([code, np.zeros_like(code)], axis=1)


def _tuned_probes(
    train: Matrix,
    train_labels: NDArray[np.int64],
    validation: Matrix,
    validation_labels: NDArray[np.int64],
    n_classes: int,
    config: TaskConfig,
    seed: int,
) -> tuple[Probes, NDArray[np.float64]]:
    """For each column of labels the probe whose weight decay does best on validation, and that weight decay."""
    grid = np.array(config.weight_decays)
    levels = train_labels.shape[1]
    probes = train_probes(
        train,
        np.repeat(train_labels, len(grid), axis=1),
        n_classes,
        np.tile(grid, levels),
        config.probe,
        derive_seed("toy-probe", seed),
    )
    hits = predict(probes, validation) == np.repeat(validation_labels, len(grid), axis=1)
    right = hits.mean(axis=0).reshape(levels, len(grid))
    best = len(grid) - 1 - right[:, ::-1].argmax(axis=1)  # of equally good ones the largest
    return probes.select(np.arange(levels) * len(grid) + best), grid[best]
