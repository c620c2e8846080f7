"""Streams of rows in files: arrays, .npy and safetensors in any order, parquet row group by row group."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from copy import copy
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from safetensors import safe_open

from monosemy.core import cache, files
from monosemy.data import row_stream, safety, sources
from monosemy.data.arrays import read_arrays, read_npy
from monosemy.errors import InputError, names as shown_names
from monosemy.seeding import torch_rng

_SAFE_TYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U8": "u1",
}  # fmt: skip
_HEAD = 2**16
"""Bytes at both ends of a file that enter its key."""


class Table(Protocol):
    """Rows that can be read in any order."""

    name: str
    width: int
    kind: str
    """The type of the numbers as stored."""

    def __len__(self) -> int: ...

    def take(self, rows: np.typing.NDArray[np.int64]) -> torch.Tensor:
        """Return the given rows, (n, D) as stored; ``rows`` rise."""

    def between(self, start: int, end: int) -> torch.Tensor:
        """Return consecutive rows, (end - start, D) as stored."""

    def key(self) -> str:
        """Return a text that differs where the rows differ."""


class MemoryTable:
    """A matrix in memory, or a memory map that the caller opened."""

    def __init__(self, values: np.typing.NDArray[Any] | torch.Tensor, name: str = "the array") -> None:
        self.kind = str(values.dtype).removeprefix("torch.")
        real = not values.is_complex() if isinstance(values, torch.Tensor) else _is_plain(values)
        if not real or len(values.shape) != 2 or 0 in values.shape:
            raise InputError(
                f"{name} has the shape {tuple(values.shape)} and the type {self.kind}; give numbers (N, D) with a row "
                f"and a column."
            )
        self.name, self.width = name, int(values.shape[1])
        self._values = values

    def __len__(self) -> int:
        return len(self._values)

    def take(self, rows: np.typing.NDArray[np.int64]) -> torch.Tensor:
        if isinstance(self._values, torch.Tensor):
            return self._values[torch.from_numpy(rows).to(self._values.device)].cpu()
        return torch.from_numpy(np.asarray(self._values[rows]))

    def between(self, start: int, end: int) -> torch.Tensor:
        if isinstance(self._values, torch.Tensor):
            return self._values[start:end].cpu()
        return torch.from_numpy(np.array(self._values[start:end]))

    def key(self) -> str:
        values = self._values
        if isinstance(values, torch.Tensor):
            values = values.detach().cpu().float().numpy()
        return cache.fingerprint(values[:: max(1, len(values) // 1024)], len(values))


def _is_plain(values: np.typing.NDArray[Any]) -> bool:
    return values.dtype.kind in "fiu" and values.dtype.itemsize <= 8


class FileTable:
    """A matrix in a file, row after row, read by seeking.

    A memory map would count every page it ever touched as memory of this process; here only the requested rows are.

    Args:
        offset: byte at which the first row starts.
        kind: NumPy's name of the type of the numbers, or "bfloat16".
    """

    def __init__(self, path: Path, offset: int, shape: tuple[int, int], kind: str) -> None:
        self.name, self.width, self.kind = str(path), shape[1], kind
        self._path, self._offset, self._n = path, offset, shape[0]
        self._dtype = np.dtype("<u2" if kind == "bfloat16" else kind)
        self._row = self.width * self._dtype.itemsize
        self._file = path.open("rb", buffering=0)

    def __len__(self) -> int:
        return self._n

    def take(self, rows: np.typing.NDArray[np.int64]) -> torch.Tensor:
        values = np.empty((len(rows), self.width), self._dtype)
        buffer = _bytes_of(values)
        # Consecutive rows are read at once.
        starts = np.flatnonzero(np.append(True, np.diff(rows) != 1))
        for start, end in zip(starts, [*starts[1:], len(rows)], strict=True):
            self._read_into(int(rows[start]), buffer[start * self._row : end * self._row])
        return self._tensor(values)

    def between(self, start: int, end: int) -> torch.Tensor:
        values = np.empty((end - start, self.width), self._dtype)
        self._read_into(start, _bytes_of(values))
        return self._tensor(values)

    def _read_into(self, row: int, buffer: memoryview) -> None:
        self._file.seek(self._offset + row * self._row)
        done = 0
        while done < len(buffer):
            n = self._file.readinto(buffer[done:])
            if not n:
                raise InputError(f"{self.name} ends before its row {row}; it was truncated while it was read.")
            done += n

    def _tensor(self, values: np.typing.NDArray[Any]) -> torch.Tensor:
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


def _bytes_of(values: np.typing.NDArray[Any]) -> memoryview:
    return values.reshape(-1).view(np.uint8).data


def table_of_array_file(path: Path, name: str | None) -> Table:
    """Open the matrix of an .npy, .safetensors, .npz or .pt file; only the last two are loaded whole.

    Args:
        name: the array or tensor; None for one with a usual name, or the only one.
    """
    if path.suffix.lower() == ".safetensors":
        return _safetensors_table(path, name)
    if path.suffix.lower() in (".npz", ".pt"):
        arrays = read_arrays(path)
        return MemoryTable(
            arrays[sources.choose_column(arrays, "embedding", name, str(path), noun="array", or_only=True)], str(path)
        )
    values = read_npy(path, mapped=True)
    if not isinstance(values, np.memmap):  # of a type that NumPy lacks
        return MemoryTable(values, str(path))
    if values.ndim != 2 or 0 in values.shape or not _is_plain(values):
        raise InputError(
            f"{path} holds an array of shape {values.shape} and type {values.dtype}; give numbers (N, D) with a row "
            f"and a column."
        )
    if not values.flags.c_contiguous:
        raise InputError(f"{path} is stored column by column; save np.ascontiguousarray of it.")
    return FileTable(path, values.offset, (values.shape[0], values.shape[1]), values.dtype.str)


class _Stored(NamedTuple):
    kind: str
    shape: list[int]
    offset: int


def _safetensors_table(path: Path, wanted: str | None) -> FileTable:
    tensors = _header(path)
    name = sources.choose_column(tensors, "embedding", wanted, str(path), noun="tensor", or_only=True)
    tensor = tensors[name]
    if len(tensor.shape) != 2 or 0 in tensor.shape or tensor.kind not in _SAFE_TYPES:
        raise InputError(
            f"{path} holds {name!r} of shape {tuple(tensor.shape)} and type {tensor.kind}; give numbers (N, D) with a "
            f"row and a column."
        )
    kind = "bfloat16" if tensor.kind == "BF16" else _SAFE_TYPES[tensor.kind]
    return FileTable(path, tensor.offset, (tensor.shape[0], tensor.shape[1]), kind)


def _header(path: Path) -> dict[str, _Stored]:
    """Return type, shape and offset of the tensors of a safetensors file; the library checks that the file is whole."""
    with files.readable(path, "safetensors"):
        with safe_open(path, framework="np"):
            pass
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size))
        header.pop("__metadata__", None)
        return {
            name: _Stored(entry["dtype"], entry["shape"], 8 + size + entry["data_offsets"][0])
            for name, entry in header.items()
        }


class TableStream(row_stream.RowStream):
    """The rows of tables one after the other, in their order.

    Raises:
        InputError: the tables differ in width or type.
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

    def open(self, epoch: int = 0, state: row_stream.State | None = None) -> row_stream.Reader:
        return TableReader(self, None, 0 if state is None else state["row"])

    def key(self) -> str:
        return cache.fingerprint(tuple(table.key() for table in self.tables))

    def take(self, rows: np.typing.NDArray[np.int64]) -> torch.Tensor:
        """Return the given rows, (n, D) float32, in any order."""
        order = np.argsort(rows, kind="stable")  # in the files' order, so that a disk reads forwards
        rising = rows[order]
        result = torch.empty(len(rows), self.width)
        for table, (start, end) in zip(self.tables, pairwise(self._starts), strict=True):
            first, last = np.searchsorted(rising, [start, end])
            if first < last:
                local = rising[first:last] - start
                values = row_stream.float_rows(table.take(local), table.name, local)
                result[torch.from_numpy(order[first:last])] = values
        return result

    def between(self, first: int, last: int) -> torch.Tensor:
        """Return consecutive rows, (last - first, D) float32."""
        pieces = []
        for table, (start, end) in zip(self.tables, pairwise(self._starts.tolist()), strict=True):
            local = range(max(first, start) - start, min(last, end) - start)
            if local:
                pieces.append(row_stream.float_rows(table.between(local.start, local.stop), table.name, local))
        return torch.cat(pieces) if pieces else torch.empty(0, self.width)


