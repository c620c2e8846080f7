"""Sparsity of activations without a threshold."""

import numpy as np
from numpy.typing import NDArray


def hoyer_sparsity(activations: NDArray[np.floating]) -> NDArray[np.float64]:
    """Hoyer's sparsity of each row: (sqrt(D) - |x|_1 / |x|_2) / (sqrt(D) - 1), shape (N,).

    1 for one number that is not 0, 0 for D numbers of equal size. It needs no threshold, so it also serves smooth
    activations, which are hardly ever 0. NaN for rows that are all 0, and for D = 1.

    Args:
        activations: (N, D), dense.

    Source: Hoyer, "Non-negative matrix factorization with sparseness constraints" (JMLR 2004).
    """
    x = np.abs(activations.astype(np.float64))
    root = np.sqrt(x.shape[1])
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((root - x.sum(axis=1) / np.linalg.norm(x, axis=1)) / (root - 1))
