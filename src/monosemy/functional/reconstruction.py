"""Losses and scores of a reconstruction."""

import torch
from torch import Tensor


def normalized_mse(reconstruction: Tensor, target: Tensor) -> Tensor:
    """|recon - z|^2 / |z|^2, summed over the batch before dividing. Shapes (B, D), result a scalar >= 0.

    Source: Zhang et al., "Beyond Interpretability" (arXiv 2410.21331), section 3.1.
    """
    return (reconstruction - target).pow(2).sum() / target.pow(2).sum()


def explained_variance(reconstruction: Tensor, target: Tensor) -> float:
    """1 - sum |z - recon|^2 / sum |z - mean(z)|^2 (one minus the fraction of variance unexplained).

    The mean predictor scores exactly 0. Shapes (N, D); accumulated in float64. NaN for constant data.

    Source: Gao et al. (arXiv 2406.04093), section 2.1.
    """
    z = target.double()
    variance = (z - z.mean(dim=0)).pow(2).sum()
    if variance == 0:
        return float("nan")
    return float(1 - (z - reconstruction.double()).pow(2).sum() / variance)


def aux_k(error: Tensor, dead_reconstruction: Tensor) -> Tensor:
    """AuxK: normalised MSE of modelling the main reconstruction's error with the dead latents alone.

    loss = |e - W_d code_dead|^2 / |e|^2 with e = z - recon DETACHED. No decoder bias: the error has it subtracted
    already. Gradient flows to the encoder and the decoder of the dead latents.

    Args:
        error: (B, D), z - recon of the main code.
        dead_reconstruction: (B, D), the dead latents' own TopK code times the decoder.

    Source: Gao et al. (arXiv 2406.04093), appendix A.2.
    """
    target = error.detach()
    return (target - dead_reconstruction).pow(2).sum() / target.pow(2).sum().clamp(min=torch.finfo(error.dtype).tiny)
