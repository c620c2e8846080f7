"""Effective rank, against what it must be and against the singular values themselves."""

import math

import numpy as np
import pytest

from monosemy.functional.rank import effective_rank


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
