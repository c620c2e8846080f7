"""Closed forms of two sparse features, against simulation that uses none of them."""

import math

import numpy as np
import pytest

from monosemy.errors import InputError
from monosemy.theory.simulation import simulate_two_features
from monosemy.theory.two_features import (
    ALWAYS_AHEAD_SPARSITY,
    MONO,
    POLY,
    noisy_moments,
    overtaking,
    scale_free_separability,
    score_separability,
    two_feature_moments,
)

SPARSITIES = (0.0, 0.2, 0.5, 0.8, 0.97)
WEIGHTS = (MONO, POLY, (1.0, 0.3), (0.5, 2.0), (1.0, -0.7), (0.0, 1.0))


def passing(sparsity, first=MONO, second=POLY, input_noise=0.0):
    return overtaking(
        two_feature_moments(sparsity, first, input_noise), two_feature_moments(sparsity, second, input_noise)
    )


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("sparsity", SPARSITIES)
def test_clean_moments_are_those_of_a_simulation(sparsity, weights):
    exact = two_feature_moments(sparsity, weights)
    drawn = simulate_two_features(sparsity, weights, 200_000, np.random.default_rng(1))
    samples = 200_000 * (1 - sparsity**2) / 2  # a class; at S = 0.97 only 6 % of the draws are no ties
    for mean, variance in (("mean_0", "variance_0"), ("mean_1", "variance_1")):
        spread = float(getattr(exact, variance))
        assert float(getattr(drawn, mean)) == pytest.approx(
            float(getattr(exact, mean)), abs=5 * math.sqrt(spread / samples)
        )
        # v^2 has at most the variance E v^4 <= max v^2 E v^2, hence this error of the sample variance.
        largest = (abs(weights[0]) + abs(weights[1])) ** 2
        assert float(getattr(drawn, variance)) == pytest.approx(spread, abs=5 * math.sqrt(largest * spread / samples))


@pytest.mark.parametrize("weights", WEIGHTS[:4])
@pytest.mark.parametrize(("label_noise", "input_noise"), [(0.1, 0.0), (0.4, 0.0), (0.0, 0.3), (0.25, 0.5)])
def test_noisy_separability_is_that_of_really_flipped_labels_and_really_added_noise(weights, label_noise, input_noise):
    exact = score_separability(two_feature_moments(0.3, weights, input_noise), label_noise)
    drawn = [
        float(score_separability(simulate_two_features(
            0.3, weights, 200_000, np.random.default_rng(seed), label_noise, input_noise
        )))
        for seed in range(4)
    ]  # fmt: skip
    assert np.mean(drawn) == pytest.approx(float(exact), rel=0.02)


def test_known_points():
    """J of the Monte Carlo runs that the project started from, to their precision."""
    for sparsity, mono, poly in ((0.2, 5.86, 10.95), (0.5, 7.53, 11.07)):
        assert float(score_separability(two_feature_moments(sparsity, MONO))) == pytest.approx(mono, rel=0.005)
        assert float(score_separability(two_feature_moments(sparsity, POLY))) == pytest.approx(poly, rel=0.005)
    assert passing(0.2).threshold == pytest.approx(0.288, abs=0.004)
    assert passing(0.5).threshold == pytest.approx(0.118, abs=0.004)
    assert passing(0.2).outcome == passing(0.5).outcome == "crosses"
    assert passing(0.0).outcome == "never"
    assert math.isnan(passing(0.0).threshold)
    assert passing(0.8).outcome == "always"
    assert passing(0.8).threshold == 0


def test_moments_take_arrays():
    grid = np.array([[0.0, 0.2], [0.5, 0.8]])
    at_once = score_separability(two_feature_moments(grid, POLY, 0.1), 0.2)
    assert at_once.shape == (2, 2)
    for place, s in np.ndenumerate(grid):
        assert at_once[place] == pytest.approx(float(score_separability(two_feature_moments(s, POLY, 0.1), 0.2)))


@pytest.mark.parametrize("sparsity", SPARSITIES)
def test_theorem_4_1(sparsity):
    """The poly means lie lower, their gap is twice as large; its variances are at least as large, not always larger."""
    mono, poly = two_feature_moments(sparsity, MONO), two_feature_moments(sparsity, POLY)
    assert poly.mean_0 < mono.mean_0
    assert poly.mean_1 < mono.mean_1 or sparsity == 1
    assert float(poly.gap) == pytest.approx(2 * float(mono.gap))
    assert float(poly.variance_1) == pytest.approx(float(mono.variance_1))
    if sparsity == 0:
        assert float(poly.variance_0) == pytest.approx(float(mono.variance_0))
    else:
        assert poly.variance_0 > mono.variance_0


