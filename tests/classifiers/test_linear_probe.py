"""The probe as a scikit-learn classifier."""

import re
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_iris, load_wine
from sklearn.ensemble import AdaBoostClassifier, VotingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_selection import RFE, SelectFromModel
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from monosemy.classifiers.engine import Probes
from monosemy.classifiers.linear_probe import LinearProbe, attainable_fall
from monosemy.errors import InputError

FLOAT32 = "float32 and minibatches: equal to 1e-3, not to the 1e-7 of the check; tested below"


@parametrize_with_checks(
    [LinearProbe(epochs=60, batch_size=16)],
    expected_failed_checks=lambda _: {
        "check_sample_weight_equivalence_on_dense_data": FLOAT32,
        "check_sample_weight_equivalence_on_sparse_data": FLOAT32,
    },
)
def test_scikit_learn_conventions(estimator, check) -> None:
    check(estimator)


def iris() -> tuple[np.ndarray, np.ndarray]:
    X, y = load_iris(return_X_y=True)
    return X.astype(np.float32), np.array(["setosa", "versicolor", "virginica"])[y]


def test_classes_may_be_texts() -> None:
    X, y = iris()
    probe = LinearProbe(epochs=100, batch_size=32).fit(X, y)
    assert probe.classes_.tolist() == ["setosa", "versicolor", "virginica"]
    assert probe.score(X, y) > 0.93
    assert set(probe.predict(X)) == set(y)


def test_probabilities_logits_and_classes_agree() -> None:
    X, y = iris()
    probe = LinearProbe(epochs=20).fit(X, y)
    probabilities, logits = probe.predict_proba(X), probe.decision_function(X)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(np.diff(np.log(probabilities)), np.diff(logits), atol=1e-3)
    assert (probe.predict(X) == probe.classes_[logits.argmax(axis=1)]).all()


def test_two_classes_have_one_logit() -> None:
    X, y = iris()
    X, y = X[:100], y[:100]
    probe = LinearProbe(epochs=20).fit(X, y)
    logits, probabilities = probe.decision_function(X), probe.predict_proba(X)
    assert logits.shape == (100,)
    np.testing.assert_allclose(probabilities[:, 1], 1 / (1 + np.exp(-logits)), rtol=1e-4, atol=1e-6)
    assert (probe.predict(X) == np.where(logits > 0, "versicolor", "setosa")).all()
    assert probe.score(X, y) == 1


def test_sparse_and_dense_features_give_the_same_probe() -> None:
    X, y = iris()
    X[X < 1.5] = 0
    dense, sparse = LinearProbe(epochs=5).fit(X, y), LinearProbe(epochs=5).fit(sp.csr_array(X), y)
    np.testing.assert_allclose(dense.predict_proba(X), sparse.predict_proba(sp.csr_array(X)), atol=1e-4)
    np.testing.assert_allclose(dense.predict_proba(sp.csr_matrix(X)), dense.predict_proba(X), atol=1e-4)


def test_agrees_with_logistic_regression() -> None:
    X, y = iris()
    X = StandardScaler().fit_transform(X).astype(np.float32)
    decay, scale = 0.05, 2.0  # the root mean square length of 4 standardised features
    probe = LinearProbe(decay, epochs=300, batch_size=150).fit(X, y)
    exact = LogisticRegression(C=1 / (decay * len(y))).fit(X / scale, y)
    np.testing.assert_allclose(probe.predict_proba(X), exact.predict_proba(X / scale), atol=5e-3)


def test_stands_in_a_search() -> None:
    X, y = iris()
    search = GridSearchCV(
        make_pipeline(StandardScaler(), LinearProbe(epochs=20, batch_size=32)),
        {"linearprobe__weight_decay": [1e-3, 10.0]},
        cv=3,
    ).fit(X, y)
    assert search.best_params_ == {"linearprobe__weight_decay": 1e-3}


def test_one_class_is_refused() -> None:
    with pytest.raises(InputError, match="y has 1 class; give at least two"):
        LinearProbe().fit(np.ones((4, 2)), np.zeros(4))


FULL = {"epochs": 500, "batch_size": 10_000}
"""Full batches until nothing changes: the optimum."""


