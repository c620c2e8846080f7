"""Independent components as a scikit-learn transformer: the linear way to features with one meaning each."""

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
    A component's sign means nothing to ICA; here a positive value is the rarer, larger kind.

    Args:
        variance: share of the variance that is kept, in (0, 1).
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
            raise InputError(f"variance={self.variance!r} is outside (0, 1); choose a share such as 0.999.")
        z = validate_data(self, X, dtype=[np.float64, np.float32], ensure_min_samples=2)
        rng = check_random_state(self.random_state)
        if len(z) > self.max_samples:
            z = z[np.sort(rng.choice(len(z), self.max_samples, replace=False))]
        # In float64: in float32 the fixed point stops moving before it is found.
        pca = PCA(n_components=self.variance, whiten=True, svd_solver="full").fit(z.astype(np.float64))
        whitened = pca.transform(z.astype(np.float64))
        ica = FastICA(whiten=False, max_iter=self.max_iter, tol=self.tol, random_state=rng)
        with warnings.catch_warnings():
            # A direction or two of hundreds often keep turning; n_iter_ says that it was so.
            warnings.simplefilter("ignore", ConvergenceWarning)
            found = ica.fit_transform(whitened)
        towards_tail = np.where((found**3).mean(axis=0) < 0, -1.0, 1.0)
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
        """Components (N, M) of embeddings, each of variance 1 on the rows of ``fit``."""
        check_is_fitted(self, "components_")
        z = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        return np.asarray((z - self.mean_) @ self.components_.T, dtype=z.dtype)

    def inverse_transform(self, components: ArrayLike) -> NDArray[Any]:
        """Embeddings (N, D) of components (N, M)."""
        check_is_fitted(self, "components_")
        given = np.asarray(components)
        dtype = np.float32 if given.dtype == np.float32 else np.float64
        return np.asarray(given @ self.mixing_.T + self.mean_, dtype=dtype)

    def score(self, X: ArrayLike, y: object = None) -> float:
        """Explained variance of what the components give back: 1 is perfect, 0 is no better than the mean."""
        z = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        return streamed_explained_variance(reconstruction_moments(self.inverse_transform(self.transform(z)), z))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
