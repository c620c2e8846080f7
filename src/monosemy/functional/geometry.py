"""Geometry of features: decorrelation, effective rank, orthogonality of a dictionary, superposition from weights."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from torch.autograd.function import once_differentiable

from monosemy.errors import InputError
from monosemy.functional import consistency, monoscore

MOST_CHANGED = 100
"""Neurons of a layer over which two models are compared."""
_DENSE_ABOVE = 0.2
"""Fraction of stored entries above which a CSR matrix is treated as a dense one."""
_ROWS = 1024
"""Rows of a dictionary whose cosines are in memory at a time."""


class _GramDistance(torch.autograd.Function):
    """|Z^T Z - I|_F^2 by the smaller Gram matrix, with one product forwards and one backwards.

    The Gram matrix is symmetric, which autograd cannot know: it would multiply twice on the way back.
    """

    @staticmethod
    def forward(ctx: Any, z: torch.Tensor) -> torch.Tensor:
        n, d = z.shape
        ctx.by_rows = n < d
        if ctx.by_rows:
            gram = z @ z.T
            distance = torch.linalg.vector_norm(gram) ** 2 - 2 * gram.diagonal().sum() + d
        else:
            gram = z.T @ z
            gram.diagonal().sub_(1)
            distance = torch.linalg.vector_norm(gram) ** 2
        ctx.save_for_backward(z, gram)
        return distance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: torch.Tensor) -> torch.Tensor:
        z, gram = ctx.saved_tensors
        with torch.autocast(z.device.type, enabled=False):
            return 4 * grad_outputs[0] * (gram @ z - z if ctx.by_rows else z @ gram)


def decorrelation(activations: torch.Tensor, normalize_columns: bool = True) -> torch.Tensor:
    """Return |Z^T Z - I|_F^2 of n tokens and d features: 0 for orthonormal columns.

    With columns of length 1 it is the sum of cos^2 over the ordered pairs of different features; a feature that is 0
    for every token has no direction and adds 1. Features of independent noise reach about d^2 / n, so the number
    grows with the width and falls with the tokens.

    The smaller Gram matrix is used: |Z^T Z - I|^2 = |Z Z^T|^2 - 2 |Z|^2 + d. Cost 2 n d min(n, d) FLOP forwards and
    as many backwards. In float32 at least, also under autocast; differentiable once.

    Args:
        activations: Z (n, d), of any floating type.
        normalize_columns: divide every column by its length first.

    Returns: a scalar, float32 or float64.

    Source: Yan et al. (arXiv 2406.17969), the regulariser of DecPO.
    """
    with torch.autocast(activations.device.type, enabled=False):
        z = activations if activations.dtype == torch.float64 else activations.float()
        if normalize_columns:
            length = z.norm(dim=0, keepdim=True)
            # Dividing by a tiny constant instead would give a silent feature a gradient of its inverse.
            z = z / torch.where(length > 0, length, 1)
        distance: torch.Tensor = _GramDistance.apply(z)
        return distance


def activation_l1(activations: torch.Tensor) -> torch.Tensor:
    """Return the mean over tokens of sum_j |z_j|: the L1 penalty that decorrelation is compared with.

    Args:
        activations: (n, d), of any floating type.

    Returns: a scalar, float32 or float64.
    """
    z = activations if activations.dtype == torch.float64 else activations.float()
    return z.abs().sum(dim=1).mean()


class DirectionMoments(NamedTuple):
    """Number and sum of the directions of samples."""

    n_samples: int
    """Samples that have a direction: those of length 0 are left out."""
    sum: consistency.Array
    """(D,), sum_i x_i / |x_i|."""


def direction_moments(samples: consistency.Codes) -> DirectionMoments:
    """Return the moments of (N, D), dense or CSR, in float64."""
    unit, lengths = monoscore.unit_samples(samples)
    return DirectionMoments(int((lengths > 0).sum()), np.asarray(unit.sum(axis=0), dtype=np.float64).ravel())


def merge_direction_moments(first: DirectionMoments, second: DirectionMoments) -> DirectionMoments:
    """Return the moments of two disjoint sets of samples together."""
    return DirectionMoments(first.n_samples + second.n_samples, first.sum + second.sum)


def streamed_feature_decorrelation(moments: DirectionMoments) -> float:
    """Return :func:`feature_decorrelation` from the moments of all samples."""
    n = moments.n_samples
    if n < 2:
        return float("nan")
    return float(1 - (moments.sum @ moments.sum - n) / (n * (n - 1)))


def feature_decorrelation(samples: consistency.Codes) -> float:
    """Return 1 - mean cosine over the pairs of different samples, in linear time: sum_ij cos_ij = |sum_i x_i /
    |x_i||^2.

    0 where all point the same way, 1 where they are orthogonal on average; at most 1 + 1 / (N - 1).

    Args:
        samples: (N, D), dense or CSR; samples of length 0 have no direction and are left out.

    Returns: NaN for fewer than two directions.

    Source: Yan et al. (arXiv 2406.17969), feature decorrelation of the last token's activations of many prompts.
    """
    return streamed_feature_decorrelation(direction_moments(samples))


class CovarianceMoments(NamedTuple):
    """Number, mean and scatter of samples."""

    n_samples: int
    mean: consistency.Array
    """(D,)."""
    scatter: consistency.Array
    """(D, D), sum_i (x_i - mean) (x_i - mean)^T."""


def covariance_moments(embeddings: consistency.Codes) -> CovarianceMoments:
    """Return the moments of (N, D), dense or CSR, in float64."""
    n, width = embeddings.shape
    if isinstance(embeddings, np.ndarray) or embeddings.nnz > _DENSE_ABOVE * n * width:
        x = embeddings.astype(np.float64) if isinstance(embeddings, np.ndarray) else embeddings.toarray().astype(float)
        mean = x.mean(axis=0) if n else np.zeros(width)
        x -= mean
        return CovarianceMoments(n, mean, x.T @ x)
    codes = sp.csr_array(embeddings, dtype=np.float64)
    mean = np.asarray(codes.sum(axis=0)).ravel() / max(n, 1)
    # Where most numbers are 0 the mean is small beside the squares, and taking it away costs no digits.
    return CovarianceMoments(n, mean, (codes.T @ codes).toarray() - n * np.outer(mean, mean))


def merge_covariance_moments(first: CovarianceMoments, second: CovarianceMoments) -> CovarianceMoments:
    """Return the moments of two disjoint sets of samples together (Chan et al. 1979, as for the reconstruction)."""
    count = first.n_samples + second.n_samples
    fraction = second.n_samples / max(count, 1)
    step = second.mean - first.mean
    scatter = np.outer(first.n_samples * fraction * step, step)
    scatter += first.scatter
    scatter += second.scatter
    return CovarianceMoments(count, first.mean + fraction * step, scatter)


def streamed_effective_rank(moments: CovarianceMoments) -> float:
    """Return :func:`effective_rank` from the moments of all samples."""
    return _rank_from_gram(moments.scatter)


def effective_rank(embeddings: consistency.Codes) -> float:
    """Return exp(-sum_i p_i ln p_i) with p_i = s_i / sum_j s_j, s the singular values of the embeddings minus their
    mean.

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
        return _rank_from_gram(x @ x.T)
    codes = sp.csr_array(embeddings, dtype=np.float64)
    gram = (codes @ codes.T).toarray()
    row_means = gram.mean(axis=0)
    return _rank_from_gram(gram - row_means - row_means[:, None] + row_means.mean())


