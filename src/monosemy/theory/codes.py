"""Linear probes on codes of sparse features: one feature per dimension against the learned code of the toy model.

The label of x is the index of its largest feature among a set of candidates; inputs without an active candidate are
drawn again. The result depends on the candidates, so there are two tasks:

- ``all``: all n features are candidates, C = n. Both codes have m numbers for n equally likely classes, and mono does
  not see n - m of them. This is the even-handed task.
- ``kept``: the m features that mono keeps are the candidates, C = m. Mono loses nothing that the label depends on,
  while poly spends its dimensions on all n features. This is the best case for mono.

``mono`` holds the m most important features of x, one per dimension; ``poly`` is h = W x of the trained toy model;
``rotated`` is a control, mono under a random rotation: the same information, but every dimension mixes m features. A
probe that treats all directions alike cannot distinguish it from mono; where both are better than poly, the gain comes
from what the code keeps, not from its being monosemantic.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from scipy.stats import ortho_group

from monosemy.classifiers.engine import ProbeConfig, Probes, predict, train_probes
from monosemy.corruptions.labels import symmetric_noise
from monosemy.functional.separability import class_moments, class_separability
from monosemy.seeding import derive_seed, numpy_rng
from monosemy.study.folder import Row
from monosemy.theory import plan, simulation

Task = Literal["all", "kept"]
Matrix = np.typing.NDArray[np.float32]
Labels = np.typing.NDArray[np.int64]

TASKS: tuple[Task, ...] = ("all", "kept")


def task_classes(task: Task, features: int, dimensions: int) -> int:
    """Return the number of classes C of a task."""
    return features if task == "all" else dimensions


def task_labels(x: Matrix, task: Task, dimensions: int) -> Labels:
    """Return the index of the largest candidate feature; -1 where no candidate is active."""
    candidates = x if task == "all" else x[:, :dimensions]
    return np.where(candidates.any(axis=1), candidates.argmax(axis=1), -1)


def draw_task(
    sparsity: float, features: int, dimensions: int, task: Task, samples: int, rng: np.random.Generator
) -> tuple[Matrix, Labels]:
    """Draw inputs (samples, n) that have a label, and return them with their labels (samples,)."""
    parts: list[Matrix] = []
    while sum(map(len, parts)) < samples:
        x = simulation.spike_and_uniform((samples, features), sparsity, rng).astype(np.float32)
        parts.append(x[task_labels(x, task, dimensions) >= 0])
    x = np.concatenate(parts)[:samples]
    return x, task_labels(x, task, dimensions)


def make_codes(weight: Matrix, codes: Sequence[plan.CodeName], seed: int) -> dict[plan.CodeName, Matrix]:
    """Return encoding matrices (m, n) by name; the code of x is x times the transpose.

    Args:
        weight: (m, n), W of the toy model.
        seed: seed of the rotation.
    """
    m, n = weight.shape
    identity = np.eye(m, n, dtype=np.float32)
    matrices: dict[plan.CodeName, Matrix] = {"mono": identity, "poly": weight}
    if "rotated" in codes:
        rotation = ortho_group.rvs(m, random_state=numpy_rng("toy-rotation", m, seed)) if m > 1 else np.ones((1, 1))
        matrices["rotated"] = rotation.astype(np.float32) @ identity
    return {name: matrices[name] for name in codes}


def evaluate_codes(
    weight: Matrix,
    sparsity: float,
    task: Task,
    seed: int,
    config: plan.TaskConfig,
    label_noise: Sequence[float],
    input_noise: Sequence[float],
    codes: Sequence[plan.CodeName] = tuple(plan.CODES),
) -> list[Row]:
    """Return accuracies of tuned linear probes on each code, and J of the code.

    All codes see the same samples and noise.

    Args:
        weight: (m, n), W of a trained toy model.
        sparsity: S of the samples.
        seed: seed of samples, noise and rotation.
        label_noise: rates of symmetric noise in train and validation labels.
        input_noise: standard deviations of Gaussian noise on test inputs; the label is that of the clean input.

    Returns: rows with variant (the code), task, scenario, level, seed, metric, value; metric ``accuracy`` (on clean
        test labels), ``weight_decay`` (the chosen one) or ``separability`` (|J| of the best dimension of a class
        pair, mean over pairs, on test inputs).
    """
    m, n = weight.shape
    n_classes = task_classes(task, n, m)
    rng = numpy_rng("toy-task", task, n, m, sparsity, seed)
    (x_train, y_train), (x_val, y_val), (x_test, y_test) = (
        draw_task(sparsity, n, m, task, size, rng) for size in (config.n_train, config.n_validation, config.n_test)
    )
    levels = (0.0, *label_noise)
    train_labels = np.stack([symmetric_noise(y_train, eta, n_classes, rng) for eta in levels], axis=1)
    val_labels = np.stack([symmetric_noise(y_val, eta, n_classes, rng) for eta in levels], axis=1)
    noise = [rng.standard_normal(x_test.shape) for _ in input_noise]
    disturbed = [(x_test + s * e).astype(np.float32) for s, e in zip(input_noise, noise, strict=True)]
    rows: list[Row] = []
    for name, encoder in make_codes(weight, codes, seed).items():
        train, validation = (_encode(x_train, encoder), train_labels), (_encode(x_val, encoder), val_labels)
        tuned, decays = _tuned_probes(train, validation, n_classes, config, seed)
        code = _encode(x_test, encoder)
        accuracy = (predict(tuned, code) == y_test[:, None]).mean(axis=0)
        moments = class_moments(code, y_test, n_classes)
        measured: list[tuple[str, float, str, float]] = []
        for k, level in enumerate(levels):
            scenario, j = "label-noise" if k else "clean", class_separability(moments, level).mean()
            values = {"accuracy": accuracy[k], "weight_decay": decays[k], "separability": j}
            measured += [(scenario, level, metric, float(value)) for metric, value in values.items()]
        clean_probe = tuned.select(np.array([0]))
        for level, x in zip(input_noise, disturbed, strict=True):
            hits = predict(clean_probe, _encode(x, encoder))[:, 0] == y_test
            measured.append(("input-noise", level, "accuracy", float(hits.mean())))
        rows += [
            {
                "variant": name, "task": task, "scenario": scenario, "level": level, "seed": seed,
                "metric": metric, "value": value,
            }
            for scenario, level, metric, value in measured
        ]  # fmt: skip
    return rows


def _encode(x: Matrix, encoder: Matrix) -> Matrix:
    """Return codes (N, m) with at least two columns: probes need two, and a column of zeros changes nothing."""
    code: Matrix = x @ encoder.T
    return code if code.shape[1] > 1 else np.concatenate([code, np.zeros_like(code)], axis=1)


def _tuned_probes(
    train: tuple[Matrix, Labels], validation: tuple[Matrix, Labels], n_classes: int, config: plan.TaskConfig, seed: int
) -> tuple[Probes, np.typing.NDArray[np.float64]]:
    """Return for each column of labels the probe with the best weight decay on validation, and that weight decay."""
    grid, levels = np.array(config.weight_decays), train[1].shape[1]
    targets, expected = (np.repeat(labels, len(grid), axis=1) for _, labels in (train, validation))
    settings = ProbeConfig(epochs=config.epochs)
    decays = np.tile(grid, levels)
    probes = train_probes(train[0], targets, n_classes, decays, settings, derive_seed("toy-probe", seed))
    hits = predict(probes, validation[0]) == expected
    right = hits.mean(axis=0).reshape(levels, len(grid))
    best = len(grid) - 1 - right[:, ::-1].argmax(axis=1)  # of equally good ones the largest
    return probes.select(np.arange(levels) * len(grid) + best), grid[best]
