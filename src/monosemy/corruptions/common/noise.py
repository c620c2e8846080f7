"""Noise: every number of an image is changed by itself. Images are (N, C, H, W), float32 in [0, 1]."""

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Images = NDArray[np.float32]
Generators = Sequence[Generator]
"""One for each image, so that its draws depend on no other image."""


def gaussian_noise(images: Images, rngs: Generators, std: float) -> Images:
    """x + N(0, std^2), clipped to [0, 1]."""
    drawn = np.stack([rng.standard_normal(images.shape[1:], dtype=np.float32) for rng in rngs])
    return np.clip(images + np.float32(std) * drawn, 0, 1)


def shot_noise(images: Images, rngs: Generators, photons: float) -> Images:
    """Poisson(photons x) / photons, clipped to [0, 1]: mean x and variance x / photons before clipping."""
    drawn = np.stack([rng.poisson(photons * image) for image, rng in zip(images, rngs, strict=True)])
    return np.clip(drawn / photons, 0, 1).astype(np.float32)


def impulse_noise(images: Images, rngs: Generators, share: float) -> Images:
    """A ``share`` of the numbers, channel by channel, becomes 0 or 1, each with probability one half."""
    drawn = np.stack([rng.random(images.shape[1:], dtype=np.float32) for rng in rngs])
    noisy = np.where(drawn < share / 2, np.float32(0), images)
    return np.where(drawn > 1 - share / 2, np.float32(1), noisy)
