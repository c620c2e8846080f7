"""Orthogonality error of a dictionary: how far are its directions from right angles?"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from monosemy.errors import InputError

_ROWS = 1024


class Orthogonality(NamedTuple):
    """|cosine| between different rows, summarised; 0 for right angles. NaN for a single row."""

    mean: float
    """Mean of |cos|."""
    rms: float
    """Root mean square: |W W^T - I|_F / sqrt(M (M - 1)), W with rows of length 1."""
    largest: float
    """Largest |cos|, the mutual coherence."""
    least_rms: float
    """What ``rms`` cannot fall below with M directions in D dimensions: 0 for M <= D."""


def orthogonality_error(dictionary: NDArray[np.floating]) -> Orthogonality:
    """The off-diagonal of W W^T - I for rows w_m / |w_m|, in float64, without the (M, M) matrix in memory.

    Args:
        dictionary: (M, D), one direction a row, of any length but 0.

    Raises:
        InputError: a row has length 0.

    Source: Welch, "Lower bounds on the maximum cross correlation of signals" (1974), for ``least_rms``:
    sum_ij cos_ij^2 >= M^2 / D.
    """
    rows = unit_rows(dictionary, "dictionary")
    m, d = rows.shape
    total = squares = largest = 0.0
    for start in range(0, m, _ROWS):
        cosines = np.abs(rows[start : start + _ROWS] @ rows.T)
        own = np.arange(len(cosines))
        cosines[own, start + own] = 0
        total += float(cosines.sum())
        squares += float(np.square(cosines).sum())
        largest = max(largest, float(cosines.max()))
    if m < 2:
        nan = float("nan")
        return Orthogonality(nan, nan, nan, nan)
    pairs = m * (m - 1)
    return Orthogonality(
        total / pairs, float(np.sqrt(squares / pairs)), largest, float(np.sqrt(max(m - d, 0) / (d * (m - 1))))
    )


def unit_rows(matrix: NDArray[np.floating], name: str) -> NDArray[np.float64]:
    """Rows of length 1, in float64.

    Raises:
        InputError: the matrix is no matrix, or a row has length 0 or holds NaN; ``name`` is what the message calls it.
    """
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise InputError(f"{name} has shape {matrix.shape}; give one direction a row, (M, D).")
    rows = matrix.astype(np.float64)
    lengths = np.linalg.norm(rows, axis=1)
    bad = ~(np.isfinite(lengths) & (lengths > 0))
    if bad.any():
        length = lengths[bad.argmax()]
        raise InputError(f"{name} has length {length:g} in row {int(bad.argmax())}, so no direction; drop that row.")
    rows /= lengths[:, None]
    return rows
