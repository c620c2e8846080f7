"""Superposition told from weights alone: neurons with large inputs and a negative bias keep few meanings."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MOST_CHANGED = 100
"""Neurons of a layer over which two models are compared."""


def neuron_gauge(weight: NDArray[np.floating], bias: NDArray[np.floating]) -> NDArray[np.float64]:
    """|w_in|_2 b_in of each neuron, shape (M,).

    Args:
        weight: (M, D), the input weights of one neuron a row.
        bias: (M,).

    Source: Yan et al. (arXiv 2406.17969), after Gurnee et al., "Finding Neurons in a Haystack" (arXiv 2305.01610).
    """
    lengths = np.linalg.norm(weight.astype(np.float64), axis=1)
    return np.asarray(lengths * bias.astype(np.float64))


class LayerGauge(NamedTuple):
    """Of every layer, in order."""

    weight_median: NDArray[np.float64]
    """(L,), median of :func:`neuron_gauge` over the neurons."""
    weight_gauge: NDArray[np.float64]
    """(L,), divided by the largest |median|; NaN where all are 0."""


def layer_gauge(neurons: Sequence[NDArray[np.float64]]) -> LayerGauge:
    """Median over the neurons of each layer, and the same divided by the largest |median| over the layers."""
    median = np.array([np.median(values) for values in neurons])
    largest = np.abs(median).max()
    return LayerGauge(median, median / largest if largest > 0 else np.full(len(median), np.nan))


def gauge_change(before: NDArray[np.float64], after: NDArray[np.float64], most_changed: int = MOST_CHANGED) -> float:
    """Relative change of a layer's gauge over the neurons that changed most: sum (g' - g) / sum |g|.

    The ratio of sums, because single neurons with g near 0 have relative changes of any size. Positive is a rise.

    Args:
        before, after: (M,), :func:`neuron_gauge` of the same layer in two models.
        most_changed: the neurons of largest |g' - g| that count; all if there are fewer.

    Returns: NaN where these neurons were all 0 before.
    """
    step = after - before
    chosen = np.argsort(-np.abs(step), kind="stable")[:most_changed]
    size = np.abs(before[chosen]).sum()
    return float(step[chosen].sum() / size) if size > 0 else float("nan")
