"""A column of embeddings in parquet files of any size."""

from collections.abc import Iterator, Sequence
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor

from monosemy.core.cache import fingerprint
from monosemy.data.row_stream import CHUNK, ChunkedStream, State, float_rows
from monosemy.data.safety import check_parquet
from monosemy.errors import InputError, reason
from monosemy.seeding import torch_rng

COLUMN_NAMES = ("embedding", "embeddings", "activations", "features")
"""Names of the column of rows where a table has several."""


class ParquetStream(ChunkedStream):
    """A column of lists of numbers, row group after row group.

    Args:
        column: its name; None for a usual one.
        seed: of the order of the row groups, another one each pass; None for that of the files.

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
            with _opened(path) as file:
                _check_growth(path)
                schema = file.schema_arrow
                self._column = self._column or usual_column(schema, str(path))
                if self._column not in schema.names:
                    raise InputError(
                        f"{path} has no column {self._column!r}; its columns are {', '.join(schema.names)}."
                    )
                if schema.names.count(self._column) > 1:
                    raise InputError(f"{path} has the column {self._column!r} twice; rename one.")
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
                return float_rows(matrix_of(batch.column(0), where), where, [0]).shape[1]
        raise InputError(f"{self.name} has no rows; give a table with at least one.")

    def with_seed(self, seed: int) -> "ParquetStream":
        """The same with its row groups in random order."""
        other = copy(self)
        other._seed = seed
        return other

    def chunks(self, epoch: int, place: State | None) -> Iterator[tuple[State, Tensor]]:
        order = list(range(len(self._groups)))
        if self._seed is not None:
            order = torch.randperm(len(order), generator=torch_rng("row-groups", self._seed, epoch)).tolist()
        first, skipped = (0, 0) if place is None else (place["group"], place["chunk"])
        for position in range(first, len(order)):
            for number, rows in self._group(*self._groups[order[position]], skipped):
                yield {"group": position, "chunk": number}, rows
            skipped = 0

    def _group(self, number: int, group: int, skipped: int) -> Iterator[tuple[int, Tensor]]:
        """Number and rows of each chunk of a row group but the first ones."""
        path = self._paths[number]
        with _opened(path) as file:
            start = sum(file.metadata.row_group(before).num_rows for before in range(group))
        for chunk, batch in enumerate(self._batches(number, group, CHUNK)):
            if chunk >= skipped:
                yield chunk, self._rows(batch.column(0), path, start)
            start += len(batch)

    def _batches(self, number: int, group: int, n_rows: int) -> Iterator[Any]:
        """A row group, some rows at a time."""
        path = self._paths[number]
        with _opened(path) as file:
            try:
                yield from file.iter_batches(n_rows, [group], [self._column])
            except Exception as error:  # damaged files raise nearly every type; each means just that
                raise InputError(f"{path} cannot be read ({reason(error)}); check that the file is whole.") from error

    def _rows(self, column: Any, path: Path, start: int) -> Tensor:
        values = matrix_of(column, str(path), start)
        if values.shape[1] != self.width:
            raise InputError(
                f"{path} has a list of {values.shape[1]} numbers in row {start}, but the first row of {self.name} has "
                f"{self.width}; give lists of one length."
            )
        return float_rows(values, str(path), range(start, start + len(values)))

    def key(self) -> str:
        parts = []
        for path in self._paths:
            with _opened(path) as file:  # the footer has sizes and statistics of every column
                parts.append(f"{path.stat().st_size} {file.metadata.num_rows} {file.metadata.serialized_size}")
            parts.append(fingerprint(_tail(path)))
        return fingerprint(tuple(parts), self._column, self._seed)


def _tail(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 2**16))
        return file.read()


def _opened(path: Path) -> Any:
    try:
        return pq.ParquetFile(path)
    except Exception as error:  # damaged files raise nearly every type; each means just that
        raise _unreadable(path, error) from error


def _check_growth(path: Path) -> None:
    """Once a file: the footer of a wide table takes a while."""
    try:
        check_parquet(path)
    except InputError:
        raise
    except Exception as error:  # as above
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(f"{path} cannot be read as parquet ({reason(error)}); check that the file is whole.")


def usual_column(schema: Any, where: str) -> str:
    """The column that holds rows: of a usual name, or the only one with lists of numbers."""
    lists = [field.name for field in schema if _is_list(field.type)]
    found = [name for name in COLUMN_NAMES if name in lists] or lists
    if len(found) == 1 or (found and found[0] in COLUMN_NAMES):
        return str(found[0])
    raise InputError(
        f"{where} has {len(lists) or 'no'} column{'s' * (len(lists) != 1)} with lists of numbers among "
        f"{', '.join(schema.names)}; name the one that holds the rows."
    )


def _is_list(kind: Any) -> bool:
    nested = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return nested and (pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type))


def number_type(kind: Any, where: str) -> Any:
    """The Arrow type of the numbers in lists."""
    if not _is_list(kind):
        raise InputError(f"{where} holds values of type {kind}; give a column with lists of numbers.")
    return kind.value_type


def matrix_of(column: Any, where: str, first: int = 0) -> NDArray[Any]:
    """An Arrow array of lists of one length as a matrix (N, D).

    Args:
        first: number of the first row, for messages.
    """
    if column.null_count:
        row = first + int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
        raise InputError(f"{where} has no numbers in row {row}; drop such rows.")
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
