"""Building blocks of the common corruptions: pixel noise, operators on rows and columns, zoom, motion, fractals.

Images are (N, C, H, W), float32 in [0, 1].
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter1d

Images = NDArray[np.float32]
Generators = Sequence[Generator]
"""One generator for each image, so that its draws depend on no other image."""


def gaussian_noise(images: Images, rngs: Generators, std: float) -> Images:
    """Return x + N(0, std^2), clipped to [0, 1]."""
    drawn = np.stack([rng.standard_normal(images.shape[1:], dtype=np.float32) for rng in rngs])
    return np.clip(images + np.float32(std) * drawn, 0, 1)


def shot_noise(images: Images, rngs: Generators, photons: float) -> Images:
    """Return Poisson(photons x) / photons, clipped to [0, 1]: mean x and variance x / photons before clipping."""
    drawn = np.stack([rng.poisson(photons * image) for image, rng in zip(images, rngs, strict=True)])
    return np.clip(drawn / photons, 0, 1).astype(np.float32)


def impulse_noise(images: Images, rngs: Generators, fraction: float) -> Images:
    """Set a ``fraction`` of the numbers, channel by channel, to 0 or 1, each with probability one half."""
    drawn = np.stack([rng.random(images.shape[1:], dtype=np.float32) for rng in rngs])
    noisy = np.where(drawn < fraction / 2, np.float32(0), images)
    return np.where(drawn > 1 - fraction / 2, np.float32(1), noisy)


def along_sides(images: Images, rows: Images, columns: Images) -> Images:
    """Apply linear operators on rows and columns: R X C^T for every plane X of (..., H, W)."""
    return np.matmul(np.matmul(rows, images), columns.T)


@cache
def gaussian_operator(side: int, std: float, border: str, truncate: float) -> Images:
    """Return SciPy's Gaussian filter of a line of ``side`` pixels as a matrix; ``border`` is its ``mode``."""
    identity = np.eye(side)
    blurred = gaussian_filter1d(identity, std, axis=0, mode=border, truncate=truncate) if std > 0 else identity
    return blurred.astype(np.float32)


@cache
def box_operator(side: int, new_side: int) -> Images:
    """Return Pillow's BOX resize of a line of ``side`` pixels as a matrix (new_side, side): means over covered
    pixels."""
    identity = Image.fromarray(np.eye(side, dtype=np.float32))
    return np.asarray(identity.resize((side, new_side), Image.Resampling.BOX))


def clipped_zoom(images: Images, factor: float) -> Images:
    """Enlarge the centre of (N, C, H, W) to the old size, linearly.

    The middle ceil(s / factor) pixels of each side s are enlarged to round(factor ceil(s / factor)) with corners on
    corners, and cropped to the middle s.
    """
    height, width = images.shape[2:]
    crop_height, crop_width = int(np.ceil(height / factor)), int(np.ceil(width / factor))
    top, left = (height - crop_height) // 2, (width - crop_width) // 2
    enlarged = torch.nn.functional.interpolate(
        torch.from_numpy(images[:, :, top : top + crop_height, left : left + crop_width]),
        size=(round(crop_height * factor), round(crop_width * factor)),
        mode="bilinear",
        align_corners=True,
    ).numpy()
    top, left = (enlarged.shape[2] - height) // 2, (enlarged.shape[3] - width) // 2
    return enlarged[:, :, top : top + height, left : left + width]


def motion_path(radius: float, std: float, angle: float) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return weights (T,) and offsets (T, 2) in pixels (down, right) of ImageMagick's motion blur, T = 2 ceil(radius) +
    1.

    Half a Gaussian along the angle (degrees, clockwise from the right): weight_t ~ exp(-t^2 / (2 std^2)), t >= 0, at
    the pixel nearest to (t sin, t cos). The published sets called ImageMagick; this is an independent implementation of
    its kernel.
    """
    steps = np.arange(2 * int(np.ceil(radius)) + 1)
    weights = np.exp(-(steps**2) / (2 * std**2))
    direction = np.array([np.sin(np.deg2rad(angle)), np.cos(np.deg2rad(angle))])
    offsets = np.ceil(steps[:, None] * direction - 0.5).astype(np.int64)
    return weights / weights.sum(), offsets


def motion_blur_along(images: Images, radius: float, std: float, angles: NDArray[np.floating]) -> Images:
    """Return sum_t weight_t x((y, x) + offset_t) with an angle for each image; the border repeats its pixel."""
    height, width = images.shape[2:]
    reach = 2 * int(np.ceil(radius))
    padded = np.pad(images, ((0, 0), (0, 0), (reach, reach), (reach, reach)), mode="edge")
    blurred = np.zeros_like(images)
    for image, source, angle in zip(blurred, padded, angles, strict=True):
        for weight, (down, right) in zip(*motion_path(radius, std, float(angle)), strict=True):
            top, left = reach + down, reach + right
            image += np.float32(weight) * source[:, top : top + height, left : left + width]
    return blurred


def plasma(draws: NDArray[np.float64], decay: float) -> NDArray[np.float64]:
    """Return diamond-square fractals on a torus, each scaled to [0, 1].

    Starting from one corner at 0, each round puts a point into the middle of every square of four points and then of
    every diamond: their mean plus amplitude times its draw. The amplitude falls by decay^2 from round to round, since
    the published code multiplies a number of that size by a draw of that size.

    Args:
        draws: (N, M, M) uniform in [-1, 1], one for each point; M is a power of two. The corner's is not used.
        decay: > 1; the larger, the smoother.
    """
    side = draws.shape[1]
    height = np.zeros_like(draws)
    step, amplitude = side, 100.0**2
    while step >= 2:
        half = step // 2
        corners = height[:, ::step, ::step]
        to_the_right = corners + np.roll(corners, -1, axis=2)
        below = corners + np.roll(corners, -1, axis=1)
        squares = to_the_right + np.roll(to_the_right, -1, axis=1)
        centres = squares / 4 + amplitude * draws[:, half::step, half::step]
        height[:, half::step, half::step] = centres
        vertical, horizontal = centres + np.roll(centres, 1, axis=1), centres + np.roll(centres, 1, axis=2)
        height[:, ::step, half::step] = (to_the_right + vertical) / 4 + amplitude * draws[:, ::step, half::step]
        height[:, half::step, ::step] = (below + horizontal) / 4 + amplitude * draws[:, half::step, ::step]
        step, amplitude = half, amplitude / decay**2
    height -= height.min(axis=(1, 2), keepdims=True)
    return height / height.max(axis=(1, 2), keepdims=True)


def power_of_two(number: int) -> int:
    """Return the smallest power of two that is not below a number >= 1."""
    return 1 << (number - 1).bit_length()
