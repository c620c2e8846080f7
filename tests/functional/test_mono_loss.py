"""The differentiable MonoScore against the metric."""

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from monosemy.functional.monoscore import batch_mono_score, mono_loss, mono_moments, mono_score


def random_case(seed: int, n: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    activations = rng.random((n, m)) * (rng.random((n, m)) < 0.5)
    return activations, rng.standard_normal((n, 4)) * rng.uniform(0.1, 10, (n, 1)) * (rng.random((n, 1)) < 0.9)


@given(seed=st.integers(0, 999), n=st.integers(2, 10), m=st.integers(1, 5))
def test_the_differentiable_form_equals_the_metric(seed: int, n: int, m: int) -> None:
    activations, embeddings = random_case(seed, n, m)
    score = batch_mono_score(torch.from_numpy(activations), torch.from_numpy(embeddings)).numpy()
    np.testing.assert_allclose(score, mono_score(mono_moments(activations, embeddings)), atol=1e-9)


def test_gradient_of_the_differentiable_form() -> None:
    activations, embeddings = random_case(5, 8, 4)
    activations[:, 3] = 0
    activations[2, 3] = 1.0  # one sample only: no score, no gradient
    a = torch.from_numpy(activations + 0.5 * (activations > 0)).requires_grad_()
    p = torch.from_numpy(embeddings)
    # At a zero the support would change under the finite difference.
    active, rest = (a > 0) & (torch.arange(4) < 3), a.detach().clone()

    def loss(entries: torch.Tensor) -> torch.Tensor:
        return mono_loss(batch_mono_score(torch.where(active, entries, rest), p))

    assert torch.autograd.gradcheck(loss, a)
    (gradient,) = torch.autograd.grad(mono_loss(batch_mono_score(a, p)), a)
    assert bool(gradient.isfinite().all())
    assert float(gradient[:, 3].abs().sum()) == 0
    assert float(gradient[:, :3].abs().sum()) > 0


def test_the_loss_is_one_minus_the_mean_of_what_is_defined() -> None:
    assert float(mono_loss(torch.tensor([0.5, float("nan"), 0.1]))) == pytest.approx(0.7)
    assert float(mono_loss(torch.tensor([float("nan")]))) == 0


def test_one_sample_that_has_all_of_the_activation_to_rounding() -> None:
    activations = torch.tensor([[1.0], [1e-9]])
    assert bool(batch_mono_score(activations, torch.eye(2)).isnan().all())
