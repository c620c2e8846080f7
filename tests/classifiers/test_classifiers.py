"""The classifiers of a study: each equals the direct, slow way, for each of many label vectors at once."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings, strategies as st
from scipy.special import softmax
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsClassifier

from monosemy.classifiers import closed_form, confident, neighbours, registry, voting
from monosemy.classifiers.config import DEFAULTS, NAMES
from monosemy.classifiers.engine import ProbeConfig, fit_probes
from monosemy.classifiers.linear_probe import LinearProbe
from monosemy.classifiers.registry import CLASSIFIERS, FittedClassifier, check_classifiers, fit_classifiers
from monosemy.classifiers.tuning import Problem, Recipe, fit_tuned
from monosemy.corruptions.labels import few_labels, matrix_noise, symmetric_noise
from monosemy.errors import InputError, MissingExtraError

N, Q, D, C, J = 200, 150, 5, 3, 6
GROUPS = np.array([0, 0, 1, 1, 2, 2])
MATRIX = np.array([[0.7, 0.3, 0.0], [0.0, 0.8, 0.2], [0.1, 0.0, 0.9]])
AVAILABLE = registry.available(NAMES)
WITHOUT_DESCENT = ("knn", "wann", "centroid", "lda", "ridge")
needs_cleanlab = pytest.mark.skipif("cleanlab" not in AVAILABLE, reason="needs the extra cleanlab")


def rows(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return features of C clusters, and their labels."""
    true = rng.integers(0, C, n)
    centres = np.random.default_rng(0).normal(size=(C, D)) * 1.6
    return (centres[true] + rng.normal(size=(n, D))).astype(np.float32), true


def noisy(true: np.ndarray, job: int, rng: np.random.Generator) -> np.ndarray:
    """Return labels under symmetric noise, noise by a matrix, or few of them, by the group of the job."""
    if GROUPS[job] == 0:
        return symmetric_noise(true, 0.15, C, rng)
    if GROUPS[job] == 1:
        return matrix_noise(true, MATRIX, rng)
    return np.where(few_labels(true, 0.2, rng), true, -1)


@pytest.fixture(scope="module")
def problem() -> Problem:
    rng = np.random.default_rng(1)
    (train, true), (validation, validation_true) = rows(N, rng), rows(Q, rng)
    labels, given_labels = (
        np.stack([noisy(of, job, rng) for job in range(J)], axis=1) for of in (true, validation_true)
    )
    config = ProbeConfig(epochs=10, batch_size=64)
    return Problem(train, labels, validation, given_labels, C, config, 0, groups=GROUPS)


@pytest.fixture(scope="module")
def test_rows() -> tuple[np.ndarray, np.ndarray]:
    return rows(400, np.random.default_rng(2))


@pytest.fixture(scope="module")
def fitted(problem: Problem) -> dict[str, FittedClassifier]:
    return fit_classifiers(AVAILABLE, problem, np.tile(MATRIX, (J, 1, 1)))


def used(problem: Problem, job: int) -> tuple[np.ndarray, np.ndarray]:
    """Return features and labels of the train rows that a job uses."""
    mine = problem.labels[:, job] >= 0
    return problem.train[mine], problem.labels[mine, job]


def accuracy(shares: np.ndarray, labels: np.ndarray) -> float:
    """Return the accuracy of probabilities on rows with a label."""
    return float((shares.argmax(axis=1) == labels)[labels >= 0].mean())


def test_the_names_are_those_of_the_plan() -> None:
    assert tuple(CLASSIFIERS) == NAMES
    assert len(NAMES) == 15
    assert set(DEFAULTS) <= set(NAMES)
    assert all(name == classifier.name for name, classifier in CLASSIFIERS.items())
    assert [name for name in NAMES if CLASSIFIERS[name].oracle] == ["forward-oracle"]


def test_every_classifier_predicts_probabilities_for_any_jobs(
    fitted: dict[str, FittedClassifier], test_rows: tuple[np.ndarray, np.ndarray]
) -> None:
    features, true = test_rows
    assert tuple(fitted) == AVAILABLE
    for name, classifier in fitted.items():
        shares = classifier.probabilities(features, range(J))
        assert (shares.shape, shares.dtype) == ((400, J, C), np.float32)
        np.testing.assert_allclose(shares.sum(axis=2), 1, atol=1e-5, err_msg=name)
        for jobs in ([3], [5, 0, 2], [4, 4]):
            some = classifier.probabilities(features, jobs)
            np.testing.assert_allclose(some, shares[:, jobs], atol=1e-6, err_msg=name)
        for job in range(J):
            assert accuracy(shares[:, job], true) > 0.5, (name, job)
        assert (classifier.probes is not None) == CLASSIFIERS[name].linear, name


