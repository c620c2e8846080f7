"""Tables of texts, images or embeddings with a label each, from parquet, CSV, JSON lines; one file or several."""

import json
import re
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from monosemy.data.dataset import DataConfig, Inputs, Kind
from monosemy.data.images import EncodedImages, ParquetImages, is_image_type
from monosemy.data.rows import SPLIT_ROLES, Rows, distinct_names, label_texts, named
from monosemy.data.safety import check_gzip, check_parquet, checked_batches
from monosemy.errors import InputError, reason, shown

TABLE_SUFFIXES = (".parquet", ".csv", ".tsv", ".json", ".jsonl", ".jsonl.gz", ".csv.gz")
CANDIDATES: dict[Kind, tuple[str, ...]] = {
    "embeddings": ("embedding", "embeddings"),
    "images": ("image", "img"),
    "texts": ("text", "sentence"),
}
_INPUT = "input"
_BATCH = 4096
"""Rows of parquet that are read at a time."""
LABEL_CANDIDATES = ("label", "labels", "fine_label", "intent", "class")


@dataclass(frozen=True)
class Table:
    """Rows with named columns; images stay outside the frame, encoded."""

    frame: pd.DataFrame
    where: str
    """What messages call the table."""
    images: Mapping[str, EncodedImages] = field(default_factory=dict)
    """Columns of images."""
    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Names of the integers in a column of labels, where the table has them."""
    splits: list[str] | None = None
    """The split of each row by where it came from; a column of splits has precedence."""

    @property
    def columns(self) -> list[str]:
        return [*self.images, *map(str, self.frame)]


def read_table(path: Path) -> Table:
    """A parquet, CSV, TSV, JSON-lines file or a JSON list of rows; gzip where the name ends in .gz."""
    if not path.is_file():
        raise InputError(f"The file {path} does not exist; give the path of a data file.")
    name = path.name.lower()
    if name.endswith(".gz"):
        _check_gzip(path)
    try:
        if name.endswith(".parquet"):
            table = _read_parquet(path)
        elif name.endswith((".jsonl", ".jsonl.gz")):
            table = Table(pd.read_json(path, lines=True, dtype=False), str(path))
        elif name.endswith(".json"):
            table = Table(pd.read_json(path, orient="records", dtype=False), str(path))
        elif name.endswith((".csv", ".csv.gz", ".tsv")):
            separator = "\t" if name.endswith(".tsv") else ","
            table = Table(pd.read_csv(path, sep=separator, keep_default_na=False, dtype=str), str(path))
        else:
            raise InputError(f"{path} has none of the known endings {', '.join(TABLE_SUFFIXES)}; convert it to one.")
    except InputError:
        raise
    except Exception as error:  # damaged files raise nearly every type; each means just that
        raise _unreadable(path, error) from error
    if not isinstance(table.frame.index, pd.RangeIndex):  # pandas took a CSV's surplus first fields as an index
        raise InputError(f"{path} has rows with more fields than its header; quote the fields that hold a separator.")
    if len(table.frame) == 0:
        raise InputError(f"{path} has no rows; give a table with at least one.")
    table.frame.columns = table.frame.columns.map(str)
    _check_once([str(name) for name in table.frame], path)
    return table


def _check_once(names: Sequence[str], path: Path) -> None:
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise InputError(f"{path} has the column {shown(twice)} twice; rename one.")


def _check_gzip(path: Path) -> None:
    try:
        check_gzip(path)
    except (OSError, EOFError, zlib.error) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(f"{path} cannot be read as a table ({reason(error)}); check that the file is whole.")


def _read_parquet(path: Path) -> Table:
    with pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        _check_once(schema.names, path)
        images = [entry.name for entry in schema if is_image_type(entry.type)]
        # pandas stores the row numbers of a filtered table under such a name.
        plain = [name for name in schema.names if name not in images and not name.startswith("__index_level_")]
        check_parquet(path)
        batches = checked_batches(path, file.iter_batches(_BATCH, columns=plain))
        rows = pa.Table.from_batches(batches, pa.schema([schema.field(name) for name in plain]))
        rows.validate(full=True)  # texts that are no UTF-8 fail somewhere later else
        frame = rows.to_pandas(ignore_metadata=True)
    return Table(frame, str(path), {name: ParquetImages([path], name) for name in images}, _class_names(schema))


def _class_names(schema: Any) -> dict[str, tuple[str, ...]]:
    """The names of classes that Hugging Face's libraries store beside the columns."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {
            str(column): distinct_names(map(str, feature["names"]))
            for column, feature in features.items()
            if feature.get("_type") == "ClassLabel" and feature.get("names")
        }
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError):  # another writer's, or none
        return {}


def read_tables(paths: Sequence[Path], where: str) -> Table:
    """Several files as one table, in the given order; their names say their splits."""
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
    )


def _splits_by_name(paths: Sequence[Path]) -> list[str] | None:
    """The split of each file by a word of its name; None where the names tell no splits apart.

    A file without such a word is a split of its own name, which is none that a study uses.
    """
    splits = []
    for path in paths:
        words = re.split(r"[^a-z0-9]+", path.name.lower())
        own = re.sub(r"-\d+-of-\d+$", "", path.stem)
        splits.append(next((SPLIT_ROLES[word] for word in words if word in SPLIT_ROLES), own))
    return splits if len(set(splits)) > 1 and set(splits) & set(SPLIT_ROLES.values()) else None


