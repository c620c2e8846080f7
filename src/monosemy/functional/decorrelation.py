"""Decorrelation: of the features of a layer, as a training term, and of samples, as a measure."""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from monosemy.functional.consistency import Codes
from monosemy.functional.monoscore import unit_samples


class _GramDistance(torch.autograd.Function):
    """|Z^T Z - I|_F^2 by the smaller Gram matrix, with one product forwards and one backwards.

    The Gram matrix is symmetric, which autograd cannot know: it would multiply twice on the way back.
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
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
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        z, gram = ctx.saved_tensors
        with torch.autocast(z.device.type, enabled=False):
            return 4 * grad_outputs[0] * (gram @ z - z if ctx.by_rows else z @ gram)


def decorrelation(activations: Tensor, normalize_columns: bool = True) -> Tensor:
    """|Z^T Z - I|_F^2 of n tokens and d features: 0 for orthonormal columns.

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
        distance: Tensor = _GramDistance.apply(z)
        return distance


def activation_l1(activations: Tensor) -> Tensor:
    """Mean over tokens of sum_j |z_j|: the L1 penalty that decorrelation is compared with.

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
    sum: NDArray[np.float64]
    """(D,), sum_i x_i / |x_i|."""


def direction_moments(samples: Codes) -> DirectionMoments:
    """Moments of (N, D), dense or CSR, in float64."""
    unit, lengths = unit_samples(samples)
    return DirectionMoments(int((lengths > 0).sum()), np.asarray(unit.sum(axis=0), dtype=np.float64).ravel())


def merge_direction_moments(first: DirectionMoments, second: DirectionMoments) -> DirectionMoments:
    """Moments of two disjoint sets of samples together."""
    return DirectionMoments(first.n_samples + second.n_samples, first.sum + second.sum)


def streamed_feature_decorrelation(moments: DirectionMoments) -> float:
    """:func:`feature_decorrelation` from the moments of all samples."""
    n = moments.n_samples
    if n < 2:
        return float("nan")
    return float(1 - (moments.sum @ moments.sum - n) / (n * (n - 1)))


def feature_decorrelation(samples: Codes) -> float:
    """1 - mean cosine over the pairs of different samples, in linear time: sum_ij cos_ij = |sum_i x_i / |x_i||^2.

    0 where all point the same way, 1 where they are orthogonal on average; at most 1 + 1 / (N - 1).

    Args:
        samples: (N, D), dense or CSR; samples of length 0 have no direction and are left out.

    Returns: NaN for fewer than two directions.

    Source: Yan et al. (arXiv 2406.17969), feature decorrelation of the last token's activations of many prompts.
    """
    return streamed_feature_decorrelation(direction_moments(samples))
