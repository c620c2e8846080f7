"""Digital corruptions: contrast, elastic, pixelate, JPEG. Images are (N, C, H, W), float32 in [0, 1]."""

import io

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from monosemy.corruptions.common.filters import along_sides, box_operator, gaussian_operator
from monosemy.corruptions.common.noise import Generators, Images

_ELASTIC_TRUNCATE = 3.0


def contrast(images: Images, factor: float) -> Images:
    """mean + factor (x - mean), the mean that of each channel of each image."""
    mean = images.mean(axis=(2, 3), keepdims=True)
    return np.clip((images - mean) * np.float32(factor) + mean, 0, 1)


def elastic_transform(images: Images, rngs: Generators, size: float, smoothness: float, jitter: float) -> Images:
    """A random affine map, then a smooth random displacement of every pixel; both read between pixels linearly.

    The affine map takes three corners of a square of side 2 (shorter side // 3) about the centre to where each lands
    when moved by U[-jitter, jitter] in both directions. The displacements are U[-1, 1] for each pixel and direction,
    smoothed by a Gaussian and multiplied. Outside, the image is mirrored.

    Args:
        size, smoothness, jitter: factor and standard deviation of the displacements, and range of the affine map, as
            shares of the shorter side.
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


def _affine(images: Images, jitters: NDArray[np.float64]) -> Images:
    """Each image under the affine map that moves the three corners (x, y) by its jitters (N, 3, 2)."""
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
    """Resized by box means to int(factor side) pixels a side, and back."""
    operators = []
    for side in images.shape[2:]:
        small = int(factor * side)
        operators.append(box_operator(small, side) @ box_operator(side, small))
    return along_sides(images, *operators).clip(0, 1)


def jpeg_compression(images: Images, quality: float) -> Images:
    """Written as JPEG of a quality and read again by Pillow, from the nearest of 256 levels."""
    pixels = np.rint(images * 255).astype(np.uint8).transpose(0, 2, 3, 1)
    compressed = np.empty_like(pixels)
    for number, image in enumerate(pixels):
        buffer = io.BytesIO()
        grey = image.shape[2] == 1
        Image.fromarray(image[..., 0] if grey else image).save(buffer, "JPEG", quality=int(quality))
        compressed[number] = np.asarray(Image.open(buffer)).reshape(image.shape)
    return np.divide(compressed.transpose(0, 3, 1, 2), 255, dtype=np.float32)
