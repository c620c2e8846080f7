"""Rows that a Python iterator gives.

Rows of Hugging Face data sets, on disk or streaming.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monosemy.core.cache import fingerprint
from monosemy.data.hub import hub_splits
from monosemy.data.parquet_stream import matrix_of, number_type, usual_column
from monosemy.data.row_stream import CHUNK, ChunkedStream, State, float_rows
from monosemy.errors import InputError, reason


class IterableStream(ChunkedStream):
    """Arrays (n, D) or single rows (D,) of an iterable, below each other.

    An iterator can be read once only. To pass over the rows again, and to go on where a killed training was, give what
    can be started again: a list, an object with ``__iter__``, or a function that returns an iterator.

    Args:
        source: the arrays.
        length: rows of a pass, where it is known; another number of them is an error.

    Raises:
        InputError: there is no row, or the first is no row of numbers.
    """

    def __init__(
        self, source: Iterable[Any] | Callable[[], Iterable[Any]], length: int | None = None, name: str = "the iterable"
    ) -> None:
        self.name, self.length = name, length
        self._source = source
        started = self._start()
        first = next(started, None)
        if first is None:
            raise InputError(f"{name} gives no rows; give at least two.")
        rows = _batch_matrix(first, name, 0)
        self.width, self._kind, self._first = rows.shape[1], _kind(first), rows[:1]
        self._once = chain([first], started) if started is source else None
        self._again = started is not source

    def _start(self) -> Iterator[Any]:
        return iter(self._source() if callable(self._source) else self._source)

    def _arrays(self, epoch: int, place: State | None) -> Iterator[Any]:
        if self._again:
            return self._start()
        if self._once is None or epoch > 0 or place is not None:
            raise InputError(
                f"{self.name} is an iterator, which can be read once only; give a function that returns a new one."
            )
        once, self._once = self._once, None
        return once

    def chunks(self, epoch: int, place: State | None) -> Iterator[tuple[State, Tensor]]:
        skipped = 0 if place is None else place["rows"]
        seen, held, n_held = 0, list[Tensor](), 0
        for values in self._arrays(epoch, place):
            rows = self._checked(values, seen)
            seen += len(rows)
            new = min(len(rows), seen - skipped)
            if new > 0:
                held.append(rows[len(rows) - new :].clone())  # the giver may write the next rows into the same memory
                n_held += new
            if n_held >= CHUNK:
                yield {"rows": seen - n_held}, torch.cat(held)
                held, n_held = [], 0
        if n_held:
            yield {"rows": seen - n_held}, torch.cat(held)
        if self.length is not None and seen != self.length:
            raise InputError(
                f"{self.name} ended after {seen:,} of {self.length:,} promised rows; correct the length or the rows."
            )

    def _checked(self, values: Any, first: int) -> Tensor:
        rows = _batch_matrix(values, self.name, first)
        if rows.shape[1] != self.width or _kind(values) != self._kind:
            raise InputError(
                f"{self.name} gives rows of {rows.shape[1]} numbers of type {_kind(values)} from row {first} on, but "
                f"first of {self.width} of type {self._kind}; make them alike."
            )
        return rows

    def key(self) -> str:
        return fingerprint("iterable", self.length, self._first.numpy())


def _kind(values: Any) -> str:
    return str(values.dtype) if hasattr(values, "dtype") else str(np.asarray(values).dtype)


def _batch_matrix(values: Any, name: str, first: int) -> Tensor:
    values = values if isinstance(values, Tensor) else np.asarray(values)
    matrix = values[None] if values.ndim == 1 else values
    return float_rows(matrix, name, range(first, first + len(matrix)))


class DatasetTable:
    """A column with lists of numbers of a ``datasets.Dataset``; its rows stay in its memory-mapped files."""

    def __init__(self, dataset: Any, column: str | None, name: str) -> None:
        if len(dataset) == 0:
            raise InputError(f"{name} has no rows; give a data set with at least two.")
        schema = dataset.features.arrow_schema
        self._column = column or usual_column(schema, name)
        if self._column not in schema.names:
            raise InputError(f"{name} has no column {self._column!r}; its columns are {', '.join(schema.names)}.")
        self.kind = str(number_type(schema.field(self._column).type, f"{name}: {self._column}"))
        self.name = name
        self._dataset = dataset.select_columns([self._column]).with_format("arrow")
        self.width = int(self.between(0, 1).shape[1])

    def __len__(self) -> int:
        return len(self._dataset)

    def take(self, rows: NDArray[np.int64]) -> Tensor:
        return self._matrix(self._dataset[rows], int(rows[0]))

    def between(self, start: int, end: int) -> Tensor:
        return self._matrix(self._dataset[start:end], start)

    def _matrix(self, table: Any, first: int) -> Tensor:
        matrix = matrix_of(table.column(self._column).combine_chunks(), self.name, first)
        return torch.from_numpy(np.array(matrix))

    def key(self) -> str:
        return fingerprint(str(self._dataset._fingerprint))


class HubStream(ChunkedStream):
    """A column with lists of numbers of a ``datasets.IterableDataset``; nothing is downloaded ahead.

    The library takes the files of a data set in another order each pass.
    """

    def __init__(self, dataset: Any, column: str | None, name: str) -> None:
        self.name, self.length = name, None
        self._dataset = dataset
        first = self._first()
        self._column = column or _usual(first, name)
        if self._column not in first:
            raise InputError(f"{name} has no column {self._column!r}; its columns are {', '.join(first)}.")
        row = _column_matrix([first[self._column]], name, 0)
        self.width, self._first_row = row.shape[1], row
        # The library does not keep the content of its shuffle buffers: behind them a place is found by counting.
        self._counted = _has_buffer(dataset)

    def _first(self) -> dict[str, Any]:
        try:
            return dict(next(iter(self._dataset)))
        except StopIteration:
            raise InputError(f"{self.name} has no rows; give a data set with at least two.") from None

    def chunks(self, epoch: int, place: State | None) -> Iterator[tuple[State, Tensor]]:
        dataset = self._dataset.select_columns([self._column])
        dataset.set_epoch(epoch)
        seen = 0 if place is None else place["rows"]
        skipped = seen if self._counted else 0
        if place is not None and not self._counted:
            dataset.load_state_dict(place["dataset"])
        here: State = place or {"rows": 0} | ({} if self._counted else {"dataset": dataset.state_dict()})
        held: list[Any] = []
        for example in dataset:
            if skipped:
                skipped -= 1
                continue
            held.append(example[self._column])
            if len(held) == CHUNK:
                yield here, self._checked(held, seen)
                seen, held = seen + len(held), []
                here = {"rows": seen} | ({} if self._counted else {"dataset": dataset.state_dict()})
        if held:
            yield here, self._checked(held, seen)

    def _checked(self, values: list[Any], first: int) -> Tensor:
        rows = _column_matrix(values, self.name, first)
        if rows.shape[1] != self.width:
            raise InputError(
                f"{self.name} has a list of {rows.shape[1]} numbers in row {first}, but of {self.width} in its first; "
                f"give lists of one length."
            )
        return rows

    def key(self) -> str:
        return fingerprint("hub", self._column, self._first_row.numpy())


def _has_buffer(dataset: Any) -> bool:
    part = dataset._ex_iterable
    while part is not None:
        if type(part).__name__.startswith("BufferShuffled"):
            return True
        part = getattr(part, "ex_iterable", None)
    return False


def _usual(example: dict[str, Any], name: str) -> str:
    import pyarrow as pa

    known = {key: value for key, value in example.items() if isinstance(value, list | np.ndarray)}
    try:
        schema = pa.schema([(key, pa.array([value]).type) for key, value in known.items()])
    except (pa.ArrowException, TypeError, ValueError):
        schema = pa.schema([])
    return usual_column(schema, name)


def _column_matrix(values: list[Any], name: str, first: int) -> Tensor:
    try:
        matrix = np.array([np.asarray(value, dtype=np.float64) for value in values])
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{name} has lists of unequal length or type after row {first} ({reason(error)}); give equal lists of "
            f"numbers."
        ) from error
    return float_rows(matrix, name, range(first, first + len(values)))


def dataset_of(source: str) -> Any:
    """The train split (or the only one) of a data set by its id, streaming."""
    splits = hub_splits(source, streaming=True)
    names = list(splits)
    if "train" not in names and len(names) > 1:
        raise InputError(f"{source} has the splits {', '.join(names)}, but no train; load the one you mean in Python.")
    return splits["train" if "train" in names else names[0]]
