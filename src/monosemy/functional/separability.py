"""Separability J measured on embeddings: per dimension and class pair, clean and under label noise.

Counts, means and variances per class are all that J needs, clean and under any symmetric label noise, because noisy
classes are mixtures of the true ones. They add up over pieces of the data, so embeddings are read once.
"""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from monosemy.corruptions.labels import check_symmetric_rate
from monosemy.functional.consistency import Array, Codes, one_hot


class ClassMoments(NamedTuple):
    """Moments of D dimensions in C classes."""

    counts: Array
    """(C,), samples of the class."""
    mean: Array
    """(C, D); 0 for an empty class."""
    variance: Array
    """(C, D), over the number of samples, not that minus one, so that mixtures are exact."""


def class_moments(embeddings: Codes, labels: np.typing.NDArray[np.integer], n_classes: int) -> ClassMoments:
    """Return count, mean and variance of every dimension in every class, in float64.

    Args:
        embeddings: (N, D), dense or CSR.
        labels: (N,) in [0, n_classes).
    """
    n = len(labels)
    classes = one_hot(labels, n_classes).T
    count = np.bincount(labels, minlength=n_classes).astype(np.float64)
    safe = np.maximum(count, 1)[:, None]
    if isinstance(embeddings, np.ndarray):
        x = embeddings.astype(np.float64)
        center = x.mean(axis=0) if n else np.zeros(x.shape[1])
        x -= center  # squares of a large common offset would swallow the variance
        mean = classes @ x / safe
        np.square(x, out=x)
        second = classes @ x / safe
        variance = np.maximum(second - mean**2, 0)
        return ClassMoments(count, np.where(count[:, None] > 0, mean + center, 0.0), variance)
    codes = sp.csr_array(embeddings, dtype=np.float64)
    mean = (classes @ codes).toarray() / safe
    second = (classes @ codes.multiply(codes)).toarray() / safe
    return ClassMoments(count, mean, np.maximum(second - mean**2, 0))


def merge_class_moments(first: ClassMoments, second: ClassMoments) -> ClassMoments:
    """Return the moments of two disjoint sets of samples together (Chan et al., pairwise update)."""
    count = first.counts + second.counts
    fraction = (second.counts / np.maximum(count, 1))[:, None]
    step = second.mean - first.mean
    variance = (1 - fraction) * first.variance + fraction * second.variance + fraction * (1 - fraction) * step**2
    return ClassMoments(count, first.mean + fraction * step, variance)


def noisy_class_moments(moments: ClassMoments, label_noise: float) -> ClassMoments:
    """Return the expected moments of the classes as labels with symmetric noise name them.

    A fraction eta of the labels is replaced by a random OTHER class: P(noisy c | true k) = 1 - eta for c = k, else
    eta / (C - 1). So the samples named c are a mixture with weights A_ck = n_k P(c | k) / n'_c of the true classes:

        mean'_c = sum_k A_ck mean_k,   var'_c = sum_k A_ck (var_k + mean_k^2) - mean'_c^2.

    Args:
        label_noise: eta in [0, (C - 1) / C).

    Source: theorem 4.2 of Zhang et al. (arXiv 2410.21331) is the case C = 2; the general one is a plain mixture.
    """
    n_classes = len(moments.counts)
    eta = float(check_symmetric_rate(label_noise, n_classes))
    if eta == 0:
        return moments
    joint = np.full((n_classes, n_classes), eta / (n_classes - 1)) * moments.counts
    np.fill_diagonal(joint, (1 - eta) * moments.counts)
    count = joint.sum(axis=1)
    mixture = joint / np.maximum(count, 1e-300)[:, None]
    center = moments.counts @ moments.mean / max(moments.counts.sum(), 1)
    centered = moments.mean - center
    mean = mixture @ centered
    second = mixture @ (moments.variance + centered**2)
    return ClassMoments(count, mean + center, np.maximum(second - mean**2, 0))


class ClassSeparability(NamedTuple):
    """Sizes |J| over class pairs, summarised; NaN where a dimension is constant or a class has under two samples."""

    dimension_mean: Array
    """(D,), mean over the class pairs."""
    dimension_best: Array
    """(D,), largest over the class pairs."""
    best_pair: np.typing.NDArray[np.int64]
    """(D, 2), the classes of that pair; -1 where undefined."""
    pair_best: Array
    """(C, C), largest over the dimensions; symmetric, NaN on the diagonal."""

    def mean(self) -> float:
        """Return one number for the embeddings: |J| of the best dimension of a class pair, mean over the pairs."""
        return float(nan_mean(self.pair_best.reshape(-1)))


