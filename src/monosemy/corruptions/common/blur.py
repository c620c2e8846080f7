"""Blur: defocus, frosted glass, motion, zoom. Images are (N, C, H, W), float32 in [0, 1]."""

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import correlate1d

from monosemy.corruptions.common.filters import along_sides, clipped_zoom, gaussian_operator, motion_blur_along
from monosemy.corruptions.common.noise import Generators, Images

_GLASS_TRUNCATE = 4.0
"""Standard deviations at which the Gaussian ends, scikit-image's default."""


@cache
def defocus_kernel(radius: float, alias_blur: float) -> Images:
    """A disk of equal weights with sum 1, smoothed by a Gaussian of std ``alias_blur`` over 3 pixels (5 if radius > 8).

    The published kernel: pixels at distance <= radius in a square of side 17, or 2 radius + 1 if that is more, at
    whose border it is mirrored when smoothed; where the disk touches the border, from radius 8 on, that makes the sum
    1 % more than 1. Empty rows and columns are cut off here.
    """
    reach, size = (8, 3) if radius <= 8 else (int(radius), 5)
    steps = np.arange(-reach, reach + 1)
    disk = (steps[:, None] ** 2 + steps**2 <= radius**2).astype(np.float64)
    taps = np.exp(-(np.arange(-(size // 2), size // 2 + 1) ** 2) / (2 * alias_blur**2))
    for axis in (0, 1):
        disk = correlate1d(disk, taps / taps.sum(), axis=axis, mode="mirror")
    kernel = (disk / (steps[:, None] ** 2 + steps**2 <= radius**2).sum()).astype(np.float32)
    used = np.flatnonzero(kernel.any(axis=0))
    return kernel[used[0] : used[-1] + 1, used[0] : used[-1] + 1]


def defocus_blur(images: Images, radius: float, alias_blur: float) -> Images:
    """Correlation with :func:`defocus_kernel`, the image mirrored at its border pixels."""
    kernel = torch.from_numpy(defocus_kernel(radius, alias_blur))
    reach = kernel.shape[0] // 2
    planes = torch.from_numpy(images.reshape(-1, 1, *images.shape[2:]))
    padded = torch.nn.functional.pad(planes, (reach, reach, reach, reach), mode="reflect")
    blurred = torch.nn.functional.conv2d(padded, kernel[None, None])
    return blurred.numpy().reshape(images.shape).clip(0, 1)


def glass_blur(images: Images, rngs: Generators, std: float, distance: float, rounds: float) -> Images:
    """Gaussian blur, then pixel after pixel takes the value of a random one near it, then Gaussian blur again.

    In each round from the lower right to the upper left, pixel (y, x) takes the present value of (y + dy, x + dx), dy
    and dx uniform in [-distance, distance). The paper says that the two swap; its code, through NumPy views, copies,
    and so do the published sets and we. Pixels at the border stay.
    """
    reach = int(distance)
    n, _, height, width = images.shape
    rows, columns = (gaussian_operator(side, std, "nearest", _GLASS_TRUNCATE) for side in (height, width))
    blurred = along_sides(images, rows, columns).reshape(n, -1, height * width)
    shape = (int(rounds), height - 2 * reach, width - 2 * reach, 2)
    draws = np.stack([rng.integers(-reach, reach, shape, dtype=np.int8) for rng in rngs], axis=1)
    for shifts in draws:
        blurred = np.take_along_axis(blurred, _taken_from(shifts, reach, height, width)[:, None], axis=2)
    return along_sides(blurred.reshape(images.shape), rows, columns).clip(0, 1)


def _taken_from(shifts: NDArray[np.int8], reach: int, height: int, width: int) -> NDArray[np.int64]:
    """Whose old value each pixel (N, H W) has after one round; shifts are (N, H - 2 reach, W - 2 reach, 2).

    A pixel that takes from one whose turn was before takes what that one took: chains, which are followed for all
    pixels together, doubling the distance each time.
    """
    n = len(shifts)
    inner = (slice(None), slice(reach + 1, height - reach + 1), slice(reach + 1, width - reach + 1))
    own = np.broadcast_to(np.arange(height * width).reshape(height, width), (n, height, width))
    taken = own.copy()
    taken[inner] += shifts[..., 0].astype(np.int64) * width + shifts[..., 1]
    moves = np.zeros((n, height, width), dtype=bool)
    moves[inner] = True
    source, moving = taken.reshape(n, -1), moves.reshape(n, -1)
    following = moving & (source > own.reshape(n, -1)) & np.take_along_axis(moving, source, axis=1)
    while following.any():
        further, chained = (np.take_along_axis(a, source, axis=1) for a in (source, following))
        source = np.where(following, further, source)
        following &= chained
    return source


def motion_blur(images: Images, rngs: Generators, radius: float, std: float) -> Images:
    """Half a Gaussian along an angle uniform in [-45, 45] degrees; see :func:`motion_path`."""
    angles = np.array([rng.uniform(-45, 45) for rng in rngs])
    return motion_blur_along(images, radius, std, angles).clip(0, 1)


def zoom_blur(images: Images, end: float, step: float) -> Images:
    """Mean of the image and its zooms by 1, 1 + step, ... below ``end``.

    The last factor is ``end`` itself where NumPy's ``arange`` includes it by rounding, as in the published code; the
    factor 1 makes the image count twice.
    """
    factors = np.arange(1, end, step)
    total = images.copy()
    for factor in factors:
        total += clipped_zoom(images, float(factor))
    return (total / np.float32(len(factors) + 1)).clip(0, 1)