def test_settings_are_plain_numbers_that_a_group_shares(fitted: dict[str, FittedClassifier]) -> None:
    expected = {
        "ce": {"weight_decay"}, "gce": {"weight_decay", "q"}, "forward": {"weight_decay", "rate"},
        "knn": {"k", "power"}, "elr": {"weight_decay", "strength"}, "label-smoothing": {"weight_decay", "smoothing"},
        "wann": set(), "knn-relabel": {"weight_decay", "k", "power"}, "centroid": set(), "lda": {"shrinkage"},
        "ridge": {"penalty"}, "cleanlab": {"weight_decay"},
    }  # fmt: skip
    for name, classifier in fitted.items():
        assert set(classifier.settings) == expected.get(name, {"weight_decay"})
        for values in classifier.settings.values():
            assert (values.shape, values.dtype) == ((J,), np.float64)
            assert all(len(set(values[group == GROUPS].tolist())) == 1 for group in range(3))
        assert classifier.validation_accuracy.shape == (J,)


def test_validation_accuracy_is_that_of_the_probabilities(
    problem: Problem, fitted: dict[str, FittedClassifier]
) -> None:
    for name, classifier in fitted.items():
        shares = classifier.probabilities(problem.validation, range(J))
        expected = [accuracy(shares[:, job], problem.validation_labels[:, job]) for job in range(J)]
        np.testing.assert_allclose(classifier.validation_accuracy, expected, atol=0.011, err_msg=name)


@pytest.mark.parametrize(
    ("name", "recipe"),
    [
        ("ce", Recipe("ce")),
        ("gce", Recipe("gce", "gce", (0.2, 0.4, 0.7))),
        ("forward-oracle", Recipe("forward-oracle", "forward", transitions=np.tile(MATRIX, (J, 1, 1)))),
    ],
)
def test_a_classifier_by_a_loss_is_tuned_as_it_is_alone(
    name: str, recipe: Recipe, problem: Problem, fitted: dict[str, FittedClassifier]
) -> None:
    (alone,) = fit_tuned([recipe], problem)
    np.testing.assert_array_equal(fitted[name].settings["weight_decay"], alone.weight_decay)
    np.testing.assert_allclose(fitted[name].probes.weight, alone.fitted.probes.weight, atol=1e-3)
    if name == "gce":
        np.testing.assert_array_equal(fitted[name].settings["q"], alone.parameter)


def slow_votes(x: np.ndarray, y: np.ndarray, k: int, power: float) -> KNeighborsClassifier:
    def weights(distance: np.ndarray) -> np.ndarray:
        return np.maximum(1 - distance, 1e-12) ** power

    return KNeighborsClassifier(k, metric="cosine", algorithm="brute", weights=weights).fit(x, y)


def test_knn_is_the_vote_of_scikit_learn(
    problem: Problem, fitted: dict[str, FittedClassifier], test_rows: tuple[np.ndarray, np.ndarray]
) -> None:
    knn = fitted["knn"]
    shares = knn.probabilities(test_rows[0], range(J))
    for job in range(J):
        x, y = used(problem, job)
        slow = slow_votes(x, y, int(knn.settings["k"][job]), knn.settings["power"][job])
        np.testing.assert_allclose(shares[:, job], slow.predict_proba(test_rows[0]), atol=1e-4)


def test_k_and_power_are_the_best_of_each_group_on_validation(
    problem: Problem, fitted: dict[str, FittedClassifier]
) -> None:
    knn = fitted["knn"]
    for group in range(3):
        jobs = np.flatnonzero(group == GROUPS)
        fewest = min(len(used(problem, job)[1]) for job in jobs)
        means = [
            np.mean([
                accuracy(
                    slow_votes(*used(problem, job), vote.k, vote.power).predict_proba(problem.validation),
                    problem.validation_labels[:, job],
                )
                for job in jobs
            ])
            for vote in neighbours.candidates(fewest, C)
        ]  # fmt: skip
        # Equal votes may count for another class by a rounding.
        assert knn.validation_accuracy[jobs].mean() == pytest.approx(max(means), abs=0.011)