def standardised() -> tuple[np.ndarray, np.ndarray]:
    X, y = iris()
    return StandardScaler().fit_transform(X).astype(np.float32), y


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_c_is_that_of_logistic_regression(n_classes: int, class_weight) -> None:
    X, y = (part[: 50 * n_classes - 20] for part in iris())
    weight = np.random.default_rng(0).uniform(0.5, 2, len(y))
    probe = LinearProbe(C=0.1, class_weight=class_weight, standardize=True, **FULL).fit(X, y, weight)
    factors = weight
    if class_weight == "balanced":  # every class is equally heavy
        of_class = {name: weight[y == name].sum() for name in np.unique(y)}
        factors = weight * np.array([weight.sum() / (n_classes * of_class[name]) for name in y])
    mean = np.average(X, axis=0, weights=factors)
    deviation = np.sqrt(np.average((X - mean) ** 2, axis=0, weights=factors))
    exact = LogisticRegression(C=0.1, class_weight=class_weight, tol=1e-8, max_iter=5_000)
    exact.fit((X - mean) / deviation, y, weight)
    assert probe.coef_.shape == exact.coef_.shape
    assert probe.intercept_.shape == exact.intercept_.shape
    np.testing.assert_allclose(probe.coef_ * deviation, exact.coef_, atol=1e-4)
    np.testing.assert_allclose(probe.predict_log_proba(X), exact.predict_log_proba((X - mean) / deviation), atol=1e-3)


@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
def test_whole_weights_are_repeated_rows_and_0_is_none(form) -> None:
    X, y = standardised()
    counts = np.random.default_rng(0).integers(0, 4, len(y))
    rows = np.repeat(np.arange(len(y)), counts)
    for settings in ({}, {"C": 0.5, "standardize": True, "class_weight": "balanced"}):
        model = LinearProbe(0.02, **FULL, **settings)
        weighted = model.fit(form(X), y, counts).predict_proba(X)
        np.testing.assert_allclose(weighted, model.fit(form(X[rows]), y[rows]).predict_proba(X), atol=1e-3)
        assert np.abs(weighted - model.fit(form(X), y).predict_proba(X)).max() > 0.01


def test_a_row_of_weight_0_changes_no_bit() -> None:
    X, y = standardised()
    weight = np.where(np.arange(len(y)) % 3 == 0, 0.0, 1.0)
    one = LinearProbe().fit(X, y, weight)
    two = LinearProbe().fit(X[weight > 0], y[weight > 0], weight[weight > 0])
    np.testing.assert_array_equal(one.coef_, two.coef_)


@pytest.mark.parametrize("factor", [1e20, 1e-30])
@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
def test_features_of_any_scale(form, factor: float) -> None:
    X, y = standardised()
    for settings in ({}, {"standardize": True}):
        plain = LinearProbe(**settings).fit(form(X), y)
        scaled = LinearProbe(**settings).fit(form(X * np.float32(factor)), y)
        np.testing.assert_allclose(
            scaled.predict_proba(form(X * np.float32(factor))), plain.predict_proba(form(X)), atol=1e-3
        )


def test_a_fit_that_has_not_converged_warns() -> None:
    X, y = load_wine(return_X_y=True)
    with pytest.warns(ConvergenceWarning, match="could still fall by about .* standardize=True"):
        assert LinearProbe().fit(X, y).score(X, y) < 0.8
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert LinearProbe(standardize=True).fit(X, y).score(X, y) > 0.98


def test_the_attainable_fall_is_half_a_newton_step_and_0_at_the_optimum() -> None:
    X, y = standardised()
    codes = np.unique(y, return_inverse=True)[1]
    optimum = LinearProbe(0.05, **FULL).fit(X, y)
    scale = 2.0  # the root mean square length of 4 standardised features
    zeros = Probes(torch.zeros(4, 3), torch.zeros(1, 3))
    at = Probes(torch.from_numpy(optimum.coef_.T.copy()), torch.from_numpy(optimum.intercept_[None]))
    assert attainable_fall(at, X, codes, 0.05 * scale**2) < 1e-8
    residual = (1 / 3 - np.eye(3)[codes]) / len(y)  # at zeros p = 1/3, and the classes are of equal size
    expected = np.square(X.T @ residual).sum() / (2 * (2 / 9 + 0.05 * scale**2))
    for form in (np.asarray, sp.csr_array):
        assert attainable_fall(zeros, form(X), codes, 0.05 * scale**2) == pytest.approx(expected, rel=1e-5)


