"""Decoding images to arrays of one size: in memory, or in mapped files where too large."""

import os
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TypeVar

import numpy as np
from PIL import Image, ImageFile

from monosemy.core.console import Progress
from monosemy.data import config, dataset, memory_map, pixels
from monosemy.errors import InputError

T = TypeVar("T")
Size = tuple[int, int]
"""Height and width."""
_DEFAULT_SIZE: Size = (32, 32)
"""Size of images that differ in size where the user chose none."""
_WORKERS = min(8, os.cpu_count() or 1)
_BLOCK = 64
"""Images that a thread decodes at a time."""
_NAMED = 5
"""Bad images that a message names."""
_PROBED = 64
"""Images whose sizes are compared before all are decoded."""
_UNREADABLE = "cannot be read"
_NOTES: dict[pixels.Note, str] = {
    "frames": "have several frames, of which the first was taken",
    "transparent": "are transparent and were laid over the colour data.background",
    "upright": "were turned upright, as their EXIF data say",
}


@dataclass(frozen=True)
class Pictures:
    """Decoded images and their rows: all wanted rows but those that cannot be used."""

    images: np.typing.NDArray[np.uint8]
    """(n, 3, H, W)."""
    rows: np.typing.NDArray[np.int64]
    """(n,), rising."""


@dataclass
class DecodedParts:
    """The result of :func:`decode_parts`, with messages to the user."""

    parts: dict[str, Pictures]
    notices: list[str] = field(default_factory=list)
    whites: pixels.Whites = field(default_factory=pixels.Whites)
    """The white levels of images of more than 8 bits."""


@dataclass
class _Record:
    """The fate of the images of a part."""

    faults: dict[str, list[int]] = field(default_factory=dict)
    """Rows of images that cannot be used, by the reason."""
    notes: Counter[pixels.Note] = field(default_factory=Counter)


class _UnequalSizes(Exception):
    pass


def decode_parts(
    encoded: dataset.EncodedImages,
    parts: Mapping[str, np.typing.NDArray[np.int64]],
    size: Size | None,
    on_bad: config.OnBadRow = "stop",
    on_progress: Progress | None = None,
    *,
    background: str = "white",
    whites: pixels.Whites | None = None,
) -> DecodedParts:
    """Decode the images of several lists of rows to 8-bit RGB of one size.

    Args:
        parts: row numbers in rising order, by the name of the part.
        size: size of the result; the shorter side is resized to it and the centre is cropped. None keeps the images'
            own size, or takes 32 x 32 where they differ.
        on_bad: stop at images that cannot be used, or leave them out and count them.
        background: colour behind transparent images.
        whites: white levels of images of more than 8 bits; what is None is chosen by their largest value.

    Raises:
        InputError: images cannot be used, or none of a part can; or the cache folder is too small.
    """
    rows = np.concatenate(list(parts.values()))
    colour = pixels.background_colour(background)
    pixels.formats()  # loads Pillow's plugins once, before there are threads
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of odd files that it reads nevertheless
        common, has_depth = _probe(encoded, rows)
        levels = _Levels(encoded, rows, whites or pixels.Whites(), on_progress)
        conversion = pixels.Conversion(colour, levels.chosen() if has_depth else pixels.Whites())
        job = _Job(encoded, size or common or _DEFAULT_SIZE, size is None and common is not None, on_bad, conversion)
        while True:
            try:
                result = _decode_all(job, parts, on_progress)
                break
            except _UnequalSizes:
                job = replace(job, size=_DEFAULT_SIZE, same_size=False)
            except pixels.UnknownWhiteError:
                if job.conversion is not conversion:  # the files change while they are read
                    raise InputError("The images change while they are read; run this again.") from None
                job = replace(job, conversion=replace(conversion, whites=levels.chosen()))
    if size is None and not job.same_size:
        result.notices.append(
            f"The images have different sizes; all were resized to {_DEFAULT_SIZE[0]} x {_DEFAULT_SIZE[1]}, the "
            f"default of --image-size."
        )
    result.whites = job.conversion.whites
    result.notices += levels.messages
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


