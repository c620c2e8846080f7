"""One linear probe as a scikit-learn classifier, and its exact optimum as a cross-check of the engine."""

from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d, validate_data

from monosemy.classifiers.engine import ProbeConfig, train_probes
from monosemy.data.containers import for_sklearn
from monosemy.data.dataset import is_missing
from monosemy.data.memory_map import check_finite, memory_map, row_blocks, take_rows
from monosemy.data.sources import check_missing
from monosemy.errors import InputError
from monosemy.functional.consistency import Codes


class LinearProbe(ClassifierMixin, BaseEstimator):
    """Softmax regression by the study's probe engine.

    Args:
        weight_decay: of the mean cross-entropy + weight_decay / 2 |W|^2.
        epochs, batch_size, lr, min_steps: as in :class:`~monosemy.classifiers.ProbeConfig`.
        random_state: of the order of the samples.

    After ``fit``: ``classes_``, ``coef_`` (C, D) and ``intercept_`` (C,), or (1, D) and (1,) for two classes, for
    features as they come.
    """

    def __init__(
        self,
        weight_decay: float = 1e-4,
        *,
        epochs: int = 10,
        batch_size: int = 256,
        lr: float = 0.7,
        min_steps: int = 300,
        random_state: int = 0,
    ) -> None:
        self.weight_decay = weight_decay
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.min_steps = min_steps
        self.random_state = random_state

    def fit(self, X: np.typing.ArrayLike, y: np.typing.ArrayLike) -> Self:
        """Fit features (N, D), dense or sparse, to labels (N,)."""
        X, y = self._checked(X, y)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise InputError(f"y has {len(self.classes_)} class; give at least two.")
        probes = train_probes(
            X,
            codes[:, None],
            len(self.classes_),
            np.array([self.weight_decay]),
            ProbeConfig(self.epochs, self.batch_size, self.lr, self.min_steps),
            int(self.random_state),
        )
        weight, bias = probes.weight.numpy().T, probes.bias.numpy()[0]
        if len(self.classes_) == 2:
            weight, bias = weight[1:] - weight[:1], bias[1:] - bias[:1]
        self.coef_, self.intercept_ = np.ascontiguousarray(weight), bias
        return self

    def _checked(self, X: Any, y: Any = None) -> tuple[Any, Any]:
        """Check features and, for a fit, labels as scikit-learn does; a memory map without loading it."""
        X = for_sklearn(X, "X")
        y = None if y is None else _plain_labels(y)
        if memory_map(X) is None or X.ndim != 2 or X.dtype.kind not in "fiu":
            rules: dict[str, Any] = {"dtype": np.float32, "accept_sparse": "csr", "ensure_all_finite": False}
            if y is None:
                X = validate_data(self, X, reset=False, **rules)
            else:
                X, y = validate_data(self, X, y, **rules)
            check_finite(X, "X")
            return X, y
        validate_data(self, X, reset=y is not None, skip_check_array=True)
        for block in row_blocks(X):
            check_finite(take_rows(X, block), "X", block)
        if y is not None:
            y = column_or_1d(y, warn=True)
            check_consistent_length(X, y)
        return X, y

    def decision_function(self, X: np.typing.ArrayLike) -> np.typing.NDArray[np.float32]:
        """Return logits (N, C); for two classes their difference (N,)."""
        check_is_fitted(self, "coef_")
        X, _ = self._checked(X)
        logits = np.concatenate([take_rows(X, block) @ self.coef_.T for block in row_blocks(X)]) + self.intercept_
        return logits[:, 0] if len(self.classes_) == 2 else logits

    def predict_proba(self, X: np.typing.ArrayLike) -> np.typing.NDArray[np.float32]:
        """Return class probabilities (N, C)."""
        logits = self.decision_function(X)
        if logits.ndim == 1:
            logits = np.stack([np.zeros_like(logits), logits], axis=1)
        return torch.softmax(torch.from_numpy(np.asarray(logits)), dim=1).numpy()

    def predict(self, X: np.typing.ArrayLike) -> np.typing.NDArray[np.object_]:
        """Return the most likely class of each row."""
        check_is_fitted(self, "coef_")
        return self.classes_[self.predict_proba(X).argmax(axis=1)]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _plain_labels(y: Any) -> Any:
    """Return labels as an array, bytes as texts; scikit-learn reports what else is wrong with them.

    Raises:
        InputError: a label is missing.
    """
    plain = for_sklearn(y, "y")
    if isinstance(plain, list | tuple) and any(map(is_missing, plain)):  # NumPy would make texts of them
        plain = np.array(plain, dtype=object)
    values = np.asarray(plain)
    if values.ndim != 1 or values.dtype.kind not in "OSf":
        return values
    check_missing(np.array([is_missing(value) for value in values], dtype=bool), "without a label", "y")
    return np.char.decode(values, "utf-8") if values.dtype.kind == "S" else values


def exact_probe(
    features: Codes, labels: np.typing.NDArray[np.integer], weight_decay: float, max_iter: int = 2000
) -> LogisticRegression:
    """Fit by L-BFGS the same objective as the probe engine: mean CE + weight_decay / 2 |W|^2, bias not decayed.

    Features are divided by the root mean square distance to their mean, as in the engine (centring does not change
    the optimum, because the bias takes it up). Labels of -1 leave the sample out. The returned classifier expects
    features as they come.
    """
    if weight_decay <= 0:
        raise ValueError(f"weight_decay={weight_decay} must be positive for a unique optimum")
    mean = np.asarray(features.mean(axis=0)).ravel()
    energy = np.square(features).sum() if isinstance(features, np.ndarray) else features.multiply(features).sum()
    scale = np.sqrt(max(float(energy) / features.shape[0] - float(mean @ mean), 1e-30))
    used = np.flatnonzero(labels >= 0)
    model = LogisticRegression(C=1 / (weight_decay * len(used)), max_iter=max_iter, tol=1e-6)
    model.fit(features[used] / scale, labels[used])
    model.coef_ = model.coef_ / scale
    return model
