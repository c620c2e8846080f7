"""Images that are still encoded in their files: as many as there are, at the memory of a few.

From encoded images to arrays of one size: in memory, or in mapped files where they are too many.
"""

import io
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from monosemy.core.console import Progress
from monosemy.data import memory_map
from monosemy.data.dataset import OnBadImage
from monosemy.errors import InputError, reason

Encoded = bytes | Path | None
"""One encoded image, or the file that holds it; None where a row has none."""
_BATCH = 256
"""Rows of parquet in memory at a time."""


class EncodedImages(Protocol):
    """A list of images that are decoded when they are used."""

    def __len__(self) -> int: ...

    def describe(self, row: int) -> str:
        """Which image this is, to begin a message with."""

    def stamps(self, rows: NDArray[np.int64]) -> tuple[str, ...]:
        """Texts that differ where these images differ: names, sizes and times of change of their files."""

    def items(self, rows: NDArray[np.int64]) -> Iterator[Encoded]:
        """The images of the given rows, which stand in rising order."""


def stamp(path: Path) -> str:
    """Name, size and time of change of a file."""
    status = path.stat()
    return f"{path.absolute()} {status.st_size} {status.st_mtime_ns}"


class FileImages:
    """An image a file.

    Args:
        folder: what the message about an image that cannot be read names beside it.
    """

    def __init__(self, folder: Path, paths: Sequence[Path]) -> None:
        self.folder, self.paths = folder, paths

    def __len__(self) -> int:
        return len(self.paths)

    def describe(self, row: int) -> str:
        return f"Image {self.paths[row].relative_to(self.folder).as_posix()} of the folder {self.folder}"

    def stamps(self, rows: NDArray[np.int64]) -> tuple[str, ...]:
        return tuple(stamp(self.paths[row]) for row in rows)

    def items(self, rows: NDArray[np.int64]) -> Iterator[Encoded]:
        return (self.paths[row] for row in rows)


class ParquetImages:
    """A column of images in one or several parquet files, in Hugging Face's layout {bytes, path} or as plain bytes."""

    def __init__(self, paths: Sequence[Path], column: str) -> None:
        self.paths, self.column = paths, column
        self._starts = np.cumsum([0, *(pq.read_metadata(path).num_rows for path in paths)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def describe(self, row: int) -> str:
        file = int(np.searchsorted(self._starts, row, side="right")) - 1
        return f"Image {row - self._starts[file]} of {self.paths[file]}"

    def stamps(self, rows: NDArray[np.int64]) -> tuple[str, ...]:
        return (self.column, *map(stamp, self.paths))

    def items(self, rows: NDArray[np.int64]) -> Iterator[Encoded]:
        for path, start, end in zip(self.paths, self._starts[:-1], self._starts[1:], strict=True):
            wanted = _between(rows, start, end)
            if len(wanted):
                yield from self._of_file(path, wanted)

    def _of_file(self, path: Path, wanted: NDArray[np.int64]) -> Iterator[Encoded]:
        try:
            with pq.ParquetFile(path) as file:
                start = 0
                for group in range(file.num_row_groups):
                    end = start + file.metadata.row_group(group).num_rows
                    inside = _between(wanted, start, end)
                    if len(inside):
                        yield from self._of_group(file, group, inside)
                    start = end
        except (OSError, pa.ArrowException) as error:
            raise InputError(
                f"{path} cannot be read as a table ({reason(error)}); check that the file is whole."
            ) from error

    def _of_group(self, file: Any, group: int, wanted: NDArray[np.int64]) -> Iterator[Encoded]:
        start = 0
        for batch in file.iter_batches(_BATCH, [group], [self.column]):
            inside = _between(wanted, start, start + len(batch))
            start += len(batch)
            if len(inside):
                images = batch.column(0).take(pa.array(inside))
                yield from _encoded_bytes(images).to_pylist()


def _between(rows: NDArray[np.int64], start: int, end: int) -> NDArray[np.int64]:
    """Of rows in rising order those from start to before end, counted from start."""
    first, last = np.searchsorted(rows, [start, end])
    return rows[first:last] - start


def _encoded_bytes(images: Any) -> Any:
    return pc.struct_field(images, "bytes") if pa.types.is_struct(images.type) else images


def is_image_type(kind: Any) -> bool:
    """Whether an Arrow type is that of encoded images."""
    if pa.types.is_struct(kind):
        return any(field.name == "bytes" for field in kind)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


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
    on_progress: Progress | None = None,
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
    on_progress: Progress | None


def _decode_all(job: _Job, parts: Mapping[str, NDArray[np.int64]]) -> DecodedParts:
    n_images = sum(map(len, parts.values()))
    n_bytes = n_images * 3 * job.size[0] * job.size[1]
    done = 0

    def on_rows(n: int) -> None:
        nonlocal done
        done += n
        if job.on_progress is not None:
            job.on_progress("Reading images", done, n_images)

    read = _mapped if n_bytes > memory_map.MAX_IN_MEMORY else _in_memory
    nothing = Pictures(np.empty((0, 3, *job.size), dtype=np.uint8), np.empty(0, dtype=np.int64))
    result = DecodedParts(
        {name: read(job, name, rows, on_rows) if len(rows) else nothing for name, rows in parts.items()}
    )
    if n_bytes > memory_map.MAX_IN_MEMORY:
        result.notices.append(f"The images take {n_bytes / 1e9:.1f} GB and are kept in {memory_map.map_folder()}.")
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
    return Pictures(*memory_map.mapped(inputs, (len(rows), 3, *job.size), np.dtype(np.uint8), blocks))


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
