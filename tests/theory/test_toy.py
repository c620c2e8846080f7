"""The batched toy models against the slow, obvious one."""

import math

import numpy as np
import pytest
import torch

from monosemy.errors import InputError
from monosemy.theory.plan import ToyConfig
from monosemy.theory.toy import (
    ToyModels,
    _batches as batches,
    _initial_weights as initial_weights,
    draw_features,
    measure_superposition,
    reconstruct,
    train_toy_models,
    variance_explained,
)

SHORT = ToyConfig(steps=40, batch_size=16)


def one_by_one(sparsity, seeds, features, dimensions, importance, config):
    """A model after the other with autograd and torch.optim.Adam, on the same samples."""
    result = []
    for s, seed in zip(sparsity, seeds, strict=True):
        alone = np.array([seed])
        weight = initial_weights(alone, features, dimensions)[0].clone().requires_grad_()
        bias = torch.zeros(features, requires_grad=True)
        optimiser = torch.optim.Adam([weight, bias], lr=config.lr)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda step: 0.5 * (1 + math.cos(math.pi * step / config.steps))
        )
        for x in batches(torch.tensor([s]).float(), alone, features, config):
            recon = torch.relu(x[0] @ weight.T @ weight + bias)
            loss = (torch.from_numpy(importance).float() * (recon - x[0]) ** 2).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        result.append((weight.detach(), bias.detach()))
    return result


def test_models_trained_together_are_those_trained_one_by_one():
    sparsity, seeds = np.array([0.2, 0.9, 0.2, 0.0]), np.array([0, 0, 1, 7])
    importance = 0.9 ** np.arange(8)
    together = train_toy_models(sparsity, seeds, 8, 3, importance, SHORT)
    alone = one_by_one(sparsity, seeds, 8, 3, importance, SHORT)
    for k, (weight, bias) in enumerate(alone):
        torch.testing.assert_close(together.weight[k], weight, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(together.bias[k], bias, rtol=1e-3, atol=1e-4)
    assert not torch.allclose(together.weight[0], together.weight[2], atol=1e-2)


def test_a_model_does_not_depend_on_its_company():
    alone = train_toy_models(np.array([0.5]), np.array([3]), 6, 2, config=SHORT)
    among = train_toy_models(np.array([0.1, 0.5, 0.5]), np.array([3, 3, 4]), 6, 2, config=SHORT)
    torch.testing.assert_close(among.weight[1], alone.weight[0], rtol=1e-4, atol=1e-5)


def test_draws():
    x = draw_features(torch.tensor([0.0, 0.3, 0.9]), 20_000, 4, torch.Generator().manual_seed(0))
    assert x.shape == (3, 20_000, 4)
    for k, s in enumerate((0.0, 0.3, 0.9)):
        assert float((x[k] == 0).float().mean()) == pytest.approx(s, abs=0.01)
        assert float(x[k][x[k] > 0].mean()) == pytest.approx(0.5, abs=0.01)


def test_superposition_of_known_codes():
    identity = torch.eye(2, 4)
    pairs = torch.cat([torch.eye(2), -torch.eye(2)], dim=1)
    angles = torch.arange(4) * 2 * math.pi / 5  # four of a pentagon's corners
    corners = torch.stack([angles.cos(), angles.sin()])
    measured = measure_superposition(torch.stack([identity, pairs, corners]))
    np.testing.assert_allclose(measured.features_per_dimension, [1, 2, 2])
    np.testing.assert_allclose(measured.norm[0], [1, 1, 0, 0])
    np.testing.assert_allclose(measured.dimensionality[0], [1, 1, 0, 0])
    np.testing.assert_allclose(measured.dimensionality[1], 0.5)
    np.testing.assert_allclose(measured.interference[0], [0, 0, np.nan, np.nan])
    np.testing.assert_allclose(measured.interference[1], 1)
    for i in range(4):
        others = [math.cos(float(angles[i] - angles[j])) ** 2 for j in range(4) if j != i]
        assert measured.interference[2, i] == pytest.approx(sum(others), rel=1e-5)


def test_variance_explained_of_the_lossless_and_the_mean_model():
    x = draw_features(torch.tensor([0.5]), 5000, 3, torch.Generator().manual_seed(1))
    models = ToyModels(torch.stack([torch.eye(3), torch.zeros(3, 3)]), torch.stack([torch.zeros(3), x[0].mean(0)]))
    both = x.expand(2, -1, -1)
    np.testing.assert_allclose(variance_explained(models, both), [1, 0], atol=1e-5)
    torch.testing.assert_close(reconstruct(models, both)[0], x[0])


def test_sparse_features_go_into_superposition_and_dense_ones_do_not():
    """The phase change of Elhage et al., in small: antipodal pairs appear with sparsity."""
    config = ToyConfig(steps=800)
    models = train_toy_models(np.repeat([0.0, 0.9], 3), np.tile(np.arange(3), 2), 10, 5, config=config)
    shared = measure_superposition(models.weight).features_per_dimension
    assert (shared[:3] < 1.1).all()
    assert (shared[3:] > 1.8).all()


def test_important_features_are_kept():
    models = train_toy_models(np.array([0.0]), np.array([0]), 8, 4, 0.5 ** np.arange(8), ToyConfig(steps=800))
    norm = measure_superposition(models.weight).norm[0]
    assert norm[:3].min() > 0.8
    assert norm[5:].max() < 0.3


def test_progress_ends_at_the_end():
    seen = []
    train_toy_models(np.array([0.1]), np.array([0]), 3, 1, config=SHORT, on_step=lambda *s: seen.append(s))
    assert seen[-1] == (40, 40)


@pytest.mark.parametrize(
    ("features", "dimensions", "sparsity", "importance", "words"),
    [
        (4, 0, 0.2, None, "dimensions is 0"),
        (4, 5, 0.2, None, "dimensions is 5, more than the 4 features"),
        (4, 2, 1.0, None, "sparsity is 1"),
        (4, 2, 0.2, np.ones(0), r"importance has shape \(0,\)"),
        (4, 2, 0.2, np.array([1, np.nan, 1, 1]), "importance holds nan"),
        (4, 2, 0.2, np.zeros(4), "importance holds 0"),
    ],
)
def test_bad_input(features, dimensions, sparsity, importance, words):
    with pytest.raises(InputError, match=words):
        train_toy_models(np.array([sparsity]), np.array([0]), features, dimensions, importance, SHORT)
