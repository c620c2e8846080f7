"""Label noise that depends on features, and classes of unequal size, as conditions of a study."""

from typing import Any

import numpy as np
import pytest

from monosemy.classifiers.registry import fit_classifiers
from monosemy.classifiers.tuning import Problem
from monosemy.core.config import validated
from monosemy.data.in_memory import from_arrays
from monosemy.errors import InputError
from monosemy.study import conditions as c
from monosemy.study.probing import ProbingPlan, blocks
from monosemy.study.probing.study import ProbingStudy, Study

RNG = np.random.default_rng(0)
Y = RNG.integers(0, 4, 900)
X = (3 * np.eye(4, 8)[Y] + RNG.standard_normal((900, 8))).astype(np.float32)
DATA = from_arrays(X[:700], Y[:700], X[700:], Y[700:])
FEATURES = (np.asarray(DATA.train.inputs), np.asarray(DATA.validation.inputs))


def plan(**values: object) -> ProbingPlan:
    return validated(ProbingPlan, {"encoder": "none", "features": ["dense"], "n_seeds": 2} | values, "test")


BY_KIND = ("instance", "cluster")


@pytest.mark.parametrize("kind", BY_KIND)
def test_counts_are_exact_over_train_and_validation_together(kind: str) -> None:
    of = plan(label_noise={"kind": kind, "levels": [0.1, 0.3]})
    drawn = c.draw_by_features(of, DATA, FEATURES)
    assert len(drawn) == 2 * 2
    given = c.Conditions(of, drawn=drawn)
    true = np.concatenate([DATA.train.labels, DATA.validation.labels])
    for (training, seed), parts in drawn.items():
        both = np.concatenate(parts)
        assert (both != true).sum() == round(training.level * len(true)), "an exact count"
        train, validation = c.training_labels(training, given, DATA, seed)
        assert (len(train), len(validation)) == (len(DATA.train), len(DATA.validation))
    levels = [np.concatenate(parts) for parts in drawn.values()]
    assert not np.array_equal(levels[0], levels[1]), "seeds differ"


@pytest.mark.parametrize("scenario", [*BY_KIND, "labels-per-class", "imbalance"])
def test_labels_are_the_same_for_all_feature_sets(scenario: str, monkeypatch: pytest.MonkeyPatch) -> None:
    problems: list[Problem] = []

    def caught(names: object, problem: Problem, transitions: object = None) -> Any:
        problems.append(problem)
        return fit_classifiers(names, problem, transitions)

    monkeypatch.setattr(blocks.registry, "fit_classifiers", caught)
    noise = {"kind": scenario, "levels": [0.1, 0.3]} if scenario in BY_KIND else None
    settings = {"probe": {"epochs": 1, "min_steps": 5}} | ({} if noise else {"scenarios": [scenario]})
    study = Study(
        ["dense", "relu", "random-topk"], label_noise=noise, n_seeds=2, encoder="none", classifiers=["ce"], **settings
    )
    study.run(X[:200], Y[:200], X[700:], Y[700:], executor="in-process")
    # The random dictionary has a block, and so a problem, for each seed; the other two have one for both.
    dense, relu, *of_seeds = problems
    assert len(of_seeds) == 2
    for part in ("labels", "validation_labels"):
        expected = getattr(dense, part)
        seeded = expected.reshape(len(expected), -1, 2)
        assert (seeded[..., 0] != seeded[..., 1]).any(), "seeds differ"
        np.testing.assert_array_equal(getattr(relu, part), expected)
        for seed, problem in enumerate(of_seeds):
            np.testing.assert_array_equal(getattr(problem, part), seeded[..., seed])


def test_wrong_labels_of_clusters_lie_together() -> None:
    def agreement(kind: str) -> float:
        of = plan(label_noise={"kind": kind, "levels": [0.2]})
        if kind == "symmetric":
            noisy, _ = c.training_labels(c.Training(kind, 0.2), c.Conditions(of), DATA, 0)
        else:
            noisy, _ = c.draw_by_features(of, DATA, FEATURES)[c.Training(kind, 0.2), 0]
        wrong = noisy != DATA.train.labels
        similar = FEATURES[0] @ FEATURES[0].T - 1e9 * np.eye(len(wrong))
        return float(wrong[similar.argmax(axis=1)][wrong].mean())

    assert agreement("cluster") > 2 * agreement("symmetric")


