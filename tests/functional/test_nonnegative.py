"""Non-negative maps: what they give and what they pass back."""

import math

import pytest
import torch
import torch.nn.functional as F

from monosemy.functional.losses import NON_NEGATIVE, relu, rep_relu


def gradient(function, x: torch.Tensor, weight: torch.Tensor | None = None) -> torch.Tensor:
    x = x.clone().requires_grad_()
    out = function(x)
    (slope,) = torch.autograd.grad(out, x, torch.ones_like(out) if weight is None else weight)
    return slope


POINTS = torch.linspace(-4, 4, 41)


@pytest.mark.parametrize("name", ["relu", "rep_relu"])
def test_forward_is_the_positive_part(name: str) -> None:
    torch.testing.assert_close(NON_NEGATIVE[name](POINTS), torch.maximum(POINTS, torch.zeros(())), rtol=0, atol=0)


def test_relu_has_derivative_one_at_zero() -> None:
    assert gradient(relu, torch.tensor([-1.0, 0.0, 2.0])).tolist() == [0.0, 1.0, 1.0]
    assert gradient(F.relu, torch.tensor([0.0])).tolist() == [0.0], "which torch's own has not"


def test_rep_relu_passes_back_the_gradient_of_gelu() -> None:
    weight = torch.randn(len(POINTS), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(gradient(rep_relu, POINTS, weight), gradient(F.gelu, POINTS, weight))


def test_rep_relu_gradient_by_hand() -> None:
    # Phi(x) + x phi(x)
    wanted = [
        0.5 * (1 + math.erf(x / math.sqrt(2))) + x * math.exp(-x * x / 2) / math.sqrt(2 * math.pi)
        for x in (-1.0, 0.0, 2.0)
    ]
    assert gradient(rep_relu, torch.tensor([-1.0, 0.0, 2.0])).tolist() == pytest.approx(wanted, abs=1e-6)
    assert wanted[0] < 0, "slightly negative units keep a gradient"
