"""Arrays of images that are too large for memory: .npy files in the cache folder, mapped and never loaded whole."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monosemy.cache import cache_folder, fingerprint
from monosemy.errors import InputError
from monosemy.files import atomic_path

MAX_IN_MEMORY = 2 * 2**30
"""Bytes of pixels; a larger set of images is kept in a file and mapped."""
_BLOCK = 64 * 2**20
"""Bytes that are copied from file to file at a time."""


def map_path(key: str) -> Path:
    """Where the array with this key lies."""
    return cache_folder() / "images" / f"{key}.npy"


def mapped(key: str, shape: tuple[int, ...], dtype: np.dtype, blocks: Callable[[], Iterator[NDArray]]) -> NDArray:
    """The array stored under ``key``, read-only, one page at a time; written first if it is missing or damaged.

    Args:
        shape: (N, ...), N being an upper bound: what ``blocks`` yields decides.
        blocks: yields the rows in order, some at a time; called only if they must be written.

    Raises:
        InputError: the cache folder has not enough space.
    """
    path = map_path(key)
    try:
        return _opened(path, shape, dtype)
    except (OSError, ValueError, EOFError):
        pass
    path.parent.mkdir(parents=True, exist_ok=True)
    needed, free = int(np.prod(shape)) * dtype.itemsize, shutil.disk_usage(path.parent).free
    if needed > free:
        raise InputError(
            f"The images take {needed / 1e9:.1f} GB, but the cache folder {path.parent} has {free / 1e9:.1f} GB free; "
            f"make room, name another folder by MONOSEMY_CACHE, or choose smaller images."
        )
    with atomic_path(path) as temporary:
        _write(temporary, shape, dtype, blocks())
    return _opened(path, shape, dtype)


def take_mapped(images: NDArray, rows: NDArray[np.integer]) -> NDArray:
    """Rows of a memory map: a view where they are consecutive, in memory where they fit, else a map of their own."""
    if len(rows) and np.array_equal(rows, np.arange(rows[0], rows[0] + len(rows))):
        return images[rows[0] : rows[0] + len(rows)]
    row_bytes = int(np.prod(images.shape[1:])) * images.itemsize
    if len(rows) * row_bytes <= MAX_IN_MEMORY:
        return np.asarray(images[rows])
    n = max(1, _BLOCK // row_bytes)

    def blocks() -> Iterator[NDArray]:
        for start in range(0, len(rows), n):
            yield images[rows[start : start + n]]

    return mapped(fingerprint("rows-v1", images, rows), (len(rows), *images.shape[1:]), images.dtype, blocks)


def _opened(path: Path, shape: tuple[int, ...], dtype: np.dtype) -> NDArray:
    array: NDArray = np.load(path, mmap_mode="r", allow_pickle=False)
    if array.shape[1:] != shape[1:] or array.dtype != dtype:
        raise ValueError(f"{path} holds another array")
    return array


def _write(path: Path, shape: tuple[int, ...], dtype: np.dtype, blocks: Iterator[NDArray]) -> None:
    """An .npy file row by row; the number of rows is put into the header at the end."""
    with path.open("wb") as file:
        start = _header(file, shape, dtype)
        written = 0
        for block in blocks:
            file.write(np.ascontiguousarray(block).data)
            written += len(block)
        file.seek(0)
        assert _header(file, (written, *shape[1:]), dtype) == start  # numpy leaves space for a longer first axis


def _header(file, shape: tuple[int, ...], dtype: np.dtype) -> int:  # type: ignore[no-untyped-def]
    np.lib.format.write_array_header_1_0(
        file, {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    )
    return int(file.tell())
