"""The kinds of common corruptions (noise, blur, weather, digital) and the filters that they are made of."""

import io
from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from numpy.random import Generator
from PIL import Image
from scipy.ndimage import correlate1d, gaussian_filter1d

from monosemy.seeding import numpy_rng

Images = np.typing.NDArray[np.float32]
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


def motion_path(
    radius: float, std: float, angle: float
) -> tuple[np.typing.NDArray[np.float64], np.typing.NDArray[np.int64]]:
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


def motion_blur_along(images: Images, radius: float, std: float, angles: np.typing.NDArray[np.floating]) -> Images:
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


def plasma(draws: np.typing.NDArray[np.float64], decay: float) -> np.typing.NDArray[np.float64]:
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


_GLASS_TRUNCATE = 4.0
"""Standard deviations at which the Gaussian ends, scikit-image's default."""
_ELASTIC_TRUNCATE = 3.0
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


@cache
def defocus_kernel(radius: float, alias_blur: float) -> Images:
    """Return a disk of equal weights with sum 1, smoothed by a Gaussian of std ``alias_blur`` over 3 pixels (5 if
    radius > 8).

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
    """Correlate with :func:`defocus_kernel`, the image mirrored at its border pixels."""
    kernel = torch.from_numpy(defocus_kernel(radius, alias_blur))
    reach = kernel.shape[0] // 2
    planes = torch.from_numpy(images.reshape(-1, 1, *images.shape[2:]))
    padded = torch.nn.functional.pad(planes, (reach, reach, reach, reach), mode="reflect")
    blurred = torch.nn.functional.conv2d(padded, kernel[None, None])
    return blurred.numpy().reshape(images.shape).clip(0, 1)


def glass_blur(images: Images, rngs: Generators, std: float, distance: float, rounds: float) -> Images:
    """Blur by a Gaussian, let each pixel in turn take the value of a random one near it, and blur again.

    In each round from the lower right to the upper left, pixel (y, x) takes the present value of (y + dy, x + dx), dy
    and dx uniform in [-distance, distance). The paper says that the two swap; its code, through NumPy views, copies,
    and so do the published sets and this function. Pixels at the border stay.
    """
    reach = int(distance)
    n, _, height, width = images.shape
    rows, columns = (gaussian_operator(side, std, "nearest", _GLASS_TRUNCATE) for side in (height, width))
    blurred = along_sides(images, rows, columns).reshape(n, -1, height * width)
    shape = (int(rounds), height - 2 * reach, width - 2 * reach, 2)
    draws = np.stack([rng.integers(-reach, reach, shape, dtype=np.int8) for rng in rngs], axis=1)
    for shifts in draws:
        blurred = np.take_along_axis(blurred, _source_pixels(shifts, reach, height, width)[:, None], axis=2)
    return along_sides(blurred.reshape(images.shape), rows, columns).clip(0, 1)


def _source_pixels(
    shifts: np.typing.NDArray[np.int8], reach: int, height: int, width: int
) -> np.typing.NDArray[np.int64]:
    """Return the pixel (N, H W) whose old value each pixel has after one round of (N, H - 2 reach, W - 2 reach, 2)
    shifts.

    A pixel that takes from one whose turn was earlier takes the value that that one took. Such chains are followed for
    all pixels together, doubling the distance each time.
    """
    n = len(shifts)
    inner = (slice(None), slice(reach + 1, height - reach + 1), slice(reach + 1, width - reach + 1))
    positions = np.broadcast_to(np.arange(height * width).reshape(height, width), (n, height, width))
    taken = positions.copy()
    taken[inner] += shifts[..., 0].astype(np.int64) * width + shifts[..., 1]
    moves = np.zeros((n, height, width), dtype=bool)
    moves[inner] = True
    source, moving = taken.reshape(n, -1), moves.reshape(n, -1)
    following = moving & (source > positions.reshape(n, -1)) & np.take_along_axis(moving, source, axis=1)
    while following.any():
        further, chained = (np.take_along_axis(a, source, axis=1) for a in (source, following))
        source = np.where(following, further, source)
        following &= chained
    return source


def motion_blur(images: Images, rngs: Generators, radius: float, std: float) -> Images:
    """Blur by half a Gaussian along an angle uniform in [-45, 45] degrees; see :func:`motion_path`."""
    angles = np.array([rng.uniform(-45, 45) for rng in rngs])
    return motion_blur_along(images, radius, std, angles).clip(0, 1)


def zoom_blur(images: Images, end: float, step: float) -> Images:
    """Return the mean of the image and its zooms by 1, 1 + step, ... below ``end``.

    The last factor is ``end`` itself where NumPy's ``arange`` includes it by rounding, as in the published code; the
    factor 1 makes the image count twice.
    """
    factors = np.arange(1, end, step)
    total = images.copy()
    for factor in factors:
        total += clipped_zoom(images, float(factor))
    return (total / np.float32(len(factors) + 1)).clip(0, 1)


def snow(
    images: Images, rngs: Generators, mean: float, std: float, zoom: float, threshold: float, radius: float,
    motion_std: float, keep: float,
) -> Images:  # fmt: skip
    """Return a whitened image under flakes and the same flakes turned by 180 degrees.

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
    """Return image_weight x + frost_weight f, clipped, f a random crop of one of five frost textures.

    The textures are NOT the published photographs, which may not be redistributed: :func:`frost_texture` draws them
    with the photographs' mean colours and contrasts. Results on frost are therefore not those of the published sets.
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
    """Return a procedural frost texture (channels, side, side): ridges of a fractal under needles in three directions.

    It is the same everywhere: its draws depend on number and side alone.
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
    """Return (x + amount p) m / (m + amount), m the largest value of the image and p a fractal in [0, 1]; see
    plasma."""
    height, width = images.shape[2:]
    side = power_of_two(max(height, width))
    clouds = plasma(np.stack([rng.uniform(-1, 1, (side, side)) for rng in rngs]), decay)
    added = images + amount * clouds[:, None, :height, :width]
    largest: np.typing.NDArray[np.float32] = images.max(axis=(1, 2, 3), keepdims=True)
    return (added * largest / (largest + amount)).clip(0, 1).astype(np.float32)


