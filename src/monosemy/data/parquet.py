"""Parquet files: columns with their class names, and images that are decoded when they are used."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from monosemy.core.files import readable
from monosemy.data import safety, sources
from monosemy.data.dataset import Encoded, distinct_names, stamp
from monosemy.errors import InputError, shown

_BATCH = 4096
"""Rows that are read at a time."""
_IMAGES_AT_ONCE = 256
"""Encoded images that are in memory at a time."""
_PROBED = 100
"""Values of a column of bytes that tell whether they are texts."""
_CONTROL = bytes(set(range(32)) - {9, 10, 12, 13})
_ROW_NAMES = "__index_level_"
"""Prefix of the columns in which pandas stores row names that have none."""


class ParquetTable(NamedTuple):
    """The content of a parquet file."""

    frame: pd.DataFrame
    images: list[str]
    """Names of the columns of images, which are not in the frame."""
    class_names: dict[str, tuple[str, ...]]
    row_names: pd.Series | None
    """Row names that pandas stored beside the columns: the old numbers of a sorted or filtered table."""


def read_parquet(path: Path) -> ParquetTable:
    """Read a parquet file except for its images."""
    with pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        check_distinct(schema.names, path)
        images = [entry.name for entry in schema if is_image_type(entry.type) and not _holds_texts(path, file, entry)]
        plain = [name for name in schema.names if name not in images]
        frame = _frame(path, file, plain)
    row_names = [name for name in plain if name.startswith(_ROW_NAMES)]
    return ParquetTable(
        frame.drop(columns=row_names),
        images,
        _class_names(schema),
        frame[row_names[0]] if len(row_names) == 1 else None,
    )


def check_distinct(names: Sequence[str], path: Path) -> None:
    """Raise where two columns have one name."""
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise InputError(f"{path} has the column {shown(twice)} twice; rename one.")


def read_parquet_column(path: Path, candidates: Sequence[str]) -> pd.Series | None:
    """Read the first of several columns that a parquet file has, and nothing else; None if it has none."""
    with readable(path, "a table"), pq.ParquetFile(path) as file:
        near = sources.near_columns(file.schema_arrow.names, candidates)
        return _frame(path, file, near[:1])[near[0]] if near else None


def _frame(path: Path, file: Any, columns: list[str]) -> pd.DataFrame:
    if not columns:
        return pd.DataFrame(index=pd.RangeIndex(file.metadata.num_rows))
    safety.check_parquet(path)
    schema = pa.schema([_plain_field(file.schema_arrow.field(name)) for name in columns])
    batches = (
        pa.RecordBatch.from_arrays(
            [_plain_values(batch.column(name), schema.field(name).type) for name in columns], schema=schema
        )
        for batch in file.iter_batches(_BATCH, columns=columns)
    )
    rows = pa.Table.from_batches(safety.checked_batches(path, batches), schema)
    rows.validate(full=True)  # texts that are not UTF-8 fail somewhere later otherwise
    return rows.to_pandas(ignore_metadata=True)


def _plain_field(field: Any) -> Any:
    """Return a field whose type pandas converts to what was meant: texts as strings, numbers as numbers.

    ``to_pandas`` makes categories of dictionaries, bytes of binary texts and objects of decimals.
    """
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    if is_bytes(kind):
        kind = pa.large_string()
    elif pa.types.is_decimal(kind):
        kind = pa.float64()
    return pa.field(field.name, kind)


def _plain_values(values: Any, kind: Any) -> Any:
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_fixed_size_binary(values.type):
        values = values.cast(pa.binary())
    return values if values.type == kind else values.cast(kind)


def _holds_texts(path: Path, file: Any, field: Any) -> bool:
    """Return whether the first values of a column of bytes are texts in UTF-8 and not encoded images."""
    if not is_bytes(field.type):
        return False
    safety.check_parquet(path)
    batch = next(file.iter_batches(_PROBED, columns=[field.name]), None)
    values = [] if batch is None else [value for value in batch.column(0).to_pylist() if value]
    try:
        return bool(values) and not any(value.decode("utf-8") and set(value) & set(_CONTROL) for value in values)
    except UnicodeDecodeError:
        return False


def _class_names(schema: Any) -> dict[str, tuple[str, ...]]:
    """Return the names of classes that Hugging Face's libraries store beside the columns."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {
            str(column): distinct_names(map(str, feature["names"]))
            for column, feature in features.items()
            if feature.get("_type") == "ClassLabel" and feature.get("names")
        }
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError):  # another writer's metadata, or none
        return {}


