"""Data that a page carries inside itself: arrays, JSON, compressed blocks, and sheets of thumbnails."""

import base64
import io
import json
import math
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from PIL import Image

from monosemy.data.dataset import Images, unit_pixels
from monosemy.data.images import Size, fit

Pixels = np.typing.NDArray[np.uint8]
_SHEET_SIDE = 1024
MOST_PIXELS = 52_000_000
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

    def layout(self) -> dict[str, int]:
        """Return the numbers by which the page finds a thumbnail."""
        height, width = self.size
        return {
            "height": height, "width": width, "columns": self.columns, "rows": self.rows, "lastRows": self.last_rows,
            "count": len(self.files),
        }  # fmt: skip

    def parts(self) -> list[tuple[str, Markup]]:
        """Return the sheets by the names that the page reads them under."""
        return [(f"sheet-{number}", base64_text(file)) for number, file in enumerate(self.files)]


def thumbnail_size(own: Size | None, n_images: int, sides: Size = (32, 96)) -> Size:
    """Return height and width of a thumbnail: the images' own where they are small, else as their number allows.

    Args:
        own: None where the images differ in size; their middle is then cut out as a square.
        sides: the smallest and the largest that a longer side may be reduced to.
    """
    side = min(max(math.isqrt(MOST_PIXELS // max(n_images, 1)), sides[0]), sides[1])
    if own is None:
        return side, side
    scale = min(1.0, side / max(own))
    return max(1, round(scale * own[0])), max(1, round(scale * own[1]))


def thumbnails(images: Images, rows: np.typing.NDArray[np.integer], size: Size) -> Pixels:
    """Return some images (N, C, H, W) as (n, 3, h, w); those of neither 1 nor 3 channels by the mean of theirs."""
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
    """Return thumbnails (n, 3, h, w) as sheets, of the best quality that fits.

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
    """Return images side by side; the last row filled up with black."""
    n, _, height, width = images.shape
    rows = -(-n // columns)
    grid = np.zeros((rows * columns, 3, height, width), dtype=np.uint8)
    grid[:n] = images
    pixels = grid.reshape(rows, columns, 3, height, width).transpose(0, 3, 1, 4, 2)
    return Image.fromarray(np.ascontiguousarray(pixels).reshape(rows * height, columns * width, 3))


class Arrays:
    """Numbers of many arrays in one text."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self.size = 0

    def add(self, values: np.typing.NDArray[Any], kind: type[np.generic]) -> list[str | int]:
        """Return type, place and number of entries, as the page reads them."""
        stored = np.ascontiguousarray(values, dtype=np.dtype(kind).newbyteorder("<"))
        entry: list[str | int] = [np.dtype(kind).name, self.size, stored.size]
        content = stored.tobytes()
        content += b"\0" * (-len(content) % 4)
        self._parts.append(content)
        self.size += len(content)
        return entry

    def text(self) -> Markup:
        """Return all of them as the page holds them."""
        return base64_text(b"".join(self._parts))


def base64_text(content: bytes) -> Markup:
    """Return bytes as a text that needs no escaping."""
    return Markup(base64.b64encode(content).decode("ascii"))


def compressed(values: Any) -> Markup:
    """Return JSON, deflated, as :func:`base64_text`; the page reads it by ``inflated``."""
    return base64_text(zlib.compress(_json(values).encode(), 6))


def json_text(values: Any) -> Markup:
    """Return JSON that cannot end the element it stands in."""
    return Markup(_json(values).replace("<", "\\u003c"))


def _json(values: Any) -> str:
    """Return compact JSON; half a surrogate pair, which UTF-8 cannot store, becomes the escape that JSON has for it."""
    text = json.dumps(values, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace").decode()
