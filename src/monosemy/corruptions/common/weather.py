"""Weather: snow, frost, fog, brightness. Images are (N, C, H, W), float32 in [0, 1], C = 1 or 3."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from monosemy.corruptions.common.filters import clipped_zoom, motion_blur_along, plasma, power_of_two
from monosemy.corruptions.common.noise import Generators, Images
from monosemy.seeding import numpy_rng

_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""Weights of red, green and blue in the brightness of a pixel (ITU-R BT.601)."""
_FROSTS = (
    ((0.30, 0.58, 0.65), 0.08),
    ((0.79, 0.81, 0.84), 0.09),
    ((0.79, 0.81, 0.84), 0.09),
    ((0.54, 0.60, 0.65), 0.11),
    ((0.44, 0.48, 0.53), 0.17),
)
"""Mean colour and standard deviation of the five photographs that the published sets draw from, measured."""


def snow(
    images: Images, rngs: Generators, mean: float, std: float, zoom: float, threshold: float, radius: float,
    motion_std: float, keep: float,
) -> Images:  # fmt: skip
    """A whitened image under flakes and the same flakes turned by 180 degrees.

    Flakes: N(mean, std^2) for each pixel, zoomed, 0 below ``threshold``, clipped to [0, 1], blurred by motion along an
    angle uniform in [-135, -45] degrees. Whitened: keep x + (1 - keep) max(x, 1.5 luma(x) + 0.5).
    """
    height, width = images.shape[2:]
    drawn, angles = [], []
    for rng in rngs:
        drawn.append(rng.standard_normal((1, height, width), dtype=np.float32))
        angles.append(rng.uniform(-135, -45))
    flakes = clipped_zoom(np.float32(mean) + np.float32(std) * np.stack(drawn), zoom)
    flakes = np.where(flakes < threshold, np.float32(0), flakes.clip(0, 1))
    flakes = motion_blur_along(flakes, radius, motion_std, np.array(angles))
    weights = _LUMA if images.shape[1] == 3 else np.ones(1, dtype=np.float32)
    luma = np.tensordot(images, weights, axes=(1, 0))[:, None]
    whitened = np.float32(keep) * images + np.float32(1 - keep) * np.maximum(images, luma * 1.5 + 0.5)
    return np.clip(whitened + flakes + flakes[:, :, ::-1, ::-1], 0, 1)


def frost(images: Images, rngs: Generators, image_weight: float, frost_weight: float) -> Images:
    """image_weight x + frost_weight f, clipped, f a random crop of one of five frost textures.

    The textures are NOT the published photographs, which are not ours to ship: :func:`frost_texture` draws them, with
    the photographs' mean colours and contrasts. Results on frost are therefore not those of the published sets.
    """
    channels, height, width = images.shape[1:]
    side = 2 * power_of_two(max(height, width))
    frosted = np.empty_like(images)
    for result, image, rng in zip(frosted, images, rngs, strict=True):
        texture = frost_texture(int(rng.integers(len(_FROSTS))), side, channels)
        top, left = rng.integers(side - height + 1), rng.integers(side - width + 1)
        crop = texture[:, top : top + height, left : left + width]
        result[...] = np.float32(image_weight) * image + np.float32(frost_weight) * crop
    return frosted.clip(0, 1)


@cache
def frost_texture(number: int, side: int, channels: int) -> Images:
    """A procedural frost texture (channels, side, side): ridges of a fractal under needles in three directions.

    The same for everyone: its draws depend on number and side alone.
    """
    rng = numpy_rng("frost", number, side)
    ridges = 1 - np.abs(2 * plasma(rng.uniform(-1, 1, (1, side, side)), 1.7)[0] - 1)
    seeds = np.where(rng.random((3, 1, side, side)) > 0.97, rng.random((3, 1, side, side)), 0).astype(np.float32)
    angles = rng.uniform(0, 360) + np.array([0.0, 60.0, 120.0])
    needles = motion_blur_along(seeds, side / 16, side / 16, angles).sum(axis=(0, 1))
    parts = [(part - part.mean()) / part.std() for part in (ridges, needles)]
    pattern = (parts[0] + parts[1]) / np.std(parts[0] + parts[1])
    colour, std = _FROSTS[number]
    texture = np.array(colour)[:, None, None] + std * pattern
    if channels == 1:
        texture = np.tensordot(_LUMA, texture, axes=1)[None]
    return texture.clip(0, 1).astype(np.float32)


def fog(images: Images, rngs: Generators, amount: float, decay: float) -> Images:
    """(x + amount p) m / (m + amount), m the largest value of the image and p a fractal in [0, 1]; see plasma."""
    height, width = images.shape[2:]
    side = power_of_two(max(height, width))
    clouds = plasma(np.stack([rng.uniform(-1, 1, (side, side)) for rng in rngs]), decay)
    added = images + amount * clouds[:, None, :height, :width]
    largest: NDArray[np.float32] = images.max(axis=(1, 2, 3), keepdims=True)
    return (added * largest / (largest + amount)).clip(0, 1).astype(np.float32)


def brightness(images: Images, amount: float) -> Images:
    """The V of HSV, the largest channel, raised to min(V + amount, 1) at the same hue and saturation.

    R, G and B are proportional to V there, so each is multiplied by the new V over the old; black becomes grey.
    """
    value = images.max(axis=1, keepdims=True)
    raised = np.minimum(value + np.float32(amount), 1)
    return np.where(value > 0, images * (raised / np.where(value > 0, value, 1)), raised)
