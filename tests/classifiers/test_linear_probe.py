"""The probe as a scikit-learn classifier."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from monosemy.classifiers.linear_probe import LinearProbe
from monosemy.errors import InputError


@parametrize_with_checks([LinearProbe(epochs=60, batch_size=16)])
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
