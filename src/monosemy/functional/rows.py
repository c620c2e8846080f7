"""Codes in whatever form they come, and their rows some at a time."""

import mmap
from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from monosemy.functional.codes import SparseCodes, to_csr
from monosemy.functional.consistency import Codes

_BLOCK = 32 * 2**20
"""Bytes of float64 that are worked on at a time."""


def as_codes(values: Any) -> Codes:
    """A NumPy array or a CSR array of what may also be a tensor, :class:`SparseCodes`, or another SciPy matrix."""
    if isinstance(values, SparseCodes):
        return to_csr(values._replace(values=_numpy_ready(values.values)))
    if isinstance(values, Tensor):
        return np.asarray(_numpy_ready(values).numpy())
    if not sp.issparse(values):
        return np.asarray(values)
    codes = sp.csr_array(values)
    if not codes.has_canonical_format:
        codes = codes.copy()
        codes.sum_duplicates()
    return codes


def _numpy_ready(values: Tensor) -> Tensor:
    """On the CPU, in a type that NumPy and SciPy know."""
    values = values.detach().cpu()
    return values if values.dtype == torch.float64 else values.float()


def take_rows(codes: Codes, block: slice | NDArray[np.integer]) -> Codes:
    """Some rows, in float32 or float64."""
    rows = codes[block]
    return rows if rows.dtype in (np.float32, np.float64) else rows.astype(np.float32)


def memory_map(values: Any) -> np.memmap | None:
    """The read-only memory map that an array is a part of; None where there is none."""
    part: Any = values
    while isinstance(part, np.ndarray):
        whole: Any = part.base
        if isinstance(part, np.memmap) and isinstance(whole, mmap.mmap):
            return part if part.mode == "r" else None
        part = whole
    return None


def forget_pages(values: Any) -> None:
    """Give back what was read of a memory map: each page that was touched counts as this process' memory."""
    found = memory_map(values)
    if found is not None and hasattr(mmap, "MADV_DONTNEED"):
        pages: Any = found.base
        pages.madvise(mmap.MADV_DONTNEED)


def row_blocks(*parts: Codes) -> Iterator[slice]:
    """Consecutive rows of matrices of N rows each, so few at a time that float64 copies of them stay small.

    The pages of memory maps are given back after each block. Nothing is yielded for N = 0.
    """
    n = parts[0].shape[0]
    bytes_a_row = sum(8 * p.shape[1] if isinstance(p, np.ndarray) else 16 * p.nnz / max(n, 1) for p in parts)
    step = max(1, int(_BLOCK / max(bytes_a_row, 1)))
    for start in range(0, n, step):
        yield slice(start, min(start + step, n))
        for part in parts:
            forget_pages(part)


def first_bad_row(codes: Codes) -> int | None:
    """The first row that holds NaN or infinity; None if there is none."""
    numbers: NDArray[Any] = codes if isinstance(codes, np.ndarray) else codes.data
    # One sum says whether all is well, without a mask of the size of the codes.
    if numbers.dtype.kind != "f" or np.isfinite(numbers.sum(dtype=np.float64)):
        return None
    bad = np.flatnonzero(~np.isfinite(numbers.reshape(-1)))
    if not len(bad):  # finite numbers with an infinite sum
        return None
    if isinstance(codes, np.ndarray):
        return int(bad[0] // codes.shape[1])
    return int(np.searchsorted(codes.indptr, bad[0], side="right")) - 1
