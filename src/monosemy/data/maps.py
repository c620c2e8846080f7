"""Arrays of images that are too large for memory: .npy files in the cache, mapped and never loaded whole."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monosemy.cache import Stage, cache
from monosemy.errors import InputError

MAX_IN_MEMORY = 2 * 2**30
"""Bytes of pixels; a larger set of images is kept in a file and mapped."""
_BLOCK = 64 * 2**20
"""Bytes that are copied from file to file at a time."""
_IMAGES = Stage("images", "monosemy.data.decode", ("pillow",))
_PIXELS = "pixels.npy"
_KEPT = "kept.npy"


def map_folder() -> Path:
    """Where the arrays lie."""
    return cache().root / _IMAGES.name


def mapped(
    inputs: tuple[object, ...],
    shape: tuple[int, ...],
    dtype: np.dtype,
    blocks: Callable[[], Iterator[tuple[NDArray, list[int]]]],
) -> tuple[NDArray, NDArray[np.int64]]:
    """The array made from ``inputs``, read-only, one page at a time, and which rows they are; written if not there.

    Only sizes are looked at: `monosemy cache verify` compares checksums, which takes reading it all.

    Args:
        shape: (N, ...), N being an upper bound: what ``blocks`` yields decides.
        blocks: yields rows in order, some at a time, with their numbers; called only if they must be written.

    Raises:
        InputError: the cache folder has not enough space.
    """
    name = _IMAGES.entry(*inputs)
    if cache().find(name, thorough=False) is None:
        map_folder().mkdir(parents=True, exist_ok=True)
        needed, free = int(np.prod(shape)) * dtype.itemsize, shutil.disk_usage(map_folder()).free
        if needed > free:
            raise InputError(
                f"The images take {needed / 1e9:.1f} GB, but the cache folder {map_folder()} has {free / 1e9:.1f} GB "
                f"free; make room, name another folder by MONOSEMY_CACHE, or choose smaller images."
            )
        with cache().new(name, _IMAGES.about(rows=shape[0])) as folder:
            np.save(folder / _KEPT, np.array(_write(folder / _PIXELS, shape, dtype, blocks()), dtype=np.int64))
    folder = cache().root / name
    pixels: NDArray = np.load(folder / _PIXELS, mmap_mode="r", allow_pickle=False)
    return pixels, np.load(folder / _KEPT, allow_pickle=False)


def take_mapped(images: NDArray, rows: NDArray[np.integer]) -> NDArray:
    """Rows of a memory map: a view where they are consecutive, in memory where they fit, else a map of their own."""
    if len(rows) and np.array_equal(rows, np.arange(rows[0], rows[0] + len(rows))):
        return images[rows[0] : rows[0] + len(rows)]
    row_bytes = int(np.prod(images.shape[1:])) * images.itemsize
    if len(rows) * row_bytes <= MAX_IN_MEMORY:
        return np.asarray(images[rows])
    n = max(1, _BLOCK // row_bytes)

    def blocks() -> Iterator[tuple[NDArray, list[int]]]:
        for start in range(0, len(rows), n):
            taken = rows[start : start + n]
            yield images[taken], taken.tolist()

    return mapped((images, rows), (len(rows), *images.shape[1:]), images.dtype, blocks)[0]


def _write(
    path: Path, shape: tuple[int, ...], dtype: np.dtype, blocks: Iterator[tuple[NDArray, list[int]]]
) -> list[int]:
    """An .npy file row by row, and the numbers of its rows; how many they are is put into the header at the end."""
    kept: list[int] = []
    with path.open("wb") as file:
        start = _header(file, shape, dtype)
        for block, numbers in blocks:
            file.write(np.ascontiguousarray(block).data)
            kept += numbers
        file.seek(0)
        assert _header(file, (len(kept), *shape[1:]), dtype) == start  # numpy leaves space for a longer first axis
    return kept


def _header(file, shape: tuple[int, ...], dtype: np.dtype) -> int:  # type: ignore[no-untyped-def]
    np.lib.format.write_array_header_1_0(
        file, {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    )
    return int(file.tell())