class TableReader(row_stream.Reader):
    """A reader of the rows of tables one after the other, or in a given order."""

    def __init__(self, stream: TableStream, order: torch.Tensor | None, row: int) -> None:
        self._stream, self._order, self._row = stream, order, row

    def peek(self, n: int) -> torch.Tensor:
        end = min(self._row + n, self._stream.length)
        if self._order is None:
            return self._stream.between(self._row, end)
        return self._stream.take(self._order[self._row : end].numpy().astype(np.int64))

    def skip(self, n: int) -> None:
        self._row = min(self._row + n, self._stream.length)

    def state(self) -> row_stream.State:
        return {"row": self._row}


class ParquetStream(row_stream.ChunkedStream):
    """A column of lists of numbers, row group after row group.

    Args:
        column: name of the column; None for a usual one.
        seed: seed of the order of the row groups, another one in each epoch; None for that of the files.

    Raises:
        InputError: a file cannot be read, lacks the column, or differs from the first in type.
    """

    def __init__(
        self, paths: Sequence[Path], column: str | None = None, name: str | None = None, seed: int | None = None
    ) -> None:
        self._paths, self._seed = paths, seed
        self.name = name or str(paths[0])
        self._column, self._groups, kinds = column, list[tuple[int, int]](), list[Any]()
        self.length: int = 0
        for number, path in enumerate(paths):
            with files.readable(path, "parquet"), pq.ParquetFile(path) as file:
                safety.check_parquet(path)  # once for each file: parsing the footer of a wide table takes a while
                schema = file.schema_arrow
                self._column = rows_column(schema, self._column, str(path))
                kinds.append(number_type(schema.field(self._column).type, f"{path}: {self._column}"))
                self.length += file.metadata.num_rows
                self._groups += [(number, group) for group in range(file.metadata.num_row_groups)]
            if kinds[-1] != kinds[0]:
                raise InputError(
                    f"{path} holds numbers of type {kinds[-1]}, but {paths[0]} {kinds[0]}; make them alike."
                )
        self.width = self._find_width()

    def _find_width(self) -> int:
        for number, group in self._groups:
            for batch in self._batches(number, group, 1):
                where = str(self._paths[number])
                return row_stream.float_rows(matrix_of(batch.column(0), where), where, [0]).shape[1]
        raise InputError(f"{self.name} has no rows; give a table with at least one.")

    def with_seed(self, seed: int) -> "ParquetStream":
        """Return the same stream with its row groups in random order."""
        other = copy(self)
        other._seed = seed
        return other

    def chunks(self, epoch: int, place: row_stream.State | None) -> Iterator[tuple[row_stream.State, torch.Tensor]]:
        order = list(range(len(self._groups)))
        if self._seed is not None:
            order = torch.randperm(len(order), generator=torch_rng("row-groups", self._seed, epoch)).tolist()
        first, skipped = (0, 0) if place is None else (place["group"], place["chunk"])
        for position in range(first, len(order)):
            for number, rows in self._group(*self._groups[order[position]], skipped):
                yield {"group": position, "chunk": number}, rows
            skipped = 0

    def _group(self, number: int, group: int, skipped: int) -> Iterator[tuple[int, torch.Tensor]]:
        """Yield number and rows of each chunk of a row group except the first ones."""
        path = self._paths[number]
        with files.readable(path, "parquet"), pq.ParquetFile(path) as file:
            start = sum(file.metadata.row_group(before).num_rows for before in range(group))
        for chunk, batch in enumerate(self._batches(number, group, row_stream.CHUNK)):
            if chunk >= skipped:
                yield chunk, self._rows(batch.column(0), path, start)
            start += len(batch)

    def _batches(self, number: int, group: int, n_rows: int) -> Iterator[Any]:
        path = self._paths[number]
        with files.readable(path, "parquet"), pq.ParquetFile(path) as file:
            yield from file.iter_batches(n_rows, [group], [self._column])

    def _rows(self, column: Any, path: Path, start: int) -> torch.Tensor:
        values = matrix_of(column, str(path), start)
        if values.shape[1] != self.width:
            raise InputError(
                f"{path} has a list of {values.shape[1]} numbers in row {start}, but the first row of {self.name} has "
                f"{self.width}; give lists of one length."
            )
        return row_stream.float_rows(values, str(path), range(start, start + len(values)))

    def key(self) -> str:
        parts = []
        for path in self._paths:
            # The footer has sizes and statistics of every column.
            with files.readable(path, "parquet"), pq.ParquetFile(path) as file, path.open("rb") as raw:
                parts.append(f"{path.stat().st_size} {file.metadata.num_rows} {file.metadata.serialized_size}")
                raw.seek(max(0, path.stat().st_size - _HEAD))
                parts.append(cache.fingerprint(raw.read()))
        return cache.fingerprint(tuple(parts), self._column, self._seed)


