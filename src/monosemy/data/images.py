"""Folders of images, and decoding images to arrays of one size: in memory, or in mapped files where too large."""

import io
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from monosemy.core.console import Progress
from monosemy.data import config, dataset, memory_map, sources
from monosemy.errors import InputError

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"}


class FileImages:
    """Images with a file each.

    Args:
        folder: the common folder, for messages.
    """

    def __init__(self, folder: Path, paths: Sequence[Path]) -> None:
        self.folder, self.paths = folder, paths

    def __len__(self) -> int:
        return len(self.paths)

    def describe(self, row: int) -> str:
        return f"Image {self.paths[row].relative_to(self.folder).as_posix()} of the folder {self.folder}"

    def stamps(self, rows: np.typing.NDArray[np.int64]) -> tuple[str, ...]:
        return tuple(dataset.stamp(self.paths[row]) for row in rows)

    def missing(self) -> np.typing.NDArray[np.bool_]:
        return np.zeros(len(self), dtype=bool)

    def items(self, rows: np.typing.NDArray[np.int64]) -> Iterator[dataset.Encoded]:
        return (self.paths[row] for row in rows)


def rows_of_folder(folder: Path, classes: Path | None, labelled: bool) -> dataset.Rows:
    """Return the images of a folder: `class/image` or `split/class/image`; without labels also `image`, `split/image`.

    Args:
        classes: a file that names the class folders to use, by the first word of each line, such as `n01440764` of
            `n01440764 tench`; all where None.
        labelled: whether every image must be in a folder of its class.
    """
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
    if not files:
        raise InputError(f"The folder {folder} holds no images; give a folder of class folders.")
    parts = [file.relative_to(folder).parts for file in files]
    has_splits = all(len(p) > 1 and p[0].lower() in sources.SPLIT_ROLES for p in parts)
    below = [p[1:] if has_splits else p for p in parts]
    in_classes = all(len(p) > 1 for p in below)
    if not in_classes and (labelled or classes is not None):
        raise InputError(f"The folder {folder} has images outside class folders; put each into a folder of its class.")
    selected = list(range(len(files)))
    if classes is not None:
        wanted = [line.split()[0] for line in sources.read_lines(classes, "list of classes")]
        present = {p[0] for p in below}
        for name in wanted:
            if name not in present:
                raise InputError(f"{classes} names the class {name!r}, of which {folder} has no images; correct it.")
        selected = [i for i in selected if below[i][0] in set(wanted)]
    return dataset.Rows(
        kind="images",
        inputs=FileImages(folder, [files[i] for i in selected]),
        labels=[below[i][0] for i in selected] if in_classes else None,
        splits=[parts[i][0].lower() for i in selected] if has_splits else None,
    )


def check_class_sizes(rows: dataset.Rows) -> None:
    """Raise for a class folder with one image in a folder that has no splits: it cannot be split into train and test.

    Rows of other sources are not checked.
    """
    if not isinstance(rows.inputs, FileImages) or rows.splits is not None:
        return
    names, counts = np.unique(rows.needed_labels(), return_counts=True)
    if counts.min() < 2:
        raise InputError(
            f"The class folder {rows.inputs.folder / str(names[counts.argmin()])} has one image, which cannot be split "
            f"into train and test; add images, or leave the class out by a list in data.classes."
        )


Size = tuple[int, int]
"""Height and width."""
_DEFAULT_SIZE: Size = (32, 32)
"""Size of images that differ in size where the user chose none."""
_WORKERS = min(8, os.cpu_count() or 1)
_BLOCK = 64
"""Images that a thread decodes at a time."""
_NAMED = 5
"""Images that cannot be read and are named in a message."""
_PROBED = 64
"""Images whose sizes are compared before all are decoded."""


@dataclass(frozen=True)
class Pictures:
    """Decoded images and their rows: all wanted rows but those that cannot be read."""

    images: np.typing.NDArray[np.uint8]
    """(n, 3, H, W)."""
    rows: np.typing.NDArray[np.int64]
    """(n,), rising."""


@dataclass
class DecodedParts:
    """The result of :func:`decode_parts`, with messages to the user."""

    parts: dict[str, Pictures]
    notices: list[str] = field(default_factory=list)


class _UnequalSizes(Exception):
    pass


def decode_parts(
    encoded: dataset.EncodedImages,
    parts: Mapping[str, np.typing.NDArray[np.int64]],
    size: Size | None,
    on_bad: config.OnBadRow = "stop",
    on_progress: Progress | None = None,
) -> DecodedParts:
    """Decode the images of several lists of rows to one size.

    Args:
        parts: row numbers in rising order, by the name of the part.
        size: size of the result; the shorter side is resized to it and the centre is cropped. None keeps the images'
            own size, or takes 32 x 32 where they differ.
        on_bad: stop at an image that cannot be read, or skip and count it.

    Raises:
        InputError: an image cannot be read, or none of a part can; or the cache folder is too small.
    """
    common = common_size(encoded, np.concatenate(list(parts.values()))) if size is None else None
    if common is not None:
        try:
            return _decode_all(_Job(encoded, common, True, on_bad, on_progress), parts)
        except _UnequalSizes:
            pass
    result = _decode_all(_Job(encoded, size or _DEFAULT_SIZE, False, on_bad, on_progress), parts)
    if size is None:
        result.notices.append(
            f"The images have different sizes; all were resized to {_DEFAULT_SIZE[0]} x {_DEFAULT_SIZE[1]}, the "
            f"default of --image-size."
        )
    return result


