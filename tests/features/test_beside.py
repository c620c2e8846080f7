"""Features beside dense embeddings."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.decomposition import PCA
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

from monosemy.errors import InputError
from monosemy.features.beside import BesideDense

X = np.random.default_rng(0).standard_normal((40, 3)).astype(np.float32) + 1


@parametrize_with_checks([BesideDense(PCA(n_components=1)), BesideDense(FunctionTransformer(None), weight=0.5)])
def test_scikit_learn_conventions(estimator, check) -> None:
    check(estimator)


@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
def test_both_parts_have_their_length(form) -> None:
    squares = BesideDense(FunctionTransformer(lambda x: form(x[:, :2] ** 2)), weight=2.0).fit(X).transform(X)
    assert isinstance(squares, np.ndarray)
    assert squares.shape == (40, 5)
    np.testing.assert_allclose(squares[:, :3], X / np.linalg.norm(X, axis=1, keepdims=True), rtol=1e-6)
    wanted = X[:, :2] ** 2
    np.testing.assert_allclose(squares[:, 3:], 2 * wanted / np.linalg.norm(wanted, axis=1, keepdims=True), rtol=1e-6)


def test_rows_of_zeros_stay_zeros() -> None:
    found = BesideDense(FunctionTransformer(lambda x: np.maximum(x, 0))).fit(X).transform(-np.abs(X))
    np.testing.assert_array_equal(found[:, 3:], 0)
    assert BesideDense(FunctionTransformer(None)).fit(X).transform(np.zeros((1, 3), np.float32)).tolist() == [[0.0] * 6]


def test_a_transformer_is_fitted_on_the_embeddings_alone() -> None:
    model = BesideDense(PCA(n_components=2)).fit(X)
    np.testing.assert_allclose(model.transformer_.mean_, X.mean(axis=0), rtol=1e-5)
    assert not hasattr(model.transformer, "mean_")


@pytest.mark.parametrize("weight", [0, -1.0, np.inf])
def test_weights_that_are_none(weight: float) -> None:
    with pytest.raises(InputError, match="is not a positive number"):
        BesideDense(PCA(), weight).fit(X)
