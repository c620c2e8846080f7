"""Rows that can be read in any order: arrays in memory, .npy files and safetensors shards on disk."""

import hashlib
import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from monosemy.core.cache import fingerprint
from monosemy.data.arrays import read_npy
from monosemy.data.row_stream import Reader, RowStream, State, float_rows
from monosemy.errors import InputError, reason

TENSOR_NAMES = ("activations", "embeddings", "embedding", "X", "features")
"""Names of the tensor of rows in a safetensors file that holds several."""
_SAFE_TYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U8": "u1",
}  # fmt: skip
_HEAD = 2**16
"""Bytes at both ends of a file that its key is made from."""


class Table(Protocol):
    """Rows that can be read in any order."""

    name: str
    width: int
    kind: str
    """Type of the numbers as stored."""

    def __len__(self) -> int: ...

    def take(self, rows: NDArray[np.int64]) -> Tensor:
        """(n, D) of the given rows, as stored; ``rows`` rise."""

    def between(self, start: int, end: int) -> Tensor:
        """(end - start, D), as stored."""

    def key(self) -> str:
        """A text that differs where the rows differ."""


class MemoryTable:
    """A matrix in memory, or a memory map that somebody else opened."""

    def __init__(self, values: NDArray[Any] | Tensor, name: str = "the array") -> None:
        self.kind = str(values.dtype).removeprefix("torch.")
        real = not values.is_complex() if isinstance(values, Tensor) else _is_plain(values)
        if not real or len(values.shape) != 2 or 0 in values.shape:
            raise InputError(
                f"{name} has the shape {tuple(values.shape)} and the type {self.kind}; give numbers (N, D) with a row "
                f"and a column."
            )
        self.name, self.width = name, int(values.shape[1])
        self._values = values

    def __len__(self) -> int:
        return len(self._values)

    def take(self, rows: NDArray[np.int64]) -> Tensor:
        if isinstance(self._values, Tensor):
            return self._values[torch.from_numpy(rows).to(self._values.device)].cpu()
        return torch.from_numpy(np.asarray(self._values[rows]))

    def between(self, start: int, end: int) -> Tensor:
        if isinstance(self._values, Tensor):
            return self._values[start:end].cpu()
        return torch.from_numpy(np.array(self._values[start:end]))

    def key(self) -> str:
        values = self._values
        if isinstance(values, Tensor):
            values = values.detach().cpu().float().numpy()
        return fingerprint(values[:: max(1, len(values) // 1024)], len(values))


def _is_plain(values: NDArray[Any]) -> bool:
    return values.dtype.kind in "fiu" and values.dtype.itemsize <= 8


class FileTable:
    """A matrix in a file, row after row, read by seeking.

    A memory map would count every page it ever touched as this process' memory; here only the rows asked for are.

    Args:
        offset: byte that the first row starts at.
        kind: type of the numbers, in NumPy's words, or "bfloat16".
    """

    def __init__(self, path: Path, offset: int, shape: tuple[int, int], kind: str) -> None:
        self.name, self.width, self.kind = str(path), shape[1], kind
        self._path, self._offset, self._n = path, offset, shape[0]
        self._dtype = np.dtype("<u2" if kind == "bfloat16" else kind)
        self._row = self.width * self._dtype.itemsize
        self._file = path.open("rb", buffering=0)

    def __len__(self) -> int:
        return self._n

    def take(self, rows: NDArray[np.int64]) -> Tensor:
        values = np.empty((len(rows), self.width), self._dtype)
        place = _bytes_of(values)
        # Neighbours are read at once.
        starts = np.flatnonzero(np.append(True, np.diff(rows) != 1))
        for start, end in zip(starts, [*starts[1:], len(rows)], strict=True):
            self._read_into(int(rows[start]), place[start * self._row : end * self._row])
        return self._tensor(values)

    def between(self, start: int, end: int) -> Tensor:
        values = np.empty((end - start, self.width), self._dtype)
        self._read_into(start, _bytes_of(values))
        return self._tensor(values)

    def _read_into(self, row: int, place: memoryview) -> None:
        self._file.seek(self._offset + row * self._row)
        done = 0
        while done < len(place):
            n = self._file.readinto(place[done:])
            if not n:
                raise InputError(f"{self.name} ends before its row {row}; it was cut off while it was read.")
            done += n

    def _tensor(self, values: NDArray[Any]) -> Tensor:
        if self.kind == "bfloat16":
            return torch.from_numpy(values.view(np.int16)).view(torch.bfloat16)
        return torch.from_numpy(values.astype(self._dtype.newbyteorder("="), copy=False))

    def key(self) -> str:
        size = self._path.stat().st_size
        digest = hashlib.sha256(f"{self.kind} {self.width} {self._n} {self._offset} {size};".encode())
        with self._path.open("rb") as file:
            digest.update(file.read(_HEAD))
            file.seek(max(0, size - _HEAD))
            digest.update(file.read(_HEAD))
        return digest.hexdigest()[:32]


def _bytes_of(values: NDArray[Any]) -> memoryview:
    return values.reshape(-1).view(np.uint8).data


def npy_table(path: Path) -> FileTable:
    """The matrix of an .npy file; nothing is unpickled."""
    values = read_npy(path, mapped=True)
    if not isinstance(values, np.memmap) or values.ndim != 2 or 0 in values.shape or not _is_plain(values):
        raise InputError(
            f"{path} holds an array of shape {values.shape} and type {values.dtype}; give numbers (N, D) with a row "
            f"and a column."
        )
    if not values.flags.c_contiguous:
        raise InputError(f"{path} is stored column by column; save np.ascontiguousarray of it.")
    return FileTable(path, values.offset, (values.shape[0], values.shape[1]), values.dtype.str)


class _Stored(NamedTuple):
    name: str
    kind: str
    shape: list[int]
    offset: int


def safetensors_table(path: Path, tensor: str | None = None) -> FileTable:
    """A matrix of a safetensors file: the named one, the only one, or the one of a usual name."""
    stored = _header(path)
    wanted = [tensor] if tensor is not None else [*TENSOR_NAMES, *(stored if len(stored) == 1 else ())]
    found = next((stored[name] for name in wanted if name in stored), None)
    if found is None:
        raise InputError(
            f"{path} has no tensor {tensor or 'of rows'!r} (it has {', '.join(stored) or 'none'}); name yours."
        )
    if len(found.shape) != 2 or 0 in found.shape or found.kind not in _SAFE_TYPES:
        raise InputError(
            f"{path} holds {found.name!r} of shape {tuple(found.shape)} and type {found.kind}; give numbers (N, D) "
            f"with a row and a column."
        )
    kind = "bfloat16" if found.kind == "BF16" else _SAFE_TYPES[found.kind]
    return FileTable(path, found.offset, (found.shape[0], found.shape[1]), kind)


def _header(path: Path) -> dict[str, _Stored]:
    """What a safetensors file holds, and where; the library checks that the file is sound and whole."""
    try:
        with safe_open(path, framework="np"):
            pass
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size))
    except (OSError, SafetensorError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is no whole safetensors file ({reason(error)}); copy or make it again.") from error
    header.pop("__metadata__", None)
    return {
        name: _Stored(name, entry["dtype"], entry["shape"], 8 + size + entry["data_offsets"][0])
        for name, entry in header.items()
    }


class TableStream(RowStream):
    """Tables below each other, in their order.

    Raises:
        InputError: they differ in width or type.
    """

    def __init__(self, tables: Sequence[Table], name: str) -> None:
        first = tables[0]
        for table in tables[1:]:
            if (table.width, table.kind) != (first.width, first.kind):
                raise InputError(
                    f"{table.name} holds rows of {table.width} numbers of type {table.kind}, but {first.name} of "
                    f"{first.width} of type {first.kind}; make them alike."
                )
        self.name, self.width = name, first.width
        self.tables = tables
        self._starts = np.cumsum([0, *map(len, tables)])
        self.length: int = int(self._starts[-1])

    def open(self, epoch: int = 0, state: State | None = None) -> Reader:
        return TableReader(self, None, 0 if state is None else state["row"])

    def key(self) -> str:
        return fingerprint(tuple(table.key() for table in self.tables))

    def take(self, rows: NDArray[np.int64]) -> Tensor:
        """(n, D) float32 of the given rows, in any order."""
        order = np.argsort(rows, kind="stable")  # in the files' order, so that a disk reads forwards
        rising = rows[order]
        result = torch.empty(len(rows), self.width)
        for table, (start, end) in zip(self.tables, pairwise(self._starts), strict=True):
            first, last = np.searchsorted(rising, [start, end])
            if first < last:
                own = rising[first:last] - start
                values = float_rows(table.take(own), table.name, own)
                result[torch.from_numpy(order[first:last])] = values
        return result

    def between(self, first: int, last: int) -> Tensor:
        """(last - first, D) float32 of neighbouring rows."""
        pieces = []
        for table, (start, end) in zip(self.tables, pairwise(self._starts.tolist()), strict=True):
            own = range(max(first, start) - start, min(last, end) - start)
            if own:
                pieces.append(float_rows(table.between(own.start, own.stop), table.name, own))
        return torch.cat(pieces) if pieces else torch.empty(0, self.width)


class TableReader(Reader):
    """Rows of tables one after the other, or in a given order."""

    def __init__(self, stream: TableStream, order: Tensor | None, row: int) -> None:
        self._stream, self._order, self._row = stream, order, row

    def peek(self, n: int) -> Tensor:
        end = min(self._row + n, self._stream.length)
        if self._order is None:
            return self._stream.between(self._row, end)
        return self._stream.take(self._order[self._row : end].numpy().astype(np.int64))

    def skip(self, n: int) -> None:
        self._row = min(self._row + n, self._stream.length)

    def state(self) -> State:
        return {"row": self._row}