def test_wann_is_its_definition(
    problem: Problem, fitted: dict[str, FittedClassifier], test_rows: tuple[np.ndarray, np.ndarray]
) -> None:
    queries = test_rows[0][:25]
    shares = fitted["wann"].probabilities(queries, range(J))
    for job in (0, 3, 5):
        x, y = used(problem, job)
        unit, asked = (of / np.maximum(np.linalg.norm(of, axis=1, keepdims=True), 1e-30) for of in (x, queries))
        own = unit @ unit.T
        np.fill_diagonal(own, -np.inf)
        order = np.argsort(-own, axis=1, kind="stable")
        sizes = [size for size in (*range(11, 51, 2), 51) if size < len(y)] or [len(y) - 1]
        reliable = [
            next((k for k in sizes[:-1] if np.bincount(y[order[i, :k]], minlength=C).argmax() == y[i]), sizes[-1])
            for i in range(len(y))
        ]
        for row, cosines in enumerate(asked @ unit.T):
            nearest = np.argsort(-cosines, kind="stable")
            votes = np.zeros(C)
            for i in nearest[: reliable[nearest[0]]]:
                votes[y[i]] += 1 / reliable[i]
            np.testing.assert_allclose(shares[row, job], votes / votes.sum(), atol=0.02)


def test_knn_relabel_is_cross_entropy_on_voted_labels(problem: Problem, fitted: dict[str, FittedClassifier]) -> None:
    chosen, fast = fitted["knn"].settings, voting.Voters(problem).relabelled()
    for job in (1, 2, 5):
        x, y = used(problem, job)
        k, power = int(chosen["k"][job]), chosen["power"][job]
        voted = np.empty_like(y)
        for row in range(len(y)):
            others = np.arange(len(y)) != row
            voted[row] = slow_votes(x[others], y[others], k, power).predict(x[row : row + 1])[0]
        np.testing.assert_array_equal(fast[problem.labels[:, job] >= 0, job], voted)
    np.testing.assert_array_equal(fast < 0, problem.labels < 0)
    (slow,) = fit_tuned([Recipe("ce")], replace(problem, labels=fast))
    np.testing.assert_array_equal(fitted["knn-relabel"].settings["weight_decay"], slow.weight_decay)
    np.testing.assert_allclose(fitted["knn-relabel"].probes.weight, slow.fitted.probes.weight, atol=1e-5)
    np.testing.assert_array_equal(fitted["knn-relabel"].settings["k"], chosen["k"])


def slow_closed_form(name: str, x: np.ndarray, y: np.ndarray, value: float, queries: np.ndarray) -> np.ndarray:
    x, queries = x.astype(np.float64), queries.astype(np.float64)
    if name == "lda":
        return LinearDiscriminantAnalysis(solver="lsqr", shrinkage=value).fit(x, y).predict_proba(queries)
    if name == "ridge":
        penalty = len(x) * value * np.trace(np.cov(x.T, bias=True)) / D
        return softmax(Ridge(penalty).fit(x, np.eye(C)[y]).predict(queries), axis=1)
    means = np.stack([x[y == c].mean(axis=0) for c in range(C)])
    return softmax(-0.5 * np.square(queries[:, None] - means).sum(axis=2), axis=1)


@pytest.mark.parametrize("name", ["centroid", "lda", "ridge"])
def test_closed_forms_are_those_of_scikit_learn_with_the_best_setting(
    name: str, problem: Problem, fitted: dict[str, FittedClassifier], test_rows: tuple[np.ndarray, np.ndarray]
) -> None:
    setting, values = {
        "centroid": ("", (0.0,)), "lda": ("shrinkage", closed_form.SHRINKAGES),
        "ridge": ("penalty", closed_form.PENALTIES),
    }[name]  # fmt: skip
    chosen = fitted[name].settings[setting] if setting else np.zeros(J)
    shares = fitted[name].probabilities(test_rows[0], range(J))
    for job in range(J):
        slow = slow_closed_form(name, *used(problem, job), chosen[job], test_rows[0])
        np.testing.assert_allclose(shares[:, job], slow, atol=1e-4)
    for group in range(3):
        jobs = np.flatnonzero(group == GROUPS)
        means = [
            np.mean([
                accuracy(
                    slow_closed_form(name, *used(problem, job), value, problem.validation),
                    problem.validation_labels[:, job],
                )
                for job in jobs
            ])
            for value in values
        ]  # fmt: skip
        assert fitted[name].validation_accuracy[jobs].mean() == pytest.approx(max(means))
        assert chosen[jobs[0]] == max(value for value, mean in zip(values, means, strict=True) if mean == max(means))


