"""Independent components as a scikit-learn transformer: a linear control of monosemantic features."""

import warnings
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.decomposition import PCA, FastICA
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from monosemy.errors import InputError
from monosemy.functional.reconstruction import reconstruction_moments, streamed_explained_variance


class IndependentComponents(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """FastICA on the principal components that hold nearly all variance, each pointing to its longer tail.

    The principal components are whitened first: directions of noise alone, scaled up, are what FastICA would find.
    The sign of a component is arbitrary in ICA; here positive values are the longer tail.

    Args:
        variance: fraction of the variance that is retained, in (0, 1).
        max_iter, tol: of FastICA, see scikit-learn.
        max_samples: rows that the directions are found on, drawn at random of more; all rows are transformed.
        random_state: of FastICA's start and of these rows.

    After ``fit``: ``components_`` (M, D), ``mixing_`` (D, M), ``mean_`` (D,), ``n_iter_``.

    Source: Hyvärinen and Oja, "Independent component analysis: algorithms and applications" (2000).
    """

    def __init__(
        self,
        variance: float = 0.999,
        *,
        max_iter: int = 200,
        tol: float = 1e-3,
        max_samples: int = 20_000,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.variance = variance
        self.max_iter = max_iter
        self.tol = tol
        self.max_samples = max_samples
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Find the components of embeddings (N, D); ``y`` is ignored."""
        if not 0 < self.variance < 1:
            raise InputError(f"variance={self.variance!r} is outside (0, 1); choose a fraction such as 0.999.")
        z = validate_data(self, X, dtype=[np.float64, np.float32], ensure_min_samples=2)
        rng = check_random_state(self.random_state)
        if len(z) > self.max_samples:
            z = z[np.sort(rng.choice(len(z), self.max_samples, replace=False))]
        # In float64: in float32 the iteration stalls before it converges.
        pca = PCA(n_components=self.variance, whiten=True, svd_solver="full").fit(z.astype(np.float64))
        whitened = pca.transform(z.astype(np.float64))
        ica = FastICA(whiten=False, max_iter=self.max_iter, tol=self.tol, random_state=rng)
        with warnings.catch_warnings():
            # One or two directions of hundreds often do not converge; n_iter_ reports it.
            warnings.simplefilter("ignore", ConvergenceWarning)
            components = ica.fit_transform(whitened)
        towards_tail = np.where((components**3).mean(axis=0) < 0, -1.0, 1.0)
        rotation = ica.components_ * towards_tail[:, None]
        lengths = np.sqrt(pca.explained_variance_)
        self.mean_ = pca.mean_
        self.components_ = rotation / lengths @ pca.components_
        self.mixing_ = pca.components_.T * lengths @ np.linalg.pinv(rotation)
        self.n_iter_ = int(ica.n_iter_)
        return self

    @property
    def _n_features_out(self) -> int:
        return len(self.components_)

    def transform(self, X: ArrayLike) -> NDArray[Any]:
        """Return components (N, M) of embeddings, each of variance 1 on the rows of ``fit``."""
        check_is_fitted(self, "components_")
        z = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        return np.asarray((z - self.mean_) @ self.components_.T, dtype=z.dtype)

    def inverse_transform(self, components: ArrayLike) -> NDArray[Any]:
        """Return embeddings (N, D) of components (N, M)."""
        check_is_fitted(self, "components_")
        values = np.asarray(components)
        dtype = np.float32 if values.dtype == np.float32 else np.float64
        return np.asarray(values @ self.mixing_.T + self.mean_, dtype=dtype)

    def score(self, X: ArrayLike, y: object = None) -> float:
        """Return the explained variance of the reconstruction: 1 is perfect, 0 is no better than the mean."""
        z = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        return streamed_explained_variance(reconstruction_moments(self.inverse_transform(self.transform(z)), z))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