def fit(image: Image.Image, size: Size) -> Image.Image:
    """Resize an image (bicubic, antialiased) until it just covers the size, and crop its centre.

    Rounds as torchvision's ``Resize`` of the shorter side and ``CenterCrop`` do.
    """
    height, width = size
    if image.size == (width, height):
        return image
    scaled = (width, image.height * width // image.width)
    if scaled[1] < height:
        scaled = (image.width * height // image.height, height)
    left, top = round((scaled[0] - width) / 2), round((scaled[1] - height) / 2)
    return image.resize(scaled, Image.Resampling.BICUBIC).crop((left, top, left + width, top + height))


def _open(item: dataset.Encoded) -> Image.Image:
    if item is None:
        raise ValueError("there is no image")
    return Image.open(io.BytesIO(item) if isinstance(item, bytes) else item)


def _pixels(item: dataset.Encoded, size: Size | None) -> np.typing.NDArray[np.uint8] | None:
    """Return the pixels (3, H, W) of one image, or None if it cannot be read."""
    try:
        with _open(item) as image:
            colour = image if image.mode == "RGB" else image.convert("RGB")
            return np.asarray(colour if size is None else fit(colour, size)).transpose(2, 0, 1)
    except Exception:  # Pillow's readers raise nearly every type on damaged files; each means just that
        return None


def common_size(encoded: dataset.EncodedImages, rows: np.typing.NDArray[np.int64]) -> Size | None:
    """Return the size that the first images have; None if they differ."""
    sizes = set()
    for item in encoded.items(np.unique(rows)[:_PROBED]):
        try:
            with _open(item) as image:
                sizes.add((image.height, image.width))
        except Exception:  # as in _pixels; reported or counted when all are decoded
            continue
    return sizes.pop() if len(sizes) == 1 else None


@dataclass(frozen=True)
class _Job:
    """The settings that all parts are decoded by."""

    encoded: dataset.EncodedImages
    size: Size
    same_size: bool
    """Whether all images are expected to have this size; one that has not raises."""
    on_bad: config.OnBadRow
    on_progress: Progress | None


def _decode_all(job: _Job, parts: Mapping[str, np.typing.NDArray[np.int64]]) -> DecodedParts:
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
    bad = [np.setdiff1d(parts[name], part.rows) for name, part in result.parts.items()]
    if n_bad := sum(map(len, bad)):
        rows = np.sort(np.concatenate(bad))
        first = ", ".join(job.encoded.describe(int(row)) for row in rows[:_NAMED])
        more = f" and {n_bad - _NAMED:,} more" if n_bad > _NAMED else ""
        fault = f"{n_bad:,} of {n_images:,} images that cannot be read ({first}{more})"
        if job.on_bad == "stop":
            raise InputError(f"There are {fault}; replace or remove them, or leave such rows out by --on-bad-row skip.")
        result.notices.append(f"Left out: {fault}.")
    return result


def _in_memory(job: _Job, name: str, rows: np.typing.NDArray[np.int64], on_rows: Callable[[int], None]) -> Pictures:
    images = np.empty((len(rows), 3, *job.size), dtype=np.uint8)
    read: list[int] = []
    for block, good in _blocks(job, rows, on_rows):
        images[len(read) : len(read) + len(good)] = block
        read += good
    _check_any(read, name)
    return Pictures(images[: len(read)], np.array(read, dtype=np.int64))


def _mapped(job: _Job, name: str, rows: np.typing.NDArray[np.int64], on_rows: Callable[[int], None]) -> Pictures:
    def blocks() -> Iterator[tuple[np.typing.NDArray[np.uint8], list[int]]]:
        read: list[int] = []
        for block, good in _blocks(job, rows, on_rows):
            read += good
            yield block, good
        _check_any(read, name)

    inputs = (job.encoded.stamps(rows), rows, job.size)
    return Pictures(*memory_map.mapped(inputs, (len(rows), 3, *job.size), np.dtype(np.uint8), blocks))


def _check_any(read: list[int], name: str) -> None:
    if not read:
        raise InputError(f"None of the {name} images can be read; check their format.")


def _blocks(
    job: _Job, rows: np.typing.NDArray[np.int64], on_rows: Callable[[int], None]
) -> Iterator[tuple[np.typing.NDArray[np.uint8], list[int]]]:
    """Yield images some at a time, in order, with their row numbers; a few threads decode ahead."""
    done = 0
    for block in _decoded_ahead(job, rows):
        here = rows[done : done + len(block)]
        done += len(block)
        for image in block:
            if image is not None and image.shape[1:] != job.size:
                raise _UnequalSizes
        good = [image for image in block if image is not None]
        pixels = np.stack(good) if good else np.empty((0, 3, *job.size), dtype=np.uint8)
        yield pixels, [int(row) for image, row in zip(block, here, strict=True) if image is not None]
        on_rows(len(block))


def _decoded_ahead(job: _Job, rows: np.typing.NDArray[np.int64]) -> Iterator[list[np.typing.NDArray[np.uint8] | None]]:
    size = None if job.same_size else job.size
    items = iter(job.encoded.items(rows))
    waiting: deque[Future[list[np.typing.NDArray[np.uint8] | None]]] = deque()
    with ThreadPoolExecutor(_WORKERS) as pool:
        while block := list(islice(items, _BLOCK)):
            waiting.append(pool.submit(lambda block: [_pixels(item, size) for item in block], block))
            if len(waiting) > 2 * _WORKERS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