class ParquetImages:
    """A column of images in one or several parquet files, in Hugging Face's layout {bytes, path} or as plain bytes."""

    def __init__(self, paths: Sequence[Path], column: str) -> None:
        self.paths, self.column = paths, column
        self._starts = np.cumsum([0, *(pq.read_metadata(path).num_rows for path in paths)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def describe(self, row: int) -> str:
        file = int(np.searchsorted(self._starts, row, side="right")) - 1
        return f"Image {row - self._starts[file]} of {self.paths[file]}"

    def stamps(self, rows: np.typing.NDArray[np.int64]) -> tuple[str, ...]:
        return (self.column, *map(stamp, self.paths))

    def missing(self) -> np.typing.NDArray[np.bool_]:
        return np.concatenate([np.zeros(0, dtype=bool), *map(self._missing_of_file, self.paths)])

    def _missing_of_file(self, path: Path) -> np.typing.NDArray[np.bool_]:
        """Return which rows are null; groups are read only where the file's statistics do not exclude nulls."""
        parts = []
        with readable(path, "a table"), pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                columns = (file.metadata.row_group(group).column(i) for i in range(file.metadata.num_columns))
                stored = next(c for c in columns if c.path_in_schema in (self.column, f"{self.column}.bytes"))
                counts = stored.statistics
                if counts is not None and counts.has_null_count and counts.null_count == 0:
                    parts.append(np.zeros(file.metadata.row_group(group).num_rows, dtype=bool))
                    continue
                for batch in file.iter_batches(_IMAGES_AT_ONCE, [group], [self.column]):
                    images = batch.column(0)
                    images = pc.struct_field(images, "bytes") if pa.types.is_struct(images.type) else images
                    parts.append(images.is_null().to_numpy(zero_copy_only=False))
        return np.concatenate([np.zeros(0, dtype=bool), *parts])

    def items(self, rows: np.typing.NDArray[np.int64]) -> Iterator[Encoded]:
        for path, start, end in zip(self.paths, self._starts[:-1], self._starts[1:], strict=True):
            wanted = _between(rows, start, end)
            if len(wanted):
                yield from self._of_file(path, wanted)

    def _of_file(self, path: Path, wanted: np.typing.NDArray[np.int64]) -> Iterator[Encoded]:
        with readable(path, "a table"), pq.ParquetFile(path) as file:
            start = 0
            for group in range(file.num_row_groups):
                end = start + file.metadata.row_group(group).num_rows
                if len(_between(wanted, start, end)):  # groups without wanted rows are not read
                    for batch in file.iter_batches(_IMAGES_AT_ONCE, [group], [self.column]):
                        inside = _between(wanted, start, start + len(batch))
                        start += len(batch)
                        if len(inside):
                            images = batch.column(0).take(pa.array(inside))
                            is_struct = pa.types.is_struct(images.type)
                            yield from (pc.struct_field(images, "bytes") if is_struct else images).to_pylist()
                start = end


def _between(rows: np.typing.NDArray[np.int64], start: int, end: int) -> np.typing.NDArray[np.int64]:
    """Return those of rising rows that are in [start, end), counted from start."""
    first, last = np.searchsorted(rows, [start, end])
    return rows[first:last] - start


def is_image_type(kind: Any) -> bool:
    """Return whether an Arrow type is that of encoded images."""
    if pa.types.is_struct(kind):
        return any(field.name == "bytes" for field in kind)
    return is_bytes(kind)


def is_bytes(kind: Any) -> bool:
    """Return whether an Arrow type is that of bytes."""
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)
