"""One linear probe as a scikit-learn classifier, and its exact optimum as a cross-check of the engine."""

import warnings
from collections.abc import Mapping
from typing import Any, Literal, Self

import numpy as np
import scipy.sparse as sp
import torch
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.utils import check_random_state, compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d, validate_data

from monosemy.classifiers.engine import Prepared, ProbeConfig, Probes, fit_probes, n_epochs, prepared
from monosemy.classifiers.inputs import Moments, moments_of, sampled_rows
from monosemy.classifiers.tuning import checked_weight
from monosemy.data.containers import for_sklearn
from monosemy.data.dataset import is_missing
from monosemy.data.memory_map import check_finite, memory_map, row_blocks, take_rows
from monosemy.data.sources import check_missing
from monosemy.errors import InputError, names, shown
from monosemy.functional.consistency import Codes

_RISE = 0.01
"""Attainable fall of the objective, in units of the loss of a guess, above which a fit has not converged."""


class LinearProbe(ClassifierMixin, BaseEstimator):
    """Softmax regression by the study's probe engine.

    Args:
        weight_decay: of the mean cross-entropy + weight_decay / 2 |W|^2, for features divided by their root mean square
            distance to the mean.
        C: in place of ``weight_decay``, the inverse strength of the penalty as in scikit-learn's LogisticRegression,
            for features as they come, or standardised ones.
        standardize: True to divide every column by its standard deviation first.
        class_weight: None, "balanced", or weights by class, which multiply those of the samples.
        epochs, batch_size, lr, min_steps: as in :class:`~monosemy.classifiers.ProbeConfig`.
        warm_start: True to start from the last fit where the classes are the same.
        random_state: of the order of the samples: a whole number, None, or a generator of NumPy.

    After ``fit``: ``classes_``, ``coef_`` (C, D) and ``intercept_`` (C,), or (1, D) and (1,) for two classes, for
    features as they come, and ``n_iter_``, the passes over the rows.

    Warns:
        ConvergenceWarning: the objective could still fall noticeably, see :func:`attainable_fall`.
    """

    classes_: np.typing.NDArray[Any]
    moments_: Moments

    def __init__(
        self,
        weight_decay: float = 1e-4,
        *,
        C: float | None = None,
        standardize: bool = False,
        class_weight: Mapping[Any, float] | Literal["balanced"] | None = None,
        epochs: int = 10,
        batch_size: int = 256,
        lr: float = 0.7,
        min_steps: int = 300,
        warm_start: bool = False,
        random_state: int | np.random.RandomState | np.random.Generator | None = 0,
    ) -> None:
        self.weight_decay = weight_decay
        self.C = C
        self.standardize = standardize
        self.class_weight = class_weight
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.min_steps = min_steps
        self.warm_start = warm_start
        self.random_state = random_state

    def fit(self, X: Any, y: Any, sample_weight: np.typing.ArrayLike | None = None) -> Self:
        """Fit features (N, D), dense or sparse, to labels (N,) with weights (N,), of which 0 leaves a row out."""
        self._check_parameters()
        X, y = self._checked(X, y)
        check_classification_targets(y)
        X, y, weight = self._weighted(X, y, sample_weight)
        used = np.ones(len(y), dtype=bool) if weight is None else weight > 0  # a memory map keeps rows of weight 0
        classes = np.unique(y[used])
        if len(classes) < 2:
            raise InputError(f"y has {len(classes)} class; give at least two.")
        again = self.warm_start and hasattr(self, "coef_") and np.array_equal(classes, self.classes_)
        start = self._probes() if again else None
        self.classes_ = classes
        codes = np.where(used, np.searchsorted(classes, np.where(used, y, classes[0])), -1)
        moments = moments_of(X, weight, by_column=True) if self.standardize else None
        features = prepared(X, "cpu", weight, moments)
        total = len(y) if weight is None else float(weight.sum())
        config = ProbeConfig(self.epochs, self.batch_size, self.lr, self.min_steps)
        decay, self.n_iter_ = self._decay(total, features.inputs.scale), n_epochs(config, len(y))
        probes = self._train(features, codes, config, decay, start)
        self.__dict__.pop("moments_", None)
        columns = 1.0 if moments is None else moments.columns
        fall = attainable_fall(probes, X, codes, decay * np.square(features.inputs.scale * columns), weight)
        if fall > _RISE * np.log(len(classes)):
            warnings.warn(
                f"The loss could still fall by about {fall:.2g} after {self.n_iter_} epochs; raise epochs or "
                f"weight_decay, or set standardize=True where columns differ in scale.",
                ConvergenceWarning,
                stacklevel=2,
            )
        return self

    def partial_fit(
        self,
        X: Any,
        y: Any,
        classes: np.typing.ArrayLike | None = None,
        sample_weight: np.typing.ArrayLike | None = None,
    ) -> Self:
        """Make one pass over further rows, from the present coefficients; ``classes`` lists all, in the first call.

        Features are centred and scaled by the moments of all rows that ``partial_fit`` has seen.
        """
        self._check_parameters()
        first = not hasattr(self, "classes_")
        if first and classes is None:
            raise InputError("classes is None in the first call of partial_fit; give all classes that will come.")
        if not first and classes is not None and not np.array_equal(self.classes_, np.unique(np.asarray(classes))):
            raise InputError("classes differ from those of the first call of partial_fit; leave them out.")
        X, y = self._checked(X, y, first=not hasattr(self, "coef_"))
        known = np.unique(np.asarray(classes)) if first else self.classes_
        if len(known) < 2 or not np.isin(y, known).all():
            new = np.setdiff1d(y, known)
            raise InputError(f"classes {names(known)} lack {names(new)}; list at least two, and all that y holds.")
        X, y, weight = self._weighted(X, y, sample_weight)
        self.classes_ = known
        seen = moments_of(X, weight, by_column=self.standardize)
        moments = self.moments_.merged(seen) if hasattr(self, "moments_") else seen
        codes = np.searchsorted(known, y)
        codes = codes if weight is None else np.where(weight > 0, codes, -1)
        features = prepared(X, "cpu", weight, moments)
        config = ProbeConfig(1, self.batch_size, self.lr, 0)
        start = None if not hasattr(self, "coef_") else self._probes()
        self._train(features, codes, config, self._decay(moments.total, moments.scale), start)
        self.moments_, self.n_iter_ = moments, getattr(self, "n_iter_", 0) + 1
        return self

    def _train(
        self, features: Prepared, codes: np.typing.NDArray[np.integer], config: ProbeConfig, decay: float,
        start: Probes | None,
    ) -> Probes:  # fmt: skip
        """Train, and set the coefficients."""
        decays, seed = np.array([decay]), self._seed()
        probes = fit_probes(features, codes[:, None], len(self.classes_), decays, config, seed, start=start).probes
        weight, bias = probes.weight.numpy().T, probes.bias.numpy()[0]
        if len(self.classes_) == 2:
            weight, bias = weight[1:] - weight[:1], bias[1:] - bias[:1]
        self.coef_, self.intercept_ = np.ascontiguousarray(weight), bias
        return probes

    def _probes(self) -> Probes:
        """Return the coefficients in the form of the engine; those of two classes are opposite."""
        weight, bias = self.coef_, self.intercept_
        if len(self.classes_) == 2:
            weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
        return Probes(torch.from_numpy(np.array(weight.T, np.float32)), torch.from_numpy(np.array([bias], np.float32)))

    def _decay(self, total: float, scale: float) -> float:
        """Return the weight decay of the engine; C is that of sum_i w_i loss_i + |W|^2 / (2 C) on unscaled features.

        scikit-learn's penalty on the one vector of two classes is half of that on the two opposite ones of softmax.
        """
        if self.C is None:
            return self.weight_decay
        return (2 if len(self.classes_) == 2 else 1) / (self.C * total * scale**2)

    def _seed(self) -> int:
        if isinstance(self.random_state, int | np.integer):
            return int(self.random_state)
        if isinstance(self.random_state, np.random.Generator):
            return int(self.random_state.integers(2**31 - 1))
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _check_parameters(self) -> None:
        """Raise where an argument has no meaning.

        Raises:
            InputError: an argument is of another type or out of range.
        """
        for name in ("epochs", "batch_size", "min_steps"):
            value, least = getattr(self, name), 0 if name == "min_steps" else 1
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
                raise InputError(f"{name}={shown(value)} is not a whole number of at least {least}; choose one.")
        for name, zero in (("weight_decay", True), ("lr", False), ("C", False)):
            value = getattr(self, name)
            if name == "C" and value is None:
                continue
            kinds = int | float | np.integer | np.floating
            number = isinstance(value, kinds) and not isinstance(value, bool) and np.isfinite(float(value))
            if not number or value < 0 or (value == 0 and not zero):
                least_number = ">= 0" if zero else "> 0"
                raise InputError(f"{name}={shown(value)} is not a finite number {least_number}; choose one.")
        for name in ("standardize", "warm_start"):
            if not isinstance(value := getattr(self, name), bool | np.bool_):
                raise InputError(f"{name}={shown(value)} is neither True nor False; choose one of them.")
        if not (self.class_weight is None or self.class_weight == "balanced" or isinstance(self.class_weight, Mapping)):
            raise InputError(f"class_weight={shown(self.class_weight)}; give None, 'balanced' or weights by class.")
        generators = int | np.integer | np.random.RandomState | np.random.Generator | None
        negative = isinstance(self.random_state, int | np.integer) and not 0 <= int(self.random_state) < 2**63
        if not isinstance(self.random_state, generators) or negative:
            raise InputError(
                f"random_state={shown(self.random_state)} is no seed; give a whole number >= 0, None, or a generator "
                f"of NumPy."
            )

    def _weighted(self, X: Any, y: Any, sample_weight: Any) -> tuple[Any, Any, np.typing.NDArray[np.float64] | None]:
        """Return the rows of positive weight, with their weights times those of their classes; None for all 1."""
        if sample_weight is None and self.class_weight is None:
            return X, y, None
        weight = np.ones(len(y)) if sample_weight is None else checked_weight(sample_weight, len(y))
        if memory_map(X) is None and (weight == 0).any():
            X, y, weight = X[weight > 0], y[weight > 0], weight[weight > 0]
        if self.class_weight is not None:
            used = weight > 0
            weight = weight.copy()
            weight[used] *= _of_classes(self.class_weight, y[used], weight[used])
        return X, y, checked_weight(weight, len(y))

    def _checked(self, X: Any, y: Any = None, *, first: bool = True) -> tuple[Any, Any]:
        """Check features and, for a fit, labels as scikit-learn does; a memory map without loading it."""
        X = for_sklearn(X, "X")
        y = None if y is None else plain_labels(y)
        if memory_map(X) is None or X.ndim != 2 or X.dtype.kind not in "fiu":
            rules: dict[str, Any] = {"dtype": np.float32, "accept_sparse": "csr", "ensure_all_finite": False}
            if y is None:
                X = validate_data(self, X, reset=False, **rules)
            else:
                X, y = validate_data(self, X, y, reset=first, **rules)
            check_finite(X, "X")
            return X, y
        validate_data(self, X, reset=y is not None and first, skip_check_array=True)
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
        return torch.softmax(torch.from_numpy(self._logits(X)), dim=1).numpy()

    def _logits(self, X: np.typing.ArrayLike) -> np.typing.NDArray[np.float32]:
        """Return logits (N, C); the first of two is 0."""
        logits = self.decision_function(X)
        return np.stack([np.zeros_like(logits), logits], axis=1) if logits.ndim == 1 else np.asarray(logits)

    def predict_log_proba(self, X: np.typing.ArrayLike) -> np.typing.NDArray[np.float32]:
        """Return the logarithms of class probabilities (N, C)."""
        return torch.log_softmax(torch.from_numpy(self._logits(X)), dim=1).numpy()

    def predict(self, X: np.typing.ArrayLike) -> np.typing.NDArray[np.object_]:
        """Return the most likely class of each row."""
        check_is_fitted(self, "coef_")
        return self.classes_[self.predict_proba(X).argmax(axis=1)]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _of_classes(class_weight: Any, y: Any, weight: np.typing.NDArray[np.float64]) -> np.typing.NDArray[np.float64]:
    """Return the factor of each sample's class; balanced classes are equally heavy, and the mean weight stays."""
    if class_weight != "balanced":
        return np.asarray(compute_sample_weight(class_weight, y), dtype=np.float64)
    classes, codes = np.unique(y, return_inverse=True)
    factors: np.typing.NDArray[np.float64] = weight.sum() / (len(classes) * np.bincount(codes, weight))
    return factors[codes]