def test_a_warm_start_goes_on_from_the_last_fit() -> None:
    X, y = standardised()
    model = LinearProbe(0.02, epochs=1, min_steps=0, batch_size=150, warm_start=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        losses = [log_loss(y, model.fit(X, y).predict_proba(X)) for _ in range(40)]
    assert model.n_iter_ == 1
    assert losses[0] > losses[5] > losses[39]
    optimum = LinearProbe(0.02, **FULL).fit(X, y)
    assert losses[39] < losses[0] - 0.5 * (losses[0] - log_loss(y, optimum.predict_proba(X)))


def test_partial_fits_reach_the_fit() -> None:
    X, y = iris()
    X, y = X[:100], y[:100]
    order = np.random.default_rng(0).permutation(100)
    model, classes = LinearProbe(0.02, standardize=True), ["setosa", "versicolor"]
    with pytest.raises(InputError, match="classes is None in the first call"):
        model.partial_fit(X, y)
    for _ in range(30):
        for part in np.split(order, 5):
            model.partial_fit(X[part], y[part], classes)
    assert model.n_iter_ == 150
    whole = LinearProbe(0.02, standardize=True, **FULL).fit(X, y)
    np.testing.assert_allclose(model.predict_proba(X), whole.predict_proba(X), atol=0.1)
    with pytest.raises(InputError, match="classes differ"):
        model.partial_fit(X, y, ["setosa", "virginica"])
    with pytest.raises(InputError, match="lack 'virginica'"):
        model.partial_fit(X[:1], np.array(["virginica"]))


def test_seeds_of_every_kind() -> None:
    X, y = iris()
    seeds = (0, np.int64(0), None, np.random.RandomState(0), np.random.default_rng(0))
    fits = [LinearProbe(epochs=2, min_steps=0, random_state=seed).fit(X, y).coef_ for seed in seeds]
    np.testing.assert_array_equal(fits[0], fits[1])
    again = LinearProbe(epochs=2, min_steps=0, random_state=np.random.default_rng(0)).fit(X, y).coef_
    np.testing.assert_array_equal(fits[4], again)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weight_decay": -1}, "weight_decay=-1 is not a finite number >= 0"),
        ({"weight_decay": True}, "weight_decay=True"),
        ({"C": 0}, "C=0 is not a finite number > 0"),
        ({"lr": float("nan")}, "lr=nan"),
        ({"batch_size": 0}, "batch_size=0 is not a whole number of at least 1"),
        ({"epochs": 2.5}, "epochs=2.5"),
        ({"min_steps": -1}, "min_steps=-1 is not a whole number of at least 0"),
        ({"standardize": "yes"}, "standardize='yes'"),
        ({"class_weight": "equal"}, "class_weight='equal'"),
        ({"random_state": -1}, "random_state=-1 is no seed"),
        ({"random_state": "x"}, "random_state='x' is no seed"),
    ],
)
def test_settings_without_meaning_are_refused(settings: dict, message: str) -> None:
    X, y = iris()
    with pytest.raises(InputError, match=re.escape(message)):
        LinearProbe(**settings).fit(X, y)


def test_recursive_elimination_and_selection_find_the_features_that_tell_the_classes() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(200, 6)).astype(np.float32), rng.integers(0, 2, 200)
    X[:, [1, 4]] += 2 * y[:, None]
    wanted = [False, True, False, False, True, False]
    assert RFE(LinearProbe(0.01), n_features_to_select=2).fit(X, y).support_.tolist() == wanted
    assert SelectFromModel(LinearProbe(0.01), max_features=2).fit(X, y).get_support().tolist() == wanted


def test_boosting_reweights_the_probe() -> None:
    X, y = iris()
    boosted = AdaBoostClassifier(LinearProbe(1.0), n_estimators=10, random_state=0).fit(X, y)
    assert len(boosted.estimators_) > 1
    assert boosted.score(X, y) >= LinearProbe(1.0).fit(X, y).score(X, y)


def test_calibration_passes_weights() -> None:
    X, y = standardised()
    weight = np.where(y == "setosa", 5.0, 1.0)
    calibrated = CalibratedClassifierCV(LinearProbe(), cv=3).fit(X, y, sample_weight=weight)
    plain = CalibratedClassifierCV(LinearProbe(), cv=3).fit(X, y)
    assert calibrated.score(X, y) > 0.9
    assert np.abs(calibrated.predict_proba(X) - plain.predict_proba(X)).max() > 1e-3


def test_weighted_votes_pass_weights() -> None:
    X, y = standardised()
    weight = np.where(np.arange(len(y)) % 2, 0.0, 1.0)
    members = [("probe", LinearProbe()), ("other", LinearProbe(1.0))]
    vote = VotingClassifier(members, voting="soft", weights=[2, 1]).fit(X, y, sample_weight=weight)
    first, second = (model.fit(X, y, weight).predict_proba(X) for _, model in members)
    np.testing.assert_allclose(vote.predict_proba(X), (2 * first + second) / 3, atol=1e-5)
