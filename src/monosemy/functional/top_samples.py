"""The samples that activate a dimension most, and the histogram of its activations."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from monosemy.functional.consistency import Array, Codes


class TopSamples(NamedTuple):
    """The k samples of the largest positive activations of every dimension, the largest first."""

    rows: NDArray[np.int64]
    """(M, k), numbers of the samples; -1 where fewer than k activate the dimension."""
    values: Array
    """(M, k), their activations; 0 where there is none."""


def top_samples(codes: Codes, k: int, rows: NDArray[np.integer] | None = None) -> TopSamples:
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


def _candidates(codes: Codes, k: int) -> tuple[NDArray[Any], NDArray[Any], Array]:
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


def activation_histogram(codes: Codes, low: Array, high: Array, n_bins: int) -> NDArray[np.int64]:
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
