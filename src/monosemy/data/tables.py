"""Tables of texts, images or embeddings with labels: parquet, CSV, TSV, JSON and JSON lines, or of the hub."""

import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from monosemy.core.files import readable
from monosemy.data import safety, sources
from monosemy.data.config import DataConfig
from monosemy.data.dataset import Encoded, EncodedImages, Inputs, Kind, Rows, distinct_names, label_texts, named, stamp
from monosemy.errors import InputError, needs_extra, reason, shown

_BATCH = 4096
"""Rows of parquet that are read at a time."""
_IMAGES_AT_ONCE = 256
"""Encoded images of parquet that are in memory at a time."""
_KINDS: dict[Kind, sources.Role] = {"embeddings": "embedding", "images": "image", "texts": "text"}
"""Roles of input columns, in the order in which they are looked for."""


@dataclass(frozen=True)
class Table:
    """Rows with named columns; images stay outside the frame, encoded."""

    frame: pd.DataFrame
    where: str
    """The name of the table in messages."""
    images: Mapping[str, EncodedImages] = field(default_factory=dict)
    """Columns of images."""
    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Names of the integers in a column of labels, where the table has them."""
    splits: list[str] | None = None
    """The split of each row by the name of its file; a column of splits has precedence."""
    files: tuple[tuple[str, int], ...] = ()
    """Name of each file and the number of its rows, in order."""

    @property
    def columns(self) -> list[str]:
        return [*self.images, *map(str, self.frame)]


def read_table(path: Path) -> Table:
    """Read a parquet, CSV, TSV or JSON-lines file, or a JSON list of rows; gzip where the name ends in .gz."""
    name = path.name.lower()
    if not name.endswith(sources.TABLE_SUFFIXES):
        raise InputError(
            f"{path} has none of the known endings {', '.join(sources.TABLE_SUFFIXES)}; convert it to one."
        )
    with readable(path, "a table"):
        if name.endswith(".gz"):
            safety.check_gzip(path)
        if name.endswith(".parquet"):
            table = _read_parquet(path)
        elif name.endswith((".jsonl", ".jsonl.gz")):
            table = Table(pd.read_json(path, lines=True, dtype=False), str(path))
        elif name.endswith(".json"):
            table = Table(pd.read_json(path, orient="records", dtype=False), str(path))
        else:
            separator = "\t" if name.endswith(".tsv") else ","
            table = Table(pd.read_csv(path, sep=separator, keep_default_na=False, dtype=str), str(path))
    if not isinstance(table.frame.index, pd.RangeIndex):  # pandas took a CSV's surplus first fields as an index
        raise InputError(f"{path} has rows with more fields than its header; quote the fields that hold a separator.")
    if len(table.frame) == 0:
        raise InputError(f"{path} has no rows; give a table with at least one.")
    table.frame.columns = table.frame.columns.map(str)
    _check_distinct([str(name) for name in table.frame], path)
    return replace(table, files=((path.name, len(table.frame)),))


def _check_distinct(names: Sequence[str], path: Path) -> None:
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise InputError(f"{path} has the column {shown(twice)} twice; rename one.")


def _read_parquet(path: Path) -> Table:
    with pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        _check_distinct(schema.names, path)
        images = [entry.name for entry in schema if is_image_type(entry.type)]
        # pandas stores the row numbers of a filtered table under such a name.
        plain = [name for name in schema.names if name not in images and not name.startswith("__index_level_")]
        frame = _parquet_frame(path, file, plain)
    return Table(frame, str(path), {name: ParquetImages([path], name) for name in images}, _class_names(schema))


def _parquet_frame(path: Path, file: Any, columns: list[str]) -> pd.DataFrame:
    safety.check_parquet(path)
    batches = safety.checked_batches(path, file.iter_batches(_BATCH, columns=columns))
    rows = pa.Table.from_batches(batches, pa.schema([file.schema_arrow.field(name) for name in columns]))
    rows.validate(full=True)  # texts that are not UTF-8 fail somewhere later otherwise
    return rows.to_pandas(ignore_metadata=True)


def read_parquet_column(path: Path, candidates: Collection[str]) -> pd.Series | None:
    """Read the first of several columns that a parquet file has, and nothing else; None if it has none."""
    with readable(path, "a table"), pq.ParquetFile(path) as file:
        name = next((name for name in candidates if name in file.schema_arrow.names), None)
        return None if name is None else _parquet_frame(path, file, [name])[name]


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
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


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


def read_tables(paths: Sequence[Path], where: str) -> Table:
    """Read several files as one table, in the given order; their names tell their splits apart."""
    tables = [read_table(path) for path in paths]
    first = tables[0]
    for path, table in zip(paths, tables, strict=True):
        if set(table.columns) != set(first.columns):
            differing = sorted(set(table.columns) ^ set(first.columns))
            raise InputError(f"{path} and {paths[0]} differ in the column {differing[0]!r}; give files with the same.")
        for name, names in table.class_names.items():
            if first.class_names.get(name, names) != names:
                raise InputError(
                    f"{path} and {paths[0]} differ in the class names of {name!r}; give files of one data set."
                )
    splits = _splits_by_name(paths)
    return Table(
        pd.concat([table.frame for table in tables], ignore_index=True),
        where,
        {name: ParquetImages(paths, name) for name in first.images},
        first.class_names,
        None
        if splits is None
        else [split for split, table in zip(splits, tables, strict=True) for _ in table.frame.index],
        tuple(file for table in tables for file in table.files),
    )


def _splits_by_name(paths: Sequence[Path]) -> list[str] | None:
    """Return the split of each file by a word of its name; None where the names do not tell splits apart.

    A file without such a word is a split of its own name, which studies leave out.
    """
    splits = []
    for path in paths:
        words = re.split(r"[^a-z0-9]+", path.name.lower())
        stem = re.sub(r"-\d+-of-\d+$", "", path.stem)
        splits.append(next((sources.SPLIT_ROLES[word] for word in words if word in sources.SPLIT_ROLES), stem))
    return splits if len(set(splits)) > 1 and set(splits) & set(sources.SPLIT_ROLES.values()) else None


class HubImages:
    """A column of images in the parts of a loaded data set, read from its files when used."""

    def __init__(self, source: str, names: Sequence[str], parts: Sequence[Any], column: str) -> None:
        self.source, self.names, self.column = source, names, column
        self._parts = [part.select_columns([column]) for part in parts]
        self._starts = np.cumsum([0, *map(len, parts)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def describe(self, row: int) -> str:
        part = int(np.searchsorted(self._starts, row, side="right")) - 1
        return f"Image {row - self._starts[part]} of {self.names[part]} of {self.source}"

    def stamps(self, rows: np.typing.NDArray[np.int64]) -> tuple[str, ...]:
        return (self.source, self.column, *(str(part._fingerprint) for part in self._parts))

    def missing(self) -> np.typing.NDArray[np.bool_]:
        return np.array([item is None for item in self.items(np.arange(len(self)))], dtype=bool)

    def items(self, rows: np.typing.NDArray[np.int64]) -> Iterator[Encoded]:
        parts = np.searchsorted(self._starts, rows, side="right") - 1
        caches = _cache_folders()
        for row, part in zip(rows, parts, strict=True):
            image = self._parts[part][int(row - self._starts[part])][self.column] or {}
            path = Path(image.get("path") or "").resolve()
            # A row may name any file of this machine; only those that came with a data set are opened.
            inside = path.is_file() and any(path.is_relative_to(cache) for cache in caches)
            yield image.get("bytes") or (path if inside else None)


def _cache_folders() -> list[Path]:
    from datasets import config
    from huggingface_hub import constants

    return [Path(name).resolve() for name in (config.HF_CACHE_HOME, config.HF_DATASETS_CACHE, constants.HF_HUB_CACHE)]


def hub_splits(source: str, streaming: bool = False) -> Any:
    """Load the splits of a data set by its name.

    Args:
        streaming: read rows when they are used instead of downloading all before.
    """
    with needs_extra("hub", f"{source} is not a local file or folder, and loading it from the Hugging Face Hub"):
        from datasets import load_dataset
    try:
        return load_dataset(source, streaming=streaming)
    except Exception as error:  # the hub's client raises many types; each means that the data cannot be loaded
        raise InputError(
            f"{source} is not a file or folder, and loading it as a Hugging Face data set failed ({reason(error)}); "
            f"check the name."
        ) from error


def table_of_hub(source: str) -> Table:
    """Read all splits of a data set by its name; the library caches what it has downloaded."""
    dataset = hub_splits(source)
    from datasets import ClassLabel, Image as HubImage

    names, parts = [str(name) for name in dataset], list(dataset.values())
    features = parts[0].features
    image_columns = [name for name, kind in features.items() if isinstance(kind, HubImage)]
    for name in image_columns:
        parts = [part.cast_column(name, HubImage(decode=False)) for part in parts]
    frames = [
        part.remove_columns(image_columns).to_pandas().assign(split=name)
        for name, part in zip(names, parts, strict=True)
    ]
    return Table(
        pd.concat(frames, ignore_index=True),
        source,
        {name: HubImages(source, names, parts, name) for name in image_columns},
        {name: distinct_names(kind.names) for name, kind in features.items() if isinstance(kind, ClassLabel)},
        files=tuple((f"the split {name}", len(part)) for name, part in zip(names, parts, strict=True)),
    )


def column(table: Table, wanted: str | None, role: sources.Role) -> str:
    """Return the column of labels, noisy labels, splits or texts: see :func:`monosemy.data.sources.choose_column`."""
    name = sources.choose_column(table.columns, role, wanted, table.where)
    if name in table.images:
        raise InputError(f"{table.where} has images in the column {name!r}, which should hold {role}s; name another.")
    return name


def input_column(table: Table, wanted: str | None) -> tuple[str, Kind]:
    """Return the column of inputs and their kind: by the usual names, or by its values where the user named it."""
    if wanted is None:
        for kind, role in _KINDS.items():
            for name in sources.USUAL_NAMES[role]:
                if name in table.images:
                    return name, "images"
                if name in table.columns and (kind != "embeddings" or _holds_lists(table.frame[name])):
                    return name, kind
        known = ", ".join(name for role in _KINDS.values() for name in sources.USUAL_NAMES[role])
        raise InputError(
            f"{table.where} has no input column (looked for {known}); its columns are {', '.join(table.columns)}; "
            f"name yours with --input-column."
        )
    if wanted not in table.columns:
        raise InputError(
            f"{table.where} has no column {wanted!r} for the input; its columns are {', '.join(table.columns)}."
        )
    if wanted in table.images:
        return wanted, "images"
    return wanted, "texts" if isinstance(table.frame[wanted].iloc[0], str) else "embeddings"


def _holds_lists(values: pd.Series) -> bool:
    first = next((value for value in values if value is not None), None)
    return not pd.api.types.is_scalar(first)


def rows_of_table(table: Table, config: DataConfig, labelled: bool) -> Rows:
    """Return the rows of a table by the roles of its columns; a row without a label has the label "".

    Args:
        labelled: whether a column of labels is needed.
    """
    name, kind = input_column(table, config.input_column)
    frame, where = table.frame, table.where
    messages: list[str] = []
    labels, vocabulary = _labels(table, config, labelled, messages)
    splits = table.splits
    if config.split_column is not None or "split" in frame.columns:
        splits = label_texts(frame[column(table, config.split_column, "split")])
    noisy = None
    if config.noisy_label_column is not None and config.noisy_labels is None:
        noisy = label_texts(frame[column(table, config.noisy_label_column, "noisy label")], config.missing_labels)
    groups = None
    if config.group_column is not None:
        groups = label_texts(frame[column(table, config.group_column, "group")], ())
    if kind == "images" and name not in table.images:
        raise InputError(
            f"{where} has no image bytes in the column {name!r}; give Hugging Face's layout {{bytes, path}}."
        )
    return Rows(
        kind=kind,
        inputs=table.images[name] if kind == "images" else inputs_of(frame[name], kind, where),
        labels=labels,
        splits=splits,
        vocabulary=vocabulary,
        noisy_labels=noisy,
        index=row_numbers(frame),
        groups=groups,
        messages=tuple(messages),
        files=table.files,
    )


def _labels(
    table: Table, config: DataConfig, labelled: bool, messages: list[str]
) -> tuple[list[str] | None, tuple[str, ...] | None]:
    """Return the labels of all rows as names of classes, and all classes in the order of their integers."""
    wanted = config.label_column
    if not labelled and wanted is None and not any(name in table.columns for name in sources.USUAL_NAMES["label"]):
        return None, None
    name = column(table, wanted, "label")
    texts = label_texts(table.frame[name], config.missing_labels, messages)
    vocabulary = table.class_names.get(name)
    if vocabulary is not None:
        texts = ["" if text == "-1" else text for text in texts]  # Hugging Face's mark of a label that is kept secret
    present = named([text for text in texts if text], vocabulary)
    if vocabulary is None or not set(present) <= set(vocabulary):
        return texts, None
    names = iter(present)
    return [next(names) if text else "" for text in texts], vocabulary


def row_numbers(frame: pd.DataFrame) -> np.typing.NDArray[np.int64] | None:
    """Return the column `index`, if it exists and holds whole numbers."""
    if "index" not in frame.columns or not pd.api.types.is_integer_dtype(frame["index"]):
        return None
    return frame["index"].to_numpy(np.int64)


def inputs_of(values: pd.Series, kind: Kind, where: str) -> Inputs:
    """Return the inputs of a column: texts as a tuple, embeddings as one array."""
    if kind == "texts":
        odd = next((value for value in values if not pd.api.types.is_scalar(value)), None)
        if odd is not None:
            raise InputError(
                f"{where} has values of type {type(odd).__name__} in the column {values.name!r}, which should hold "
                f"texts; give one for each row."
            )
        return tuple("" if pd.isna(value) else str(value) for value in values)
    try:
        stacked = np.stack([np.asarray(value, dtype=np.float32) for value in values])
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(f"{where} has embeddings of unequal length or type; give equal lists of numbers.") from error
    if stacked.ndim != 2:
        raise InputError(
            f"{where} has {stacked.ndim - 1}-dimensional values in the column {values.name!r}; give one list of "
            f"numbers for each row."
        )
    return stacked