class _Levels:
    """The white levels of images of more than 8 bits; those that are not given are chosen by the largest value."""

    def __init__(
        self,
        encoded: dataset.EncodedImages,
        rows: np.typing.NDArray[np.int64],
        given: pixels.Whites,
        on_progress: Progress | None,
    ) -> None:
        self.messages: list[str] = []
        self._encoded, self._rows, self._given, self._on_progress = encoded, rows, given, on_progress

    def chosen(self) -> pixels.Whites:
        """Return the levels, after reading the values of all such images.

        Raises:
            InputError: the values are in no range that has a usual white level.
        """
        largest: dict[pixels.Depth, list[float]] = {"integers": [], "floats": []}
        done = 0
        for block in _ahead(_largest, self._encoded.items(np.unique(self._rows))):
            for extent in filter(None, block):
                largest[extent[0]].append(extent[1])
            done += len(block)
            if self._on_progress is not None:
                self._on_progress("Finding the white level", done, len(self._rows))
        return pixels.Whites(
            self._level("integers", largest["integers"], self._given.integers, pixels.integer_white),
            self._level("floats", largest["floats"], self._given.floats, pixels.float_white),
        )

    def _level(
        self, depth: pixels.Depth, largest: list[float], given: float | None, choose: Callable[[float], float | None]
    ) -> float | None:
        if not largest:
            return given
        top = max(largest)
        white = choose(top) if given is None else given
        if white is None:
            ranges = "[0, 1] and [0, 255]" if depth == "floats" else "16 bits"
            raise InputError(
                f"The images have {depth} up to {top:g}, beyond {ranges}; name the value that is white by "
                f"data.white_level."
            )
        what = "are of floats" if depth == "floats" else "have more than 8 bits"
        self.messages.append(
            f"{len(largest):,} images {what}, with values up to {top:,g}; {white:,g} became white (data.white_level)."
        )
        if n_above := sum(value > white for value in largest):
            self.messages.append(f"{n_above:,} images have values above {white:,g}, which became white too.")
        return white


def _largest(item: dataset.Encoded) -> tuple[pixels.Depth, float] | None:
    """Return the kind of values of an image of more than 8 bits, and the largest; None for all others."""
    try:
        with _open(item) as image:
            depth = pixels.depth_of(image)
            return None if depth is None else (depth, float(pixels.deep_values(image)[..., :3].max()))
    except Exception:  # as in _pixels; reported or counted when all are decoded
        return None


def _open(item: dataset.Encoded) -> ImageFile.ImageFile:
    if item is None:
        raise ValueError("there is no image")
    return pixels.open_picture(item)


@dataclass(frozen=True)
class _Outcome:
    """The result of reading one image."""

    image: np.typing.NDArray[np.uint8] | None
    """(3, H, W); None if it cannot be used."""
    fault: str = ""
    notes: frozenset[pixels.Note] = frozenset()


def _pixels(item: dataset.Encoded, size: Size | None, conversion: pixels.Conversion) -> _Outcome:
    try:
        with _open(item) as image:
            converted = pixels.convert(image, conversion)
            colour = converted.image if size is None else fit(converted.image, size)
            return _Outcome(np.asarray(colour).transpose(2, 0, 1), notes=converted.notes)
    except pixels.UnknownWhiteError:
        raise
    except pixels.RefusedPictureError as error:
        return _Outcome(None, str(error))
    except Exception:  # Pillow's readers raise nearly every type on damaged files; each means just that
        return _Outcome(None, _UNREADABLE)


def common_size(encoded: dataset.EncodedImages, rows: np.typing.NDArray[np.int64]) -> Size | None:
    """Return the size that the first images have, upright; None if they differ."""
    return _probe(encoded, rows)[0]


def _probe(encoded: dataset.EncodedImages, rows: np.typing.NDArray[np.int64]) -> tuple[Size | None, bool]:
    """Return the size that the first images have, None if they differ, and whether one has more than 8 bits."""
    sizes, has_depth = set(), False
    for item in encoded.items(np.unique(rows)[:_PROBED]):
        try:
            with _open(item) as image:
                has_depth |= pixels.depth_of(image) is not None
                sizes.add(pixels.size_of(image))
        except Exception:  # as in _pixels; reported or counted when all are decoded
            continue
    return sizes.pop() if len(sizes) == 1 else None, has_depth


@dataclass(frozen=True)
class _Job:
    """The settings that all parts are decoded by."""

    encoded: dataset.EncodedImages
    size: Size
    same_size: bool
    """Whether all images are expected to have this size; one that has not raises."""
    on_bad: config.OnBadRow
    conversion: pixels.Conversion


OnRows = Callable[[int], None]


