"""Equations of noisy labels under known class probabilities: tempering, transition matrix, and which labels are wrong.

p (N, C) are probabilities of the *true* class, y (N,) the given labels, and T (C, C) holds P(given = k | true = t).
"""

from itertools import pairwise

import numpy as np

from monosemy.errors import InputError

Values = np.typing.NDArray[np.floating]
Labels = np.typing.NDArray[np.integer]

LEAST = 1e-6
"""Least probability of a class, and of a given label for a true one: nothing is impossible."""


def tempered(log_probabilities: Values, temperature: float) -> np.typing.NDArray[np.float64]:
    """Return softmax(log p / temperature), (N, C): below 1 it is sharper, above 1 flatter.

    Source: Guo et al., "On calibration of modern neural networks" (arXiv 1706.04599), section 4.2.
    """
    if not temperature > 0:
        raise InputError(f"temperature={temperature!r} is not positive; choose a value above 0.")
    scaled = log_probabilities.astype(np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    np.exp(scaled, out=scaled)
    scaled /= scaled.sum(axis=1, keepdims=True)
    return scaled


def symmetric_transition(rate: float, n_classes: int) -> np.typing.NDArray[np.float64]:
    """Return T (C, C) with 1 - rate on the diagonal and rate / (C - 1) elsewhere."""
    matrix = np.full((n_classes, n_classes), rate / max(n_classes - 1, 1))
    np.fill_diagonal(matrix, 1 - rate)
    return matrix


def true_class_posterior(p: Values, y: Labels, transition: Values) -> np.typing.NDArray[np.float64]:
    """Return P(true = t | x, given = y) = p_t T[t, y] / sum_s p_s T[s, y], (N, C)."""
    joint: np.typing.NDArray[np.float64] = np.maximum(p, LEAST) * transition.T[y]
    return joint / joint.sum(axis=1, keepdims=True)


def log_likelihood(p: Values, y: Labels, transition: Values) -> float:
    """Return the mean over rows of log P(given = y | x) = log sum_t p_t T[t, y]."""
    return float(np.log(np.maximum((p * transition.T[y]).sum(axis=1), LEAST)).mean())


def fit_transition(
    p: Values, y: Labels, start: Values, *, prior: float = 20.0, n_iter: int = 30
) -> np.typing.NDArray[np.float64]:
    """Return the transition matrix that makes given labels most likely, by expectation-maximisation.

    E: r_i = P(true | x_i, y_i), see :func:`true_class_posterior`. M: T[t, k] is the mean over rows with y_i = k of
    r_it, with ``prior`` further rows for each true class that are spread as symmetric noise of the present rate. Rows
    whose true class has few samples are thus near to symmetric noise.

    Args:
        start: (C, C), every entry above 0 that may be found.
        prior: weight of the symmetric spread, in rows a class.

    Source: Dawid and Skene, "Maximum likelihood estimation of observer error-rates using the EM algorithm" (1979),
    with one observer and class probabilities from a classifier.
    """
    n_classes = p.shape[1]
    transition = np.array(start, dtype=np.float64)
    order = np.argsort(y, kind="stable")
    ends = np.searchsorted(y[order], np.arange(n_classes + 1))
    for _ in range(n_iter):
        posterior = true_class_posterior(p, y, transition)[order]
        counts = np.stack([posterior[a:b].sum(axis=0) for a, b in pairwise(ends)], axis=1)
        rate = 1 - np.trace(counts) / counts.sum()
        counts += prior * symmetric_transition(rate, n_classes)
        transition = np.maximum(counts / counts.sum(axis=1, keepdims=True), LEAST)
        transition /= transition.sum(axis=1, keepdims=True)
    return transition


def noise_rate(p: Values, y: Labels, transition: Values) -> float:
    """Return the expected share of wrong labels, the mean over rows of 1 - P(true = y_i | x_i, y_i)."""
    posterior = true_class_posterior(p, y, transition)
    return float(1 - posterior[np.arange(len(y)), y].mean())
