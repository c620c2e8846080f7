"""A classifier for noisy labels that chooses its features and its loss by itself."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
from joblib import Parallel, delayed
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from monosemy.classifiers.config import DEFAULTS
from monosemy.classifiers.engine import ProbeConfig
from monosemy.classifiers.linear_probe import plain_labels
from monosemy.classifiers.registry import check_classifiers
from monosemy.classifiers.tuning import Problem
from monosemy.core.config import validated
from monosemy.data.containers import for_sklearn
from monosemy.data.memory_map import check_finite
from monosemy.errors import InputError
from monosemy.features.registry import FEATURE_SETS
from monosemy.functional import label_noise
from monosemy.functional.consistency import Codes
from monosemy.model import audit, contributions, parts
from monosemy.model.chosen import Chosen, FeatureSettings, unfitted
from monosemy.model.crossfit import CrossFitted, cross_fit, folds, group_numbers
from monosemy.model.folder import describe_model, restore_model, save_model
from monosemy.model.labels import best_temperature, fit_label_model
from monosemy.results.result import pair_name

FEATURES = ("dense", "sae")
"""Feature sets of a classifier that names none; the first alone on sparse input."""
_FOR_STUDIES = ("wann", "forward-oracle")
_BATCH, _STEPS = 256, 2_000
"""Rows a step, and steps after which large data gets fewer passes."""
_CHUNK = 8192
"""Rows that are predicted at a time."""
Labels = np.typing.NDArray[np.int64]
Shares = np.typing.NDArray[np.float32]


class RobustClassifier(ClassifierMixin, BaseEstimator):
    """Classifier for labels of which some are wrong: it tries features and robust losses, and keeps the best pair.

    All pairs of a feature set and a classifier are tuned and judged by cross-validation on the given labels. Of those
    within one standard error of the best the simplest is kept: the first by the order of ``features``, then of
    ``classifiers``. Linear classifiers of the folds are averaged, so that every row is used.

    >>> model = RobustClassifier().fit(embeddings, labels)  # doctest: +SKIP
    >>> model.choice_, model.noise_rate_  # doctest: +SKIP
    ('dense + gce', 0.213)

    Args:
        features: names of feature sets, see ``monosemy.features.FEATURE_SETS``; None for dense embeddings and a sparse
            autoencoder, and on sparse input for the input alone.
        classifiers: names of classifiers; ``wann`` and ``forward-oracle`` are for studies only.
        cv: number of folds.
        settings: of autoencoders and contrastive heads, such as ``{"sae": {"n_latents": 512}, "head": {"k": 16}}``.
        n_jobs: feature sets that are tried at a time, as in joblib.
        random_state: of folds, batches, and initial weights.

    After ``fit``: ``choice_`` (features + classifier), ``cv_results_`` (a row for each pair), ``classes_``,
    ``noise_rate_`` and ``noise_rate_interval_`` (share of the given labels that is wrong), ``transition_matrix_``
    (C, C) P(given | true), ``held_out_proba_`` (N, C) by fits that have not seen the row, ``n_features_in_``.

    Probabilities are those of the true class: the temperature of the logits and the transition matrix are fitted
    together to held-out given labels, see :class:`monosemy.model.labels.LabelModel`.
    """

    def __init__(
        self,
        features: Sequence[str] | None = None,
        classifiers: Sequence[str] = DEFAULTS,
        *,
        cv: int = 5,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
        n_jobs: int | None = None,
        random_state: int | np.random.RandomState | None = 0,
    ) -> None:
        self.features = features
        self.classifiers = classifiers
        self.cv = cv
        self.settings = settings
        self.n_jobs = n_jobs
        self.random_state = random_state

    def fit(
        self,
        X: np.typing.ArrayLike,
        y: np.typing.ArrayLike,
        sample_weight: np.typing.ArrayLike | None = None,
        groups: np.typing.ArrayLike | None = None,
    ) -> Self:
        """Fit embeddings (N, D), dense or sparse, to given labels (N,).

        Args:
            sample_weight: (N,), >= 0.
            groups: (N,); rows of a group, such as copies of one text, stay in one fold.
        """
        X, y = self._checked(X, y)
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise InputError(f"y has {len(self.classes_)} class; give at least two.")
        names, classifiers = self._candidates(X)
        self.settings_ = validated(FeatureSettings, dict(self.settings or {}), "settings")
        weight = None if sample_weight is None else _check_sample_weight(sample_weight, X, ensure_non_negative=True)
        # A number is used as it is, so that an audit with the same one sees the same folds.
        state = self.random_state
        seed = int(state) if isinstance(state, int | np.integer) else int(check_random_state(state).randint(2**31 - 1))
        fold = folds(labels, self.cv, seed, None if groups is None else group_numbers(groups, len(labels)))
        jobs = (delayed(self._try)(name, X, labels, classifiers, fold, seed, weight) for name in names)
        tried = dict(zip(names, Parallel(n_jobs=self.n_jobs)(jobs), strict=True))
        held_out = self._choose(tried, X, labels, weight, seed)
        self._estimate_noise(X, labels, fold, held_out, seed)
        return self

    def _candidates(self, X: Codes) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the feature sets and classifiers to try."""
        names = self.features
        if names is None:
            names = FEATURES[:1] if sp.issparse(X) else FEATURES
        for name in names:
            if name not in FEATURE_SETS or FEATURE_SETS[name].base != "dense":
                known = ", ".join(name for name, feature in FEATURE_SETS.items() if feature.base == "dense")
                raise InputError(f"features={name!r} cannot be made of embeddings; choose among {known}.")
            if sp.issparse(X) and name != "dense":
                raise InputError(f"features={name!r} needs dense input, but X is sparse; give X.toarray(), or 'dense'.")
        check_classifiers(self.classifiers)
        for name in self.classifiers:
            if name in _FOR_STUDIES:
                raise InputError(f"The classifier {name!r} is for studies only; leave it out.")
        if not names or not self.classifiers:
            raise InputError("There is no feature set or no classifier to choose from; name at least one of each.")
        return tuple(names), tuple(self.classifiers)

    def _try(
        self,
        name: str,
        X: Codes,
        labels: Labels,
        classifiers: tuple[str, ...],
        fold: Labels,
        seed: int,
        weight: np.typing.NDArray[np.float64] | None,
    ) -> tuple[Any, dict[str, CrossFitted]]:
        """Return the fitted transformer of a feature set, and all classifiers on it."""
        transformer = unfitted(self.settings_, name, seed)
        codes = transformer.fit_transform(X)
        epochs = int(np.clip(-(-_STEPS * _BATCH // max(len(labels), 1)), 3, 10))
        problem = Problem(
            codes, labels[:, None], codes, labels[:, None], len(self.classes_),
            ProbeConfig(epochs, _BATCH, min_steps=300), seed, sample_weight=weight,
        )  # fmt: skip
        return transformer, cross_fit(classifiers, problem, fold)

    def _choose(
        self,
        tried: dict[str, tuple[Any, dict[str, CrossFitted]]],
        X: Codes,
        labels: Labels,
        weight: np.typing.NDArray[np.float64] | None,
        seed: int,
    ) -> Shares:
        """Keep the simplest pair within one standard error of the best, and return its held-out logits."""
        pairs = [(features, one) for features, (_, found) in tried.items() for one in found.values()]
        hits = np.stack([one.logits.argmax(axis=1) == labels for _, one in pairs], axis=1).astype(float)
        share = np.full(len(labels), 1 / len(labels)) if weight is None else weight / weight.sum()
        accuracy = share @ hits
        best = int(accuracy.argmax())
        behind = hits[:, [best]] - hits
        error = np.sqrt(share**2 @ (behind - share @ behind) ** 2)
        number = int((accuracy[best] - accuracy <= error).argmax())
        features, chosen = pairs[number]
        self.choice_ = pair_name(features, chosen.name)
        self.cv_results_ = {
            "features": np.array([features for features, _ in pairs]),
            "classifier": np.array([one.name for _, one in pairs]),
            "accuracy": accuracy,
            "behind_best": accuracy[best] - accuracy,
            "standard_error": error,
            "settings": [dict(one.settings) for _, one in pairs],
            "chosen": np.arange(len(pairs)) == number,
        }
        forgetful = replace(chosen, logits=chosen.logits[:0])
        # As it will be read back: products of arrays in another layout differ in their last bits.
        transformer = parts.restore(unfitted(self.settings_, features, seed), *parts.state_of(tried[features][0]))
        self.chosen_ = Chosen(features, forgetful, transformer)
        if chosen.vote is not None:
            weights = None if weight is None else weight.astype(np.float32)
            self.chosen_ = Chosen(features, forgetful, transformer, transformer.transform(X), labels, weights)
        return chosen.logits

    def _estimate_noise(self, X: Codes, labels: Labels, fold: Labels, held_out: Shares, seed: int) -> None:
        """Estimate the noise of the labels as an audit does, and fit the temperature of the chosen pair under it."""
        logits, _ = audit.held_out_logits(X, labels, len(self.classes_), fold, seed)
        self.label_model_ = model = fit_label_model(logits, labels, seed)
        self.noise_rate_, self.noise_rate_interval_ = model.rate, (model.low, model.high)
        self.transition_matrix_ = model.transition
        self.temperature_ = best_temperature(held_out, labels, model.transition)
        self.held_out_proba_ = label_noise.tempered(held_out, self.temperature_)

    def _checked(self, X: Any, y: Any = None) -> tuple[Any, Any]:
        """Check inputs and, for a fit, labels as scikit-learn does."""
        X = for_sklearn(X, "X")
        rules: dict[str, Any] = {"dtype": np.float32, "accept_sparse": "csr", "ensure_all_finite": False}
        if y is None:
            X = validate_data(self, X, reset=False, **rules)
        else:
            X, y = validate_data(self, X, plain_labels(y), **rules)
        check_finite(X, "X")
        return X, y

    def decision_function(self, X: np.typing.ArrayLike) -> Shares:
        """Return logits (N, C) of the given inputs; for two classes their difference (N,)."""
        check_is_fitted(self, "chosen_")
        X, _ = self._checked(X)
        logits = self._logits(X)
        return logits[:, 1] - logits[:, 0] if len(self.classes_) == 2 else logits

    def _logits(self, X: Codes) -> Shares:
        parts = [X[start : start + _CHUNK] for start in range(0, X.shape[0], _CHUNK)]
        return np.concatenate([self.chosen_.logits(self.chosen_.codes(part), len(self.classes_)) for part in parts])

    def predict_proba(self, X: np.typing.ArrayLike) -> np.typing.NDArray[np.float64]:
        """Return probabilities (N, C) of the true class."""
        check_is_fitted(self, "chosen_")
        X, _ = self._checked(X)
        return label_noise.tempered(self._logits(X), self.temperature_)

    def predict(self, X: np.typing.ArrayLike) -> np.typing.NDArray[Any]:
        """Return the most likely class of each row."""
        check_is_fitted(self, "chosen_")
        X, _ = self._checked(X)
        return self.classes_[self._logits(X).argmax(axis=1)]

    def explain(self, X: np.typing.ArrayLike, classes: Any = None) -> contributions.Contributions:
        """Return what each feature, or each neighbour, adds to the logit of a class of each row.

        Args:
            classes: a class, or one for each row; the predicted ones by default.
        """
        check_is_fitted(self, "chosen_")
        X, _ = self._checked(X)
        chosen, codes = self.chosen_, self.chosen_.codes(X)
        predicted = chosen.logits(codes, len(self.classes_)).argmax(axis=1)
        explained = contributions.explained_classes(classes, predicted, self.classes_)
        if chosen.classifier.probes is not None:
            return contributions.of_linear(chosen.classifier.probes, codes, explained, self.classes_)
        near, labels, vote = chosen.voters(codes)
        return contributions.of_neighbours(near, labels, vote, explained, self.classes_)

    def save(self, folder: str | Path) -> None:
        """Write the classifier into a folder of JSON and safetensors, see :func:`monosemy.model.folder.save_model`."""
        check_is_fitted(self, "chosen_")
        save_model(self, folder)

    @staticmethod
    def load(folder: str | Path) -> "RobustClassifier":
        """Return the classifier of a folder; its predictions are the same to the bit.

        ``about_`` holds what was saved beside it; attributes that only ``fit`` needs are absent.
        """
        features, classifier, settings = describe_model(folder)
        model = RobustClassifier((features,), (classifier,), settings=settings)
        restore_model(model, folder)
        return model

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