def _decode_all(
    job: _Job, parts: Mapping[str, np.typing.NDArray[np.int64]], on_progress: Progress | None
) -> DecodedParts:
    n_images = sum(map(len, parts.values()))
    n_bytes = n_images * 3 * job.size[0] * job.size[1]
    done = 0

    def on_rows(n: int) -> None:
        nonlocal done
        done += n
        if on_progress is not None:
            on_progress("Reading images", done, n_images)

    read = _mapped if n_bytes > memory_map.MAX_IN_MEMORY else _in_memory
    nothing = Pictures(np.empty((0, 3, *job.size), dtype=np.uint8), np.empty(0, dtype=np.int64))
    result = DecodedParts({})
    records = []
    for name, rows in parts.items():
        result.parts[name], record = read(job, rows, on_rows) if len(rows) else (nothing, _Record())
        records.append(record)
    if n_bytes > memory_map.MAX_IN_MEMORY:
        result.notices.append(f"The images take {n_bytes / 1e9:.1f} GB and are kept in {memory_map.map_folder()}.")
    result.notices += _checked(job, records, n_images)
    for name, rows in parts.items():
        if len(rows) and not len(result.parts[name].rows):
            raise InputError(f"None of the {name} images can be used; check their format.")
    return result


def _checked(job: _Job, records: list[_Record], n_images: int) -> list[str]:
    """Return messages on what happened to images; raise where some cannot be used and the user wants to stop there."""
    faults: dict[str, list[int]] = {}
    notes: Counter[pixels.Note] = Counter()
    for record in records:
        notes += record.notes
        for fault, rows in record.faults.items():
            faults.setdefault(fault, []).extend(rows)
    messages = [f"{notes[note]:,} images {text}." for note, text in _NOTES.items() if notes[note]]
    if not faults:
        return messages
    counted = ", ".join(
        f"{len(rows):,} of {n_images:,} images that {fault} ({_named(sorted(rows), job.encoded)})"
        for fault, rows in faults.items()
    )
    if job.on_bad == "stop":
        raise InputError(f"There are {counted}; repair or remove them, or leave such rows out by --on-bad-row skip.")
    return [*messages, f"Left out: {counted}."]


def _named(rows: list[int], encoded: dataset.EncodedImages) -> str:
    first = ", ".join(encoded.describe(row) for row in rows[:_NAMED])
    return first + (f" and {len(rows) - _NAMED:,} more" if len(rows) > _NAMED else "")


def _in_memory(job: _Job, rows: np.typing.NDArray[np.int64], on_rows: OnRows) -> tuple[Pictures, _Record]:
    images = np.empty((len(rows), 3, *job.size), dtype=np.uint8)
    read: list[int] = []
    record = _Record()
    for block, good in _blocks(job, rows, on_rows, record):
        images[len(read) : len(read) + len(good)] = block
        read += good
    return Pictures(images[: len(read)], np.array(read, dtype=np.int64)), record


def _mapped(job: _Job, rows: np.typing.NDArray[np.int64], on_rows: OnRows) -> tuple[Pictures, _Record]:
    record = _Record()
    stored = memory_map.mapped(
        (job.encoded.stamps(rows), rows, job.size, repr(job.conversion)),
        (len(rows), 3, *job.size),
        np.dtype(np.uint8),
        lambda: _blocks(job, rows, on_rows, record),
        {"faults": record.faults, "notes": record.notes},
    )
    return Pictures(stored.pixels, stored.rows), _Record(stored.record["faults"], Counter(stored.record["notes"]))


def _blocks(
    job: _Job, rows: np.typing.NDArray[np.int64], on_rows: OnRows, record: _Record
) -> Iterator[tuple[np.typing.NDArray[np.uint8], list[int]]]:
    """Yield images some at a time, in order, with their row numbers; a few threads decode ahead."""
    size = None if job.same_size else job.size
    done = 0
    for block in _ahead(lambda item: _pixels(item, size, job.conversion), job.encoded.items(rows)):
        good: dict[int, np.typing.NDArray[np.uint8]] = {}
        for row, outcome in zip(rows[done : done + len(block)].tolist(), block, strict=True):
            record.notes.update(outcome.notes)
            if outcome.image is None:
                record.faults.setdefault(outcome.fault, []).append(row)
            elif outcome.image.shape[1:] != job.size:
                raise _UnequalSizes
            else:
                good[row] = outcome.image
        done += len(block)
        yield np.stack(list(good.values())) if good else np.empty((0, 3, *job.size), dtype=np.uint8), list(good)
        on_rows(len(block))


def _ahead(function: Callable[[dataset.Encoded], T], items: Iterable[dataset.Encoded]) -> Iterator[list[T]]:
    """Yield the results for some items at a time, in order, which a few threads compute ahead."""
    left = iter(items)
    waiting: deque[Future[list[T]]] = deque()
    with ThreadPoolExecutor(_WORKERS) as pool:
        while block := list(islice(left, _BLOCK)):
            waiting.append(pool.submit(lambda block: [function(item) for item in block], block))
            if len(waiting) > 2 * _WORKERS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
