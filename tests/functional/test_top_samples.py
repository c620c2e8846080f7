"""Top samples and histograms against the slow, obvious way."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as hnp

from monosemy.functional.activity import TopSamples, activation_histogram, merge_top_samples, top_samples

# Few distinct values, so that equal activations are common.
MATRICES = hnp.arrays(
    np.float32,
    st.tuples(st.integers(0, 25), st.integers(1, 5)),
    elements=st.sampled_from([-1.0, 0.0, 0.0, 0.5, 1.0, 2.0]),
)


def sorted_samples(codes: np.ndarray, k: int) -> TopSamples:
    """One dimension after the other, all samples sorted."""
    rows, values = np.full((codes.shape[1], k), -1), np.zeros((codes.shape[1], k))
    for m, column in enumerate(codes.T):
        best = sorted((i for i in range(len(column)) if column[i] > 0), key=lambda i: (-column[i], i))[:k]
        rows[m, : len(best)], values[m, : len(best)] = best, column[best]
    return TopSamples(rows, values)


def assert_same(found: TopSamples, expected: TopSamples) -> None:
    np.testing.assert_array_equal(found.rows, expected.rows)
    np.testing.assert_array_equal(found.values, expected.values)


@given(MATRICES, st.integers(1, 30))
def test_dense_and_sparse_equal_the_sort(codes: np.ndarray, k: int) -> None:
    expected = sorted_samples(codes, k)
    assert_same(top_samples(codes, k), expected)
    assert_same(top_samples(sp.csr_array(codes), k), expected)


@given(MATRICES, st.integers(1, 6), st.integers(0, 25), st.booleans())
def test_pieces_merged_equal_the_whole(codes: np.ndarray, k: int, cut: int, turned: bool) -> None:
    numbers = np.arange(len(codes))
    pieces = [top_samples(codes[part], k, numbers[part]) for part in (slice(0, cut), slice(cut, None))]
    assert_same(merge_top_samples(*(pieces[::-1] if turned else pieces)), sorted_samples(codes, k))


@given(MATRICES, st.integers(1, 7))
def test_histogram_equals_numpys(codes: np.ndarray, n_bins: int) -> None:
    low, high = codes.min(axis=0, initial=0).astype(np.float64), codes.max(axis=0, initial=0).astype(np.float64)
    found = activation_histogram(codes, low, high, n_bins)
    np.testing.assert_array_equal(found, activation_histogram(sp.csr_array(codes), low, high, n_bins))
    for m, column in enumerate(codes.T):
        bounds = (low[m], high[m] if high[m] > low[m] else low[m] + 1)
        np.testing.assert_array_equal(found[m], np.histogram(column[column != 0], n_bins, bounds)[0])


def test_a_dimension_that_never_fires_has_no_samples() -> None:
    found = top_samples(np.array([[0.0, -1.0], [0.0, -2.0]]), 3)
    assert (found.rows == -1).all()
    assert (found.values == 0).all()


@pytest.mark.parametrize("k", [1, 4])
def test_own_numbers_of_samples(k: int) -> None:
    codes = np.array([[1.0], [3.0], [2.0]])
    assert top_samples(codes, k, np.array([70, 80, 90])).rows[0, 0] == 80
