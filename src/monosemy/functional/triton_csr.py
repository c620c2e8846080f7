"""Triton kernels for products of sparse codes with dense matrices, on GPUs.

A matrix in compressed sparse rows (CSR) has R rows; row r owns the entries ``starts[r]`` to ``starts[r + 1]``, each a
value and its column. Codes are one with samples as rows; sorted by latent, their transpose is another. So one kernel
gives the reconstruction as well as the gradients by the weights, and a second one the gradient by the codes.

Every sum has one owner that adds it up in a fixed order: no atomic additions, and block sizes that are not tuned at
run time, so that the same inputs give the same bits. Nothing with E x D numbers is stored. Sums are float64 for float64
and float32 for all else.

Checked in Triton's interpreter and by compiling for NVIDIA GPUs; not yet run or timed on one. A row that owns very many
entries is the work of one program a block of columns, so a latent that is active in every sample is the slowest.

Imports Triton; :mod:`monosemy.functional.products` decides when.
"""

from typing import Any

import torch
import triton
import triton.language as tl

_ENTRIES = 16
"""Entries of a row that are read at once."""
_COLUMNS = 128
"""Columns of a dense matrix that are read at once, at most."""


@triton.jit
def _product_kernel(  # type: ignore[no-untyped-def]
    starts, columns, values, dense, out, width,
    ENTRIES: tl.constexpr, COLUMNS: tl.constexpr, SUM: tl.constexpr,
):  # fmt: skip
    """Compute one row of the result, one block of its columns."""
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    inside = at < width
    first = tl.load(starts + row)
    end = tl.load(starts + row + 1)
    total = tl.zeros((ENTRIES, COLUMNS), dtype=SUM)
    for start in range(first, end, ENTRIES):
        entries = start + tl.arange(0, ENTRIES)
        owned = entries < end
        column = tl.load(columns + entries, mask=owned, other=0).to(tl.int64)
        value = tl.load(values + entries, mask=owned, other=0).to(SUM)
        places = column[:, None] * width + at[None, :]
        total += value[:, None] * tl.load(dense + places, mask=owned[:, None] & inside[None, :], other=0).to(SUM)
    tl.store(out + row * width + at, tl.sum(total, axis=0).to(out.dtype.element_ty), mask=inside)


@triton.jit
def _sampled_kernel(  # type: ignore[no-untyped-def]
    starts, columns, left, right, out, width,
    ENTRIES: tl.constexpr, COLUMNS: tl.constexpr, SUM: tl.constexpr,
):  # fmt: skip
    """Compute all entries of one row."""
    row = tl.program_id(0).to(tl.int64)
    first = tl.load(starts + row)
    end = tl.load(starts + row + 1)
    for start in range(first, end, ENTRIES):
        entries = start + tl.arange(0, ENTRIES)
        owned = entries < end
        column = tl.load(columns + entries, mask=owned, other=0).to(tl.int64)
        total = tl.zeros((ENTRIES, COLUMNS), dtype=SUM)
        for before in range(0, width, COLUMNS):
            at = before + tl.arange(0, COLUMNS)
            inside = at < width
            here = tl.load(left + row * width + at, mask=inside, other=0).to(SUM)
            places = column[:, None] * width + at[None, :]
            total += here[None, :] * tl.load(right + places, mask=owned[:, None] & inside[None, :], other=0).to(SUM)
        tl.store(out + entries, tl.sum(total, axis=1).to(out.dtype.element_ty), mask=owned)


def csr_product(starts: torch.Tensor, columns: torch.Tensor, values: torch.Tensor, dense: torch.Tensor) -> torch.Tensor:
    """Return S dense, shape (R, D), of dense's type; rows of S without entries give 0.

    Args:
        starts: (R + 1,) integers.
        columns, values: (E,), the entries of S (R, C); a column may occur several times in a row.
        dense: (C, D).
    """
    out = dense.new_empty(len(starts) - 1, dense.shape[1])
    blocks = _blocks(dense)
    grid = (out.shape[0], triton.cdiv(out.shape[1], blocks["COLUMNS"]))
    _launch(_product_kernel, grid, (starts, columns, values, dense, out), blocks)
    return out


def csr_sampled_product(
    starts: torch.Tensor, columns: torch.Tensor, left: torch.Tensor, right: torch.Tensor
) -> torch.Tensor:
    """Return left[row] . right[column] for each entry of a matrix (R, C), shape (E,), of left's type.

    Args:
        starts: (R + 1,) integers.
        columns: (E,).
        left, right: (R, D) and (C, D).
    """
    out = left.new_empty(len(columns))
    _launch(_sampled_kernel, (len(left),), (starts, columns, left, right, out), _blocks(left))
    return out


def _blocks(dense: torch.Tensor) -> dict[str, object]:
    columns = min(_COLUMNS, triton.next_power_of_2(dense.shape[1]))
    wide = tl.float64 if dense.dtype == torch.float64 else tl.float32
    return {"ENTRIES": _ENTRIES, "COLUMNS": columns, "SUM": wide}


def _launch(kernel: Any, grid: tuple[int, ...], arrays: tuple[torch.Tensor, ...], blocks: dict[str, object]) -> None:
    """Start a kernel on arrays of which the last takes the result, and the one before has its width."""
    *inputs, out = (array.contiguous() for array in arrays)
    if out.numel() > 0:
        with torch.cuda.device_of(out):  # Triton starts kernels on the current GPU, wherever the tensors lie
            # Its versions differ in whether a * b + c is rounded once; the numbers should not.
            kernel[grid](*inputs, out, inputs[-1].shape[1], **blocks, enable_fp_fusion=True)