def _rank_from_gram(gram: consistency.Array) -> float:
    squares = np.linalg.eigvalsh(gram)
    squares = squares[squares > squares[-1] * len(squares) * np.finfo(np.float64).eps]  # what is below is rounding
    if not len(squares):
        return float("nan")
    p = np.sqrt(squares)
    p /= p.sum()
    return float(np.exp(-(p * np.log(p)).sum()))


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


def orthogonality_error(dictionary: np.typing.NDArray[np.floating]) -> Orthogonality:
    """Return the off-diagonal of W W^T - I for rows w_m / |w_m|, in float64, without the (M, M) matrix in memory.

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
        diagonal = np.arange(len(cosines))
        cosines[diagonal, start + diagonal] = 0
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


def unit_rows(matrix: np.typing.NDArray[np.floating], name: str) -> consistency.Array:
    """Return the rows at length 1, in float64.

    Args:
        name: the name of the matrix in messages.

    Raises:
        InputError: the input is not a matrix, or a row has length 0 or contains NaN.
    """
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise InputError(f"{name} has shape {matrix.shape}; give one direction a row, (M, D).")
    rows = matrix.astype(np.float64)
    lengths = np.linalg.norm(rows, axis=1)
    bad = ~(np.isfinite(lengths) & (lengths > 0))
    if bad.any():
        length = lengths[bad.argmax()]
        raise InputError(
            f"{name} has length {length:g} in row {int(bad.argmax())}, which has no direction; drop that row."
        )
    rows /= lengths[:, None]
    return rows


def neuron_superposition(
    weight: np.typing.NDArray[np.floating], bias: np.typing.NDArray[np.floating]
) -> consistency.Array:
    """Return |w_in|_2 b_in of each neuron, shape (M,): large inputs and a negative bias are a sign of superposition.

    Args:
        weight: (M, D), the input weights of one neuron a row.
        bias: (M,).

    Source: Yan et al. (arXiv 2406.17969), after Gurnee et al., "Finding Neurons in a Haystack" (arXiv 2305.01610).
    """
    lengths = np.linalg.norm(weight.astype(np.float64), axis=1)
    return np.asarray(lengths * bias.astype(np.float64))


class LayerSuperposition(NamedTuple):
    """Superposition of every layer, in order."""

    weight_median: consistency.Array
    """(L,), median of :func:`neuron_superposition` over the neurons."""
    weight_gauge: consistency.Array
    """(L,), divided by the largest |median|; NaN where all are 0."""


def layer_superposition(neurons: Sequence[consistency.Array]) -> LayerSuperposition:
    """Return the median over the neurons of each layer, and the same divided by the largest |median| over the
    layers."""
    median = np.array([np.median(values) for values in neurons])
    largest = np.abs(median).max()
    return LayerSuperposition(median, median / largest if largest > 0 else np.full(len(median), np.nan))


def superposition_change(
    before: consistency.Array, after: consistency.Array, most_changed: int = MOST_CHANGED
) -> float:
    """Return the relative change of a layer's superposition over the neurons that changed most: sum (g' - g) / sum |g|.

    The ratio of sums, because single neurons with g near 0 have relative changes of any size. Positive is a rise.

    Args:
        before, after: (M,), :func:`neuron_superposition` of the same layer in two models.
        most_changed: the neurons of largest |g' - g| that count; all if there are fewer.

    Returns: NaN where these neurons were all 0 before.
    """
    step = after - before
    chosen = np.argsort(-np.abs(step), kind="stable")[:most_changed]
    size = np.abs(before[chosen]).sum()
    return float(step[chosen].sum() / size) if size > 0 else float("nan")
