"""From encoded images to arrays of one size: in memory, or in mapped files where they are too many."""

import io
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from monosemy.data import maps
from monosemy.data.config import OnBadImage
from monosemy.data.encoded import Encoded, EncodedImages
from monosemy.errors import InputError
from monosemy.progress import OnProgress

Size = tuple[int, int]
"""Height and width."""
_OTHERWISE: Size = (32, 32)
"""For images of different sizes where the user chose none."""
_WORKERS = min(8, os.cpu_count() or 1)
_BLOCK = 64
"""Images that a thread decodes at a time."""
_PROBED = 64
"""Images whose sizes are compared before all are decoded."""


@dataclass(frozen=True)
class Pictures:
    """Images (n, 3, H, W) in uint8, and which of the wanted rows they are: all but those that cannot be read."""

    images: NDArray[np.uint8]
    kept: NDArray[np.int64]


@dataclass
class DecodedParts:
    """What :func:`decode_parts` read, and what the user should know about it."""

    parts: dict[str, Pictures]
    notices: list[str] = field(default_factory=list)


class _UnequalSizes(Exception):
    pass


def decode_parts(
    encoded: EncodedImages,
    parts: Mapping[str, NDArray[np.int64]],
    size: Size | None,
    on_bad: OnBadImage = "stop",
    on_progress: OnProgress | None = None,
) -> DecodedParts:
    """The images of several lists of rows, all of one size.

    Args:
        parts: row numbers in rising order, by the name of the part.
        size: of the result; the shorter side is resized to it and the middle is cut out. None keeps the images' own
            size, or takes 32 x 32 where they differ.
        on_bad: whether an image that cannot be read is an error, or left out and counted.

    Raises:
        InputError: an image cannot be read, or none of a part can; or the cache folder is too small.
    """
    own = common_size(encoded, np.concatenate(list(parts.values()))) if size is None else None
    if own is not None:
        try:
            return _decode_all(_Job(encoded, own, True, on_bad, on_progress), parts)
        except _UnequalSizes:
            pass
    result = _decode_all(_Job(encoded, size or _OTHERWISE, False, on_bad, on_progress), parts)
    if size is None:
        result.notices.append(
            f"The images have different sizes; all were made {_OTHERWISE[0]} x {_OTHERWISE[1]}, the default of "
            f"--image-size."
        )
    return result