def attainable_fall(
    probes: Probes,
    features: Codes,
    labels: np.typing.NDArray[np.integer],
    penalty: np.typing.NDArray[np.floating] | float,
    sample_weight: np.typing.NDArray[np.floating] | None = None,
) -> float:
    """Return how far mean cross-entropy + sum_j penalty_j / 2 |W_j|^2 can fall: sum of g^2 / (2 h) over parameters.

    g is the gradient and h the diagonal of the second derivative, sum_i w_i x_ij^2 p_ic (1 - p_ic) + penalty_j, with
    centred features and weights that sum to 1. A Newton step for each parameter alone predicts this fall, whatever the
    scales of the columns. Of large features evenly spaced rows are used.

    Args:
        probes: one probe for features as they come.
        labels: (N,); -1 leaves a row out.
        penalty: (D,), or one for all.
        sample_weight: (N,), 1 by default.
    """
    rows = sampled_rows(features)
    x, y = features[rows], labels[rows]
    x = sp.csr_array(x, dtype=np.float64) if sp.issparse(x) else np.asarray(x, dtype=np.float64)
    w = (y >= 0) * (1.0 if sample_weight is None else sample_weight[rows])
    w = (w / w.sum())[:, None]
    weight = probes.weight.numpy().astype(np.float64)
    p = softmax(np.asarray(x @ weight) + probes.bias.numpy(), axis=1)
    residual, spread = w * (p - np.eye(p.shape[1])[np.maximum(y, 0)]), w * p * (1 - p)
    mean = np.asarray(x.T @ w)
    squares = np.square(x) if isinstance(x, np.ndarray) else x.multiply(x)
    penalty = np.broadcast_to(penalty, len(mean))[:, None]
    gradient = np.asarray(x.T @ residual) - mean * residual.sum(axis=0) + penalty * weight
    curvature = np.asarray(squares.T @ spread) - 2 * mean * np.asarray(x.T @ spread) + mean**2 * spread.sum(axis=0)
    falls = [
        np.square(g) / np.where(h > 0, 2 * h, np.inf)
        for g, h in ((gradient, curvature + penalty), (residual.sum(axis=0), spread.sum(axis=0)))
    ]
    return float(sum(fall.sum() for fall in falls))


def plain_labels(y: Any) -> Any:
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