def test_held_out_probabilities_are_those_of_a_training_for_each_fold(problem: Problem) -> None:
    decay = np.full(J, 1e-3)
    fold = confident.folds(problem.labels, problem.seed)
    for found in confident.held_out(problem, decay):
        if found.job not in (1, 5):
            continue
        np.testing.assert_array_equal(found.rows, np.flatnonzero(problem.labels[:, found.job] >= 0))
        given_labels = confident.Validation(problem.validation, problem.validation_labels[:, [found.job]])
        for number in range(confident.N_FOLDS):
            mine = fold[:, found.job] == number
            seen = np.where(mine, -1, problem.labels[:, found.job])[:, None]
            probes = fit_probes(
                problem.train, seen, C, decay[:1], problem.config, problem.seed, validation=given_labels
            ).probes
            logits = torch.from_numpy(problem.train[found.rows]) @ probes.weight + probes.bias
            np.testing.assert_allclose(
                found.probabilities[mine[found.rows]], torch.softmax(logits, dim=1)[mine[found.rows]], atol=1e-3
            )


@needs_cleanlab
def test_forward_estimated_trains_with_matrices_near_the_true_one(
    problem: Problem, fitted: dict[str, FittedClassifier]
) -> None:
    decay = fitted["ce"].settings["weight_decay"]
    matrices = np.stack([confident.noise_matrix(found) for found in confident.held_out(problem, decay)])
    np.testing.assert_allclose(matrices.sum(axis=2), 1)
    np.testing.assert_allclose(matrices[2:4].mean(axis=0), MATRIX, atol=0.15)
    np.testing.assert_allclose(matrices[4:], np.tile(np.eye(C), (2, 1, 1)), atol=0.25)
    (slow,) = fit_tuned([Recipe("forward-estimated", "forward", transitions=matrices)], problem)
    np.testing.assert_allclose(fitted["forward-estimated"].probes.weight, slow.fitted.probes.weight, atol=1e-4)


@needs_cleanlab
def test_cleanlab_drops_the_label_issues_of_clean_learning(
    problem: Problem, fitted: dict[str, FittedClassifier]
) -> None:
    from cleanlab.classification import CleanLearning

    labels = problem.labels.copy()
    for found in confident.held_out(problem, fitted["ce"].settings["weight_decay"]):
        model = CleanLearning(LinearProbe(), find_label_issues_kwargs={"n_jobs": 1})
        table = model.find_label_issues(problem.train[found.rows], found.labels, pred_probs=found.probabilities)
        expected = found.rows[table["is_label_issue"].to_numpy()]
        np.testing.assert_array_equal(confident.label_issues(found), expected)
        labels[expected, found.job] = -1
    assert (labels < problem.labels).sum(axis=0)[:4].min() > 5
    (slow,) = fit_tuned([Recipe("ce")], replace(problem, labels=labels))
    np.testing.assert_allclose(fitted["cleanlab"].probes.weight, slow.fitted.probes.weight, atol=1e-4)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 60), st.integers(2, 8), st.integers(0, 2**32 - 1))
