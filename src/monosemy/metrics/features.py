"""How monosemantic, sparse and faithful a set of features is."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from monosemy.functional import (
    activation_counts,
    explained_variance,
    mono_moments,
    mono_score,
    semantic_consistency,
)
from monosemy.functional.consistency import Codes

MIN_SUPPORT = 10
"""Dimensions that fire for fewer samples do not enter the mean consistency: chance would inflate it."""
_EPS = 1e-5


def describe_features(
    train_codes: Codes,
    test_codes: Codes,
    test_labels: NDArray[np.int64],
    n_classes: int,
    embeddings: NDArray[np.float32],
    transformer: Any,
) -> dict[str, float]:
    """The feature metrics of one feature set.

    Args:
        train_codes: (N_train, M); says which dimensions are dead.
        test_codes, test_labels: (N_test, M) and (N_test,), clean labels; all else is measured there.
        embeddings: (N_test, D), what the codes were made from: the yardstick of MonoScore and reconstruction.
        transformer: the fitted transformer; its ``inverse_transform`` is used where it has one.

    Returns: semantic_consistency, its chance level and support, mono_score, l0, dead, explained_variance.
    """
    shares = np.bincount(test_labels, minlength=n_classes) / len(test_labels)
    consistency = semantic_consistency(activation_counts(test_codes, test_labels, n_classes), shares)
    scores = mono_score(mono_moments(_non_negative(test_codes), embeddings))
    usable = np.isfinite(scores)
    return {
        "semantic_consistency": consistency.mean(MIN_SUPPORT),
        "consistency_chance": consistency.mean_chance(MIN_SUPPORT),
        "consistency_dimensions": float((consistency.support >= MIN_SUPPORT).sum()),
        "mono_score": float(scores[usable].mean()) if usable.any() else float("nan"),
        "l0": float(consistency.support.sum() / len(test_labels)),
        "n_dimensions": float(test_codes.shape[1]),
        "dead": float((_largest(train_codes) == 0).mean()),
        "explained_variance": _explained_variance(transformer, test_codes, embeddings),
    }


def _largest(codes: Codes) -> NDArray[np.floating[Any]]:
    """(M,) largest absolute value of each dimension."""
    if isinstance(codes, np.ndarray):
        return np.abs(codes).max(axis=0)
    return np.asarray(abs(codes).max(axis=0).todense()).ravel()


def _non_negative(codes: Codes) -> Codes:
    """Signed dense features min-shifted a dimension, as MonoScore asks for; non-negative ones as they are."""
    if not isinstance(codes, np.ndarray):
        return codes
    lowest = np.minimum(codes.min(axis=0), 0)
    return codes - lowest


def _explained_variance(transformer: Any, codes: Codes, embeddings: NDArray[np.float32]) -> float:
    if not hasattr(transformer, "inverse_transform") or not hasattr(transformer, "score"):
        return float("nan")
    reconstruction = torch.from_numpy(np.asarray(transformer.inverse_transform(codes), dtype=np.float32))
    return explained_variance(reconstruction, torch.from_numpy(embeddings))
