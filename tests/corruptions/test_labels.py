"""Label noise: exact counts, never the true class, and no rate that leaves nothing to learn from."""

import numpy as np
import pytest
from hypothesis import assume, given, strategies as st

from monosemy.corruptions.labels import (
    check_symmetric_rate,
    check_transition_matrix,
    few_labels,
    informative_limit,
    matrix_noise,
    pair_noise,
    symmetric_noise,
)
from monosemy.errors import InputError


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def some_labels(n: int, n_classes: int, seed: int = 0) -> np.ndarray:
    return rng(seed).integers(0, n_classes, n)


cases = {"n": st.integers(0, 60), "n_classes": st.integers(2, 12), "seed": st.integers(0, 99)}


@given(rate=st.floats(0, 1), **cases)
def test_symmetric_noise_changes_the_exact_count_to_other_classes(
    n: int, n_classes: int, seed: int, rate: float
) -> None:
    assume(rate < informative_limit(n_classes) - 1e-6)
    labels = some_labels(n, n_classes, seed)
    before = labels.copy()
    noisy = symmetric_noise(labels, rate, n_classes, rng(seed))
    assert (noisy != labels).sum() == round(rate * n), "a replaced label is never the true one"
    assert noisy.dtype == labels.dtype
    assert n == 0 or (noisy.min() >= 0 and noisy.max() < n_classes)
    np.testing.assert_array_equal(labels, before)


def test_symmetric_noise_is_uniform_over_the_other_classes() -> None:
    labels = np.full(40_000, 2)
    noisy = symmetric_noise(labels, 0.5, 5, rng())
    counts = np.bincount(noisy, minlength=5)
    assert counts[2] == 20_000
    # 5000 expected each, standard deviation 61.
    assert np.abs(counts[[0, 1, 3, 4]] - 5000).max() < 300


def test_symmetric_noise_chooses_rows_at_random() -> None:
    labels = np.zeros(10_000, dtype=np.int64)
    changed = np.flatnonzero(symmetric_noise(labels, 0.3, 10, rng()))
    assert 4500 < changed.mean() < 5500
    assert not np.array_equal(changed, np.flatnonzero(symmetric_noise(labels, 0.3, 10, rng(1))))


@given(rate=st.floats(0, 0.499), **cases)
def test_pair_noise_changes_the_exact_count_to_the_next_class(n: int, n_classes: int, seed: int, rate: float) -> None:
    labels = some_labels(n, n_classes, seed)
    before = labels.copy()
    noisy = pair_noise(labels, rate, n_classes, rng(seed))
    changed = noisy != labels
    assert changed.sum() == round(rate * n)
    np.testing.assert_array_equal(noisy[changed], (labels[changed] + 1) % n_classes)
    np.testing.assert_array_equal(labels, before)


def random_matrix(n_classes: int, seed: int) -> np.ndarray:
    """Rows are distributions that are largest on the diagonal."""
    off = rng(seed).dirichlet(np.ones(n_classes), n_classes)
    return 0.49 * off + 0.51 * np.eye(n_classes)


@given(**cases)
def test_matrix_noise_counts_are_the_rounded_expectation(n: int, n_classes: int, seed: int) -> None:
    labels, matrix = some_labels(n, n_classes, seed), random_matrix(n_classes, seed)
    before = labels.copy()
    noisy = matrix_noise(labels, matrix, rng(seed))
    np.testing.assert_array_equal(labels, before)
    for c in range(n_classes):
        counts = np.bincount(noisy[labels == c], minlength=n_classes)
        wanted = (labels == c).sum() * matrix[c]
        assert counts.sum() == (labels == c).sum()
        assert np.abs(counts - wanted).max() < 1, "within one of the expectation"


def test_matrix_noise_gives_what_is_left_to_the_largest_remainders() -> None:
    matrix = np.array([[0.62, 0.15, 0.23], [0.0, 1.0, 0.0], [0.25, 0.25, 0.5]])
    labels = np.array([0] * 10 + [1] * 4 + [2] * 7)
    noisy = matrix_noise(labels, matrix, rng())
    # Class 0: 6.2, 1.5, 2.3 -> 6, 2, 2. Class 2: 1.75, 1.75, 3.5 -> 2, 2, 3.
    assert np.bincount(noisy[:10], minlength=3).tolist() == [6, 2, 2]
    assert np.bincount(noisy[10:14], minlength=3).tolist() == [0, 4, 0]
    assert np.bincount(noisy[14:], minlength=3).tolist() == [2, 2, 3]


