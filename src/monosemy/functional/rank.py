"""Effective rank: over how many directions do embeddings spread?"""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from monosemy.functional.consistency import Codes

_FULL = 0.2
"""Share of stored entries above which a CSR matrix is worked on as a dense one."""


class CovarianceMoments(NamedTuple):
    """Number, mean and scatter of samples."""

    n_samples: int
    mean: NDArray[np.float64]
    """(D,)."""
    scatter: NDArray[np.float64]
    """(D, D), sum_i (x_i - mean) (x_i - mean)^T."""


def covariance_moments(embeddings: Codes) -> CovarianceMoments:
    """Moments of (N, D), dense or CSR, in float64."""
    n, width = embeddings.shape
    if isinstance(embeddings, np.ndarray) or embeddings.nnz > _FULL * n * width:
        x = embeddings.astype(np.float64) if isinstance(embeddings, np.ndarray) else embeddings.toarray().astype(float)
        mean = x.mean(axis=0) if n else np.zeros(width)
        x -= mean
        return CovarianceMoments(n, mean, x.T @ x)
    codes = sp.csr_array(embeddings, dtype=np.float64)
    mean = np.asarray(codes.sum(axis=0)).ravel() / max(n, 1)
    # Where most numbers are 0 the mean is small beside the squares, and taking it away costs no digits.
    return CovarianceMoments(n, mean, (codes.T @ codes).toarray() - n * np.outer(mean, mean))


def merge_covariance_moments(first: CovarianceMoments, second: CovarianceMoments) -> CovarianceMoments:
    """Moments of two disjoint sets of samples together (Chan et al. 1979, as for the reconstruction)."""
    count = first.n_samples + second.n_samples
    share = second.n_samples / max(count, 1)
    step = second.mean - first.mean
    scatter = np.outer(first.n_samples * share * step, step)
    scatter += first.scatter
    scatter += second.scatter
    return CovarianceMoments(count, first.mean + share * step, scatter)


def streamed_effective_rank(moments: CovarianceMoments) -> float:
    """:func:`effective_rank` from the moments of all samples."""
    return _rank_of_squares(moments.scatter)


def effective_rank(embeddings: Codes) -> float:
    """exp(-sum_i p_i ln p_i) with p_i = s_i / sum_j s_j, s the singular values of the embeddings minus their mean.

    It is D for D equally strong directions, 1 for one direction, and NaN where all rows are equal.

    Args:
        embeddings: (N, D), dense or CSR.

    Source: Roy and Vetterli, "The effective rank" (EUSIPCO 2007), definition 1; the mean is taken away here.
    """
    n, width = embeddings.shape
    if n >= width:
        return streamed_effective_rank(covariance_moments(embeddings))
    # The smaller Gram matrix has the squares of all singular values that are not 0.
    if isinstance(embeddings, np.ndarray):
        x = embeddings.astype(np.float64)
        x -= x.mean(axis=0)
        return _rank_of_squares(x @ x.T)
    codes = sp.csr_array(embeddings, dtype=np.float64)
    gram = (codes @ codes.T).toarray()
    of_rows = gram.mean(axis=0)
    return _rank_of_squares(gram - of_rows - of_rows[:, None] + of_rows.mean())


def _rank_of_squares(gram: NDArray[np.float64]) -> float:
    squares = np.linalg.eigvalsh(gram)
    squares = squares[squares > squares[-1] * len(squares) * np.finfo(np.float64).eps]  # what is below is rounding
    if not len(squares):
        return float("nan")
    shares = np.sqrt(squares)
    shares /= shares.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))
