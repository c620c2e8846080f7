"""Dimensions and classes: semantic consistency (counts of activating samples) and class purity (their activation)."""

import math
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import scipy.sparse as sp
from scipy.stats import binom, poisson

Array: TypeAlias = np.typing.NDArray[np.float64]
Codes: TypeAlias = np.typing.NDArray[np.floating[Any]] | sp.csr_array
"""(N, M), dense or CSR."""
_EXACT_UP_TO = 64


class Consistency(NamedTuple):
    """Purity of each dimension, the number of samples that it rests on, and its chance level."""

    score: Array
    """(M,) fraction of the commonest class among the samples that activate the dimension; NaN where none does."""
    support: np.typing.NDArray[np.int64]
    """(M,) number of samples that activate the dimension."""
    chance: Array
    """(M,) expected score of a dimension with this support that ignores the classes; NaN without support."""

    def mean(self, min_support: int = 1) -> float:
        """Return the mean score over the dimensions with at least ``min_support`` activating samples; NaN if there is
        none."""
        return self._mean(self.score, min_support)

    def mean_chance(self, min_support: int = 1) -> float:
        """Return the mean chance level over the same dimensions as :meth:`mean`."""
        return self._mean(self.chance, min_support)

    def _mean(self, values: Array, min_support: int) -> float:
        counted = self.support >= max(min_support, 1)
        return float(values[counted].mean()) if counted.any() else float("nan")


def activation_counts(
    codes: Codes, labels: np.typing.NDArray[np.integer], n_classes: int, eps: float = 1e-5
) -> np.typing.NDArray[np.int64]:
    """Return C[c, m] = number of samples of class c with |f_m| > eps, f the L2-normalised code: onehot(y)^T (|F| >
    eps).

    Counts of disjoint samples add up, so data larger than memory is handled in pieces.

    Args:
        codes: (N, M), dense or CSR.
        labels: (N,) in [0, n_classes).
        eps: threshold on the normalised code, as in NCL's reference.

    Returns: (n_classes, M).
    """
    active = activity(codes, eps)
    if isinstance(active, np.ndarray):
        counts = one_hot(labels, n_classes, np.float32).T @ active.astype(np.float32)
        return np.asarray(counts).round().astype(np.int64)
    width = codes.shape[1]
    class_of_entry = np.repeat(np.asarray(labels, dtype=np.int64), np.diff(active.indptr))
    places = class_of_entry * width + active.indices
    return np.bincount(places, minlength=n_classes * width).reshape(n_classes, width)


def one_hot(labels: np.typing.NDArray[np.integer], n_classes: int, dtype: Any = np.float64) -> sp.csr_array:
    """Return the (N, n_classes) CSR matrix with a 1 at the class of each sample."""
    n = len(labels)
    return sp.csr_array((np.ones(n, dtype=dtype), labels, np.arange(n + 1)), shape=(n, n_classes))


def activity(codes: Codes, eps: float = 1e-5) -> np.typing.NDArray[np.bool_] | sp.csr_array:
    """Return the activity of each dimension for each sample: |f_m| > eps, f the L2-normalised code.

    Args:
        codes: (N, M), dense or CSR.

    Returns: (N, M) bool, dense; or for CSR codes a CSR array that stores exactly the pairs that fire.
    """
    lengths = row_lengths(codes)
    if isinstance(codes, np.ndarray):
        return np.asarray(np.abs(codes) > eps * lengths[:, None])
    fires = np.abs(codes.data) > eps * np.repeat(lengths, np.diff(codes.indptr))
    starts = np.concatenate([[0], np.cumsum(fires)])[codes.indptr]
    return sp.csr_array((fires[fires], codes.indices[fires], starts), shape=codes.shape)


def row_lengths(codes: Codes) -> np.typing.NDArray[Any]:
    """Return |f| of every row, (N,)."""
    if isinstance(codes, np.ndarray):
        return np.sqrt(np.einsum("nm,nm->n", codes, codes))
    rows = np.repeat(np.arange(codes.shape[0]), np.diff(codes.indptr))
    return np.sqrt(np.bincount(rows, weights=np.square(codes.data), minlength=codes.shape[0]))


