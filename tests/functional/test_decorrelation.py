"""The decorrelation term against its plain form, by hand, by gradient; feature decorrelation against all pairs."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, strategies as st
from torch import Tensor

from monosemy.functional.geometry import (
    activation_l1,
    decorrelation,
    direction_moments,
    feature_decorrelation,
    merge_direction_moments,
    streamed_feature_decorrelation,
)


def plain(z: Tensor, normalize_columns: bool = True) -> Tensor:
    """The definition, by the (d, d) Gram matrix."""
    z = z.double()
    if normalize_columns:
        z = z / torch.where(z.norm(dim=0) > 0, z.norm(dim=0), 1)
    return (z.T @ z - torch.eye(z.shape[1], dtype=z.dtype)).square().sum()


@pytest.mark.parametrize("normalize_columns", [True, False])
@given(n=st.integers(1, 40), d=st.integers(1, 40), seed=st.integers(0, 2**31))
def test_smaller_gram_equals_the_plain_form(normalize_columns: bool, n: int, d: int, seed: int) -> None:
    z = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    z[:, ::7] = 0  # silent features
    torch.testing.assert_close(decorrelation(z, normalize_columns), plain(z, normalize_columns))


def test_by_hand() -> None:
    # Columns (1, 0), (1, 1)/sqrt 2, (0, 3): cosines 1/sqrt 2, 0, 1/sqrt 2; each pair counts twice.
    z = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 3.0]])
    assert decorrelation(z).item() == pytest.approx(2.0, rel=1e-6)
    # Z^T Z - I = [[3, 2, 0], [2, 1, 3], [0, 3, 8]]
    assert decorrelation(z, normalize_columns=False).item() == pytest.approx(100.0)
    assert decorrelation(torch.linalg.qr(torch.randn(9, 4))[0]).item() == pytest.approx(0, abs=1e-9)
    assert decorrelation(torch.ones(5, 6)).item() == pytest.approx(6 * 5)  # all features the same
    assert decorrelation(torch.zeros(5, 6)).item() == 6  # none has a direction


def test_independent_features_reach_d_squared_over_n() -> None:
    z = torch.randn(200, 900, generator=torch.Generator().manual_seed(0))
    assert decorrelation(z).item() == pytest.approx(900 * 899 / 200, rel=0.02)


@pytest.mark.parametrize("normalize_columns", [True, False])
@pytest.mark.parametrize("shape", [(4, 7), (7, 4), (5, 5)])
def test_gradient(normalize_columns: bool, shape: tuple[int, int]) -> None:
    z = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: decorrelation(x, normalize_columns) * 0.3, z)
    (ours,) = torch.autograd.grad(decorrelation(z, normalize_columns), z)
    (slow,) = torch.autograd.grad(plain(z, normalize_columns), z)
    torch.testing.assert_close(ours, slow)


def test_a_silent_feature_has_an_ordinary_gradient() -> None:
    z = torch.randn(6, 4, generator=torch.Generator().manual_seed(2))
    z[:, 1] = 0
    z.requires_grad_()
    decorrelation(z).backward()
    assert z.grad is not None
    assert z.grad.isfinite().all()
    assert z.grad.abs().max() < 100


@pytest.mark.parametrize("shape", [(30, 200), (200, 30)])
def test_bfloat16_is_summed_in_float32(shape: tuple[int, int]) -> None:
    z = torch.randn(shape, generator=torch.Generator().manual_seed(3)).bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = decorrelation(z)
        found.backward()
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, decorrelation(z.float()))
    assert found.item() == pytest.approx(plain(z).item(), rel=1e-5)
    assert z.grad is not None
    exact = z.detach().double().requires_grad_()
    plain(exact).backward()
    assert exact.grad is not None
    # Only the last step, back to the activations' own type, rounds.
    torch.testing.assert_close(z.grad.double(), exact.grad, rtol=1e-2, atol=1e-3 * float(exact.grad.abs().max()))


def test_l1() -> None:
    z = torch.tensor([[1.0, -2.0, 0.0], [3.0, 0.5, -0.5]], requires_grad=True)
    loss = activation_l1(z)
    assert loss.item() == pytest.approx((3 + 4) / 2)
    loss.backward()
    assert z.grad is not None
    assert z.grad.tolist() == [[0.5, -0.5, 0.0], [0.5, 0.5, -0.5]]
    assert activation_l1(z.detach().bfloat16()).dtype == torch.float32


@given(n=st.integers(2, 30), d=st.integers(1, 8), seed=st.integers(0, 2**31))
def test_feature_decorrelation_equals_all_pairs(n: int, d: int, seed: int) -> None:
    x = np.random.default_rng(seed).normal(0.3, 1, (n, d))
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    pairs = [unit[i] @ unit[j] for i in range(n) for j in range(n) if i != j]
    assert feature_decorrelation(x) == pytest.approx(1 - np.mean(pairs), abs=1e-9)
    assert feature_decorrelation(sp.csr_array(x)) == pytest.approx(1 - np.mean(pairs), abs=1e-9)
    cut = n // 2
    halves = merge_direction_moments(direction_moments(x[:cut]), direction_moments(x[cut:]))
    assert streamed_feature_decorrelation(halves) == pytest.approx(1 - np.mean(pairs), abs=1e-9)


def test_feature_decorrelation_by_hand() -> None:
    assert feature_decorrelation(np.array([[1.0, 0], [0, 5]])) == pytest.approx(1)
    assert feature_decorrelation(np.array([[1.0, 2], [2, 4]])) == pytest.approx(0)
    assert feature_decorrelation(np.array([[1.0, 0], [-3, 0]])) == pytest.approx(2)
    assert feature_decorrelation(np.array([[1.0, 0], [0, 0], [0, 5]])) == pytest.approx(1)  # no direction, left out
    assert np.isnan(feature_decorrelation(np.array([[1.0, 0], [0, 0]])))