def has_lists(path: Path) -> bool:
    """Return whether a parquet file has a column with lists of numbers."""
    with files.readable(path, "parquet"):
        return any(_is_list(field.type) for field in pq.read_schema(path))


def rows_column(schema: Any, wanted: str | None, where: str) -> str:
    """Return the column of rows: the named one, the first with a usual name, or the only one with lists of numbers."""
    names = list(schema.names)
    lists = [field.name for field in schema if _is_list(field.type)]
    name = wanted or next((name for name in sources.USUAL_NAMES["embedding"] if name in lists), None)
    if name is None and len(lists) == 1:
        name = str(lists[0])
    if name is None:
        raise InputError(
            f"{where} has {len(lists) or 'no'} column{'s' * (len(lists) != 1)} with lists of numbers among "
            f"{shown_names(names)}; name the one that holds the rows."
        )
    if name not in names:
        raise InputError(f"{where} has no column {name!r}; its columns are {shown_names(names)}.")
    if names.count(name) > 1:
        raise InputError(f"{where} has the column {name!r} twice; rename one.")
    return name


def _is_list(kind: Any) -> bool:
    nested = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return nested and (pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type))


def number_type(kind: Any, where: str) -> Any:
    """Return the Arrow type of the numbers in lists."""
    if not _is_list(kind):
        raise InputError(f"{where} holds values of type {kind}; give a column with lists of numbers.")
    return kind.value_type


def matrix_of(column: Any, where: str, first: int = 0) -> np.typing.NDArray[Any]:
    """Return an Arrow array of lists of one length as a matrix (N, D).

    Args:
        first: number of the first row, for messages.
    """
    if column.null_count:
        missing = column.is_null().to_numpy(zero_copy_only=False)
        sources.check_missing(missing, "without numbers", where, range(first, first + len(missing)))
    lengths = pc.list_value_length(column).to_numpy(zero_copy_only=False)
    odd = np.flatnonzero(lengths != lengths[:1])
    if len(odd):
        raise InputError(
            f"{where} has a list of {lengths[odd[0]]} numbers in row {first + int(odd[0])}, but of {lengths[0]} "
            f"before; give lists of one length."
        )
    # Missing numbers become NaN, which the rows are checked for.
    values = column.flatten().to_numpy(zero_copy_only=False)
    return np.asarray(values).reshape(len(column), -1)
