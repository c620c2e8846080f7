"""How monosemantic, sparse and faithful a set of features is.

What features look like while their encoder is trained: cheap enough for every epoch.

How well single dimensions tell classes apart, as numbers and tables: J and its scale-free form d.

J = |mu_a - mu_b| / (sd_a sd_b) has a unit, one over that of the dimension, and grows when a dimension is scaled down.
Comparisons, and what counts as the best dimension, therefore go by d = |mu_a - mu_b| / sqrt(sd_a sd_b).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from monosemy.functional.consistency import Codes, Consistency, activation_counts, semantic_consistency
from monosemy.functional.reconstruction import explained_variance
from monosemy.functional.separability import ClassMoments, class_separability, pair_separability
from monosemy.metrics.streaming import Firing, MonoScore, SemanticConsistency

MIN_SUPPORT = 10
"""Dimensions that fire for fewer samples do not enter the mean consistency: chance would inflate it."""


@dataclass(frozen=True)
class DimensionMetrics:
    """What was measured of every dimension on N samples."""

    consistency: Consistency
    mono_score: NDArray[np.float64]
    """(M,); NaN where fewer than two samples activate the dimension."""
    n_samples: int

    def means(self) -> dict[str, float]:
        """Over dimensions: semantic_consistency, its chance level and support, mono_score, l0, n_dimensions."""
        usable = np.isfinite(self.mono_score)
        support = self.consistency.support
        return {
            "semantic_consistency": self.consistency.mean(MIN_SUPPORT),
            "consistency_chance": self.consistency.mean_chance(MIN_SUPPORT),
            "consistency_dimensions": float((support >= MIN_SUPPORT).sum()),
            "mono_score": float(self.mono_score[usable].mean()) if usable.any() else float("nan"),
            "l0": float(support.sum() / self.n_samples),
            "n_dimensions": float(len(support)),
        }


def describe_dimensions(
    codes: Codes, labels: NDArray[np.int64], n_classes: int, embeddings: NDArray[np.float32]
) -> DimensionMetrics:
    """Semantic consistency and MonoScore of every dimension.

    Args:
        codes, labels: (N, M) and (N,).
        embeddings: (N, D), the yardstick of MonoScore.
    """
    consistency = SemanticConsistency(n_classes).update(codes, labels).compute()
    return DimensionMetrics(consistency, MonoScore().update(codes, embeddings).compute().score, len(labels))


def describe_features(
    train_codes: Codes,
    test_codes: Codes,
    test_labels: NDArray[np.int64],
    n_classes: int,
    embeddings: NDArray[np.float32],
    transformer: Any,
    yardstick: NDArray[np.float32],
) -> dict[str, float]:
    """The feature metrics of one feature set.

    Args:
        train_codes: (N_train, M); says which dimensions are dead.
        test_codes, test_labels: (N_test, M) and (N_test,), clean labels; all else is measured there.
        embeddings: (N_test, D), what the codes were made from, for the explained variance.
        transformer: the fitted transformer; its ``inverse_transform`` is used where it has one.
        yardstick: (N_test, D'), the embeddings that MonoScore takes similarities from, the same for every feature set:
            in a non-negative space of its own every cosine would be positive.

    Returns: semantic_consistency, its chance level and support, mono_score, l0, dead, explained_variance.
    """
    found = describe_dimensions(test_codes, test_labels, n_classes, yardstick)
    return found.means() | {
        "dead": dead_share(train_codes),
        "explained_variance": _explained_variance(transformer, test_codes, embeddings),
    }


def dead_share(codes: Codes) -> float:
    """Share of the dimensions that fire for no sample."""
    return Firing().update(codes).compute().dead


def _explained_variance(transformer: Any, codes: Codes, embeddings: NDArray[np.float32]) -> float:
    if not hasattr(transformer, "inverse_transform") or not hasattr(transformer, "score"):
        return float("nan")
    reconstruction = torch.from_numpy(np.asarray(transformer.inverse_transform(codes), dtype=np.float32))
    return explained_variance(reconstruction, torch.from_numpy(embeddings))


def feature_statistics(codes: Codes, labels: NDArray[np.int64] | None, n_classes: int) -> dict[str, float]:
    """l0, active_dimensions (those that fire for any sample) and, with labels, consistency and its chance level.

    Consistency is the mean over the dimensions with enough support; consistency_chance is what it would be if they
    ignored the classes.

    Args:
        codes: (N, M).
        labels: (N,) in [0, n_classes), or None.
    """
    n = codes.shape[0]
    classes = np.zeros(n, dtype=np.int64) if labels is None else labels
    counts = activation_counts(codes, classes, 1 if labels is None else n_classes)
    support = counts.sum(axis=0)
    found = {"l0": float(support.sum() / n), "active_dimensions": float((support > 0).sum())}
    if labels is None:
        return found
    consistency = semantic_consistency(counts, np.bincount(labels, minlength=n_classes) / n)
    return found | {
        "consistency": consistency.mean(MIN_SUPPORT),
        "consistency_chance": consistency.mean_chance(MIN_SUPPORT),
    }


FORMS = {"separability": False, "separability_d": True}
"""Name of each form in results, and whether it is scale-free."""


def mean_separability(moments: ClassMoments, label_noise: float = 0.0) -> dict[str, float]:
    """Each form for the best dimension of a class pair, mean over the pairs.

    Args:
        moments: of clean labels, from :func:`monosemy.functional.separability.class_moments`.
        label_noise: rate of symmetric noise that the moments are mixed by; no label is drawn.
    """
    return {name: class_separability(moments, label_noise, scale_free).mean() for name, scale_free in FORMS.items()}


def dimension_separability(moments: ClassMoments, label_noises: Sequence[float]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Each form of every dimension, best and mean over class pairs, and over all dimensions, at each noise.

    Returns: tidy (dimension, label_noise, metric, value) with the metrics separability_best, separability_mean and the
        same of separability_d; and one row a noise with :func:`mean_separability`.
    """
    dimensions, means = [], []
    for eta in label_noises:
        mean: dict[str, float] = {"label_noise": eta}
        for name, scale_free in FORMS.items():
            found = class_separability(moments, eta, scale_free)
            mean[name] = found.mean()
            for summary, values in (("best", found.dimension_best), ("mean", found.dimension_mean)):
                dimensions.append(tidy_dimensions(f"{name}_{summary}", values, eta))
        means.append(mean)
    return pd.concat(dimensions, ignore_index=True), pd.DataFrame(means)


def tidy_dimensions(metric: str, values: NDArray[np.generic], label_noise: float = 0.0) -> pd.DataFrame:
    """One number for each dimension as rows (dimension, label_noise, metric, value)."""
    return pd.DataFrame(
        {
            "dimension": np.arange(len(values)),
            "label_noise": label_noise,
            "metric": metric,
            "value": values.astype(np.float64),
        }
    )


def class_dimensions(moments: ClassMoments, class_names: Sequence[str], label_noises: Sequence[float]) -> pd.DataFrame:
    """For each class the dimension that tells it best from the others: largest clean d, mean over the other classes.

    Returns: one row a class and noise: class, dimension, label_noise and both forms of that same dimension, mean over
        the other classes. Classes with fewer than two samples are left out.
    """
    rows = []
    for number, name in enumerate(class_names):
        against_others = _mean_over_classes(pair_separability(moments, number, scale_free=True))
        if np.isnan(against_others).all():
            continue
        best = int(np.nanargmax(against_others))
        alone = ClassMoments(moments.counts, moments.mean[:, [best]], moments.variance[:, [best]])
        for eta in label_noises:
            values = {
                form: float(_mean_over_classes(pair_separability(alone, number, eta, scale_free))[0])
                for form, scale_free in FORMS.items()
            }
            rows.append({"class": name, "dimension": best, "label_noise": eta, **values})
    return pd.DataFrame(rows, columns=["class", "dimension", "label_noise", *FORMS])


def _mean_over_classes(pairs: NDArray[np.float64]) -> NDArray[np.float64]:
    """(C, D) to (D,): mean over the classes where it is defined; NaN where it is for none."""
    defined = ~np.isnan(pairs)
    counts = defined.sum(axis=0)
    return np.where(counts > 0, np.where(defined, pairs, 0).sum(axis=0) / np.maximum(counts, 1), np.nan)
