"""Label noise and subsets of labels: labels and a generator in, new labels out; the bounds of informative noise."""

import numpy as np

from monosemy.errors import InputError

Labels = np.typing.NDArray[np.int64]


def informative_limit(n_classes: int) -> float:
    """Return (C - 1) / C, the rate of symmetric noise at which the true class is as frequent as any other.

    There the noisy label is independent of the true one, and no classifier can learn from it.
    """
    return (n_classes - 1) / n_classes


def informative_rates(rates: tuple[float, ...], kind: str, n_classes: int) -> tuple[float, ...]:
    """Return the rates that stay clearly (by 0.02) below the limit of a kind of noise."""
    limit = {"symmetric": informative_limit(n_classes), "pair": 0.5}.get(kind, 1.0)
    return tuple(rate for rate in rates if rate < limit - 0.02)


def check_rate(rate: np.typing.ArrayLike) -> np.typing.NDArray[np.float64]:
    """Return one rate or several as an array.

    Raises:
        InputError: a rate is outside [0, 1].
    """
    rates = np.asarray(rate, dtype=np.float64)
    outside = rates[~((rates >= 0) & (rates <= 1))]
    if outside.size:
        raise InputError(f"label_noise={outside.flat[0]:g} is outside [0, 1]; give the fraction of labels to replace.")
    return rates


def check_symmetric_rate(rate: np.typing.ArrayLike, n_classes: int) -> np.typing.NDArray[np.float64]:
    """Return one rate of symmetric noise or several as an array.

    Raises:
        InputError: a rate is negative, or so high that the noise leaves no information about the true class.
    """
    rates = check_rate(rate)
    limit = informative_limit(n_classes)
    uninformative = rates[rates >= limit - 1e-9]
    if uninformative.size:
        raise InputError(
            f"label_noise={uninformative.flat[0]:g} is not below {limit:.3g}, where {n_classes} classes carry no "
            f"information; choose a lower rate."
        )
    return rates


def symmetric_noise(labels: Labels, rate: float, n_classes: int, rng: np.random.Generator) -> Labels:
    """Replace exactly round(rate * N) labels, each by a uniformly random OTHER class.

    P(noisy = c' | true = c) = rate / (C - 1) for c' != c.

    Source: Zhang et al. (arXiv 2410.21331), section 3.1, with the exact count and the exclusion of the true class
    made explicit.
    """
    check_symmetric_rate(rate, n_classes)
    noisy = labels.copy()
    rows = rng.permutation(len(labels))[: round(rate * len(labels))]
    noisy[rows] = (noisy[rows] + rng.integers(1, n_classes, len(rows))) % n_classes
    return noisy


def pair_noise(labels: Labels, rate: float, n_classes: int, rng: np.random.Generator) -> Labels:
    """Replace exactly round(rate * N) labels c by the one class c + 1 (mod C) that it is confused with.

    At rate 0.5 the confusing class is as frequent as the true one, so higher rates are refused.

    Source: Han et al., "Co-teaching" (arXiv 1804.06872), section 4 (pair flipping).
    """
    check_rate(rate)
    if rate >= 0.5:
        raise InputError(
            f"label_noise={rate:g} of the kind pair is not below 0.5, where the confusing class is as frequent as the "
            f"true one; choose a lower rate."
        )
    noisy = labels.copy()
    rows = rng.permutation(len(labels))[: round(rate * len(labels))]
    noisy[rows] = (noisy[rows] + 1) % n_classes
    return noisy


def check_transition_matrix(matrix: np.typing.NDArray[np.floating], n_classes: int) -> None:
    """Raise unless ``matrix`` is (C, C), non-negative, rows summing to 1, and largest on its diagonal."""
    if matrix.shape != (n_classes, n_classes):
        raise InputError(
            f"The noise matrix has shape {matrix.shape}; {n_classes} classes need {(n_classes, n_classes)}."
        )
    if not np.isfinite(matrix).all() or (matrix < 0).any() or np.abs(matrix.sum(axis=1) - 1).max() > 1e-6:
        raise InputError("The noise matrix has a row that is not a distribution; give rows >= 0 that sum to 1.")
    weak = np.flatnonzero(matrix.diagonal() <= (matrix - np.diag(matrix.diagonal())).max(axis=1))
    if len(weak):
        raise InputError(
            f"Row {weak[0]} of the noise matrix makes a wrong class at least as likely as the true one; "
            f"lower its noise."
        )


def matrix_noise(labels: Labels, matrix: np.typing.NDArray[np.floating], rng: np.random.Generator) -> Labels:
    """Draw asymmetric noise with exact counts: of class c's N_c labels, about N_c * matrix[c, c'] become c'.

    The counts are the largest-remainder rounding of N_c * matrix[c], so that they add up to N_c; which rows change is
    random.

    Args:
        matrix: (C, C), row c the distribution of the noisy label of class c.
    """
    check_transition_matrix(matrix, len(matrix))
    noisy = labels.copy()
    for c in range(len(matrix)):
        rows = rng.permutation(np.flatnonzero(labels == c))
        expected = len(rows) * matrix[c]
        counts = np.floor(expected + 1e-9).astype(np.int64)
        missing = len(rows) - counts.sum()
        counts[np.argsort(counts - expected, kind="stable")[:missing]] += 1
        noisy[rows] = np.repeat(np.arange(len(matrix)), counts)
    return noisy


def few_labels(labels: Labels, fraction: float, rng: np.random.Generator) -> np.typing.NDArray[np.bool_]:
    """Return the mask of a stratified fraction: of each class round(fraction * N_c) rows, at least one.

    For one generator state a smaller fraction's rows are a subset of a larger one's, so that more labels only add.
    """
    if not 0 < fraction <= 1:
        raise InputError(f"The fraction of labels {fraction:g} is outside (0, 1]; give the fraction to keep.")
    keep = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        keep[rows[: max(1, round(fraction * len(rows)))]] = True
    return keep