def expected_largest_fraction(support: int, class_fractions: np.typing.NDArray[np.floating]) -> float:
    """Return E[max_c n_c] / support for ``support`` independent draws of a class: the chance level of the score.

    Exact up to 64 draws. Above, the maximum's distribution is taken as if the class counts were independent
    binomials, P(max <= t) = prod_c P(Binomial(support, p_c) <= t); the error is below 0.02 (checked in the tests).

    Args:
        support: number of draws, at least 1.
        class_fractions: (C,) probabilities that sum to 1.
    """
    if support <= _EXACT_UP_TO:
        return _exact_largest_fraction(support, class_fractions)
    floor = -(-support // len(class_fractions))  # the maximum is never below the mean count
    largest = float(class_fractions.max())
    ceiling = min(support, math.ceil(support * largest + 10 * math.sqrt(support * largest) + 20))
    thresholds = np.arange(floor, ceiling)
    below = np.exp(binom.logcdf(thresholds[:, None], support, class_fractions[None, :]).sum(axis=1))
    return float((floor + (1 - below).sum()) / support)


def _exact_largest_fraction(support: int, class_fractions: np.typing.NDArray[np.floating]) -> float:
    """Return :func:`expected_largest_fraction` without approximation.

    Multinomial counts are independent Poisson counts given their sum, so P(max <= t) is the pmf of a sum of truncated
    Poisson variables at ``support`` over that of the untruncated sum; the sum's pmf is a product of Fourier
    transforms, which are long enough that what wraps around is below rounding.
    """
    fractions, times = np.unique(class_fractions[class_fractions > 0], return_counts=True)
    length = support + int(12 * math.sqrt(support)) + 40
    pmf = poisson.pmf(np.arange(length), support * fractions[:, None])
    total = 0.0
    for t in range(support):
        truncated = np.where(np.arange(length) <= t, pmf, 0)
        spectrum = (np.fft.rfft(truncated, axis=1) ** times[:, None]).prod(axis=0)
        total += 1 - np.fft.irfft(spectrum, length)[support] / poisson.pmf(support, support)
    return float(total / support)


def semantic_consistency(
    counts: np.typing.NDArray[np.int64], class_fractions: np.typing.NDArray[np.floating] | None = None
) -> Consistency:
    """Return score_m = max_c C[c, m] / sum_c C[c, m], with its support and chance level.

    Args:
        counts: (C, M) from :func:`activation_counts`.
        class_fractions: (C,) fractions of the classes in the samples; needed for an exact chance level when classes are
            not equally frequent. Default: equal fractions.

    Source: Wang et al., "Non-negative Contrastive Learning" (arXiv 2403.12459), section 5.1. The support and the
    chance level are this project's: a dimension that fires three times among 100 classes scores 0.34 by chance.
    """
    n_classes = counts.shape[0]
    fractions = np.full(n_classes, 1 / n_classes) if class_fractions is None else np.asarray(class_fractions)
    support = counts.sum(axis=0)
    with np.errstate(invalid="ignore"):
        score = counts.max(axis=0) / support
    # The chance level is smooth in the support: every value up to 64, then on a grid of about 1 %.
    step = 2 ** np.maximum(0, np.frexp(support)[1] - 7)
    distinct, inverse = np.unique(
        np.where(support > _EXACT_UP_TO, support // step * step, support), return_inverse=True
    )
    levels = np.array([np.nan if s == 0 else expected_largest_fraction(int(s), fractions) for s in distinct])
    return Consistency(score, support, levels[inverse])


class Purity(NamedTuple):
    """Purity and entropy of each dimension, p_c the fraction of its activation that falls on class c; NaN where it is
    never active."""

    score: Array
    """(M,), max_c p_c."""
    entropy: Array
    """(M,), -sum_c p_c ln p_c in nats: 0 for one class, ln C for all alike."""

    def means(self) -> tuple[float, float]:
        """Return mean purity and mean entropy over the dimensions that are ever active; NaN if there is none."""
        known = ~np.isnan(self.score)
        if not known.any():
            return float("nan"), float("nan")
        return float(self.score[known].mean()), float(self.entropy[known].mean())


def activation_mass(codes: Codes, labels: np.typing.NDArray[np.integer], n_classes: int) -> Array:
    """Return S[c, m] = sum of |a_im| over the samples i of class c, in float64. Masses of disjoint samples add up.

    Args:
        codes: (N, M), dense or CSR.
        labels: (N,) in [0, n_classes).

    Returns: (n_classes, M).
    """
    mass = one_hot(labels, n_classes).T @ abs(codes).astype(np.float64)
    return np.asarray(mass.toarray() if sp.issparse(mass) else mass)


def class_purity(mass: np.typing.NDArray[np.floating]) -> Purity:
    """Return the largest class fraction and the entropy of every column of a table of class masses (or of counts).

    Unlike semantic consistency, which counts samples, a class with weak activations weighs little.

    Args:
        mass: (C, M), non-negative, from :func:`activation_mass`.

    Source: purity and entropy of clusters, here with samples weighted by activation. Wang et al. (arXiv 2403.12459)
    take the entropy of the counts in the same way.
    """
    total = mass.sum(axis=0)
    fractions = np.divide(mass, total, out=np.zeros(mass.shape), where=total > 0)
    entropy = -(fractions * np.log(np.where(fractions > 0, fractions, 1))).sum(axis=0)
    active = total > 0
    return Purity(np.where(active, fractions.max(axis=0), np.nan), np.where(active, np.maximum(entropy, 0), np.nan))
