"""Scores of a reconstruction, by hand."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from monosemy.functional.autoencoder import (
    aux_k,
    explained_variance,
    merge_reconstruction_moments,
    normalized_mse,
    reconstruction_moments,
    streamed_explained_variance,
    streamed_normalized_mse,
)

Z = torch.tensor([[1.0, 10.0], [3.0, 20.0], [5.0, 60.0]])


def test_the_mean_predictor_explains_nothing() -> None:
    assert explained_variance(Z.mean(dim=0).expand_as(Z), Z) == pytest.approx(0, abs=1e-12)


def test_perfect_reconstruction_explains_everything() -> None:
    assert explained_variance(Z, Z) == 1.0


def test_explained_variance_by_hand() -> None:
    # Around the means (3, 30): 4 + 0 + 4 and 400 + 100 + 900; the error is 2^2 + 10^2.
    reconstruction = Z + torch.tensor([[2.0, 0.0], [0.0, 10.0], [0.0, 0.0]])
    assert explained_variance(reconstruction, Z) == pytest.approx(1 - 104 / 1408)


def test_predicting_zero_is_worse_than_the_mean() -> None:
    assert explained_variance(torch.zeros_like(Z), Z) == pytest.approx(1 - (Z**2).sum().item() / 1408)
    assert explained_variance(torch.zeros_like(Z), Z) < 0


def test_explained_variance_of_constant_data_is_undefined() -> None:
    assert math.isnan(explained_variance(torch.zeros(3, 2), torch.ones(3, 2)))


def test_explained_variance_far_from_zero_keeps_its_digits() -> None:
    z = torch.randn(1000, 4, generator=torch.Generator().manual_seed(0)) + 1000
    assert explained_variance(z.mean(dim=0).expand_as(z), z) == pytest.approx(0, abs=1e-6)


def test_normalized_mse_by_hand() -> None:
    target = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    reconstruction = torch.tensor([[3.0, 3.0], [2.0, 0.0]])
    assert float(normalized_mse(reconstruction, target)) == pytest.approx(5 / 25)
    assert float(normalized_mse(torch.zeros_like(target), target)) == 1


def test_aux_k_by_hand_and_its_gradient() -> None:
    error = torch.tensor([[2.0, 0.0]], requires_grad=True)
    dead = torch.tensor([[1.0, 1.0]], requires_grad=True)
    loss = aux_k(error, dead)
    assert loss.item() == pytest.approx(2 / 4)
    loss.backward()
    assert error.grad is None, "the error is a target, not something to learn"
    assert dead.grad is not None
    assert dead.grad.tolist() == [[-0.5, 0.5]]


def test_aux_k_of_no_error_is_finite() -> None:
    assert torch.isfinite(aux_k(torch.zeros(1, 2), torch.zeros(1, 2)))


@given(seed=st.integers(0, 999), cut=st.integers(0, 40), offset=st.sampled_from([0.0, 1e5]))
def test_moments_of_pieces_give_the_scores_of_the_whole(seed: int, cut: int, offset: float) -> None:
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((40, 3)) + offset
    recon = z + 0.3 * rng.standard_normal((40, 3))
    merged = merge_reconstruction_moments(
        reconstruction_moments(recon[:cut], z[:cut]), reconstruction_moments(recon[cut:], z[cut:])
    )
    target, given_back = torch.from_numpy(z), torch.from_numpy(recon)
    assert streamed_explained_variance(merged) == pytest.approx(explained_variance(given_back, target), rel=1e-9)
    assert streamed_normalized_mse(merged) == pytest.approx(float(normalized_mse(given_back, target)), rel=1e-9)


def test_the_mean_predictor_explains_nothing_in_pieces_either() -> None:
    z = np.random.default_rng(0).standard_normal((100, 4)) * 3 + 1e4
    z[50:] += 7  # each half has a mean of its own
    recon = np.broadcast_to(z.mean(axis=0), z.shape)
    halves = [reconstruction_moments(recon[rows], z[rows]) for rows in (slice(50), slice(50, 100))]
    assert streamed_explained_variance(merge_reconstruction_moments(*halves)) == pytest.approx(0, abs=1e-9)


def test_scores_of_nothing_are_undefined() -> None:
    moments = reconstruction_moments(np.zeros((3, 2)), np.zeros((3, 2)))
    assert math.isnan(streamed_explained_variance(moments))
    assert math.isnan(streamed_normalized_mse(moments))
