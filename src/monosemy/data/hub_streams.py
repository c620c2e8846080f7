"""Streams of rows of Hugging Face data sets: of the hub, saved to disk, or loaded by the user."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from monosemy.core.cache import fingerprint
from monosemy.data.file_streams import TableStream, matrix_of, number_type, rows_column
from monosemy.data.row_stream import CHUNK, ChunkedStream, RowStream, State, float_rows
from monosemy.data.tables import hub_splits
from monosemy.errors import InputError, needs_extra, reason


def stream_of_hub(source: str, column: str | None) -> RowStream:
    """Stream the train split (or the only one) of a data set by its name; nothing is downloaded ahead."""
    splits = hub_splits(source, streaming=True)
    names = list(splits)
    if "train" not in names and len(names) > 1:
        raise InputError(f"{source} has the splits {', '.join(names)}, but no train; load the one you mean in Python.")
    return stream_of_dataset(splits["train" if "train" in names else names[0]], column)


def saved_dataset(folder: Path) -> Any:
    """Load a data set that ``datasets.Dataset.save_to_disk`` wrote."""
    with needs_extra("hub", f"Reading {folder}, a saved Hugging Face data set,"):
        from datasets import load_from_disk
    return load_from_disk(str(folder))


def stream_of_dataset(dataset: Any, column: str | None) -> RowStream:
    """Stream a column of a ``datasets.Dataset`` or ``IterableDataset``."""
    if isinstance(dataset, dict):
        raise InputError(f"The data set has the splits {', '.join(dataset)}; give one of them.")
    name = f"the data set {getattr(dataset.info, 'dataset_name', None) or ''}".strip()
    if hasattr(dataset, "__len__"):
        return TableStream([DatasetTable(dataset, column, name)], name)
    return HubStream(dataset, column, name)


class DatasetTable:
    """A column with lists of numbers of a ``datasets.Dataset``; its rows stay in its memory-mapped files."""

    def __init__(self, dataset: Any, column: str | None, name: str) -> None:
        if len(dataset) == 0:
            raise InputError(f"{name} has no rows; give a data set with at least two.")
        schema = dataset.features.arrow_schema
        self._column = rows_column(schema, column, name)
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

    The library reads the files of a data set in another order in each epoch.
    """

    def __init__(self, dataset: Any, column: str | None, name: str) -> None:
        self.name, self.length = name, None
        self._dataset = dataset
        first = self._first()
        self._column = column or rows_column(_schema_of(first), None, name)
        if self._column not in first:
            raise InputError(f"{name} has no column {self._column!r}; its columns are {', '.join(first)}.")
        row = _column_matrix([first[self._column]], name, 0)
        self.width, self._first_row = row.shape[1], row
        # The library does not store the content of its shuffle buffers: after them a position is found by counting.
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
        pending: list[Any] = []
        for example in dataset:
            if skipped:
                skipped -= 1
                continue
            pending.append(example[self._column])
            if len(pending) == CHUNK:
                yield here, self._checked(pending, seen)
                seen, pending = seen + len(pending), []
                here = {"rows": seen} | ({} if self._counted else {"dataset": dataset.state_dict()})
        if pending:
            yield here, self._checked(pending, seen)

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


def _schema_of(example: dict[str, Any]) -> Any:
    """Return the Arrow schema of the lists in an example; empty where they are no lists of one type."""
    try:
        lists = [(name, value) for name, value in example.items() if isinstance(value, list | np.ndarray)]
        return pa.schema([(name, pa.array([value]).type) for name, value in lists])
    except (pa.ArrowException, TypeError, ValueError):
        return pa.schema([])


def _column_matrix(values: list[Any], name: str, first: int) -> Tensor:
    try:
        matrix = np.array([np.asarray(value, dtype=np.float64) for value in values])
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{name} has lists of unequal length or type after row {first} ({reason(error)}); give equal lists of "
            f"numbers."
        ) from error
    return float_rows(matrix, name, range(first, first + len(values)))