def test_a_study_of_cluster_noise_and_imbalance_runs() -> None:
    study = Study(
        ["dense", "relu"], label_noise={"kind": "cluster", "levels": [0.2]}, n_seeds=2, encoder="none",
        classifiers=["ce", "forward-oracle"], scenarios=["label-noise", "imbalance"], imbalance={"ratios": [1, 10]},
    )  # fmt: skip
    result = study.run(X[:700], Y[:700], X[700:], Y[700:], executor="in-process")
    accuracy = result.summary.set_index(["variant", "scenario", "level"])["accuracy"]
    assert accuracy["dense + ce", "clean", 0.0] > 0.9
    assert accuracy["dense + ce", "label-noise", 0.2] < accuracy["dense + ce", "clean", 0.0]
    assert accuracy["dense + ce", "imbalance", 1.0] == accuracy["dense + ce", "clean", 0.0]
    assert "an imbalance of 1 and 10 to 1" in " ".join(result.verdict.sentences)
    assert "selected" in set(result.summary["variant"])
    assert not (result.results["variant"] == "selected").any() or "forward-oracle" not in set(
        result.results.loc[result.results["variant"] == "selected", "classifier"]
    ), "an oracle is never selected"


def test_imbalance_keeps_the_same_order_of_classes_in_validation() -> None:
    of = plan(scenarios=["imbalance"], imbalance={"ratios": [20]})
    train, validation = c.training_labels(c.Training("imbalance", 20.0), c.Conditions(of), DATA, 0)
    sizes = [np.bincount(part[part >= 0], minlength=4) for part in (train, validation)]
    assert sizes[0].max() >= 15 * sizes[0].min()
    assert sizes[0].argmax() == sizes[1].argmax()
    assert sizes[0].argmin() == sizes[1].argmin()
    matrix = c.transition_matrix(c.Training("imbalance", 20.0), c.Conditions(of), DATA, 0)
    np.testing.assert_array_equal(matrix, np.eye(4))


def test_the_true_matrix_is_counted() -> None:
    of = plan(label_noise={"kind": "pair", "levels": [0.3]})
    matrix = c.transition_matrix(c.Training("pair", 0.3), c.Conditions(of), DATA, 1)
    np.testing.assert_allclose(matrix.sum(axis=1), 1)
    np.testing.assert_allclose(np.diag(matrix), 0.7, atol=0.05)
    assert (matrix[np.arange(4), (np.arange(4) + 1) % 4] > 0.2).all()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"scenarios": ["imbalance"], "imbalance": {"ratios": [0.5]}}, "ratios"),
        ({"scenarios": ["label-noise"], "imbalance": {"ratios": [5]}}, "need the scenario imbalance"),
        ({"label_noise": {"kind": "clusters"}}, "kind"),
    ],
)
def test_bad_settings_are_one_sentence(values: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        plan(**values)


def test_other_studies_have_no_features_to_draw_by() -> None:
    with pytest.raises(InputError, match="depends on embeddings"):
        c.conditions(plan(label_noise={"kind": "instance", "levels": [0.1]}), DATA)


def test_too_much_for_the_clusters_is_said() -> None:
    with pytest.raises(InputError, match="more than the clusters allow"):
        c.draw_by_features(plan(label_noise={"kind": "cluster", "levels": [1.0]}), DATA, FEATURES)


@pytest.mark.parametrize("kind", BY_KIND)
def test_rates_without_information_are_refused_before_anything_is_trained(kind: str) -> None:
    with pytest.raises(InputError, match=r"label_noise=0.75 is not below 0.75, where 4 classes carry no information"):
        ProbingStudy().check(plan(label_noise={"kind": kind, "levels": [0.1, 0.75]}), DATA, "cpu")


@pytest.mark.parametrize("kind", BY_KIND)
def test_half_of_the_labels_wrong_is_called_a_stress_test(kind: str) -> None:
    def said(*levels: float) -> str:
        data = ProbingStudy().check(plan(label_noise={"kind": kind, "levels": levels}), DATA, "cpu")
        return " ".join(data.notices)

    assert f"label_noise=0.6 of the kind {kind} is a stress test" in said(0.1, 0.6)
    assert "stress test" not in said(0.1, 0.4)


@pytest.mark.parametrize("kind", BY_KIND)
def test_the_true_class_is_mostly_the_commonest_label_up_to_one_half(kind: str) -> None:
    commonest = []
    for (_, _), (train, _) in c.draw_by_features(
        plan(label_noise={"kind": kind, "levels": [0.4]}, n_seeds=5), DATA, FEATURES
    ).items():
        commonest += [np.bincount(train[DATA.train.labels == true]).argmax() == true for true in range(4)]
    assert np.mean(commonest) > 0.6, "chance is 0.25"
