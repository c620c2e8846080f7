"""Explanations: each dimension by its strongest samples, classes and activations; predictions by their dimensions.

The size of an explanation depends on the number of dimensions, not on that of samples.
"""

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from monosemy.data.containers import as_codes
from monosemy.data.labels import class_positions
from monosemy.data.memory_map import row_blocks, take_rows
from monosemy.errors import InputError
from monosemy.functional.activity import activation_histogram
from monosemy.functional.consistency import Array, Codes
from monosemy.metrics import measurement, streaming
from monosemy.metrics.dimensions import MIN_SUPPORT, format_metrics

N_TOP = 12
"""Samples that are kept of every dimension."""
N_CLASSES = 5
"""Classes that are kept of every dimension."""
N_BINS = 16
N_WEIGHTS = 12
"""Dimensions that are kept of a classifier's class."""
Numbers = np.typing.NDArray[np.int64]


class Explanations(NamedTuple):
    """Explanations of M dimensions, measured on the same samples."""

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
    """(M,), fraction of the commonest class among them; NaN without support or labels."""
    chance: Array
    """(M,), its chance level."""
    mono_score: Array
    """(M,); NaN where fewer than two samples activate the dimension, or there are no similarities."""
    classes: Numbers
    """(M, N_CLASSES), the commonest classes among the samples for which it fires; -1 where there are fewer."""
    class_counts: Numbers
    """(M, N_CLASSES), how many of these samples each has."""

    def __repr__(self) -> str:
        active = self.support > 0
        means = {
            name: float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
            for name, values in (("consistency", self.consistency), ("mono_score", self.mono_score))
        }
        return f"Explanations of {len(active):,} dimensions, {int(active.sum()):,} active\n{format_metrics(means)}"


def explain(codes: Any, labels: Any = None, n_classes: int = 0, reference_embeddings: Any = None) -> Explanations:
    """Explain the dimensions of codes (N, M): dense, CSR, ``SparseCodes`` or a memory map.

    Args:
        labels: (N,) in [0, n_classes), or labels of any kind where n_classes is 0; without them the results on classes
            are empty.
        reference_embeddings: (N, D), from which MonoScore takes its similarities. Without them it compares the rows of
            the codes themselves, for up to ``MAX_DIMENSIONS`` dimensions.

    Raises:
        InputError: numbers of rows differ, or a row has NaN or infinity.
    """
    codes = as_codes(codes)
    if labels is not None and not n_classes:
        labels, class_names = class_positions(labels, codes.shape[0])
        n_classes = len(class_names)
    similar = codes if reference_embeddings is None else as_codes(reference_embeddings)
    if similar.shape[0] != codes.shape[0]:
        raise InputError(
            f"reference_embeddings has {similar.shape[0]} rows, but codes {codes.shape[0]}; give one for each row."
        )
    top, firing, mono = streaming.TopActivating(N_TOP), streaming.Firing(), streaming.MonoScore()
    consistency = None if labels is None else streaming.SemanticConsistency(n_classes)
    low = np.zeros(codes.shape[1])
    for block in row_blocks(codes, similar):
        rows = measurement.sparsify(take_rows(codes, block))
        top.update(rows, np.arange(block.start, block.stop))
        firing.update(rows)
        if reference_embeddings is not None or codes.shape[1] <= measurement.MAX_DIMENSIONS:
            mono.update(rows, rows if reference_embeddings is None else take_rows(similar, block))
        if consistency is not None and labels is not None:
            consistency.update(rows, labels[block])
        low = np.minimum(low, rows.min(axis=0) if isinstance(rows, np.ndarray) else rows.min(axis=0).toarray().ravel())
    strongest = top.compute()
    high = strongest.values[:, 0]
    histogram = np.zeros((len(low), N_BINS), dtype=np.int64)
    for block in row_blocks(codes):
        histogram += activation_histogram(take_rows(codes, block), low, high, N_BINS)
    assert firing.moments is not None
    undefined = np.full(len(low), np.nan)
    pure = None if consistency is None else consistency.compute()
    classes, class_counts = _commonest(consistency, len(low))
    return Explanations(
        rows=strongest.rows,
        values=strongest.values,
        low=low,
        high=high,
        histogram=histogram,
        support=firing.moments.support,
        consistency=undefined if pure is None else pure.score,
        chance=undefined if pure is None else pure.chance,
        mono_score=undefined if mono.moments is None else mono.compute().score,
        classes=classes,
        class_counts=class_counts,
    )


