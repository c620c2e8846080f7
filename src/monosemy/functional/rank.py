"""Effective rank: over how many directions do embeddings spread?"""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def effective_rank(embeddings: NDArray[np.floating[Any]]) -> float:
    """exp(-sum_i p_i ln p_i) with p_i = s_i / sum_j s_j, s the singular values of the embeddings minus their mean.

    It is D for D equally strong directions, 1 for one direction, and NaN where all rows are equal.

    Args:
        embeddings: (N, D).

    Source: Roy and Vetterli, "The effective rank" (EUSIPCO 2007), definition 1; the mean is taken away here.
    """
    x = embeddings.astype(np.float64)
    x -= x.mean(axis=0)
    # The smaller Gram matrix has the squares of all singular values that are not 0.
    gram = x.T @ x if x.shape[0] >= x.shape[1] else x @ x.T
    squares = np.linalg.eigvalsh(gram)
    squares = squares[squares > squares[-1] * len(squares) * np.finfo(np.float64).eps]  # what is below is rounding
    if not len(squares):
        return float("nan")
    shares = np.sqrt(squares)
    shares /= shares.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))
