"""NT-Xent against its definition written as loops."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from monosemy.functional import nt_xent


def slow_nt_xent(first: torch.Tensor, second: torch.Tensor, temperature: float) -> float:
    z = [row / row.norm() for row in [*first, *second]]
    n = len(first)
    total = 0.0
    for i in range(2 * n):
        pair = i + n if i < n else i - n
        others = [float(z[i] @ z[j]) / temperature for j in range(2 * n) if j != i]
        total += -float(z[i] @ z[pair]) / temperature + math.log(sum(math.exp(s) for s in others))
    return total / (2 * n)


@given(n=st.integers(1, 6), seed=st.integers(0, 99), temperature=st.sampled_from([0.1, 0.5, 2.0]))
def test_equals_the_loop(n: int, seed: int, temperature: float) -> None:
    rng = torch.Generator().manual_seed(seed)
    first, second = torch.randn(2, n, 5, generator=rng, dtype=torch.float64)
    assert float(nt_xent(first, second, temperature)) == pytest.approx(slow_nt_xent(first, second, temperature))


@pytest.mark.parametrize("n", [1, 2, 8])
def test_equal_features_tell_nothing_apart(n: int) -> None:
    same = torch.tensor([[1.0, 2.0, 3.0]]).repeat(n, 1)
    assert float(nt_xent(same, 7 * same, 0.2)) == pytest.approx(math.log(2 * n - 1), abs=1e-5)


def test_orthogonal_pairs_by_hand() -> None:
    # Each row: similarity 1 with its pair, 0 with the other 2B - 2.
    n, temperature = 4, 0.5
    wanted = math.log(math.exp(1 / temperature) + 2 * n - 2) - 1 / temperature
    assert float(nt_xent(torch.eye(n), torch.eye(n), temperature)) == pytest.approx(wanted, abs=1e-6)


def test_gradient_reaches_both_views() -> None:
    first, second = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0)).requires_grad_().unbind()
    slopes = torch.autograd.grad(nt_xent(first, second, 0.3), (first, second))
    assert all(torch.isfinite(slope).all() and slope.abs().sum() > 0 for slope in slopes)
