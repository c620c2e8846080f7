"""Separability by simulation: the check of the closed forms, and the model with more than two classes."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq

from monosemy.corruptions.labels import check_symmetric_rate
from monosemy.errors import InputError
from monosemy.functional.separability import ClassMoments, class_moments, noisy_class_moments
from monosemy.seeding import numpy_rng
from monosemy.theory.two_features import ScoreMoments, check_input_noise, check_sparsity, check_weights

Array = np.typing.NDArray[np.float64]

SCORES = ("mono", "poly", "poly-rest")
"""For class 1 among C: x_1; x_1 - x_2; x_1 minus the mean of all other features."""


def spike_and_uniform(shape: tuple[int, ...], sparsity: float, rng: np.random.Generator) -> Array:
    """Independent features, 0 with probability S, else U[0, 1]: max(0, (u - S) / (1 - S)) for u in U[0, 1]."""
    x = rng.random(shape)
    x -= sparsity
    x /= 1 - sparsity
    return np.maximum(x, 0, out=x)


def simulate_two_features(
    sparsity: float,
    weights: Sequence[float],
    samples: int,
    rng: np.random.Generator,
    label_noise: float = 0.0,
    input_noise: float = 0.0,
) -> ScoreMoments:
    """Monte Carlo of the very thing the closed forms describe: draw, label, flip, disturb, measure.

    Nothing here uses a mixing formula: labels are really flipped and noise really added.

    Args:
        sparsity: S in [0, 1).
        weights: (w1, w2) of v = w1 x1 - w2 x2.
        samples: draws, before ties (both features 0) are left out.
        label_noise: probability eta that a label is flipped.
        input_noise: standard deviation of the Gaussian noise that both features get after the label.
    """
    check_sparsity(sparsity)
    w1, w2 = check_weights(weights)
    check_symmetric_rate(label_noise, 2)
    check_input_noise(input_noise)
    x = spike_and_uniform((samples, 2), sparsity, rng)
    x = x[x[:, 0] != x[:, 1]]
    label = (x[:, 0] > x[:, 1]) ^ (rng.random(len(x)) < label_noise)
    x += input_noise * rng.standard_normal(x.shape)
    v = w1 * x[:, 0] - w2 * x[:, 1]
    of_0, of_1 = v[~label], v[label]
    return ScoreMoments(*(np.asarray(value) for value in (of_0.mean(), of_1.mean(), of_0.var(), of_1.var())))


class ClassSimulation(NamedTuple):
    """J between class 1 and class 2 of C, by simulation."""

    label_noise: Array
    """(E,)."""
    separability: Array
    """(seeds, len(SCORES), E)."""
    threshold: Array
    """(seeds, len(SCORES) - 1): lowest label noise at which mono beats each poly score; 0 from the start, NaN never."""


def simulate_classes(
    n_classes: int, sparsity: float, label_noise: Array, seeds: Sequence[int], samples: int = 100_000
) -> ClassSimulation:
    """C features, label = which is largest (all-zero samples left out), symmetric noise over C classes.

    Per seed the samples are drawn anew and the class moments measured; label noise then mixes these moments, which
    is exact for the expected noisy classes and leaves no second sampling error.

    Args:
        n_classes: C >= 2.
        sparsity: S in [0, 1).
        label_noise: (E,), rates below (C - 1) / C.
        seeds: seeds of the simulations; intervals need two.
        samples: number of draws for each seed.
    """
    check_sparsity(sparsity)
    if n_classes < 2:
        raise InputError(f"n_classes is {n_classes}; give at least 2.")
    if not seeds:
        raise InputError("seeds is empty; give at least one.")
    check_symmetric_rate(label_noise, n_classes)
    curves = np.empty((len(seeds), len(SCORES), len(label_noise)))
    thresholds = np.empty((len(seeds), len(SCORES) - 1))
    for number, seed in enumerate(seeds):
        rng = numpy_rng("separability", n_classes, sparsity, seed)
        moments = _argmax_moments(n_classes, sparsity, samples, rng)
        curves[number] = np.stack([_pair(moments, eta) for eta in label_noise], axis=1)
        for k in range(1, len(SCORES)):

            def lead(eta: float, k: int = k, moments: ClassMoments = moments) -> float:
                j = _pair(moments, eta)
                return float(j[0] - j[k])

            thresholds[number, k - 1] = first_lead(lead, (n_classes - 1) / n_classes)
    return ClassSimulation(np.asarray(label_noise), curves, thresholds)


def _argmax_moments(n_classes: int, sparsity: float, samples: int, rng: np.random.Generator) -> ClassMoments:
    x = spike_and_uniform((samples, n_classes), sparsity, rng)
    x = x[x.any(axis=1)]
    rest = (x.sum(axis=1) - x[:, 0]) / (n_classes - 1)
    scores = np.stack([x[:, 0], x[:, 0] - x[:, 1], x[:, 0] - rest], axis=1)
    return class_moments(scores, x.argmax(axis=1), n_classes)


def _pair(moments: ClassMoments, eta: float) -> Array:
    """Signed J of every score, class 1 against class 2."""
    noisy = noisy_class_moments(moments, eta)
    return (noisy.mean[0] - noisy.mean[1]) / np.sqrt(noisy.variance[0] * noisy.variance[1])


def first_lead(lead: Callable[[float], float], limit: float, steps: int = 64) -> float:
    """The lowest label noise at which ``lead`` is positive; 0 if it is from the start, NaN if it never is.

    The first change of sign on a grid, refined by Brent's method to 1e-10. At the limit both J vanish and their
    difference is sampling error, so the grid stops at 95 % of it.
    """
    grid = np.linspace(0, 0.95 * limit, steps)
    positive = np.array([lead(float(eta)) > 0 for eta in grid])
    if not positive.any():
        return float("nan")
    first = int(positive.argmax())
    if first == 0:
        return 0.0
    root = brentq(lead, grid[first - 1], grid[first], xtol=1e-10)
    return float(root)