def fit(image: Image.Image, size: Size) -> Image.Image:
    """The image resized (bicubic, antialiased) until it just covers the size, and its middle.

    As torchvision's ``Resize`` of the shorter side and ``CenterCrop``, of which it has the rounding.
    """
    height, width = size
    if image.size == (width, height):
        return image
    scaled = (width, image.height * width // image.width)
    if scaled[1] < height:
        scaled = (image.width * height // image.height, height)
    left, top = round((scaled[0] - width) / 2), round((scaled[1] - height) / 2)
    return image.resize(scaled, Image.Resampling.BICUBIC).crop((left, top, left + width, top + height))


def _open(item: Encoded) -> Image.Image:
    if item is None:
        raise ValueError("there is no image")
    return Image.open(io.BytesIO(item) if isinstance(item, bytes) else item)


def _pixels(item: Encoded, size: Size | None) -> NDArray[np.uint8] | None:
    """Pixels (3, H, W) of one image, or None if it cannot be read."""
    try:
        with _open(item) as image:
            colour = image if image.mode == "RGB" else image.convert("RGB")
            return np.asarray(colour if size is None else fit(colour, size)).transpose(2, 0, 1)
    except Exception:  # Pillow's readers raise nearly every type on damaged files; each means just that
        return None


def common_size(encoded: EncodedImages, rows: NDArray[np.int64]) -> Size | None:
    """The size that the first images have; None if they differ."""
    sizes = set()
    for item in encoded.items(np.unique(rows)[:_PROBED]):
        try:
            with _open(item) as image:
                sizes.add((image.height, image.width))
        except Exception:  # as in _pixels; said or counted when all are decoded
            continue
    return sizes.pop() if len(sizes) == 1 else None


@dataclass(frozen=True)
class _Job:
    """How all parts are decoded."""

    encoded: EncodedImages
    size: Size
    same_size: bool
    """Whether all images have this size, and one that has not is a surprise."""
    on_bad: OnBadImage
    on_progress: OnProgress | None


def _decode_all(job: _Job, parts: Mapping[str, NDArray[np.int64]]) -> DecodedParts:
    n_images = sum(map(len, parts.values()))
    n_bytes = n_images * 3 * job.size[0] * job.size[1]
    done = 0

    def on_rows(n: int) -> None:
        nonlocal done
        done += n
        if job.on_progress is not None:
            job.on_progress("Reading images", done, n_images)

    read = _mapped if n_bytes > maps.MAX_IN_MEMORY else _in_memory
    nothing = Pictures(np.empty((0, 3, *job.size), dtype=np.uint8), np.empty(0, dtype=np.int64))
    result = DecodedParts(
        {name: read(job, name, rows, on_rows) if len(rows) else nothing for name, rows in parts.items()}
    )
    if n_bytes > maps.MAX_IN_MEMORY:
        result.notices.append(f"The images take {n_bytes / 1e9:.1f} GB and are kept in {maps.map_folder()}.")
    bad = [np.setdiff1d(parts[name], part.kept) for name, part in result.parts.items()]
    if n_bad := sum(map(len, bad)):
        first = int(np.concatenate(bad).min())
        result.notices.append(f"Skipped: {n_bad} images that cannot be read (first: {job.encoded.describe(first)}).")
    return result


def _in_memory(job: _Job, name: str, rows: NDArray[np.int64], on_rows: Callable[[int], None]) -> Pictures:
    images = np.empty((len(rows), 3, *job.size), dtype=np.uint8)
    kept: list[int] = []
    for block, good in _blocks(job, rows, on_rows):
        images[len(kept) : len(kept) + len(good)] = block
        kept += good
    _check_any(kept, name, job)
    return Pictures(images[: len(kept)], np.array(kept, dtype=np.int64))


def _mapped(job: _Job, name: str, rows: NDArray[np.int64], on_rows: Callable[[int], None]) -> Pictures:
    def blocks() -> Iterator[tuple[NDArray[np.uint8], list[int]]]:
        kept: list[int] = []
        for block, good in _blocks(job, rows, on_rows):
            kept += good
            yield block, good
        _check_any(kept, name, job)

    inputs = (job.encoded.stamps(rows), rows, job.size, job.on_bad)
    return Pictures(*maps.mapped(inputs, (len(rows), 3, *job.size), np.dtype(np.uint8), blocks))


def _check_any(kept: list[int], name: str, job: _Job) -> None:
    if not kept:
        raise InputError(f"None of the {name} images can be read; check their format.")


def _blocks(
    job: _Job, rows: NDArray[np.int64], on_rows: Callable[[int], None]
) -> Iterator[tuple[NDArray[np.uint8], list[int]]]:
    """Images some at a time, in order, with their row numbers; decoded ahead in a few threads."""
    done = 0
    for block in _ahead(lambda items: [_pixels(i, None if job.same_size else job.size) for i in items], job, rows):
        here = rows[done : done + len(block)]
        done += len(block)
        for row, image in zip(here, block, strict=True):
            if image is None and job.on_bad == "stop":
                raise InputError(
                    f"{job.encoded.describe(int(row))} cannot be read; replace or remove it, or leave such images out "
                    f"by --on-bad-image skip."
                )
            if image is not None and image.shape[1:] != job.size:
                raise _UnequalSizes
        good = [image for image in block if image is not None]
        pixels = np.stack(good) if good else np.empty((0, 3, *job.size), dtype=np.uint8)
        yield pixels, [int(row) for image, row in zip(block, here, strict=True) if image is not None]
        on_rows(len(block))


def _ahead(
    work: Callable[[list[Encoded]], list[NDArray[np.uint8] | None]], job: _Job, rows: NDArray[np.int64]
) -> Iterator[list[NDArray[np.uint8] | None]]:
    items = job.encoded.items(rows)
    waiting: deque[Future[list[NDArray[np.uint8] | None]]] = deque()
    with ThreadPoolExecutor(_WORKERS) as pool:
        for block in _chunks(items):
            waiting.append(pool.submit(work, block))
            if len(waiting) > 2 * _WORKERS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _chunks(items: Iterable[Encoded]) -> Iterator[list[Encoded]]:
    iterator = iter(items)
    while block := list(islice(iterator, _BLOCK)):
        yield block
