"""Noisy labels under known class probabilities: hand values, the slow way, and recovery of a known noise."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from monosemy.corruptions.labels import matrix_noise
from monosemy.errors import InputError
from monosemy.functional import label_noise
from monosemy.model.labels import best_temperature, fit_label_model


def test_the_posterior_by_hand() -> None:
    # Label 1 is given; class 0 at 0.8 turns into 1 with probability 0.1, class 1 at 0.2 stays with 0.9.
    p, transition = np.array([[0.8, 0.2]]), np.array([[0.9, 0.1], [0.1, 0.9]])
    posterior = label_noise.true_class_posterior(p, np.array([1]), transition)
    np.testing.assert_allclose(posterior, [[0.08 / 0.26, 0.18 / 0.26]], rtol=1e-12)
    assert label_noise.log_likelihood(p, np.array([1]), transition) == pytest.approx(np.log(0.26), rel=1e-12)
    assert label_noise.noise_rate(p, np.array([1]), transition) == pytest.approx(0.08 / 0.26, rel=1e-12)


def test_symmetric_noise_by_hand() -> None:
    np.testing.assert_allclose(
        label_noise.symmetric_transition(0.3, 4), 0.1 * np.ones((4, 4)) + 0.6 * np.eye(4), rtol=1e-12
    )


@given(st.floats(0.1, 10), st.integers(0, 10_000))
def test_tempering_is_the_softmax_of_scaled_logits(temperature: float, seed: int) -> None:
    logits = np.random.default_rng(seed).normal(size=(5, 3)) * 4
    slow = np.exp(logits / temperature) / np.exp(logits / temperature).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(label_noise.tempered(logits, temperature), slow, rtol=1e-9)


def test_a_temperature_below_zero_is_refused() -> None:
    with pytest.raises(InputError, match=r"temperature=0 is not positive; choose a value above 0\."):
        label_noise.tempered(np.zeros((1, 2)), 0)


def test_one_step_of_the_fit_is_the_slow_one() -> None:
    rng = np.random.default_rng(0)
    p, y, start = rng.dirichlet(np.ones(3), 40), rng.integers(0, 3, 40), rng.dirichlet(np.ones(3), 3)
    counts = np.zeros((3, 3))
    for row, label in zip(p, y, strict=True):
        joint = [row[t] * start[t, label] for t in range(3)]
        for t in range(3):
            counts[t, label] += joint[t] / sum(joint)
    counts += 5 * label_noise.symmetric_transition(1 - np.trace(counts) / 40, 3)
    slow = counts / counts.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(label_noise.fit_transition(p, y, start, prior=5, n_iter=1), slow, rtol=1e-6)


def test_the_fit_never_makes_labels_less_likely() -> None:
    rng = np.random.default_rng(1)
    p, y = rng.dirichlet(np.full(4, 0.3), 200), rng.integers(0, 4, 200)
    transition, before = label_noise.symmetric_transition(0.5, 4), -np.inf
    for _ in range(15):
        transition = label_noise.fit_transition(p, y, transition, prior=0.0, n_iter=1)
        now = label_noise.log_likelihood(p, y, transition)
        assert now >= before - 1e-9
        before = now


def known(rate_matrix: np.ndarray, n: int = 6_000, sharpness: float = 4.0) -> tuple[np.ndarray, ...]:
    """Calibrated logits of n rows, their true classes, and labels under a noise matrix."""
    rng = np.random.default_rng(0)
    logits = sharpness * rng.normal(size=(n, len(rate_matrix)))
    p = label_noise.tempered(logits, 1.0)
    true = (rng.random(n)[:, None] > p.cumsum(axis=1)).sum(axis=1).clip(max=len(rate_matrix) - 1)
    return logits, true, matrix_noise(true, rate_matrix, rng)


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.6])
def test_symmetric_noise_is_found(rate: float) -> None:
    logits, true, labels = known(label_noise.symmetric_transition(rate, 5))
    model = fit_label_model(2.0 * logits, labels, 0)
    wrong = float((labels != true).mean())
    # Three standard errors of a share of 6,000, twice as wide for the temperature, which is on a grid.
    assert model.rate == pytest.approx(wrong, abs=6 * np.sqrt(rate * (1 - rate) / 6_000))
    assert 1.4 <= model.temperature <= 2.9, "logits were doubled"
    assert model.low <= model.rate <= model.high
    assert best_temperature(2.0 * logits, labels, model.transition) == model.temperature


def test_a_pair_of_classes_that_is_mixed_up_is_found() -> None:
    matrix = np.eye(4)
    matrix[0] = [0.6, 0.4, 0, 0]
    logits, _, labels = known(matrix)
    found = fit_label_model(logits, labels, 0).transition
    assert found[0, 1] == pytest.approx(0.4, abs=0.06)
    assert found[0, [2, 3]].max() < 0.03
    assert np.diag(found)[1:].min() > 0.93
