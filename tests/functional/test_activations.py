"""JumpReLU and Gated: values by hand, gradients by their definitions."""

import pytest
import torch

from monosemy.functional.autoencoder import gated, jump_relu, step_count

PRE = torch.tensor([[0.9, 1.04, 3.0], [1.3, -1.0, 0.2]], dtype=torch.float64)
THRESHOLD = torch.tensor([1.0, 1.0, 0.25], dtype=torch.float64)
UP = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], dtype=torch.float64)


def leaves(*tensors: torch.Tensor) -> list[torch.Tensor]:
    return [tensor.clone().requires_grad_() for tensor in tensors]


def test_jump_relu_keeps_what_is_above_its_threshold_unchanged() -> None:
    assert jump_relu(PRE, THRESHOLD, 0.1).tolist() == [[0.0, 1.04, 3.0], [1.3, 0.0, 0.0]]


def test_gradients_of_jump_relu() -> None:
    pre, threshold = leaves(PRE, THRESHOLD)
    (jump_relu(pre, threshold, 0.25) * UP).sum().backward()
    assert pre.grad is not None
    assert threshold.grad is not None
    assert pre.grad.tolist() == [[0.0, 2.0, 3.0], [4.0, 0.0, 0.0]]
    # Within 0.125 of the threshold: 0.9 (above by -0.1), 1.04, and 0.2; -(t / e) times what comes back there.
    torch.testing.assert_close(threshold.grad, -torch.tensor([1.0 * 1, 1.0 * 2, 0.25 * 6], dtype=torch.float64) / 0.25)


def test_gradients_of_the_count() -> None:
    pre, threshold = leaves(PRE, THRESHOLD)
    count = step_count(pre, threshold, 0.25)
    assert count.item() == 3
    (2 * count).backward()
    assert pre.grad is None
    assert threshold.grad is not None
    torch.testing.assert_close(threshold.grad, torch.tensor([-8.0, -8.0, -8.0], dtype=torch.float64))


def test_the_straight_through_gradient_is_that_of_the_expected_count() -> None:
    # E over a: d/dt P(a > t) = -density(t); for a standard normal known in closed form.
    pre = torch.randn(400_000, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    (threshold,) = leaves(torch.tensor([0.7], dtype=torch.float64))
    (step_count(pre, threshold, 0.1) / len(pre)).backward()
    assert threshold.grad is not None
    density = float(torch.distributions.Normal(0.0, 1.0).log_prob(torch.tensor(0.7)).exp())
    assert float(threshold.grad) == pytest.approx(-density, rel=0.03)


def test_gated_by_hand() -> None:
    pre = torch.tensor([[1.0, -1.0, 2.0, 1.0]])
    bias = torch.tensor([0.5, 0.0, 0.0, 0.0])
    scale = torch.tensor([2.0, 1.0, 1.0, 1.0]).log()
    magnitude_bias = torch.tensor([0.25, 9.0, -1.0, -3.0])
    code = gated(pre, bias, scale, magnitude_bias)
    # 2 (1 - 0.5) + 0.25; gate closed; 2 - 1; open, but its magnitude is negative.
    torch.testing.assert_close(code, torch.tensor([[1.25, 0.0, 1.0, 0.0]]))


def test_gradients_of_gated_where_the_gate_is_open() -> None:
    rng = torch.Generator().manual_seed(0)
    arguments = [torch.randn(*shape, generator=rng, dtype=torch.float64) for shape in ((5, 4), (4,), (4,), (4,))]
    assert torch.autograd.gradcheck(gated, leaves(*arguments))
