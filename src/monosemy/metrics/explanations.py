"""What each dimension responds to: its strongest samples, its classes, how its activations are spread.

The arrays are what a reader looks at; their size depends on the number of dimensions, not of samples.

Right and wrong predictions of a linear classifier, and the dimensions that they rest on.
"""

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from monosemy.data.memory_map import as_codes, row_blocks, take_rows
from monosemy.errors import InputError
from monosemy.functional.consistency import Codes
from monosemy.functional.top_samples import activation_histogram
from monosemy.metrics.dimensions import MIN_SUPPORT
from monosemy.metrics.single_pass import WIDEST, sparse_where_sparse
from monosemy.metrics.streaming import Firing, MonoScore, SemanticConsistency, TopActivating

N_TOP = 12
"""Samples that are kept of every dimension."""
N_CLASSES = 5
"""Classes that are kept of every dimension."""
N_BINS = 16
Array = NDArray[np.float64]
Numbers = NDArray[np.int64]


class Explanations(NamedTuple):
    """Of M dimensions, measured on the same samples."""

    rows: Numbers
    """(M, N_TOP), the samples of the largest positive activations; -1 where there are fewer."""
    values: Array
    """(M, N_TOP), their activations."""
    low: Array
    """(M,), the smallest activation, at most 0."""
    high: Array
    """(M,), the largest activation, at least 0."""
    histogram: Numbers
    """(M, N_BINS), samples whose activation is not 0, by equal bins from ``low`` to ``high``."""
    support: Numbers
    """(M,), samples for which the dimension fires."""
    consistency: Array
    """(M,), share of the commonest class among them; NaN without support or labels."""
    chance: Array
    """(M,), what that would be by chance."""
    mono_score: Array
    """(M,); NaN where fewer than two samples activate the dimension, or nothing tells similarities."""
    classes: Numbers
    """(M, N_CLASSES), the commonest classes among the samples for which it fires; -1 where there are fewer."""
    class_counts: Numbers
    """(M, N_CLASSES), how many of these samples each has."""


def explain(
    codes: Any, labels: NDArray[np.int64] | None = None, n_classes: int = 0, yardstick: Any = None
) -> Explanations:
    """Explanations of the dimensions of codes (N, M): dense, CSR, ``SparseCodes`` or a memory map.

    Args:
        labels: (N,) in [0, n_classes); without them nothing is said of classes.
        yardstick: (N, D), what MonoScore takes its similarities from. Without it the rows of the codes themselves, for
            up to ``WIDEST`` dimensions.

    Raises:
        InputError: numbers of rows differ, or a row holds NaN or infinity.
    """
    codes = as_codes(codes)
    similar = codes if yardstick is None else as_codes(yardstick)
    if similar.shape[0] != codes.shape[0]:
        raise InputError(
            f"The embeddings have {similar.shape[0]} rows, but the codes {codes.shape[0]}; give one for each row."
        )
    top, firing, mono = TopActivating(N_TOP), Firing(), MonoScore()
    consistency = None if labels is None else SemanticConsistency(n_classes)
    low = np.zeros(codes.shape[1])
    for block in row_blocks(codes, similar):
        few = sparse_where_sparse(take_rows(codes, block))
        top.update(few, np.arange(block.start, block.stop))
        firing.update(few)
        if yardstick is not None or codes.shape[1] <= WIDEST:
            mono.update(few, few if yardstick is None else take_rows(similar, block))
        if consistency is not None and labels is not None:
            consistency.update(few, labels[block])
        low = np.minimum(low, few.min(axis=0) if isinstance(few, np.ndarray) else few.min(axis=0).toarray().ravel())
    found = top.compute()
    high = found.values[:, 0]
    support = _support(firing)
    nothing = np.full(len(low), np.nan)
    pure = None if consistency is None else consistency.compute()
    classes, class_counts = _commonest(consistency, len(low))
    return Explanations(
        rows=found.rows,
        values=found.values,
        low=low,
        high=high,
        histogram=_histogram(codes, low, high),
        support=support,
        consistency=nothing if pure is None else pure.score,
        chance=nothing if pure is None else pure.chance,
        mono_score=nothing if mono.moments is None else mono.compute().score,
        classes=classes,
        class_counts=class_counts,
    )


def _support(firing: Firing) -> Numbers:
    assert firing.moments is not None
    return firing.moments.support


def _histogram(codes: Codes, low: Array, high: Array) -> Numbers:
    counts = np.zeros((len(low), N_BINS), dtype=np.int64)
    for block in row_blocks(codes):
        counts += activation_histogram(take_rows(codes, block), low, high, N_BINS)
    return counts


def _commonest(consistency: SemanticConsistency | None, width: int) -> tuple[Numbers, Numbers]:
    """The commonest classes of every dimension, those of equal counts in their order, and the counts."""
    classes, counts = np.full((width, N_CLASSES), -1, dtype=np.int64), np.zeros((width, N_CLASSES), dtype=np.int64)
    if consistency is None or consistency.moments is None:
        return classes, counts
    table = consistency.moments.table
    kept = min(N_CLASSES, len(table))
    order = np.argsort(-table, axis=0, kind="stable")[:kept]
    counts[:, :kept] = np.take_along_axis(table, order, axis=0).T
    classes[:, :kept] = np.where(counts[:, :kept] > 0, order.T, -1)
    return classes, counts


def sample_monosemanticity(codes: Codes, of_dimensions: Array) -> Array:
    """s_i = sum_m |a_im| c_m / sum_m |a_im|: how monosemantic the dimensions are that a sample is made of.

    Args:
        codes: (N, M), dense or CSR.
        of_dimensions: (M,), c_m, such as the semantic consistency; dimensions where it is NaN do not count.

    Returns: (N,); NaN where no dimension counts.
    """
    known = np.isfinite(of_dimensions)
    scores, weights = np.where(known, of_dimensions, 0.0), known.astype(np.float64)
    parts = [np.empty(0)]
    for block in row_blocks(codes):
        sizes = abs(take_rows(codes, block).astype(np.float64))
        total = np.asarray(sizes @ weights)
        parts.append(np.divide(sizes @ scores, total, out=np.full(len(total), np.nan), where=total > 0))
    return np.concatenate(parts)


N_WEIGHTS = 12
"""Dimensions that are kept of a class."""


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
