"""The autoencoder before its first step."""

import warnings
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from monosemy.errors import InputError
from monosemy.features.autoencoder.module import Autoencoder
from monosemy.functional.geometric_median import geometric_median

Center = Literal["median", "mean"]


def initialise(model: Autoencoder, z: Tensor, rng: torch.Generator, center: Center = "median") -> None:
    """Scale to unit variance a dimension, bias at the centre, decoder rows random of length 1, encoder tied to them.

    Args:
        z: (N, D), on the original scale.
        center: the geometric median, which outliers do not move, or the mean.

    Source: Bricken et al., "Towards monosemanticity" (2023); Gao et al. (arXiv 2406.04093), appendix A.1.
    """
    if center not in get_args(Center):
        raise InputError(f"center={center!r} is unknown; choose 'median' or 'mean'.")
    mean = z.mean(dim=0)
    variance = (z - mean).pow(2).sum(dim=1).mean() / z.shape[1]
    if variance == 0:
        warnings.warn("The inputs do not vary at all; the autoencoder can only learn their one value.", stacklevel=2)
    model.scale.copy_(variance.sqrt() if variance > 0 else torch.ones(()))
    rows = torch.randn(model.decoder.shape, generator=rng).to(model.decoder)
    model.decoder.copy_(nn.functional.normalize(rows, dim=1))
    model.encoder.copy_(model.decoder)
    model.encoder_bias.zero_()
    model.decoder_bias.copy_((geometric_median(z) if center == "median" else mean) / model.scale)
