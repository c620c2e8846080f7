"""MonoScore in linear time against the double sum over pairs."""

from functools import reduce

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, strategies as st

from monosemy.functional.monoscore import merge_mono_moments, mono_moments, mono_score, mono_support


def slow_score(activations: np.ndarray, embeddings: np.ndarray) -> np.ndarray:
    """Sum over all pairs of different samples."""
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    scores = []
    for a in activations.T:
        above = below = 0.0
        for i in range(len(a)):
            for j in range(len(a)):
                if i != j:
                    above += a[i] * a[j] * float(unit[i] @ unit[j])
                    below += a[i] * a[j]
        scores.append(above / below if (a > 0).sum() >= 2 else np.nan)
    return np.array(scores)


def random_case(seed: int, n: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    activations = rng.random((n, m)) * (rng.random((n, m)) < 0.5)
    return activations, rng.standard_normal((n, 4)) * rng.uniform(0.1, 10, (n, 1))


@given(seed=st.integers(0, 999), n=st.integers(2, 10), m=st.integers(1, 5))
def test_equals_the_double_sum(seed: int, n: int, m: int) -> None:
    activations, embeddings = random_case(seed, n, m)
    wanted = slow_score(activations, embeddings)
    for form in (activations, sp.csr_array(activations)):
        np.testing.assert_allclose(mono_score(mono_moments(form, embeddings)), wanted, atol=1e-9)


def test_moments_of_shards_add_up() -> None:
    activations, embeddings = random_case(3, 40, 6)
    pieces = [mono_moments(activations[a:b], embeddings[a:b]) for a, b in ((0, 1), (1, 25), (25, 40))]
    merged = reduce(merge_mono_moments, pieces)
    whole = mono_moments(activations, embeddings)
    np.testing.assert_array_equal(mono_support(merged), mono_support(whole))
    np.testing.assert_allclose(mono_score(merged), mono_score(whole), atol=1e-12)


def test_by_hand() -> None:
    # Three unit vectors at right angles or equal; weights 1, 2, 3.
    embeddings = np.array([[1.0, 0.0], [0.0, 5.0], [2.0, 0.0]])
    activations = np.array([[1.0], [2.0], [3.0]])
    # pairs: (1,2) 2*0, (1,3) 3*1, (2,3) 6*0 -> 3 / 11
    assert mono_score(mono_moments(activations, embeddings)).tolist() == pytest.approx([3 / 11])


def test_same_direction_scores_one_and_opposite_minus_one() -> None:
    direction = np.array([[1.0, 2.0]])
    activations = np.array([[1.0], [4.0]])
    assert mono_score(mono_moments(activations, np.repeat(direction, 2, 0)))[0] == pytest.approx(1)
    assert mono_score(mono_moments(activations, np.concatenate([direction, -3 * direction])))[0] == pytest.approx(-1)


def test_undefined_below_two_samples() -> None:
    activations = np.array([[0.0, 1.0, 1.0], [0.0, 0.0, 1.0]])
    score = mono_score(mono_moments(activations, np.eye(2)))
    assert np.isnan(score[:2]).all()
    assert score[2] == 0


def test_accumulates_in_float64() -> None:
    rng = np.random.default_rng(0)
    activations = rng.random((20_000, 1)).astype(np.float32)
    embeddings = rng.standard_normal((20_000, 8)).astype(np.float32) + 3
    exact = mono_score(mono_moments(activations.astype(np.float64), embeddings.astype(np.float64)))
    moments = mono_moments(activations, embeddings)
    assert moments.weighted_sum.dtype == moments.sum.dtype == np.float64
    np.testing.assert_allclose(mono_score(moments), exact, rtol=1e-6)


@given(seed=st.integers(0, 999), n=st.integers(2, 12), density=st.sampled_from([0.3, 0.7, 1.0]))
def test_signed_activations_are_shifted_by_their_minimum(seed: int, n: int, density: float) -> None:
    rng = np.random.default_rng(seed)
    activations = rng.standard_normal((n, 4)).round(1) * (rng.random((n, 4)) < density)
    embeddings = rng.standard_normal((n, 3))
    shifted = activations - np.minimum(activations.min(axis=0), 0)
    wanted = slow_score(shifted, embeddings)
    for form in (activations, sp.csr_array(activations)):
        whole = mono_moments(form, embeddings)
        np.testing.assert_allclose(mono_score(whole), wanted, atol=1e-9)
        np.testing.assert_array_equal(mono_support(whole), (shifted > 0).sum(axis=0))
        cut = int(rng.integers(0, n + 1))
        merged = merge_mono_moments(
            mono_moments(form[:cut], embeddings[:cut]), mono_moments(form[cut:], embeddings[cut:])
        )
        np.testing.assert_array_equal(mono_support(merged), mono_support(whole))
        np.testing.assert_allclose(mono_score(merged), wanted, atol=1e-9)


def test_a_shift_that_leaves_nothing_is_undefined() -> None:
    constant = np.full((4, 1), -3.0)
    assert np.isnan(mono_score(mono_moments(constant, np.eye(4)))).all()
    assert mono_support(mono_moments(constant, np.eye(4))).tolist() == [0]


def test_sparse_embeddings_are_as_good_as_dense_ones() -> None:
    activations, embeddings = random_case(5, 30, 4)
    embeddings = embeddings * (np.random.default_rng(1).random(embeddings.shape) < 0.5)
    wanted = mono_score(mono_moments(activations, embeddings))
    for form in (activations, sp.csr_array(activations)):
        found = mono_moments(form, sp.csr_array(embeddings))
        np.testing.assert_allclose(mono_score(found), wanted, atol=1e-12)


def test_a_sample_without_a_direction_is_left_out() -> None:
    activations, embeddings = random_case(6, 12, 3)
    embeddings[4] = 0
    kept = np.arange(12) != 4
    wanted = slow_score(activations[kept], embeddings[kept])
    for form in (activations, sp.csr_array(activations)):
        np.testing.assert_allclose(mono_score(mono_moments(form, embeddings)), wanted, atol=1e-9)