def _commonest(consistency: streaming.SemanticConsistency | None, width: int) -> tuple[Numbers, Numbers]:
    """Return the commonest classes of every dimension, those of equal counts in their order, and the counts."""
    classes, counts = np.full((width, N_CLASSES), -1, dtype=np.int64), np.zeros((width, N_CLASSES), dtype=np.int64)
    if consistency is None or consistency.moments is None:
        return classes, counts
    table = consistency.moments.table
    n = min(N_CLASSES, len(table))
    order = np.argsort(-table, axis=0, kind="stable")[:n]
    counts[:, :n] = np.take_along_axis(table, order, axis=0).T
    classes[:, :n] = np.where(counts[:, :n] > 0, order.T, -1)
    return classes, counts


def sample_monosemanticity(codes: Codes, scores: Array) -> Array:
    """Return s_i = sum_m |a_im| c_m / sum_m |a_im|: how monosemantic the dimensions are that a sample is made of.

    Args:
        codes: (N, M), dense or CSR.
        scores: (M,), c_m, such as the semantic consistency; dimensions where it is NaN do not count.

    Returns: (N,); NaN where no dimension counts.
    """
    known = np.isfinite(scores)
    scores, weights = np.where(known, scores, 0.0), known.astype(np.float64)
    parts = [np.empty(0)]
    for block in row_blocks(codes):
        sizes = abs(take_rows(codes, block).astype(np.float64))
        total = np.asarray(sizes @ weights)
        parts.append(np.divide(sizes @ scores, total, out=np.full(len(total), np.nan), where=total > 0))
    return np.concatenate(parts)


class Predictions(NamedTuple):
    """Predictions of one classifier on N test samples with C classes, and the dimensions that they rest on."""

    predicted: Numbers
    """(N,)."""
    labels: Numbers
    """(N,), the true classes."""
    monosemanticity: Array
    """(N,), see :func:`~monosemy.metrics.explanations.sample_monosemanticity`."""
    class_accuracy: Array
    """(C,); NaN for a class without test samples."""
    dimensions: Numbers
    """(2, N_WEIGHTS), of the least and the most accurate class: the dimensions with the largest positive weights; -1
    where there are fewer."""
    weights: Array
    """(2, N_WEIGHTS), the change of the class's logit by one standard deviation of the dimension."""

    @property
    def extreme_classes(self) -> tuple[int, int]:
        """Least and most accurate class, of equal ones the first."""
        return extreme_classes(self.class_accuracy)


def extreme_classes(class_accuracy: Array) -> tuple[int, int]:
    """Return the least and the most accurate class, of equal ones the first."""
    return int(np.nanargmin(class_accuracy)), int(np.nanargmax(class_accuracy))


def describe_predictions(
    predicted: Numbers,
    labels: Numbers,
    weight: np.typing.NDArray[np.floating],
    codes: Codes,
    train_codes: Codes,
    train_labels: Numbers,
) -> Predictions:
    """Describe predictions and the monosemanticity of the dimensions that the samples are made of.

    The dimensions' consistency is measured on train with clean labels: on test a sample's own label would count.

    Args:
        predicted, labels: (N,), of the test samples.
        weight: (M, C), of the classifier, for codes as they come.
        codes: (N, M), of the test samples.
        train_codes, train_labels: (N', M) and (N',).
    """
    n_classes = weight.shape[1]
    consistency = streaming.SemanticConsistency(n_classes).update(train_codes, train_labels).compute()
    known = np.where(consistency.support >= MIN_SUPPORT, consistency.score, np.nan)
    hits = np.bincount(labels[predicted == labels], minlength=n_classes)
    total = np.bincount(labels, minlength=n_classes)
    accuracy = np.divide(hits, total, out=np.full(n_classes, np.nan), where=total > 0)
    chosen = [_largest_effects(weight[:, c] * standard_deviations(train_codes)) for c in extreme_classes(accuracy)]
    return Predictions(
        predicted,
        labels,
        sample_monosemanticity(codes, known),
        accuracy,
        np.stack([dimensions for dimensions, _ in chosen]),
        np.stack([weights for _, weights in chosen]),
    )


def standard_deviations(codes: Codes) -> Array:
    """Return (M,), the standard deviation of every dimension of (N, M), dense or CSR."""
    if isinstance(codes, np.ndarray):
        return codes.std(axis=0, dtype=np.float64)
    values = sp.csr_array(codes, dtype=np.float64)
    mean = np.asarray(values.mean(axis=0)).ravel()
    squares = np.asarray(values.multiply(values).mean(axis=0)).ravel()
    return np.sqrt(np.maximum(squares - mean**2, 0))


def _largest_effects(effects: Array) -> tuple[Numbers, Array]:
    """Return the dimensions of the largest positive effects, of equal ones the first."""
    order = np.argsort(-effects, kind="stable")[:N_WEIGHTS]
    order = order[effects[order] > 0]
    dimensions, weights = np.full(N_WEIGHTS, -1, dtype=np.int64), np.zeros(N_WEIGHTS)
    dimensions[: len(order)], weights[: len(order)] = order, effects[order]
    return dimensions, weights
