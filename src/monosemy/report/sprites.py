"""Many thumbnails in few pictures, so that a page of fifty thousand of them stays small."""

import io
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from monosemy.data.dataset import Images, unit_pixels
from monosemy.data.images import Size, fit

Pixels = NDArray[np.uint8]
_SHEET_SIDE = 1024
_SIDES = (32, 96)
"""Of thumbnails, the smallest and the largest."""
_PIXELS = 52_000_000
"""In all thumbnails together: 50,000 of 32 x 32."""
_LOSSLESS = 1_000_000
"""Pixels up to which nothing need be lost."""
_QUALITIES = (85, 70, 50, 30)


@dataclass(frozen=True)
class Sheets:
    """WebP pictures of equal thumbnails, from left to right and from top to bottom."""

    files: list[bytes]
    size: Size
    """Of one thumbnail."""
    columns: int
    """In every sheet."""
    rows: int
    """In every sheet but the last."""
    last_rows: int


def thumbnail_size(own: Size | None, n_images: int) -> Size:
    """Height and width of a thumbnail: the images' own where they are small, else as large as their number allows.

    Args:
        own: None where the images differ in size; their middle is then cut out as a square.
    """
    side = min(max(math.isqrt(_PIXELS // max(n_images, 1)), _SIDES[0]), _SIDES[1])
    if own is None:
        return side, side
    scale = min(1.0, side / max(own))
    return max(1, round(scale * own[0])), max(1, round(scale * own[1]))


def thumbnails(images: Images, rows: NDArray[np.integer], size: Size) -> Pixels:
    """Some images (N, C, H, W) as (n, 3, h, w); those of neither 1 nor 3 channels by the mean of theirs."""
    result = np.empty((len(rows), 3, *size), dtype=np.uint8)
    for place, row in enumerate(rows):
        image = np.round(255 * np.clip(unit_pixels(images[row]), 0, 1)).astype(np.uint8)
        if len(image) not in (1, 3):
            image = image.mean(axis=0, keepdims=True).astype(np.uint8)
        pixels = np.broadcast_to(image, (3, *image.shape[1:]))
        if pixels.shape[1:] != size:
            pixels = np.asarray(fit(Image.fromarray(pixels.transpose(1, 2, 0)), size)).transpose(2, 0, 1)
        result[place] = pixels
    return result


def sprite_sheets(images: Pixels, most_bytes: int) -> Sheets:
    """Thumbnails (n, 3, h, w) as sheets, of the best quality that fits.

    Args:
        most_bytes: of all sheets together; at the lowest quality they may take more.
    """
    n, _, height, width = images.shape
    columns, rows = max(1, _SHEET_SIDE // width), max(1, _SHEET_SIDE // height)
    columns, rows = min(columns, n), min(rows, -(-n // min(columns, n)))
    pictures = [_picture(images[at : at + columns * rows], columns) for at in range(0, n, columns * rows)]
    options: list[dict[str, int | bool]] = [{"quality": quality} for quality in _QUALITIES]
    if n * height * width <= _LOSSLESS:
        options.insert(0, {"lossless": True})
    for option in options:
        first = _webp(pictures[0], option)
        # Sheets are much alike: what the first foretells to be far too much is not tried.
        if len(first) * (len(pictures) - 1) <= 1.2 * most_bytes or option == options[-1]:
            files = [first, *(_webp(picture, option) for picture in pictures[1:])]
            if sum(map(len, files)) <= most_bytes:
                break
    last = n - (len(files) - 1) * columns * rows
    return Sheets(files, (height, width), columns, rows, -(-last // columns))


def _webp(picture: Image.Image, option: dict[str, int | bool]) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "WEBP", method=2, **option)
    return stream.getvalue()


def _picture(images: Pixels, columns: int) -> Image.Image:
    """Images side by side; the last row filled up with black."""
    n, _, height, width = images.shape
    rows = -(-n // columns)
    grid = np.zeros((rows * columns, 3, height, width), dtype=np.uint8)
    grid[:n] = images
    pixels = grid.reshape(rows, columns, 3, height, width).transpose(0, 3, 1, 4, 2)
    return Image.fromarray(np.ascontiguousarray(pixels).reshape(rows * height, columns * width, 3))
