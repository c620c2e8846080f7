"""Arrays larger than memory: images in mapped .npy files of the cache, and codes of any type, a block at a time."""

import json
import mmap
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from monosemy.core.cache import Stage, cache
from monosemy.data.sources import check_missing
from monosemy.errors import InputError

if TYPE_CHECKING:
    from monosemy.functional.consistency import Codes  # imports scipy.stats, which takes seconds

MAX_IN_MEMORY = 2 * 2**30
"""Bytes of pixels; a larger set of images is kept in a file and mapped."""
_IMAGES_AT_ONCE = 64 * 2**20
"""Bytes that are copied from file to file at a time."""
_IMAGES = Stage("images", 2, ("pillow",), __name__)
_PIXELS = "pixels.npy"
_ROWS = "kept.npy"
_RECORD = "record.json"


class Mapped(NamedTuple):
    """Rows in a mapped file."""

    pixels: np.typing.NDArray
    rows: np.typing.NDArray[np.int64]
    """Numbers of the rows that were written."""
    record: dict[str, Any]
    """What was recorded while they were written."""


def map_folder() -> Path:
    """Return the folder of the arrays."""
    return cache().root / _IMAGES.name


def mapped(
    inputs: tuple[object, ...],
    shape: tuple[int, ...],
    dtype: np.dtype,
    blocks: Callable[[], Iterator[tuple[np.typing.NDArray, list[int]]]],
    record: Mapping[str, Any] | None = None,
) -> Mapped:
    """Return the cached array computed from ``inputs``, memory-mapped read-only, and its rows; written where missing.

    Only file sizes are checked: `monosemy cache verify` compares checksums, which requires reading it all.

    Args:
        shape: (N, ...), N being an upper bound of the rows that ``blocks`` yields.
        blocks: yields rows in order, some at a time, with their numbers; called only where they must be written.
        record: what ``blocks`` notes down for messages, of plain values; stored with the array.

    Raises:
        InputError: the cache folder does not have enough space.
    """
    name = _IMAGES.entry(*inputs)
    if cache().find(name, thorough=False) is None:
        map_folder().mkdir(parents=True, exist_ok=True)
        needed, free = int(np.prod(shape)) * dtype.itemsize, shutil.disk_usage(map_folder()).free
        if needed > free:
            raise InputError(
                f"The images take {needed / 1e9:.1f} GB, but the cache folder {map_folder()} has {free / 1e9:.1f} GB "
                f"free; free some space, set MONOSEMY_CACHE to another folder, or choose smaller images."
            )
        with cache().new(name, _IMAGES.metadata(rows=shape[0])) as folder:
            np.save(folder / _ROWS, np.array(_write(folder / _PIXELS, shape, dtype, blocks()), dtype=np.int64))
            (folder / _RECORD).write_text(json.dumps(record or {}), encoding="utf-8")
    folder = cache().root / name
    pixels: np.typing.NDArray = np.load(folder / _PIXELS, mmap_mode="r", allow_pickle=False)
    stored = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
    return Mapped(pixels, np.load(folder / _ROWS, allow_pickle=False), stored)


