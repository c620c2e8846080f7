"""Reconstruction: explained variance, normalised MSE and AuxK, on tensors and from the moments of a stream."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monosemy.functional.consistency import Array


class ReconstructionMoments(NamedTuple):
    """Moments of N samples that determine explained variance and normalised MSE."""

    n_samples: int
    mean: Array
    """(D,), of the targets z."""
    variation: float
    """sum_i |z_i - mean|^2."""
    error: float
    """sum_i |z_i - recon_i|^2."""


def reconstruction_moments(reconstruction: NDArray[np.floating], target: NDArray[np.floating]) -> ReconstructionMoments:
    """Return the moments of pairs (N, D), in float64."""
    z = target.astype(np.float64)
    error = float(np.square(z - reconstruction).sum())
    mean = z.mean(axis=0) if len(z) else np.zeros(z.shape[1])
    z -= mean
    return ReconstructionMoments(len(z), mean, float(np.square(z).sum()), error)


def merge_reconstruction_moments(first: ReconstructionMoments, second: ReconstructionMoments) -> ReconstructionMoments:
    """Return the moments of two disjoint sets of samples together.

    Source: Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances"
    (1979): no difference of large sums of squares, so an offset of the data costs no digits.
    """
    count = first.n_samples + second.n_samples
    fraction = second.n_samples / max(count, 1)
    step = second.mean - first.mean
    return ReconstructionMoments(
        count,
        first.mean + fraction * step,
        first.variation + second.variation + first.n_samples * fraction * float(step @ step),
        first.error + second.error,
    )


def streamed_explained_variance(moments: ReconstructionMoments) -> float:
    """Return :func:`explained_variance` of all samples together: 1 - error / variation; NaN for constant data.

    The mean is that of all samples, so the mean predictor scores 0 however the samples came in.
    """
    return 1 - moments.error / moments.variation if moments.variation > 0 else float("nan")


def streamed_normalized_mse(moments: ReconstructionMoments) -> float:
    """Return :func:`normalized_mse` of all samples together: error / sum_i |z_i|^2; NaN where all targets are 0."""
    energy = moments.variation + moments.n_samples * float(moments.mean @ moments.mean)
    return moments.error / energy if energy > 0 else float("nan")


def normalized_mse(reconstruction: Tensor, target: Tensor) -> Tensor:
    """Return |recon - z|^2 / |z|^2, summed over the batch before dividing. Shapes (B, D), result a scalar >= 0.

    Source: Zhang et al., "Beyond Interpretability" (arXiv 2410.21331), section 3.1.
    """
    return (reconstruction - target).pow(2).sum() / target.pow(2).sum()


def explained_variance(reconstruction: Tensor, target: Tensor) -> float:
    """Return 1 - sum |z - recon|^2 / sum |z - mean(z)|^2 (one minus the fraction of variance unexplained).

    The mean predictor scores exactly 0. Shapes (N, D); accumulated in float64. NaN for constant data.

    Source: Gao et al. (arXiv 2406.04093), section 2.1.
    """
    z = target.double()
    variance = (z - z.mean(dim=0)).pow(2).sum()
    if variance == 0:
        return float("nan")
    return float(1 - (z - reconstruction.double()).pow(2).sum() / variance)


def aux_k(error: Tensor, dead_reconstruction: Tensor) -> Tensor:
    """Return AuxK, the normalised MSE of modelling the main reconstruction's error with the dead latents alone.

    loss = |e - W_d code_dead|^2 / |e|^2 with e = z - recon DETACHED. No decoder bias: the error has it subtracted
    already. Gradient flows to the encoder and the decoder of the dead latents.

    Args:
        error: (B, D), z - recon of the main code.
        dead_reconstruction: (B, D), the dead latents' own TopK code times the decoder.

    Source: Gao et al. (arXiv 2406.04093), appendix A.2.
    """
    target = error.detach()
    return (target - dead_reconstruction).pow(2).sum() / target.pow(2).sum().clamp(min=torch.finfo(error.dtype).tiny)
