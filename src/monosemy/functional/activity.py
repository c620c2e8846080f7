"""Activity of dimensions: how often each fires, how sparse codes are, and the samples that activate it most."""

from typing import Any, NamedTuple

import numpy as np

from monosemy.functional.consistency import Array, Codes, activity

DENSE_ABOVE = 0.1
"""A dimension that fires for more than this fraction of the samples is dense: it can hardly stand for one meaning."""


class FiringCounts(NamedTuple):
    """Firing counts of dimensions and samples; those of disjoint samples add up."""

    support: np.typing.NDArray[np.int64]
    """(M,), samples for which the dimension fires."""
    l0: np.typing.NDArray[np.int64]
    """(M + 1,), l0[j] samples have exactly j dimensions that fire."""

    @property
    def n_samples(self) -> int:
        return int(self.l0.sum())


class Sparsity(NamedTuple):
    """Summary of :class:`FiringCounts`; NaN without samples."""

    l0_mean: float
    """Dimensions that fire for a sample, on average."""
    l0_quantiles: tuple[float, float, float]
    """The 5 %, 50 % and 95 % quantiles of that number over samples (the smallest number that so many do not exceed)."""
    dead: float
    """Fraction of the dimensions that fire for no sample."""
    dense: float
    """Fraction of the dimensions that fire for more than a tenth of the samples."""


def firing_counts(codes: Codes, eps: float = 1e-5) -> FiringCounts:
    """Count what fires, as :func:`~monosemy.functional.consistency.activity` defines it: |f_m| > eps |f|.

    Args:
        codes: (N, M), dense or CSR.
    """
    active, width = activity(codes, eps), codes.shape[1]
    if isinstance(active, np.ndarray):
        support, a_sample = active.sum(axis=0), active.sum(axis=1)
    else:
        support, a_sample = np.bincount(active.indices, minlength=width), np.diff(active.indptr)
    return FiringCounts(support.astype(np.int64), np.bincount(a_sample, minlength=width + 1))


def merge_firing_counts(first: FiringCounts, second: FiringCounts) -> FiringCounts:
    """Return the counts of two disjoint sets of samples together."""
    return FiringCounts(first.support + second.support, first.l0 + second.l0)


def sparsity(counts: FiringCounts, dense_above: float = DENSE_ABOVE) -> Sparsity:
    """Return L0 and its distribution, dead and dense dimensions.

    A latent is dead if it fires for NONE of the samples that were counted: with few samples a rare latent looks dead.
    It is dense above a tenth of the samples: features of natural data are rarer, and latents above that fraction are
    known to track the position along a few strong directions.

    Source of the bound: log10 density above -1 in the feature density plots of Bricken et al., "Towards
    Monosemanticity" (2023).
    """
    n = counts.n_samples
    if n == 0:
        nan = float("nan")
        return Sparsity(nan, (nan, nan, nan), nan, nan)
    reached = np.cumsum(counts.l0)
    low, middle, high = (float(np.searchsorted(reached, fraction * n)) for fraction in (0.05, 0.5, 0.95))
    return Sparsity(
        float(counts.support.sum() / n),
        (low, middle, high),
        float((counts.support == 0).mean()),
        float((counts.support > dense_above * n).mean()),
    )


def hoyer_sparsity(activations: np.typing.NDArray[np.floating]) -> np.typing.NDArray[np.float64]:
    """Return Hoyer's sparsity of each row: (sqrt(D) - |x|_1 / |x|_2) / (sqrt(D) - 1), shape (N,).

    1 for one number that is not 0, 0 for D numbers of equal size. It needs no threshold, so it also serves smooth
    activations, which are hardly ever 0. NaN for rows that are all 0, and for D = 1.

    Args:
        activations: (N, D), dense.

    Source: Hoyer, "Non-negative matrix factorization with sparseness constraints" (JMLR 2004).
    """
    x = np.abs(activations.astype(np.float64))
    root = np.sqrt(x.shape[1])
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((root - x.sum(axis=1) / np.linalg.norm(x, axis=1)) / (root - 1))


class TopSamples(NamedTuple):
    """The k samples of the largest positive activations of every dimension, the largest first."""

    rows: np.typing.NDArray[np.int64]
    """(M, k), numbers of the samples; -1 where fewer than k activate the dimension."""
    values: Array
    """(M, k), their activations; 0 where there is none."""


def top_samples(codes: Codes, k: int, rows: np.typing.NDArray[np.integer] | None = None) -> TopSamples:
    """Return top_m = the k largest of {a_im > 0 : i}, of equal ones those of the lowest number.

    Args:
        codes: (N, M), dense or CSR.
        rows: (N,) numbers of the samples, if not 0 to N - 1.
    """
    n, width = codes.shape
    numbers = np.arange(n) if rows is None else np.asarray(rows, dtype=np.int64)
    samples, columns, values = _candidates(codes, k)
    order = np.lexsort((numbers[samples], -values, columns))
    samples, columns, values = samples[order], columns[order], values[order]
    starts = np.searchsorted(columns, np.arange(width))
    places = np.arange(len(columns)) - starts[columns]
    top = places < k
    result = TopSamples(np.full((width, k), -1, dtype=np.int64), np.zeros((width, k)))
    result.rows[columns[top], places[top]] = numbers[samples[top]]
    result.values[columns[top], places[top]] = values[top]
    return result


def _candidates(codes: Codes, k: int) -> tuple[np.typing.NDArray[Any], np.typing.NDArray[Any], Array]:
    """Return sample, dimension and activation of every entry that may be among the k largest."""
    n = codes.shape[0]
    if isinstance(codes, np.ndarray):
        likely = codes > 0
        if 0 < k < n:
            likely &= codes >= np.partition(codes, n - k, axis=0)[n - k]
        samples, columns = np.nonzero(likely)
        return samples, columns, codes[samples, columns].astype(np.float64)
    positive = codes.data > 0
    samples = np.repeat(np.arange(n), np.diff(codes.indptr))
    return samples[positive], codes.indices[positive], codes.data[positive].astype(np.float64)


def merge_top_samples(first: TopSamples, second: TopSamples) -> TopSamples:
    """Return the top samples of two disjoint sets of samples together."""
    k = first.rows.shape[1]
    rows = np.concatenate([first.rows, second.rows], axis=1)
    values = np.concatenate([first.values, second.values], axis=1)
    order = np.lexsort((rows, -values), axis=1)[:, :k]
    return TopSamples(np.take_along_axis(rows, order, axis=1), np.take_along_axis(values, order, axis=1))


def activation_histogram(codes: Codes, low: Array, high: Array, n_bins: int) -> np.typing.NDArray[np.int64]:
    """Return H[m, b] = number of samples whose activation a_im is not 0 and lies in bin b of [low_m, high_m].

    Counts of disjoint samples add up. Bins are equally wide and closed on the left, the last one on both sides.

    Args:
        codes: (N, M), dense or CSR.
        low, high: (M,), bounds of all activations but 0.

    Returns: (M, n_bins).
    """
    width = codes.shape[1]
    if isinstance(codes, np.ndarray):
        samples, columns = np.nonzero(codes)
        values = codes[samples, columns].astype(np.float64)
    else:
        columns, values = codes.indices[codes.data != 0], codes.data[codes.data != 0].astype(np.float64)
    span = np.where(high > low, high - low, 1.0)
    bins = np.clip(((values - low[columns]) / span[columns] * n_bins).astype(np.int64), 0, n_bins - 1)
    counts = np.bincount(columns.astype(np.int64) * n_bins + bins, minlength=width * n_bins)
    return counts.reshape(width, n_bins)