def pair_separability(
    moments: ClassMoments, first: int, label_noise: float = 0.0, scale_free: bool = False, floor: float = 1e-3
) -> Array:
    """Return |J_cd| of every dimension d for the class ``first`` against every class c; (C, D), NaN for c = ``first``.

    See :func:`class_separability` for the arguments. C x C x D numbers in all: keep to one class at a time.
    """
    noisy, inverse_sd = _prepared(moments, label_noise, scale_free, floor)
    j = np.abs(noisy.mean - noisy.mean[first]) * inverse_sd * inverse_sd[first]
    j[first] = np.nan
    return j


def class_separability(
    moments: ClassMoments, label_noise: float = 0.0, scale_free: bool = False, floor: float = 1e-3
) -> ClassSeparability:
    """Return |J| = |mu_a - mu_b| / (sd_a sd_b) for each dimension and class pair (a, b), summarised over pairs.

    Args:
        moments: from :func:`class_moments`; only classes with at least two samples count.
        label_noise: eta of symmetric noise, in [0, (C - 1) / C), by the mixing of :func:`noisy_class_moments`.
        scale_free: |mu_a - mu_b| / sqrt(sd_a sd_b) instead, without the unit 1 / dimension. J grows when a dimension
            is scaled down; to compare feature sets, or dimensions of different scale, use this form.
        floor: a class variance counts as at least this fraction of the dimension's total variance. A latent that never
            fires in a class has variance 0 there, and J would be infinite; 0 switches the floor off.
    """
    noisy, inverse_sd = _prepared(moments, label_noise, scale_free, floor)
    n_classes, n_dims = noisy.mean.shape
    pair_best = np.full((n_classes, n_classes), np.nan)
    total, pairs = np.zeros(n_dims), np.zeros(n_dims)
    best, best_pair = np.full(n_dims, -1.0), np.full((n_dims, 2), -1, dtype=np.int64)
    for a in range(n_classes - 1):
        later = slice(a + 1, n_classes)
        j = np.abs(noisy.mean[later] - noisy.mean[a])
        j *= inverse_sd[later]
        j *= inverse_sd[a]
        defined = ~np.isnan(j)
        j[~defined] = -1.0
        pair_max, b = j.max(axis=1), j.argmax(axis=0)
        pair_best[a, later] = pair_best[later, a] = np.where(pair_max < 0, np.nan, pair_max)
        total += np.where(defined, j, 0).sum(axis=0)
        pairs += defined.sum(axis=0)
        highest = j[b, np.arange(n_dims)]
        better = highest > best
        best[better] = highest[better]
        best_pair[better] = np.stack([np.full(n_dims, a), b + a + 1], axis=1)[better]
    with np.errstate(invalid="ignore"):
        mean = total / np.where(pairs > 0, pairs, np.nan)
    return ClassSeparability(mean, np.where(best < 0, np.nan, best), best_pair, pair_best)


def _prepared(moments: ClassMoments, label_noise: float, scale_free: bool, floor: float) -> tuple[ClassMoments, Array]:
    """Return noisy moments, and 1 / sd (or 1 / sqrt(sd)) per class and dimension, NaN where J is undefined."""
    noisy = noisy_class_moments(moments, label_noise)
    fractions = (moments.counts / max(moments.counts.sum(), 1))[:, None]
    # The noise renames samples but moves none: the total variance is that of the clean moments.
    center = (fractions * moments.mean).sum(axis=0)
    total = (fractions * (moments.variance + (moments.mean - center) ** 2)).sum(axis=0)
    variance = np.maximum(noisy.variance, floor * total)
    # A constant dimension keeps rounding errors of about 1e-16 of its value.
    varies = total > 1e-24 * center**2
    usable = (variance > 0) & varies & (moments.counts >= 2)[:, None]
    variance = np.where(usable, variance, np.nan)
    return noisy, variance ** (-0.25 if scale_free else -0.5)


def nan_mean(values: Array) -> Array:
    """Return the mean over the first axis of what is not NaN; NaN, without a warning, where nothing is."""
    defined = ~np.isnan(values)
    counts = defined.sum(axis=0)
    return np.where(counts > 0, np.where(defined, values, 0).sum(axis=0) / np.maximum(counts, 1), np.nan)
