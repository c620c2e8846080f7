"""MonoScore: do the samples that activate a feature look alike?"""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from monosemy.functional.consistency import Codes


class MonoMoments(NamedTuple):
    """Sums over samples from which the score follows; moments of disjoint samples add up."""

    weighted_sum: NDArray[np.float64]
    """(M, D), w_m = sum_i a_im p_i."""
    sum: NDArray[np.float64]
    """(M,), u_m = sum_i a_im."""
    sum_of_squares: NDArray[np.float64]
    """(M,), v_m = sum_i a_im^2."""
    support: NDArray[np.int64]
    """(M,), number of samples with a_im > 0."""


def mono_moments(activations: Codes, embeddings: NDArray[np.floating]) -> MonoMoments:
    """The four sums of :class:`MonoMoments`, accumulated in float64.

    Args:
        activations: (N, M), non-negative (min-shifted if the feature is dense and signed).
        embeddings: (N, D), of any length; they are L2-normalised here.
    """
    unit = embeddings.astype(np.float64)
    unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
    a = activations.astype(np.float64)
    if isinstance(a, np.ndarray):
        return MonoMoments(a.T @ unit, a.sum(0), (a * a).sum(0), (a > 0).sum(0))
    squares = a.multiply(a)
    positive = sp.csr_array(a > 0)
    return MonoMoments(
        np.asarray(a.T @ unit),
        np.asarray(a.sum(axis=0)).ravel(),
        np.asarray(squares.sum(axis=0)).ravel(),
        np.asarray(positive.sum(axis=0)).ravel().astype(np.int64),
    )


def mono_score(moments: MonoMoments) -> NDArray[np.float64]:
    """Activation-weighted mean cosine similarity over pairs of different samples, per dimension.

    score_m = sum_{i != j} a_im a_jm p_i . p_j / sum_{i != j} a_im a_jm = (|w_m|^2 - v_m) / (u_m^2 - v_m).

    Linear in the number of samples. Undefined (NaN) where fewer than two samples activate the dimension.

    Returns: (M,), within [-1, 1].

    Source: the linear-time form of the MonoScore of Pach et al. (arXiv 2504.02821), equation 6.
    """
    numerator = (moments.weighted_sum**2).sum(axis=1) - moments.sum_of_squares
    denominator = moments.sum**2 - moments.sum_of_squares
    with np.errstate(invalid="ignore", divide="ignore"):
        score = np.where(moments.support >= 2, numerator / denominator, np.nan)
    return np.clip(score, -1.0, 1.0)
