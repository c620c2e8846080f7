"""Effective rank, against what it must be and against the singular values themselves."""

import math

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, strategies as st

from monosemy.functional.geometry import (
    covariance_moments,
    effective_rank,
    merge_covariance_moments,
    streamed_effective_rank,
)


def test_equally_strong_directions_count_fully_and_one_direction_once() -> None:
    corners = np.concatenate([np.eye(6), -np.eye(6)])  # mean 0, six equal singular values
    assert effective_rank(corners) == pytest.approx(6)
    line = np.outer(np.arange(20.0), np.ones(30)) + 1e3
    assert effective_rank(line) == pytest.approx(1, abs=1e-3)
    assert math.isnan(effective_rank(np.full((5, 3), 7.0)))


@pytest.mark.parametrize("shape", [(50, 8), (8, 50)])
def test_it_is_the_entropy_of_the_singular_values(shape: tuple[int, int]) -> None:
    x = np.random.default_rng(0).standard_normal(shape) * np.geomspace(1, 0.01, shape[1]) + 5
    s = np.linalg.svd(x - x.mean(0), compute_uv=False)
    p = s[s > 1e-10] / s.sum()
    assert effective_rank(x) == pytest.approx(math.exp(-(p * np.log(p)).sum()), rel=1e-6)


@pytest.mark.parametrize("shape", [(50, 8), (8, 50)])
def test_sparse_rows_spread_as_dense_ones(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    x = rng.random(shape) * (rng.random(shape) < 0.2)
    assert effective_rank(sp.csr_array(x)) == pytest.approx(effective_rank(x), rel=1e-9)


@given(seed=st.integers(0, 999), cut=st.integers(0, 30), offset=st.sampled_from([0.0, 1e6]))
def test_covariances_of_pieces_merge(seed: int, cut: int, offset: float) -> None:
    x = np.random.default_rng(seed).standard_normal((30, 4)) * [1, 1, 0.1, 3] + offset
    merged = merge_covariance_moments(covariance_moments(x[:cut]), covariance_moments(x[cut:]))
    assert merged.n_samples == 30
    np.testing.assert_allclose(merged.mean, x.mean(axis=0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(merged.scatter, 29 * np.cov(x.T), rtol=1e-6, atol=1e-6)
    assert streamed_effective_rank(merged) == pytest.approx(effective_rank(x), rel=1e-6)