def take_mapped(images: np.typing.NDArray, rows: np.typing.NDArray[np.integer]) -> np.typing.NDArray:
    """Return rows of a memory map: a view where they are consecutive, in memory where they fit, else another map."""
    if len(rows) and np.array_equal(rows, np.arange(rows[0], rows[0] + len(rows))):
        return images[rows[0] : rows[0] + len(rows)]
    row_bytes = int(np.prod(images.shape[1:])) * images.itemsize
    if len(rows) * row_bytes <= MAX_IN_MEMORY:
        return np.asarray(images[rows])
    n = max(1, _IMAGES_AT_ONCE // row_bytes)

    def blocks() -> Iterator[tuple[np.typing.NDArray, list[int]]]:
        for start in range(0, len(rows), n):
            taken = rows[start : start + n]
            yield images[taken], taken.tolist()

    return mapped((images, rows), (len(rows), *images.shape[1:]), images.dtype, blocks).pixels


def _write(
    path: Path, shape: tuple[int, ...], dtype: np.dtype, blocks: Iterator[tuple[np.typing.NDArray, list[int]]]
) -> list[int]:
    """Write an .npy file block by block and return the numbers of its rows; the header gets their count at the end."""
    written: list[int] = []
    with path.open("wb") as file:
        start = _header(file, shape, dtype)
        for block, numbers in blocks:
            file.write(np.ascontiguousarray(block).data)
            written += numbers
        file.seek(0)
        assert _header(file, (len(written), *shape[1:]), dtype) == start  # numpy leaves space for a longer first axis
    return written


def _header(file, shape: tuple[int, ...], dtype: np.dtype) -> int:  # type: ignore[no-untyped-def]
    np.lib.format.write_array_header_1_0(
        file, {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    )
    return int(file.tell())


_ROWS_AT_ONCE = 32 * 2**20
"""Bytes of float64 that are processed at a time."""


def take_rows(codes: "Codes", block: slice | np.typing.NDArray[np.integer]) -> "Codes":
    """Return some rows in float32 or float64."""
    rows = codes[block]
    return rows if rows.dtype in (np.float32, np.float64) else rows.astype(np.float32)


def memory_map(values: Any) -> np.memmap | None:
    """Return the read-only memory map that an array is a part of; None where there is none."""
    part: Any = values
    while isinstance(part, np.ndarray):
        whole: Any = part.base
        if isinstance(part, np.memmap) and isinstance(whole, mmap.mmap):
            return part if part.mode == "r" else None
        part = whole
    return None


def forget_pages(values: Any) -> None:
    """Release the pages of a memory map: each page that was touched counts as memory of this process."""
    whole = memory_map(values)
    if whole is not None and hasattr(mmap, "MADV_DONTNEED"):
        pages: Any = whole.base
        pages.madvise(mmap.MADV_DONTNEED)


def row_blocks(*parts: "Codes") -> Iterator[slice]:
    """Yield slices of consecutive rows of matrices with N rows, so few that float64 copies of them stay small.

    The pages of memory maps are released after each block. Nothing is yielded for N = 0.
    """
    n = parts[0].shape[0]
    bytes_a_row = sum(8 * p.shape[1] if isinstance(p, np.ndarray) else 16 * p.nnz / max(n, 1) for p in parts)
    step = max(1, int(_ROWS_AT_ONCE / max(bytes_a_row, 1)))
    for start in range(0, n, step):
        yield slice(start, min(start + step, n))
        for part in parts:
            forget_pages(part)


def check_finite(codes: "Codes", name: str, block: slice | None = None) -> None:
    """Raise where codes (N, M) hold NaN or infinity.

    Args:
        block: the rows that these are of a larger array, for the message.
    """
    numbers = None if block is None else range(block.start, block.stop)
    check_missing(~finite_rows(codes), "with NaN or infinity", name, numbers)


def finite_rows(codes: "Codes") -> np.typing.NDArray[np.bool_]:
    """Return which rows of codes (N, M) hold neither NaN nor infinity, (N,)."""
    numbers: np.typing.NDArray[Any] = codes if isinstance(codes, np.ndarray) else codes.data
    finite = np.ones(codes.shape[0], dtype=bool)
    # A finite sum proves that all are finite, without a mask of the size of the codes.
    if numbers.dtype.kind != "f" or np.isfinite(numbers.sum(dtype=np.float64)):
        return finite
    bad = np.flatnonzero(~np.isfinite(numbers.reshape(-1)))  # none where finite numbers have an infinite sum
    if isinstance(codes, np.ndarray):
        finite[bad // codes.shape[1]] = False
    else:
        finite[np.searchsorted(codes.indptr, bad, side="right") - 1] = False
    return finite
