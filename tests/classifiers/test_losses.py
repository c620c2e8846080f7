"""Losses on noisy labels: values by hand, gradients by autograd, and their limits."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from monosemy.classifiers import losses
from monosemy.classifiers.losses import Loss

RNG = np.random.default_rng(0)
N, C = 7, 5
LOGITS = torch.from_numpy(RNG.normal(size=(N, C)) * 2)
LABELS = torch.from_numpy(RNG.integers(0, C, N))
TARGETS = torch.softmax(torch.from_numpy(RNG.normal(size=(N, C))), dim=1)


def gradient(loss: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    (result,) = torch.autograd.grad(loss.sum(), logits)
    return result


def parts() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return logits that require a gradient, p, p_y and the gradient of cross-entropy."""
    logits = LOGITS.clone().requires_grad_()
    p = torch.softmax(LOGITS, dim=1)
    p_y = p.gather(1, LABELS[:, None]).squeeze(1)
    return logits, p, p_y, p - torch.nn.functional.one_hot(LABELS, C)


def test_values_of_two_classes_by_hand() -> None:
    # p = (3/4, 1/4) and the label is the second class.
    logits, label = torch.tensor([[math.log(3.0), 0.0]], dtype=torch.float64), torch.tensor([1])
    assert losses.cross_entropy(logits, label).item() == pytest.approx(math.log(4))
    assert losses.generalized_cross_entropy(logits, label, 0.5).item() == pytest.approx((1 - 0.5) / 0.5)
    assert losses.generalized_cross_entropy(logits, label, 1.0).item() == pytest.approx(0.75)
    assert losses.symmetric_cross_entropy(logits, label).item() == pytest.approx(0.1 * math.log(4) + 4 * 0.75)
    smoothed = 0.9 * math.log(4) + 0.1 * (math.log(4) + math.log(4 / 3)) / 2
    assert losses.label_smoothing(logits, label, 0.1).item() == pytest.approx(smoothed)
    # 20 % of the first class are given the second: 3/4 * 0.2 + 1/4 * 0.8 = 0.35.
    transition = losses.symmetric_transition(0.2, 2).double()
    assert losses.forward_correction(logits, label, transition).item() == pytest.approx(-math.log(0.35))
    targets = torch.tensor([[0.5, 0.5]], dtype=torch.float64)
    elr = losses.early_learning_regularization(logits, label, targets, 3.0).item()
    assert elr == pytest.approx(math.log(4) + 3 * math.log(0.5))


def test_gradient_weights_are_those_of_autograd() -> None:
    logits, _, p_y, ce = parts()
    for q in (0.2, 0.7, 1.0):
        found = losses.gce_weight(p_y, q)[:, None] * ce
        assert torch.allclose(gradient(losses.generalized_cross_entropy(logits, LABELS, q), logits), found)
    found = losses.sce_weight(p_y)[:, None] * ce
    assert torch.allclose(gradient(losses.symmetric_cross_entropy(logits, LABELS), logits), found)
    for rate in (0.0, 0.3, 0.7):
        transition = losses.symmetric_transition(rate, C).double()
        found = losses.symmetric_forward_weight(p_y, rate, C)[:, None] * ce
        assert torch.allclose(gradient(losses.forward_correction(logits, LABELS, transition), logits), found)


def test_gradients_by_class_are_those_of_autograd() -> None:
    logits, p, _, ce = parts()
    transition = torch.softmax(torch.from_numpy(RNG.normal(size=(C, C))), dim=1)
    found = losses.forward_gradient(p, transition.T[LABELS])
    assert torch.allclose(gradient(losses.forward_correction(logits, LABELS, transition), logits), found)
    found = ce + losses.elr_gradient(p, TARGETS, 3.0)
    assert torch.allclose(gradient(losses.early_learning_regularization(logits, LABELS, TARGETS, 3.0), logits), found)


@given(st.floats(1e-6, 1e-3))
def test_gce_tends_to_cross_entropy(q: float) -> None:
    gce, ce = losses.generalized_cross_entropy(LOGITS, LABELS, q), losses.cross_entropy(LOGITS, LABELS)
    # The next term of the series is q (log p_y)^2 / 2.
    assert torch.allclose(gce, ce, atol=float(q * ce.square().max()))


def test_forward_correction_without_noise_is_cross_entropy() -> None:
    forward = losses.forward_correction(LOGITS, LABELS, torch.eye(C, dtype=torch.float64))
    assert torch.allclose(forward, losses.cross_entropy(LOGITS, LABELS))
    assert torch.equal(losses.symmetric_forward_weight(torch.tensor([0.0, 0.5]), 0.0, C), torch.ones(2))


def test_a_parameter_out_of_range_is_refused() -> None:
    for name, parameter in (("gce", 0.0), ("gce", 1.1), ("forward", -0.1), ("label-smoothing", 2.0), ("ce", 1.0)):
        with pytest.raises(ValueError, match="choose one in"):
            Loss(name, parameter)