def test_theorem_4_2_gap_and_variances_under_label_noise():
    clean = two_feature_moments(0.4, (1.0, 0.6))
    noisy = noisy_moments(clean, 0.3)
    assert float(noisy.gap) == pytest.approx(0.4 * float(clean.gap))
    both = float(clean.variance_0 + clean.variance_1) + 2 * 0.21 * float(clean.gap) ** 2
    assert float(noisy.variance_0 + noisy.variance_1) == pytest.approx(both)


@pytest.mark.parametrize("input_noise", [0.0, 0.15])
@pytest.mark.parametrize("first", [MONO, (1.0, 0.2), (0.4, 1.0)])
@pytest.mark.parametrize("second", [POLY, (1.0, 0.5), (1.0, -0.3), (2.0, 1.0)])
@pytest.mark.parametrize("sparsity", [0.1, 0.5, 0.75, 0.9])
def test_crossings_are_all_there_and_in_order(sparsity, first, second, input_noise):
    """The roots of the quadratic, against a fine grid of |J|."""
    one, other = (two_feature_moments(sparsity, w, input_noise) for w in (first, second))
    eta = np.linspace(1e-6, 0.4999, 20_000)
    ahead = np.abs(score_separability(one, eta)) > np.abs(score_separability(other, eta))
    changes = eta[1:][ahead[1:] != ahead[:-1]]
    found = overtaking(one, other)
    assert len(found.crossings) == len(changes)
    np.testing.assert_allclose(found.crossings, changes, atol=3e-5)
    assert found.outcome == {
        (0, True): "always", (0, False): "never", (1, True): "reverses", (1, False): "crosses",
    }.get((len(changes), bool(ahead[0])), "twice")  # fmt: skip
    assert found.leads_at_last == ahead[-1]


def test_a_score_does_not_overtake_itself():
    assert passing(0.3, MONO, MONO).outcome == "never"
    assert passing(0.3, POLY, (-1.0, -1.0)).outcome == "never"


def test_from_which_sparsity_mono_leads():
    assert passing(ALWAYS_AHEAD_SPARSITY + 1e-6).outcome == "always"
    assert passing(ALWAYS_AHEAD_SPARSITY - 1e-6).outcome == "crosses"
    assert passing(1e-4).outcome == "crosses"


def test_input_noise_can_only_take_the_lead_from_mono():
    # |J(x1)| > |J(x1 - x2)| is Var M (Var M - 4 Var L) > 4 s^2 Var L; of x1, class 1 has Var M and class 0 Var L.
    _, _, smaller, larger = two_feature_moments(0.85, MONO)
    s = float(np.sqrt(larger * (larger - 4 * smaller) / (4 * smaller)))
    assert s > 0
    assert passing(0.85, input_noise=s - 1e-6).outcome == "always"
    assert passing(0.85, input_noise=s + 1e-6).outcome == "crosses"
    for noise in (0.1, 1.0, 10.0):
        assert score_separability(two_feature_moments(0.5, MONO, noise)) < score_separability(
            two_feature_moments(0.5, POLY, noise)
        )


def test_the_crossing_depends_on_the_unit_of_the_score():
    """Halving x1 - x2 doubles its J and removes the crossing; the scale-free form never had one."""
    assert passing(0.2, MONO, (0.5, 0.5)).outcome == "never"
    eta = np.linspace(0, 0.499, 500)
    for sparsity in np.linspace(0, 0.9, 10):
        mono, poly, half = (two_feature_moments(sparsity, w) for w in (MONO, POLY, (0.5, 0.5)))
        d = scale_free_separability(poly, eta)
        assert (scale_free_separability(mono, eta) < d).all()
        np.testing.assert_allclose(scale_free_separability(half, eta), d)
        np.testing.assert_allclose(score_separability(half, eta), 2 * score_separability(poly, eta))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: two_feature_moments(1.0), "sparsity is 1"),
        (lambda: two_feature_moments(-0.1), "sparsity is -0.1"),
        (lambda: two_feature_moments(float("nan")), "sparsity is nan"),
        (lambda: two_feature_moments([0.2, 1.5]), "sparsity is 1.5"),
        (lambda: two_feature_moments(0.2, ()), "weights has length 0"),
        (lambda: two_feature_moments(0.2, (1.0, 2.0, 3.0)), "weights has length 3"),
        (lambda: two_feature_moments(0.2, (1.0, float("inf"))), r"weights is \(1, inf\)"),
        (lambda: two_feature_moments(0.2, (0.0, 0.0)), r"weights is \(0, 0\)"),
        (lambda: two_feature_moments(0.2, MONO, -1.0), "input_noise is -1"),
        (lambda: score_separability(two_feature_moments(0.2), 0.5), "label_noise=0.5 is not below 0.5"),
        (lambda: score_separability(two_feature_moments(0.2), -0.1), "label_noise=-0.1 is outside"),
    ],
)
def test_bad_input_is_one_sentence(call, words):
    with pytest.raises(InputError, match=words) as error:
        call()
    assert str(error.value).count(". ") == 0
    assert any(verb in str(error.value) for verb in ("give", "make", "choose"))
