"""How monosemantic, sparse and faithful a set of features is."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from monosemy.functional import explained_variance
from monosemy.functional.consistency import Codes, Consistency
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
