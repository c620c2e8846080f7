"""Simulation with C classes."""

import numpy as np
import pytest

from monosemy.errors import InputError
from monosemy.results.statistics import mean_interval
from monosemy.theory.simulation import SCORES, first_lead, simulate_classes, spike_and_uniform
from monosemy.theory.two_features import MONO, POLY, overtaking, score_separability, two_feature_moments


def test_features_are_zero_with_probability_s_and_else_uniform():
    x = spike_and_uniform((200_000,), 0.3, np.random.default_rng(0))
    active = x[x > 0]
    assert (x == 0).mean() == pytest.approx(0.3, abs=0.006)
    assert np.histogram(active, bins=5, range=(0, 1))[0] / len(active) == pytest.approx(np.full(5, 0.2), abs=0.008)


def test_two_classes_are_the_closed_form():
    eta = np.array([0.0, 0.2, 0.4])
    simulation = simulate_classes(2, 0.5, eta, seeds=range(6), samples=100_000)
    for k, weights in enumerate((MONO, POLY, POLY)):
        exact = score_separability(two_feature_moments(0.5, weights), eta)
        np.testing.assert_allclose(simulation.separability[:, k].mean(axis=0), exact, rtol=0.01)
    exact = overtaking(two_feature_moments(0.5, MONO), two_feature_moments(0.5, POLY)).threshold
    mean, low, high = mean_interval(simulation.threshold[:, 0])
    assert mean == pytest.approx(exact, abs=0.01)
    assert high - low < 0.03


def test_mixed_moments_are_those_of_really_replaced_labels():
    n_classes, s, eta, n = 4, 0.3, 0.5, 400_000
    rng = np.random.default_rng(3)
    x = spike_and_uniform((n, n_classes), s, rng)
    x = x[x.any(axis=1)]
    labels = x.argmax(axis=1)
    flipped = rng.random(len(x)) < eta
    labels = np.where(flipped, (labels + rng.integers(1, n_classes, len(x))) % n_classes, labels)
    simulation = simulate_classes(n_classes, s, np.array([eta]), seeds=range(3), samples=n)
    rest = (x.sum(axis=1) - x[:, 0]) / (n_classes - 1)
    for k, v in enumerate((x[:, 0], x[:, 0] - x[:, 1], x[:, 0] - rest)):
        one, other = v[labels == 0], v[labels == 1]
        drawn = (one.mean() - other.mean()) / (one.std() * other.std())
        assert simulation.separability[:, k, 0].mean() == pytest.approx(drawn, rel=0.02), SCORES[k]


def test_the_first_lead():
    assert first_lead(lambda eta: eta - 0.3, 0.5) == pytest.approx(0.3)
    assert first_lead(lambda eta: 1.0, 0.5) == 0
    assert np.isnan(first_lead(lambda eta: -1.0, 0.5))


def test_equal_seeds_give_equal_numbers():
    first, second = (simulate_classes(3, 0.2, np.array([0.1]), range(2), 1000) for _ in range(2))
    np.testing.assert_array_equal(first.separability, second.separability)
    assert first.separability[0, 0, 0] != first.separability[1, 0, 0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((1, 0.2, np.array([0.0]), range(2)), "n_classes is 1"),
        ((3, 1.0, np.array([0.0]), range(2)), "sparsity is 1"),
        ((3, 0.2, np.array([0.7]), range(2)), r"label_noise=0\.7 is not below"),
        ((3, 0.2, np.array([0.0]), ()), "seeds is empty"),
    ],
)
def test_bad_input(arguments, words):
    with pytest.raises(InputError, match=words):
        simulate_classes(*arguments)
