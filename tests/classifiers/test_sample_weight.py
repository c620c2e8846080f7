"""Sample weights of all classifiers: a row of weight 2 is two rows, a row of weight 0 is none."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from monosemy.classifiers import closed_form, inputs, neighbours
from monosemy.classifiers.config import NAMES
from monosemy.classifiers.engine import ProbeConfig, fit_probes, prepared
from monosemy.classifiers.losses import Loss
from monosemy.classifiers.neighbours import Vote
from monosemy.classifiers.registry import FittedClassifier, available, fit_classifiers
from monosemy.classifiers.tuning import Problem, with_checked_weights
from monosemy.classifiers.voting import Voters
from monosemy.corruptions.labels import symmetric_noise
from monosemy.errors import InputError

N, D, C = 150, 8, 3
RNG = np.random.default_rng(0)
CENTRES = RNG.normal(size=(C, D)) * 2
FORMS = {"dense": np.asarray, "sparse": lambda x: sp.csr_array(np.where(x > -1.5, x, 0))}
"""Nearly no row of the sparse form has a single entry: cosines of equal rows would tie."""
NEIGHBOURS, CLOSED = ("knn", "wann"), ("centroid", "lda", "ridge")
CONFIG = ProbeConfig(epochs=250, batch_size=1_000)
"""Full batches, many of them: the descent ends at the optimum."""


def rows(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features, and two vectors of noisy labels with rows left out of the second."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, C, n)
    x = (CENTRES[y] + rng.normal(size=(n, D)) + 1).astype(np.float32)
    labels = np.stack([symmetric_noise(y, rate, C, rng) for rate in (0.2, 0.4)], axis=1)
    labels[rng.random(n) < 0.2, 1] = -1
    return x, labels


X, Y = rows(N, 1)
HELD_OUT, GIVEN = rows(100, 2)
TEST, _ = rows(200, 3)
COUNTS = RNG.integers(0, 4, N)


def problem(x: np.ndarray, labels: np.ndarray, form: str = "dense", **more) -> Problem:
    make = FORMS[form]
    given = np.where(GIVEN < 0, 0, GIVEN)
    defaults = {"groups": np.array([0, 1]), "weight_decays": (1e-2,)} | more
    return Problem(make(x), labels, make(HELD_OUT), given, C, CONFIG, 0, **defaults)


def repeated(form: str = "dense") -> Problem:
    twice = np.repeat(np.arange(N), COUNTS)
    return problem(X[twice], Y[twice], form)


def shares(fitted: FittedClassifier, form: str = "dense") -> np.ndarray:
    return fitted.probabilities(FORMS[form](TEST), [0, 1])


@pytest.mark.parametrize("form", FORMS)
def test_whole_weights_are_repeated_rows_for_neighbours_and_closed_forms(form: str) -> None:
    names = (*NEIGHBOURS, *CLOSED)
    weighted = fit_classifiers(names, problem(X, Y, form, sample_weight=COUNTS))
    copied = fit_classifiers(names, repeated(form))
    for name in names:
        # Sums in float32 (neighbours) and in float64 (closed forms) in another order.
        np.testing.assert_allclose(shares(weighted[name], form), shares(copied[name], form), atol=2e-5, err_msg=name)
        for setting, value in weighted[name].settings.items():
            np.testing.assert_array_equal(value, copied[name].settings[setting])
        np.testing.assert_array_equal(weighted[name].validation_accuracy, copied[name].validation_accuracy)


def test_whole_weights_are_repeated_rows_for_relabelling() -> None:
    weighted, copied = (Voters(with_checked_weights(of)) for of in (problem(X, Y, sample_weight=COUNTS), repeated()))
    copies = COUNTS[COUNTS > 0]
    np.testing.assert_array_equal(np.repeat(weighted.relabelled(), copies, axis=0), copied.relabelled())
    assert (weighted.relabelled() != weighted.problem.labels).any()


@pytest.mark.parametrize("form", FORMS)
def test_whole_weights_are_repeated_rows_for_every_loss(form: str) -> None:
    losses = (
        Loss(),
        Loss("label-smoothing", 0.1),
        Loss("gce", 0.5),
        Loss("sce"),
        Loss("forward", 0.2),
        Loss("elr", 1.0),
    )
    twice, decay = np.repeat(np.arange(N), COUNTS), np.full(2 * len(losses), 0.05)
    labels, each = np.repeat(Y, len(losses), axis=1), losses * 2
    make = FORMS[form]
    weighted = fit_probes(prepared(make(X), "cpu", COUNTS), labels, C, decay, CONFIG, 0, each).probes
    copied = fit_probes(make(X[twice]), labels[twice], C, decay, CONFIG, 0, each).probes
    plain = fit_probes(make(X), labels, C, decay, CONFIG, 0, each).probes
    assert (plain.weight - copied.weight).abs().max() > 0.05
    # The same optimum by steps of other sizes.
    torch.testing.assert_close(weighted.weight, copied.weight, rtol=0, atol=3e-3)
    torch.testing.assert_close(weighted.bias, copied.bias, rtol=0, atol=1e-2)


def test_a_row_of_weight_0_is_left_out_by_every_classifier() -> None:
    names = available(NAMES)
    noise = np.tile(np.full((C, C), 0.1) + 0.7 * np.eye(C), (2, 1, 1))
    used, config = COUNTS > 0, ProbeConfig(epochs=5, batch_size=32)
    weighted = replace(problem(X, Y, sample_weight=used.astype(float)), config=config)
    alone = replace(problem(X[used], Y[used], sample_weight=np.ones(used.sum())), config=config)
    expected = fit_classifiers(names, alone, noise)
    for name, fitted in fit_classifiers(names, weighted, noise).items():
        np.testing.assert_array_equal(shares(fitted), shares(expected[name]), name)


def test_rows_of_weight_0_of_a_memory_map_are_left_out(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    names = ("ce", "knn", "lda")
    found = fit_classifiers(names, replace(problem(X, Y, sample_weight=COUNTS), train=mapped))
    expected = fit_classifiers(names, problem(X, Y, sample_weight=COUNTS))
    for name in names:
        # Unused rows take part in no gradient, but in the size of a full batch.
        np.testing.assert_allclose(shares(found[name]), shares(expected[name]), atol=5e-3, err_msg=name)


def test_equal_weights_change_nothing_but_roundings() -> None:
    noise, names = np.tile(np.full((C, C), 0.1) + 0.7 * np.eye(C), (2, 1, 1)), available(NAMES)
    config = ProbeConfig(epochs=30, batch_size=50)
    plain = fit_classifiers(names, replace(problem(X, Y), config=config), noise)
    weighted = fit_classifiers(names, replace(problem(X, Y, sample_weight=np.full(N, 1 / N)), config=config), noise)
    for name in names:
        np.testing.assert_allclose(shares(weighted[name]), shares(plain[name]), atol=2e-3, err_msg=name)


def test_moments_of_the_engine_are_those_of_repeated_rows(tmp_path: Path) -> None:
    twice = np.repeat(np.arange(N), COUNTS)
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    for features in (X, sp.csr_array(np.where(X > 0.5, X, 0)), mapped):
        plain = features.toarray() if sp.issparse(features) else X
        moments = inputs.moments_of(features, COUNTS)
        np.testing.assert_allclose(moments.mean, plain[twice].mean(axis=0, dtype=float), atol=1e-6)
        np.testing.assert_allclose(moments.variance, plain[twice].var(axis=0, dtype=float), atol=1e-6)
        assert moments.total == COUNTS.sum()
        halves = [inputs.moments_of(features[part], COUNTS[part]) for part in (slice(0, 40), slice(40, N))]
        np.testing.assert_allclose(halves[0].merged(halves[1]).variance, moments.variance, atol=1e-9)
        assert prepared(features, "cpu", COUNTS).curvature == pytest.approx(
            prepared(plain[twice]).curvature, rel=2e-3
        ), "the tolerance of svds"


def test_votes_count_the_part_of_a_weight_that_lies_within_k() -> None:
    near = neighbours.Neighbours(torch.tensor([[2, 0, 1]]), torch.ones(1, 3), torch.tensor([[1.5, 0.25, 4.0]]))
    labels = np.array([[1], [2], [0]])
    found = {k: neighbours.vote_shares(near, labels, 3, Vote(k))[0, 0] for k in (1, 2, 3)}
    np.testing.assert_allclose(found[1], [1, 0, 0])
    np.testing.assert_allclose(found[2], np.array([1.5, 0.25, 0.25]) / 2)
    np.testing.assert_allclose(found[3], np.array([1.5, 0.25, 1.25]) / 3)
    assert neighbours.rows_within(np.array([0.5, 2.0, 1.0, 1.0]), 4, 2) == 3, "the three lightest hold 2.5"


def test_ledoit_wolf_counts_weights() -> None:
    twice, labels = np.repeat(np.arange(N), COUNTS), np.where(Y < 0, 0, Y)
    moments = closed_form.moments(X, labels, C, COUNTS.astype(float))
    copied = closed_form.moments(X[twice], labels[twice], C)
    np.testing.assert_allclose(
        closed_form.ledoit_wolf(moments, X, labels, COUNTS.astype(float)),
        closed_form.ledoit_wolf(copied, X[twice], labels[twice]),
    )


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.ones(N - 1), rf"sample_weight has shape \({N - 1},\); give one number for each of the {N} rows"),
        (np.where(np.arange(N) == 7, -0.5, 1), "sample_weight is -0.5 for row 7; give finite numbers of at least 0"),
        (np.where(np.arange(N) == 7, np.nan, 1), "sample_weight is nan for row 7"),
        (np.zeros(N), "sample_weight is zero for all rows"),
    ],
)
def test_other_weights_are_refused(weight: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fit_classifiers(["ce"], problem(X, Y, sample_weight=weight))


def test_weights_that_are_no_whole_numbers_have_a_mean_of_1() -> None:
    scaled = with_checked_weights(problem(X, Y, sample_weight=COUNTS / 7))
    assert scaled.sample_weight is not None
    np.testing.assert_allclose(scaled.sample_weight, COUNTS[COUNTS > 0] / COUNTS[COUNTS > 0].mean())
    whole = with_checked_weights(problem(X, Y, sample_weight=COUNTS))
    np.testing.assert_array_equal(whole.sample_weight, COUNTS[COUNTS > 0])
