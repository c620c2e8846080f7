"""What features look like while their encoder is trained: cheap enough for every epoch."""

import numpy as np
from numpy.typing import NDArray

from monosemy.functional import activation_counts, semantic_consistency
from monosemy.functional.consistency import Codes
from monosemy.metrics.features import MIN_SUPPORT


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