def test_folds_spread_each_class_and_leave_a_label(n: int, n_classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(-1, n_classes, (n, 3))
    labels[rng.choice(n, 2, replace=False)] = [[0] * 3, [1] * 3]
    fold = confident.folds(labels, seed % 100)
    for job in range(3):
        for c in range(n_classes):
            sizes = np.bincount(fold[labels[:, job] == c, job], minlength=confident.N_FOLDS)
            assert sizes.max() - sizes.min() <= 1
        seen = fold[labels[:, job] >= 0, job]
        assert all((seen != number).any() for number in range(confident.N_FOLDS))


@needs_cleanlab
@pytest.mark.filterwarnings("error")
@settings(max_examples=30, deadline=None)
@given(st.integers(2, 40), st.integers(2, 6), st.integers(0, 2**32 - 1))
def test_confident_learning_takes_any_labels(n: int, n_classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, n_classes, n)
    labels[:2] = [0, n_classes - 1]
    shares = rng.dirichlet(np.full(n_classes, 0.3), n)
    found = confident.HeldOut(0, np.arange(n) * 2, labels, shares)
    matrix = confident.noise_matrix(found)
    assert (matrix > 0).all()
    np.testing.assert_allclose(matrix.sum(axis=1), 1)
    issues = confident.label_issues(found)
    assert set(issues.tolist()) < set(found.rows.tolist())


@settings(max_examples=25, deadline=None)
@given(st.integers(4, 40), st.integers(1, 6), st.integers(2, 5), st.integers(0, 2**32 - 1))
def test_few_rows_of_any_labels_are_no_obstacle(n: int, width: int, n_classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, width)).astype(np.float32)
    labels, given_labels = rng.integers(-1, n_classes, (n, 3)), rng.integers(-1, n_classes, (n, 3))
    labels[:2] = [[0] * 3, [1] * 3]
    problem = Problem(
        features, labels, features[::-1].copy(), given_labels, n_classes, ProbeConfig(), 0, groups=np.array([0, 1, 0])
    )
    for name, classifier in fit_classifiers(WITHOUT_DESCENT, problem).items():
        shares = classifier.probabilities(features, [2, 0, 1])
        assert np.isfinite(shares).all(), name
        np.testing.assert_allclose(shares.sum(axis=2), 1, atol=1e-5)
        np.testing.assert_allclose(shares[:, 1:2], classifier.probabilities(features, [0]), atol=1e-6)
        absent = np.array([[c not in labels[:, job] for c in range(n_classes)] for job in (2, 0, 1)])
        assert not shares[:, absent].any(), name
        assert ((classifier.validation_accuracy >= 0) & (classifier.validation_accuracy <= 1)).all(), name
    k = fit_classifiers(["knn"], problem)["knn"].settings["k"]
    assert (k <= np.maximum((labels >= 0).sum(axis=0) - 1, 1)).all()


