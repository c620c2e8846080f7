"""Scores of classifiers: accuracy by class, calibration, and ranking of two classes.

Predictions of P classifiers are scored at once; test labels are the same for all.
"""

import numpy as np
from scipy import stats

Labels = np.typing.NDArray[np.integer]
Scores = np.typing.NDArray[np.floating]


def class_scores(labels: Labels, predicted: Labels, n_classes: int) -> dict[str, Scores]:
    """Return accuracy, balanced accuracy, macro F1 and the recall of the worst class of P classifiers, each (P,).

    With n_c rows of class c, of which t_c are predicted right, and m_c rows predicted as c:

        recall_c = t_c / n_c,    F1_c = 2 t_c / (n_c + m_c).

    Balanced accuracy is the mean recall, over the classes that have test rows; macro F1 is the mean F1 over the classes
    that have test rows or predictions.

    Args:
        labels: (N,), true, in [0, C).
        predicted: (N, P).
    """
    columns = predicted.T.astype(np.int64)
    as_class = np.array([np.bincount(column, minlength=n_classes) for column in columns])
    right = np.array([np.bincount(labels[column == labels], minlength=n_classes) for column in columns])
    of_class = np.bincount(labels, minlength=n_classes)
    present = of_class > 0
    recall = right[:, present] / of_class[present]
    either = of_class + as_class
    f1 = np.where(either > 0, 2 * right / np.maximum(either, 1), np.nan)
    return {
        "accuracy": right.sum(axis=1) / len(labels),
        "balanced_accuracy": recall.mean(axis=1),
        "macro_f1": np.nanmean(f1, axis=1),
        "worst_recall": recall.min(axis=1),
    }


def calibration_error(labels: Labels, probabilities: Scores, n_bins: int = 15) -> float:
    """Return the expected calibration error: |accuracy - confidence| in bins of equal width, by their share of rows.

    The confidence of a row is the probability of its predicted class; a bin holds (lower, upper].

    Args:
        labels: (N,).
        probabilities: (N, C), rows summing to 1.

    Source: Guo et al., "On calibration of modern neural networks" (arXiv 1706.04599), equation 3.
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    surplus = (probabilities.argmax(axis=1) == labels) - confidence
    # Rounding first, so that a confidence of 1/3 in float32 is not put into the bin above 0.2 + 2/15.
    bins = np.clip(np.ceil(np.round(confidence * n_bins, 6)) - 1, 0, n_bins - 1).astype(np.int64)
    return float(np.abs(np.bincount(bins, weights=surplus, minlength=n_bins)).sum() / len(labels))


def roc_auc(labels: Labels, scores: Scores) -> Scores:
    """Return the area under the ROC curve of P scores for class 1 against class 0, (P,); NaN if a class has no row.

    It is the chance that a row of class 1 scores higher than one of class 0, ties counting one half
    (Mann-Whitney): (sum of ranks of class 1 - n_1 (n_1 + 1) / 2) / (n_0 n_1).

    Args:
        labels: (N,), 0 or 1.
        scores: (N, P).
    """
    positive = labels == 1
    n_positive = int(positive.sum())
    n_negative = len(labels) - n_positive
    if n_positive == 0 or n_negative == 0:
        return np.full(scores.shape[1], np.nan)
    ranks = stats.rankdata(scores, axis=0)[positive].sum(axis=0)
    area: Scores = (ranks - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative)
    return area