def test_matrix_noise_is_not_fooled_by_rounding() -> None:
    # 0.7 * 10 is 7.000000000000001 or 6.999999999999999 in binary; the counts are 7, 2 and 1.
    matrix = np.array([[0.7, 0.2, 0.1], [0.1, 0.7, 0.2], [0.2, 0.1, 0.7]])
    for repeats in (10, 100, 1000):
        noisy = matrix_noise(np.zeros(repeats, dtype=np.int64), matrix, rng())
        assert np.bincount(noisy).tolist() == [7 * repeats // 10, 2 * repeats // 10, repeats // 10]


def test_matrix_noise_chooses_rows_at_random() -> None:
    matrix = np.array([[0.6, 0.4], [0.0, 1.0]])
    changed = np.flatnonzero(matrix_noise(np.zeros(10_000, dtype=np.int64), matrix, rng()))
    assert 4500 < changed.mean() < 5500


def test_identity_matrix_and_rate_zero_change_nothing() -> None:
    labels = some_labels(50, 5)
    for noisy in (
        symmetric_noise(labels, 0, 5, rng()),
        pair_noise(labels, 0, 5, rng()),
        matrix_noise(labels, np.eye(5), rng()),
    ):
        np.testing.assert_array_equal(noisy, labels)
        assert noisy is not labels


@pytest.mark.parametrize(("n_classes", "limit"), [(2, 0.5), (10, 0.9), (100, 0.99)])
def test_the_informative_limit_is_where_all_classes_are_equally_frequent(n_classes: int, limit: float) -> None:
    assert informative_limit(n_classes) == pytest.approx(limit)
    assert (1 - limit) == pytest.approx(limit / (n_classes - 1))
    check_symmetric_rate(limit - 0.01, n_classes)
    for rate in (limit, 1.0):
        with pytest.raises(InputError, match=f"{rate:g}.*{limit:g}.*{n_classes} classes") as caught:
            symmetric_noise(np.zeros(5, dtype=np.int64), rate, n_classes, rng())
        assert str(caught.value).endswith("choose a lower rate.")


@pytest.mark.parametrize("rate", [-0.1, 1.5, float("nan")])
def test_rates_outside_the_unit_interval_are_refused(rate: float) -> None:
    for noise in (symmetric_noise, pair_noise):
        with pytest.raises(InputError, match=rf"label_noise={rate:g} is outside \[0, 1\]"):
            noise(np.zeros(5, dtype=np.int64), rate, 3, rng())


def test_pair_noise_of_one_half_is_refused() -> None:
    with pytest.raises(InputError, match=r"label_noise=0\.5 of the kind pair is not below 0\.5"):
        pair_noise(np.zeros(5, dtype=np.int64), 0.5, 3, rng())


@pytest.mark.parametrize(
    ("matrix", "complaint"),
    [
        (np.eye(3), r"shape \(3, 3\); 2 classes need \(2, 2\)"),
        (np.array([[0.9, 0.2], [0.0, 1.0]]), "a row that is not a distribution"),
        (np.array([[1.1, -0.1], [0.0, 1.0]]), "a row that is not a distribution"),
        (np.array([[np.nan, 0.0], [0.0, 1.0]]), "a row that is not a distribution"),
        (np.array([[0.9, 0.1], [0.5, 0.5]]), "Row 1 .* makes a wrong class at least as likely"),
        (np.array([[0.4, 0.6], [0.0, 1.0]]), "Row 0 .* makes a wrong class at least as likely"),
    ],
)
def test_bad_matrices_are_refused(matrix: np.ndarray, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        check_transition_matrix(matrix, 2)


@given(small=st.floats(0.01, 1), large=st.floats(0.01, 1), **cases)
def test_few_labels_are_nested_and_stratified(n: int, n_classes: int, seed: int, small: float, large: float) -> None:
    assume(small <= large)
    labels = some_labels(n, n_classes, seed)
    few, more = few_labels(labels, small, rng(seed)), few_labels(labels, large, rng(seed))
    assert not (few & ~more).any(), "more labels only add"
    for c in np.unique(labels):
        size = int((labels == c).sum())
        assert few[labels == c].sum() == max(1, round(small * size))
        assert more[labels == c].sum() == max(1, round(large * size))


def test_few_labels_are_random_rows() -> None:
    labels = np.zeros(10_000, dtype=np.int64)
    kept = np.flatnonzero(few_labels(labels, 0.1, rng()))
    assert len(kept) == 1000
    assert 4500 < kept.mean() < 5500


@pytest.mark.parametrize("fraction", [0.0, -1.0, 1.01, float("nan")])
def test_bad_fractions_are_refused(fraction: float) -> None:
    with pytest.raises(InputError, match=rf"fraction of labels {fraction:g} is outside \(0, 1\]"):
        few_labels(np.zeros(5, dtype=np.int64), fraction, rng())