@pytest.mark.filterwarnings("error")
@settings(max_examples=8, deadline=None)
@given(st.integers(2, 50), st.integers(1, 5), st.integers(2, 5), st.booleans(), st.integers(0, 2**32 - 1))
def test_every_classifier_survives_degenerate_problems(
    n: int, width: int, n_classes: int, constant: bool, seed: int
) -> None:
    """Few rows, absent classes, features that do not vary, labels of chance, and a job without validation labels."""
    rng = np.random.default_rng(seed)
    features = np.ones((n, width), np.float32) if constant else rng.normal(size=(n, width)).astype(np.float32)
    labels, given_labels = rng.integers(-1, n_classes, (n, 3)), rng.integers(-1, n_classes, (1 + n // 2, 3))
    labels[:2], given_labels[:, 0] = [[0] * 3, [1] * 3], -1
    problem = Problem(
        features, labels, features[: len(given_labels)] + np.float32(0.1), given_labels, n_classes,
        ProbeConfig(epochs=2, batch_size=16), 0, groups=np.array([0, 0, 1]),
    )  # fmt: skip
    matrices = np.tile(0.8 * np.eye(n_classes) + 0.2 / n_classes, (3, 1, 1))
    for name, classifier in fit_classifiers(AVAILABLE, problem, matrices).items():
        shares = classifier.probabilities(features, [2, 0])
        np.testing.assert_allclose(shares.sum(axis=2), 1, atol=1e-5, err_msg=name)
        for values in (classifier.validation_accuracy, *classifier.settings.values()):
            assert np.isfinite(values).all(), name


@pytest.mark.parametrize("form", ["sparse", "map"])
def test_sparse_and_mapped_features_give_what_dense_ones_give(form: str, problem: Problem, tmp_path: Path) -> None:
    def other(x: np.ndarray, name: str) -> sp.csr_array | np.ndarray:
        if form == "sparse":
            return sp.csr_array(x)
        np.save(tmp_path / f"{name}.npy", x)
        return np.load(tmp_path / f"{name}.npy", mmap_mode="r")

    train, validation, test = (
        np.where(np.abs(x) > 0.3, x, 0)
        for x in (problem.train, problem.validation, rows(90, np.random.default_rng(3))[0])
    )
    dense = replace(problem, train=train, validation=validation)
    same = replace(problem, train=other(train, "train"), validation=other(validation, "validation"))
    names = [name for name in AVAILABLE if name in ("ce", "gce", "knn-relabel", "forward-estimated", *WITHOUT_DESCENT)]
    expected = fit_classifiers(names, dense)
    for name, classifier in fit_classifiers(names, same).items():
        for setting, values in classifier.settings.items():
            np.testing.assert_array_equal(values, expected[name].settings[setting])
        shares = classifier.probabilities(other(test, "test"), range(J))
        np.testing.assert_allclose(shares, expected[name].probabilities(test, range(J)), atol=1e-3, err_msg=name)
        np.testing.assert_allclose(classifier.validation_accuracy, expected[name].validation_accuracy, atol=1e-6)


def test_neighbours_and_moments_are_found_once(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def counted(module: object, name: str) -> None:
        original = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *args, **more: (calls.append(name), original(*args, **more))[1])

    counted(neighbours, "nearest_neighbours")
    counted(closed_form, "moments")
    n_parts = 3  # all rows, and the few of two seeds
    fitted = fit_classifiers([*WITHOUT_DESCENT, "knn-relabel"], problem)
    assert calls.count("nearest_neighbours") == 2 * n_parts  # of validation, and within train
    assert calls.count("moments") == n_parts
    calls.clear()
    for name in ("knn", "wann"):
        for job in range(J):
            fitted[name].probabilities(problem.validation, [job])
    assert not calls
    other = problem.validation[:30].copy()
    for name in ("knn", "wann"):
        for job in range(J):
            fitted[name].probabilities(other, [job])
    assert calls.count("nearest_neighbours") == n_parts


def test_neighbours_beyond_the_budget_are_found_again(
    problem: Problem, fitted: dict[str, FittedClassifier], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = fitted["knn"].probabilities(problem.validation, range(J))
    monkeypatch.setattr(voting, "_BUDGET", 1)
    again = fit_classifiers(["knn"], problem)["knn"]
    np.testing.assert_array_equal(again.probabilities(problem.validation, range(J)), expected)
    assert again.voters is not None
    assert len(again.voters._near) == 1


@pytest.mark.parametrize(
    ("name", "close"), [("gcee", "closest match: gce"), ("label_smoothing", "closest match: label-smoothing")]
)
def test_an_unknown_name_is_refused_with_its_closest_match(name: str, close: str, problem: Problem) -> None:
    with pytest.raises(InputError, match=close):
        check_classifiers(["ce", name])
    with pytest.raises(InputError, match=close):
        fit_classifiers([name], problem)


def test_the_oracle_needs_a_matrix(problem: Problem) -> None:
    with pytest.raises(InputError, match="forward-oracle"):
        fit_classifiers(["ce", "forward-oracle"], problem)
    with pytest.raises(ValueError, match="transitions have shape"):
        fit_classifiers(["forward-oracle"], problem, MATRIX)


@pytest.mark.parametrize("kept", [0, 1])
def test_labels_of_one_class_are_refused(kept: int, problem: Problem) -> None:
    labels = problem.labels.copy()
    labels[labels[:, 4] >= kept, 4] = -1
    with pytest.raises(InputError, match=f"hold {kept} class; raise the number of labels"):
        fit_classifiers(["centroid"], replace(problem, labels=labels))


@pytest.mark.parametrize("name", ["cleanlab", "forward-estimated"])
def test_a_missing_cleanlab_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cleanlab", None)
    with pytest.raises(MissingExtraError, match=f"The classifier {name} requires the extra 'cleanlab'"):
        check_classifiers([name])
    check_classifiers(DEFAULTS)


def test_a_class_without_labels_is_never_predicted(problem: Problem) -> None:
    labels = np.where(problem.labels == 2, -1, problem.labels)
    names = [name for name in AVAILABLE if name in ("ce", "knn", "cleanlab", "forward-estimated", "lda")]
    for name, classifier in fit_classifiers(names, replace(problem, labels=labels)).items():
        predicted = classifier.probabilities(problem.validation, range(J)).argmax(axis=2)
        assert (predicted == 2).mean() < 0.01, name