def brightness(images: Images, amount: float) -> Images:
    """Raise the V of HSV, the largest channel, to min(V + amount, 1) at the same hue and saturation.

    R, G and B are proportional to V there, so each is multiplied by the new V over the old; black becomes grey.
    """
    value = images.max(axis=1, keepdims=True)
    raised = np.minimum(value + np.float32(amount), 1)
    return np.where(value > 0, images * (raised / np.where(value > 0, value, 1)), raised)


def contrast(images: Images, factor: float) -> Images:
    """Return mean + factor (x - mean), the mean that of each channel of each image."""
    mean = images.mean(axis=(2, 3), keepdims=True)
    return np.clip((images - mean) * np.float32(factor) + mean, 0, 1)


def elastic_transform(images: Images, rngs: Generators, size: float, smoothness: float, jitter: float) -> Images:
    """Apply a random affine map, then a smooth random displacement of every pixel; both read between pixels linearly.

    The affine map takes three corners of a square of side 2 (shorter side // 3) about the centre to where each lands
    when moved by U[-jitter, jitter] in both directions. The displacements are U[-1, 1] for each pixel and direction,
    smoothed by a Gaussian and multiplied. Outside, the image is mirrored.

    Args:
        size, smoothness, jitter: factor and standard deviation of the displacements, and range of the affine map, as
            fractions of the shorter side.
    """
    height, width = images.shape[2:]
    side = min(height, width)
    jitters = np.stack([rng.uniform(-jitter * side, jitter * side, (3, 2)) for rng in rngs])
    moved = _affine(images, jitters)
    if size == 0:
        return moved.clip(0, 1)
    drawn = np.stack([rng.uniform(-1, 1, (2, height, width)) for rng in rngs]).astype(np.float32)
    rows, columns = (gaussian_operator(s, smoothness * side, "reflect", _ELASTIC_TRUNCATE) for s in (height, width))
    displacements = along_sides(drawn, rows, columns) * np.float32(size * side)
    x = np.arange(width, dtype=np.float32) + displacements[:, 0]
    y = np.arange(height, dtype=np.float32)[:, None] + displacements[:, 1]
    # Coordinates of pixel edges, at which an image is mirrored here.
    grid = np.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], axis=-1)
    return _sample(moved, grid, align_corners=False).clip(0, 1)


def _affine(images: Images, jitters: np.typing.NDArray[np.float64]) -> Images:
    """Return each image under the affine map that moves the three corners (x, y) by its jitters (N, 3, 2)."""
    height, width = images.shape[2:]
    centre, reach = np.array([width // 2, height // 2]), min(height, width) // 3
    corners = centre + reach * np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])
    # A pixel of the result reads where the map came from: solve for the map from moved to unmoved corners.
    moved = np.concatenate([corners + jitters, np.ones((len(images), 3, 1))], axis=2)
    back = np.linalg.solve(moved, np.broadcast_to(corners, jitters.shape))
    y, x = np.mgrid[:height, :width]
    places = np.stack([x, y, np.ones_like(x)], axis=-1).reshape(-1, 3) @ back
    # Coordinates of pixel centres, at which an image is mirrored here.
    grid = 2 * places / np.array([width - 1, height - 1]) - 1
    return _sample(images, grid.reshape(-1, height, width, 2).astype(np.float32), align_corners=True)


def _sample(images: Images, grid: Images, align_corners: bool) -> Images:
    return torch.nn.functional.grid_sample(
        torch.from_numpy(images),
        torch.from_numpy(grid),
        mode="bilinear",
        padding_mode="reflection",
        align_corners=align_corners,
    ).numpy()


def pixelate(images: Images, factor: float) -> Images:
    """Resize by box means to int(factor side) pixels a side, and back."""
    operators = []
    for side in images.shape[2:]:
        small = int(factor * side)
        operators.append(box_operator(small, side) @ box_operator(side, small))
    return along_sides(images, *operators).clip(0, 1)


def jpeg_compression(images: Images, quality: float) -> Images:
    """Round to 256 levels, and write and read as JPEG of a quality by Pillow."""
    pixels = np.rint(images * 255).astype(np.uint8).transpose(0, 2, 3, 1)
    compressed = np.empty_like(pixels)
    for number, image in enumerate(pixels):
        buffer = io.BytesIO()
        grey = image.shape[2] == 1
        Image.fromarray(image[..., 0] if grey else image).save(buffer, "JPEG", quality=int(quality))
        compressed[number] = np.asarray(Image.open(buffer)).reshape(image.shape)
    return np.divide(compressed.transpose(0, 3, 1, 2), 255, dtype=np.float32)