def column(table: Table, wanted: str | None, candidates: Sequence[str], role: str) -> str:
    """The column that plays a role: the one the user named, or the first candidate that is there."""
    name = _column(table, wanted, candidates, role)
    if name in table.images and role != _INPUT:
        raise InputError(f"{table.where} has images in the column {name!r}, which should hold {role}s; name another.")
    return name


def _column(table: Table, wanted: str | None, candidates: Sequence[str], role: str) -> str:
    names = table.columns
    if wanted is not None:
        if wanted not in names:
            raise InputError(
                f"{table.where} has no column {wanted!r} for the {role}; its columns are {', '.join(names)}."
            )
        return wanted
    for name in candidates:
        if name in names:
            return name
    raise InputError(
        f"{table.where} has no column for the {role} (looked for {', '.join(candidates)}); its columns are "
        f"{', '.join(names)}; name yours with --{role.replace(' ', '-')}-column."
    )


def input_column(table: Table, wanted: str | None) -> tuple[str, Kind]:
    """The column of inputs and what it holds: by the usual names, or by its values where the user named it."""
    if wanted is None:
        for kind, candidates in CANDIDATES.items():
            for name in candidates:
                if name in table.columns:
                    return name, "images" if name in table.images else kind
        known = ", ".join(name for names in CANDIDATES.values() for name in names)
        raise InputError(
            f"{table.where} has no input column (looked for {known}); its columns are {', '.join(table.columns)}; "
            f"name yours with --input-column."
        )
    name = column(table, wanted, (), _INPUT)
    if name in table.images:
        return name, "images"
    return name, "texts" if isinstance(table.frame[name].iloc[0], str) else "embeddings"


def rows_of_table(table: Table, config: DataConfig, labelled: bool) -> Rows:
    """The rows of a table by the roles of its columns.

    Args:
        labelled: whether every row needs a label. If not, a row without one has the label "".
    """
    name, kind = input_column(table, config.input_column)
    frame, where = table.frame, table.where
    labels, vocabulary = _labels(table, config.label_column, labelled)
    splits = table.splits
    if config.split_column is not None or "split" in frame.columns:
        splits = label_texts(frame[column(table, config.split_column, ("split",), "split")])
    given = None
    if config.noisy_label_column is not None and config.noisy_labels is None:
        given = column_labels(frame[column(table, config.noisy_label_column, (), "noisy label")])
    return Rows(
        kind=kind,
        inputs=_images(table, name) if kind == "images" else inputs_of(frame[name], kind, where),
        labels=labels,
        splits=splits,
        vocabulary=vocabulary,
        given=given,
        index=row_numbers(frame),
    )


def _labels(table: Table, wanted: str | None, labelled: bool) -> tuple[list[str] | None, tuple[str, ...] | None]:
    """Labels of all rows as names of classes, and the names of all classes in the order of their integers."""
    if not labelled and wanted is None and not any(name in table.columns for name in LABEL_CANDIDATES):
        return None, None
    name = column(table, wanted, LABEL_CANDIDATES, "label")
    texts = column_labels(table.frame[name])
    vocabulary = table.class_names.get(name)
    if vocabulary is not None:
        texts = ["" if text == "-1" else text for text in texts]  # Hugging Face's sign of a label that is kept secret
    n_missing = texts.count("")
    if labelled and n_missing:
        raise InputError(f"{table.where} has {n_missing} rows without a label; drop these rows.")
    present = named([text for text in texts if text], vocabulary)
    if vocabulary is None or not set(present) <= set(vocabulary):
        return texts, None
    names = iter(present)
    return [next(names) if text else "" for text in texts], vocabulary


def column_labels(values: pd.Series) -> list[str]:
    """A column of labels as text; "" where there is none."""
    missing = values.isna().to_numpy()
    present = iter(label_texts(values[~missing]))
    return ["" if gone else next(present) for gone in missing]


def row_numbers(frame: pd.DataFrame) -> NDArray[np.int64] | None:
    """The column `index`, if there is one of whole numbers."""
    if "index" not in frame.columns or not pd.api.types.is_integer_dtype(frame["index"]):
        return None
    return frame["index"].to_numpy(np.int64)


def _images(table: Table, name: str) -> EncodedImages:
    if name not in table.images:
        raise InputError(
            f"{table.where} has no image bytes in the column {name!r}; give Hugging Face's layout {{bytes, path}}."
        )
    return table.images[name]


def inputs_of(values: pd.Series, kind: Kind, where: str) -> Inputs:
    """The inputs of a column: texts as a tuple, embeddings as one array."""
    if kind == "texts":
        odd = next((value for value in values if not pd.api.types.is_scalar(value)), None)
        if odd is not None:
            raise InputError(
                f"{where} has values of type {type(odd).__name__} in the column {values.name!r}, which should hold "
                f"texts; give one a row."
            )
        texts = tuple("" if pd.isna(value) else str(value) for value in values)
        empty = sum(not text.strip() for text in texts)
        if empty:
            raise InputError(f"{where} has {empty} empty texts; drop these rows.")
        return texts
    try:
        stacked = np.stack([np.asarray(value, dtype=np.float32) for value in values])
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(f"{where} has embeddings of unequal length or type; give equal lists of numbers.") from error
    if stacked.ndim != 2:
        raise InputError(
            f"{where} has {stacked.ndim - 1}-dimensional values in the column {values.name!r}; give one list of "
            f"numbers a row."
        )
    return stacked
