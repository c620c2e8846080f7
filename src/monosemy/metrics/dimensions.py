"""Metrics of single dimensions and of feature sets: monosemanticity, sparsity, faithfulness, separability.

Separability J = |mu_a - mu_b| / (sd_a sd_b) has a unit, one over that of the dimension, and grows when a dimension is
scaled down. Comparisons and the choice of the best dimension therefore use d = |mu_a - mu_b| / sqrt(sd_a sd_b).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from monosemy.functional.autoencoder import explained_variance
from monosemy.functional.consistency import Codes, Consistency, activation_counts, semantic_consistency
from monosemy.functional.separability import ClassMoments, class_separability, nan_mean, pair_separability
from monosemy.metrics.streaming import Firing, MonoScore, SemanticConsistency

MIN_SUPPORT = 10
"""Dimensions that fire for fewer samples do not enter the mean consistency: chance would inflate it."""
FORMS = {"separability": False, "separability_d": True}
"""Name of each form of separability in results, and whether it is scale-free."""


def format_metrics(metrics: Mapping[str, float]) -> str:
    """Return metrics as text, a few on each line."""
    items = [f"{name} {value:.4g}" for name, value in metrics.items()]
    return "\n".join("  " + ", ".join(items[start : start + 4]) for start in range(0, len(items), 4))


def mean_metrics(consistency: Consistency) -> dict[str, float]:
    """Return the mean consistency over the dimensions with enough support, its chance level, and their number."""
    return {
        "semantic_consistency": consistency.mean(MIN_SUPPORT),
        "consistency_chance": consistency.mean_chance(MIN_SUPPORT),
        "consistency_dimensions": float((consistency.support >= MIN_SUPPORT).sum()),
    }


def describe_features(
    train_codes: Codes,
    test_codes: Codes,
    test_labels: np.typing.NDArray[np.int64],
    n_classes: int,
    embeddings: np.typing.NDArray[np.float32],
    transformer: Any,
    reference_embeddings: np.typing.NDArray[np.float32],
) -> dict[str, float]:
    """Return the feature metrics of one feature set.

    Args:
        train_codes: (N_train, M); they define which dimensions are dead.
        test_codes, test_labels: (N_test, M) and (N_test,), clean labels; all other metrics are measured there.
        embeddings: (N_test, D), the transformer's input, for the explained variance.
        transformer: the fitted transformer; its ``inverse_transform`` is used where it has one.
        reference_embeddings: (N_test, D'), the embeddings that MonoScore takes similarities from, the same for every
            feature set: between non-negative codes themselves every cosine would be positive.

    Returns: semantic_consistency, its chance level and support, mono_score, l0, n_dimensions, dead,
        explained_variance.
    """
    consistency = SemanticConsistency(n_classes).update(test_codes, test_labels).compute()
    explained = float("nan")
    if hasattr(transformer, "inverse_transform") and hasattr(transformer, "score"):
        reconstruction = torch.from_numpy(np.asarray(transformer.inverse_transform(test_codes), dtype=np.float32))
        explained = explained_variance(reconstruction, torch.from_numpy(embeddings))
    return mean_metrics(consistency) | {
        "mono_score": MonoScore().update(test_codes, reference_embeddings).compute().mean(),
        "l0": float(consistency.support.sum() / len(test_labels)),
        "n_dimensions": float(len(consistency.support)),
        "dead": Firing().update(train_codes).compute().dead,
        "explained_variance": explained,
    }


def feature_statistics(codes: Codes, labels: np.typing.NDArray[np.int64] | None, n_classes: int) -> dict[str, float]:
    """Return l0, active_dimensions and, with labels, consistency and its chance level; cheap enough for every epoch.

    Active dimensions fire for any sample. Consistency is the mean over the dimensions with enough support;
    consistency_chance is what it would be if they ignored the classes.

    Args:
        codes: (N, M).
        labels: (N,) in [0, n_classes), or None.
    """
    n = codes.shape[0]
    classes = np.zeros(n, dtype=np.int64) if labels is None else labels
    counts = activation_counts(codes, classes, 1 if labels is None else n_classes)
    support = counts.sum(axis=0)
    statistics = {"l0": float(support.sum() / n), "active_dimensions": float((support > 0).sum())}
    if labels is None:
        return statistics
    consistency = semantic_consistency(counts, np.bincount(labels, minlength=n_classes) / n)
    return statistics | {
        "consistency": consistency.mean(MIN_SUPPORT),
        "consistency_chance": consistency.mean_chance(MIN_SUPPORT),
    }


def mean_separability(moments: ClassMoments, label_noise: float = 0.0) -> dict[str, float]:
    """Return each form of separability for the best dimension of a class pair, mean over the pairs.

    Args:
        moments: of clean labels, from :func:`monosemy.functional.separability.class_moments`.
        label_noise: rate of symmetric noise that the moments are mixed by; no label is drawn.
    """
    return {name: class_separability(moments, label_noise, scale_free).mean() for name, scale_free in FORMS.items()}


def dimension_separability(moments: ClassMoments, label_noises: Sequence[float]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return each form of separability by dimension, best and mean over class pairs, and over all, at each noise.

    Returns: tidy (dimension, label_noise, metric, value) with the metrics separability_best, separability_mean and the
        same of separability_d; and one row a noise with :func:`mean_separability`.
    """
    dimensions, means = [], []
    for eta in label_noises:
        mean: dict[str, float] = {"label_noise": eta}
        for name, scale_free in FORMS.items():
            pairs = class_separability(moments, eta, scale_free)
            mean[name] = pairs.mean()
            for summary, values in (("best", pairs.dimension_best), ("mean", pairs.dimension_mean)):
                dimensions.append(tidy_dimensions(f"{name}_{summary}", values, eta))
        means.append(mean)
    return pd.concat(dimensions, ignore_index=True), pd.DataFrame(means)


def tidy_dimensions(metric: str, values: np.typing.NDArray[np.generic], label_noise: float = 0.0) -> pd.DataFrame:
    """Return one number for each dimension as rows (dimension, label_noise, metric, value)."""
    columns = {"label_noise": label_noise, "metric": metric, "value": values.astype(np.float64)}
    return pd.DataFrame({"dimension": np.arange(len(values))} | columns)


def class_dimensions(moments: ClassMoments, class_names: Sequence[str], label_noises: Sequence[float]) -> pd.DataFrame:
    """Return for each class the dimension that separates it best: largest clean d, mean over the other classes.

    Returns: one row a class and noise: class, dimension, label_noise and both forms of that same dimension, mean over
        the other classes. Classes with fewer than two samples are left out.
    """
    rows = []
    for number, name in enumerate(class_names):
        against_others = nan_mean(pair_separability(moments, number, scale_free=True))
        if np.isnan(against_others).all():
            continue
        best = int(np.nanargmax(against_others))
        single = ClassMoments(moments.counts, moments.mean[:, [best]], moments.variance[:, [best]])
        for eta in label_noises:
            values = {
                form: float(nan_mean(pair_separability(single, number, eta, scale_free))[0])
                for form, scale_free in FORMS.items()
            }
            rows.append({"class": name, "dimension": best, "label_noise": eta, **values})
    return pd.DataFrame(rows, columns=["class", "dimension", "label_noise", *FORMS])
