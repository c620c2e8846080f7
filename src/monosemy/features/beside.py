"""Features beside dense embeddings: both parts at unit length, the second with a weight."""

from typing import Any, Self

import numpy as np
import scipy.sparse as sp
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin, clone
from sklearn.preprocessing import normalize
from sklearn.utils.validation import check_is_fitted, validate_data

from monosemy.errors import InputError


class BesideDense(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Embeddings and features of them as one row: [x / |x|, weight f(x) / |f(x)|].

    The cosine of two rows is (cos(x, x') + weight^2 cos(f, f')) / (1 + weight^2). A row of zeros stays one.

    Args:
        transformer: unfitted, from embeddings to features, dense or CSR.
        weight: length of the second part; the first has length 1.

    After ``fit``: ``transformer_``.
    """

    def __init__(self, transformer: Any, weight: float = 1.0) -> None:
        self.transformer = transformer
        self.weight = weight

    def fit(self, X: np.typing.ArrayLike, y: object = None) -> Self:
        """Fit the transformer on embeddings (N, D); ``y`` is ignored."""
        if not 0 < self.weight < np.inf:
            raise InputError(f"weight={self.weight!r} is not a positive number; choose one such as 1.")
        z = validate_data(self, X, dtype=[np.float64, np.float32], ensure_min_samples=2)
        self.transformer_ = clone(self.transformer).fit(z)
        self._n_features_out = z.shape[1] + self.transformer_.transform(z[:1]).shape[1]
        return self

    def transform(self, X: np.typing.ArrayLike) -> np.typing.NDArray[Any]:
        """Return both parts (N, D + M) of embeddings (N, D), as an array also where the features are sparse."""
        check_is_fitted(self, "transformer_")
        z = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        features = self.transformer_.transform(z)
        result = np.empty((len(z), z.shape[1] + features.shape[1]), dtype=z.dtype)
        result[:, : z.shape[1]] = normalize(z)
        second = normalize(features)
        result[:, z.shape[1] :] = second.toarray() if sp.issparse(second) else second
        result[:, z.shape[1] :] *= self.weight
        return result

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
