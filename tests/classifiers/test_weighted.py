"""The weight of a second part of features, chosen with each classifier on noisy validation."""

import numpy as np
import pytest

from monosemy.classifiers.engine import ProbeConfig
from monosemy.classifiers.registry import fit_classifiers
from monosemy.classifiers.tuning import Problem
from monosemy.classifiers.weighted import fit_weighted, weighted

NAMES = ("ce", "knn", "ridge", "wann")
WEIGHTS = (0.1, 1.0, 10.0)


def problem(groups=(0, 0, 1)) -> Problem:
    """Classes that show in two of the first columns for one group, and in the second part for the other."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, 6)).astype(np.float32)
    by_part = [(x[:, :2] @ [1, 1] > 0).astype(np.int64), (x[:, 4:] @ [1, 1] > 0).astype(np.int64)]
    labels = np.stack([by_part[group] for group in groups], axis=1)
    noise = rng.random(labels.shape) < 0.1
    noisy = np.where(noise, 1 - labels, labels)
    return Problem(
        x[:300], noisy[:300], x[300:], noisy[300:], 2, ProbeConfig(epochs=2, min_steps=60), 0, groups=np.array(groups)
    )


def test_columns_of_the_second_part_are_scaled() -> None:
    x = np.ones((2, 4), np.float32)
    assert weighted(x, 1, 3.0).tolist() == [[1, 3, 3, 3]] * 2
    assert (x == 1).all()


@pytest.mark.parametrize("groups", [(0, 0, 1), (1, 0, 1)])
def test_each_group_has_the_weight_that_validates_best(groups) -> None:
    given = problem(groups)
    found = fit_weighted(NAMES, given, 3, WEIGHTS)
    x = given.validation
    by_hand = {}
    for weight in WEIGHTS:
        train, validation = weighted(given.train, 3, weight), weighted(x, 3, weight)
        same = Problem(
            train, given.labels, validation, given.validation_labels, 2, given.config, 0, groups=given.groups
        )
        by_hand[weight] = fit_classifiers(NAMES, same)
    for name in NAMES:
        chosen = found[name].settings["weight"]
        for group in set(groups):
            jobs = [number for number, of in enumerate(groups) if of == group]
            scores = [by_hand[weight][name].validation_accuracy[jobs].mean() for weight in WEIGHTS]
            assert set(chosen[jobs]) == {WEIGHTS[int(np.argmax(scores))]}, name
        for job, weight in enumerate(chosen):
            wanted = by_hand[weight][name].probabilities(weighted(x, 3, weight), [job])
            # Folding the weight into the probes rounds otherwise than scaling the rows.
            np.testing.assert_allclose(found[name].probabilities(x, [job]), wanted, atol=1e-5)
            assert found[name].validation_accuracy[job] == by_hand[weight][name].validation_accuracy[job]
            for setting in by_hand[weight][name].settings:
                assert found[name].settings[setting][job] == by_hand[weight][name].settings[setting][job]
        order = [2, 0]
        together = found[name].probabilities(x, order)
        for place, job in enumerate(order):
            np.testing.assert_allclose(together[:, place], found[name].probabilities(x, [job])[:, 0], atol=1e-6)
    assert set(found["ce"].settings["weight"]) != {1.0}, "the groups differ in the part that tells their classes"


def test_of_equal_weights_the_first_counts() -> None:
    given = problem((0, 0, 0))
    assert set(fit_weighted(["ridge"], given, 6, WEIGHTS)["ridge"].settings["weight"]) == {0.1}, "no second part"
