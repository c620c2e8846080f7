"""Right and wrong predictions of a linear classifier, and the dimensions that they rest on."""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from monosemy.functional.consistency import Codes
from monosemy.metrics.explanations import sample_monosemanticity
from monosemy.metrics.features import MIN_SUPPORT
from monosemy.metrics.streaming import SemanticConsistency

N_WEIGHTS = 12
"""Dimensions that are kept of a class."""
Array = NDArray[np.float64]
Numbers = NDArray[np.int64]


class Predictions(NamedTuple):
    """Of one classifier on N test samples with C classes."""

    predicted: Numbers
    """(N,)."""
    labels: Numbers
    """(N,), the true classes."""
    monosemanticity: Array
    """(N,), see :func:`~monosemy.metrics.explanations.sample_monosemanticity`."""
    class_accuracy: Array
    """(C,); NaN for a class without test samples."""
    dimensions: Numbers
    """(2, N_WEIGHTS), of the least and the most accurate class: the dimensions that speak most for it; -1 where there
    are fewer."""
    weights: Array
    """(2, N_WEIGHTS), what one standard deviation of the dimension adds to the class's logit."""

    @property
    def extreme_classes(self) -> tuple[int, int]:
        """The least and the most accurate class, of equal ones the first."""
        return extreme_classes(self.class_accuracy)


def extreme_classes(class_accuracy: Array) -> tuple[int, int]:
    """The least and the most accurate class."""
    return int(np.nanargmin(class_accuracy)), int(np.nanargmax(class_accuracy))


def describe_predictions(
    predicted: Numbers,
    labels: Numbers,
    weight: NDArray[np.floating],
    codes: Codes,
    train_codes: Codes,
    train_labels: Numbers,
) -> Predictions:
    """Predictions beside how monosemantic the dimensions are that the samples are made of.

    The dimensions' consistency is measured on train with clean labels: on test a sample's own label would count.

    Args:
        predicted, labels: (N,), of the test samples.
        weight: (M, C), of the classifier, for codes as they come.
        codes: (N, M), of the test samples.
        train_codes, train_labels: (N', M) and (N',).
    """
    n_classes = weight.shape[1]
    consistency = SemanticConsistency(n_classes).update(train_codes, train_labels).compute()
    known = np.where(consistency.support >= MIN_SUPPORT, consistency.score, np.nan)
    hits = np.bincount(labels[predicted == labels], minlength=n_classes)
    tested = np.bincount(labels, minlength=n_classes)
    accuracy = np.divide(hits, tested, out=np.full(n_classes, np.nan), where=tested > 0)
    chosen = [_speaking_for(weight[:, c] * standard_deviations(train_codes)) for c in extreme_classes(accuracy)]
    return Predictions(
        predicted,
        labels,
        sample_monosemanticity(codes, known),
        accuracy,
        np.stack([dimensions for dimensions, _ in chosen]),
        np.stack([weights for _, weights in chosen]),
    )


def standard_deviations(codes: Codes) -> Array:
    """(M,), of every dimension of (N, M), dense or CSR."""
    if isinstance(codes, np.ndarray):
        return codes.std(axis=0, dtype=np.float64)
    values = sp.csr_array(codes, dtype=np.float64)
    mean = np.asarray(values.mean(axis=0)).ravel()
    squares = np.asarray(values.multiply(values).mean(axis=0)).ravel()
    return np.sqrt(np.maximum(squares - mean**2, 0))


def _speaking_for(effects: Array) -> tuple[Numbers, Array]:
    """The dimensions of the largest positive effects, of equal ones the first."""
    order = np.argsort(-effects, kind="stable")[:N_WEIGHTS]
    order = order[effects[order] > 0]
    dimensions, weights = np.full(N_WEIGHTS, -1, dtype=np.int64), np.zeros(N_WEIGHTS)
    dimensions[: len(order)], weights[: len(order)] = order, effects[order]
    return dimensions, weights
