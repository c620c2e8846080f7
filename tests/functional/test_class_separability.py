"""J measured on embeddings, against the slow and obvious loop."""

import numpy as np
import pytest
import scipy.sparse as sp

from monosemy.errors import InputError
from monosemy.functional.separability import (
    class_moments,
    class_separability,
    merge_class_moments,
    noisy_class_moments,
    pair_separability,
)
from monosemy.theory.simulation import spike_and_uniform
from monosemy.theory.two_features import MONO, score_separability, two_feature_moments

N_CLASSES, N_DIMS = 5, 7


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    labels = rng.choice(N_CLASSES, 600, p=[0.4, 0.2, 0.2, 0.15, 0.05])
    centers = rng.normal(size=(N_CLASSES, N_DIMS))
    spread = rng.uniform(0.3, 2, size=(N_CLASSES, N_DIMS))
    return centers[labels] + spread[labels] * rng.normal(size=(600, N_DIMS)) + 100.0, labels


def slow(x, labels, n_classes, scale_free=False):
    """(C, C, D), one number at a time."""
    j = np.full((n_classes, n_classes, x.shape[1]), np.nan)
    for a in range(n_classes):
        for b in range(n_classes):
            for d in range(x.shape[1]):
                one, other = x[labels == a, d], x[labels == b, d]
                if a != b and len(one) > 1 and len(other) > 1:
                    product = one.std() * other.std()
                    j[a, b, d] = abs(one.mean() - other.mean()) / (np.sqrt(product) if scale_free else product)
    return j


@pytest.mark.parametrize("scale_free", [False, True])
def test_every_number_and_summary_is_that_of_the_loop(data, scale_free):
    x, labels = data
    expected = slow(x, labels, N_CLASSES, scale_free)
    moments = class_moments(x, labels, N_CLASSES)
    for a in range(N_CLASSES):
        of_a = pair_separability(moments, a, scale_free=scale_free, floor=0)
        np.testing.assert_allclose(of_a, expected[a], rtol=1e-9)
    result = class_separability(moments, scale_free=scale_free, floor=0)
    np.testing.assert_allclose(result.dimension_mean, np.nanmean(expected, axis=(0, 1)))
    np.testing.assert_allclose(result.dimension_best, np.nanmax(expected, axis=(0, 1)))
    for d, (a, b) in enumerate(result.best_pair):
        assert expected[a, b, d] == pytest.approx(result.dimension_best[d])
    pair_best = np.array([[np.nan if a == b else expected[a, b].max() for b in range(5)] for a in range(5)])
    np.testing.assert_allclose(result.pair_best, pair_best)
    assert result.mean() == pytest.approx(np.nanmean(pair_best))


def test_csr_and_pieces_give_the_same_moments(data):
    x, labels = data
    x = np.maximum(x - 100, 0)
    whole = class_moments(x, labels, N_CLASSES)
    sparse = class_moments(sp.csr_array(x), labels, N_CLASSES)
    pieces = class_moments(x[:1], labels[:1], N_CLASSES)
    for start, stop in ((1, 250), (250, 250), (250, 600)):
        pieces = merge_class_moments(pieces, class_moments(x[start:stop], labels[start:stop], N_CLASSES))
    for other in (sparse, pieces):
        for got, expected in zip(other, whole, strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-12)


def test_a_large_offset_costs_no_precision(data):
    x, labels = data
    near, far = (class_moments(x + offset, labels, N_CLASSES) for offset in (-100.0, 1e6))
    np.testing.assert_allclose(far.variance, near.variance, rtol=1e-6)


def test_noisy_moments_are_those_of_really_replaced_labels(data):
    """Unequal classes, so the mixture's weights matter. Expected raw moments of the noisy classes, by averaging."""
    x, labels = data
    x = x - 100
    eta, rng, sums = 0.5, np.random.default_rng(1), []
    for _ in range(400):
        flipped = rng.random(len(labels)) < eta
        noisy = np.where(flipped, (labels + rng.integers(1, N_CLASSES, len(labels))) % N_CLASSES, labels)
        sums.append([[(noisy == c).sum(), *x[noisy == c].sum(0), *(x[noisy == c] ** 2).sum(0)] for c in range(5)])
    total = np.mean(sums, axis=0)
    mean = total[:, 1 : 1 + N_DIMS] / total[:, :1]
    variance = total[:, 1 + N_DIMS :] / total[:, :1] - mean**2
    expected = noisy_class_moments(class_moments(x, labels, N_CLASSES), eta)
    np.testing.assert_allclose(expected.counts, total[:, 0], rtol=0.03)
    np.testing.assert_allclose(expected.mean, mean, atol=0.03)
    np.testing.assert_allclose(expected.variance, variance, rtol=0.03)


def test_two_balanced_classes_give_the_closed_form():
    x = spike_and_uniform((400_000, 2), 0.2, np.random.default_rng(2))
    x = x[x[:, 0] != x[:, 1]]
    labels = (x[:, 0] > x[:, 1]).astype(int)
    moments = class_moments(x[:, :1], labels, 2)
    for eta in (0.0, 0.1, 0.4):
        exact = float(score_separability(two_feature_moments(0.2, MONO), eta))
        assert class_separability(moments, eta).mean() == pytest.approx(exact, rel=0.01)


def test_noise_lowers_j_and_total_variance_stays(data):
    x, labels = data
    moments = class_moments(x, labels, N_CLASSES)
    values = [class_separability(moments, eta).mean() for eta in (0.0, 0.3, 0.6, 0.79)]
    assert values == sorted(values, reverse=True)
    assert values[-1] < 0.1 * values[0]


def test_the_scale_free_form_ignores_scale_and_j_does_not(data):
    x, labels = data
    moments, halved = (class_moments(s * x, labels, N_CLASSES) for s in (1.0, 0.5))
    assert class_separability(halved).mean() == pytest.approx(2 * class_separability(moments).mean())
    free = [class_separability(m, scale_free=True).mean() for m in (moments, halved)]
    assert free[0] == pytest.approx(free[1])


def test_undefined_is_nan_and_silent_classes_stay_finite():
    rng = np.random.default_rng(3)
    labels = np.repeat([0, 1, 2], [50, 50, 1])  # class 2 has one sample, class 3 none
    x = np.zeros((101, 3))
    x[:, 0] = 0.1  # constant
    x[:50, 1] = rng.random(50)  # never fires in class 1: variance 0 there
    x[:, 2] = rng.random(101)
    with np.errstate(all="raise", under="ignore"):
        result = class_separability(class_moments(x, labels, 4))
    assert np.isnan(result.dimension_mean[0])
    assert np.isnan(result.dimension_best[0])
    assert (result.best_pair[0] == -1).all()
    assert np.isfinite(result.dimension_best[1:]).all()
    assert np.isnan(result.pair_best[2:]).all()
    assert result.pair_best[0, 1] == pytest.approx(result.mean())


def test_label_noise_at_the_limit_is_refused(data):
    x, labels = data
    with pytest.raises(InputError, match=r"label_noise=0\.8 is not below"):
        class_separability(class_moments(x, labels, N_CLASSES), 0.8)
