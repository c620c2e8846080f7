"""Semantic consistency against the loop over dimensions, and its chance level against exact enumeration."""

import math
from itertools import product

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, strategies as st

from monosemy.functional.consistency import activation_counts, expected_largest_fraction, semantic_consistency


def slow_scores(codes: np.ndarray, labels: np.ndarray, eps: float = 1e-5) -> tuple[list[float], list[int]]:
    """The definition, one dimension at a time."""
    scores, supports = [], []
    for m in range(codes.shape[1]):
        fired = []
        for row, label in zip(codes, labels, strict=True):
            length = math.sqrt(sum(float(x) ** 2 for x in row))
            if length > 0 and abs(float(row[m])) / length > eps:
                fired.append(int(label))
        supports.append(len(fired))
        scores.append(max(fired.count(c) for c in fired) / len(fired) if fired else float("nan"))
    return scores, supports


def random_codes(seed: int, n: int, m: int, density: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    codes = rng.standard_normal((n, m)) * (rng.random((n, m)) < density)
    return codes.astype(np.float32), rng.integers(0, 4, n)


@given(seed=st.integers(0, 999), n=st.integers(1, 20), m=st.integers(1, 6), density=st.sampled_from([0, 0.2, 0.8, 1]))
def test_scores_equal_the_loop(seed: int, n: int, m: int, density: float) -> None:
    codes, labels = random_codes(seed, n, m, density)
    scores, supports = slow_scores(codes, labels)
    for form in (codes, sp.csr_array(codes)):
        result = semantic_consistency(activation_counts(form, labels, 4))
        np.testing.assert_allclose(result.score, scores)
        assert result.support.tolist() == supports


def test_a_code_below_the_threshold_of_its_row_does_not_count() -> None:
    # The second entry is 1e-6 of its row's length in row 0 and all of it in row 1.
    codes = np.array([[100.0, 1e-4], [0.0, 1e-4]], dtype=np.float32)
    for form in (codes, sp.csr_array(codes)):
        assert activation_counts(form, np.array([0, 1]), 2).tolist() == [[1, 0], [0, 1]]
        assert activation_counts(form, np.array([0, 1]), 2, eps=1e-7).tolist() == [[1, 1], [0, 1]]


def test_negative_activations_count_by_their_size() -> None:
    codes = np.array([[-1.0, 0.0], [1.0, 0.0], [-1.0, 0.5]], dtype=np.float32)
    for form in (codes, sp.csr_array(codes)):
        assert activation_counts(form, np.array([0, 1, 1]), 2).tolist() == [[1, 0], [2, 1]]


def test_counts_of_shards_add_up() -> None:
    codes, labels = random_codes(1, 50, 5, 0.5)
    parts = [activation_counts(codes[a:b], labels[a:b], 4) for a, b in ((0, 7), (7, 30), (30, 50))]
    np.testing.assert_array_equal(sum(parts), activation_counts(codes, labels, 4))


def test_means_are_taken_over_dimensions_with_enough_support() -> None:
    counts = np.array([[4, 1, 0, 6], [0, 1, 0, 2]])
    result = semantic_consistency(counts)
    assert result.score[[0, 1, 3]].tolist() == [1.0, 0.5, 0.75]
    assert np.isnan(result.score[2])
    assert np.isnan(result.chance[2])
    assert result.mean() == pytest.approx((1 + 0.5 + 0.75) / 3)
    assert result.mean(3) == pytest.approx((1 + 0.75) / 2)
    assert result.mean(0) == result.mean(1), "a dimension that never fires has no score"
    assert math.isnan(result.mean(9))
    assert result.mean_chance(8) == pytest.approx(expected_largest_fraction(8, np.array([0.5, 0.5])))


def enumerated(support: int, shares: list[float]) -> float:
    """E[max count] / support over all sequences of draws."""
    return sum(
        math.prod(shares[c] for c in draws) * max(draws.count(c) for c in draws) / support
        for draws in product(range(len(shares)), repeat=support)
    )


@pytest.mark.parametrize("shares", [[1.0], [0.5, 0.5], [0.9, 0.1], [1 / 3] * 3, [0.6, 0.3, 0.1], [0.7, 0.1, 0.1, 0.1]])
@pytest.mark.parametrize("support", [1, 2, 3, 4, 5, 6])
def test_chance_equals_enumeration_for_few_draws(shares: list[float], support: int) -> None:
    assert expected_largest_fraction(support, np.array(shares)) == pytest.approx(enumerated(support, shares), abs=1e-9)


def test_a_single_draw_is_always_pure() -> None:
    assert expected_largest_fraction(1, np.full(100, 0.01)) == pytest.approx(1)


def test_a_class_that_does_not_occur_changes_nothing() -> None:
    with_it = expected_largest_fraction(12, np.array([0.5, 0.3, 0.2, 0.0]))
    assert with_it == pytest.approx(expected_largest_fraction(12, np.array([0.5, 0.3, 0.2])))


UNEQUAL = np.array([0.3, 0.2, 0.1, *[0.04] * 10])


@pytest.mark.parametrize(
    ("support", "shares"),
    [
        (10, np.full(100, 0.01)),
        (30, UNEQUAL),
        (64, np.full(2, 0.5)),
        (65, np.full(2, 0.5)),
        (65, np.full(3, 1 / 3)),
        (65, np.full(10, 0.1)),
        (70, UNEQUAL),
        (300, np.full(100, 0.01)),
        (1000, np.array([0.9, 0.1])),
        (1000, np.full(5, 0.2)),
    ],
)
def test_chance_equals_simulation(support: int, shares: np.ndarray) -> None:
    draws = np.random.default_rng(support).multinomial(support, shares, size=20_000)
    simulated = (draws.max(axis=1) / support).mean()  # its standard error is below 0.001
    tolerance = 0.003 if support <= 64 else 0.02
    assert expected_largest_fraction(support, shares) == pytest.approx(simulated, abs=tolerance)


@given(support=st.integers(1, 200), n_classes=st.integers(1, 30))
def test_chance_lies_between_the_equal_share_and_one(support: int, n_classes: int) -> None:
    chance = expected_largest_fraction(support, np.full(n_classes, 1 / n_classes))
    assert math.ceil(support / n_classes) / support - 1e-9 <= chance <= 1 + 1e-9


def test_chance_of_many_dimensions_is_the_one_of_each() -> None:
    counts = np.array([[3, 40, 200, 0, 3], [1, 20, 113, 0, 1]])
    shares = np.array([0.7, 0.3])
    chance = semantic_consistency(counts, shares).chance
    assert chance[0] == chance[4]
    for m, support in ((0, 4), (1, 60), (2, 313)):
        assert chance[m] == pytest.approx(expected_largest_fraction(support, shares), abs=0.005)


def test_the_scores_of_shuffled_labels_are_at_chance() -> None:
    rng = np.random.default_rng(0)
    codes = rng.random((2000, 300)) * (rng.random((2000, 300)) < rng.uniform(0.005, 0.1, 300))
    labels = rng.permutation(np.arange(2000) % 20)
    result = semantic_consistency(activation_counts(codes, labels, 20))
    assert result.mean(5) == pytest.approx(result.mean_chance(5), abs=0.01)
