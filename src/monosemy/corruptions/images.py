"""Noise on images whose pixels lie in [0, 1], shape (N, C, H, W)."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.float32]
Protocol = Literal["default", "paper"]


def gaussian_noise(images: Images, std: float, rng: np.random.Generator) -> Images:
    """x + N(0, std^2), clipped to [0, 1]; ``std`` in units of the pixel range."""
    return np.clip(images + std * rng.standard_normal(images.shape, dtype=np.float32), 0, 1)


def uniform_noise(images: Images, width: float, rng: np.random.Generator) -> Images:
    """x + U[-width/2, width/2], clipped to [0, 1]; centred, so that the mean brightness stays."""
    return np.clip(images + width * (rng.random(images.shape, dtype=np.float32) - 0.5), 0, 1)


def gaussian_noise_paper(images: Images, std: float, rng: np.random.Generator, pixel_std: Images) -> Images:
    """The protocol of Zhang et al.: noise after pixel normalisation, not clipped.

    Normalised pixels are (x - m) / pixel_std, so noise of ``std`` there is std * pixel_std here.

    Args:
        pixel_std: (C, 1, 1), standard deviation that the encoder divides each channel by.

    Source: Zhang et al. (arXiv 2410.21331), section 3.1 and its public code.
    """
    return images + std * pixel_std * rng.standard_normal(images.shape, dtype=np.float32)


def uniform_noise_paper(images: Images, width: float, rng: np.random.Generator, pixel_std: Images) -> Images:
    """As :func:`gaussian_noise_paper` with U[0, width], which is not centred."""
    return images + width * pixel_std * rng.random(images.shape, dtype=np.float32)


def corrupt(
    images: Images,
    kind: Literal["gaussian", "uniform"],
    level: float,
    protocol: Protocol,
    rng: np.random.Generator,
    pixel_std: Images,
) -> Images:
    """Images with noise of the given kind, level and protocol."""
    if protocol == "paper":
        paper = gaussian_noise_paper if kind == "gaussian" else uniform_noise_paper
        return paper(images, level, rng, pixel_std)
    ours = gaussian_noise if kind == "gaussian" else uniform_noise
    return ours(images, level, rng)
