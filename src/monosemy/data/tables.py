"""Tables of texts, images or embeddings with labels: parquet, CSV, TSV, JSON, JSON lines and Excel, one or several."""

import importlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from monosemy.core.files import readable
from monosemy.data import safety, sources, text_files, text_tables
from monosemy.data.dataset import EncodedImages, Rows
from monosemy.data.parquet import ParquetImages, check_distinct, read_parquet
from monosemy.errors import InputError, names, needs_extra, shown

_UNNAMED = re.compile(r"Unnamed: \d+")
"""Names that pandas gives to columns without one."""
_MAX_DIGITS = 19
"""Digits of the longest row number."""


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
    row_names: pd.Series | None = None
    """A column without a name that numbers the rows, as pandas and R write it: the old numbers of sorted rows."""
    has_free_commas: bool = False
    """Whether commas separate no fields, so that decimals may follow them."""
    messages: list[str] = field(default_factory=list)
    """Messages to the user; the roles of columns add to them."""

    @property
    def columns(self) -> list[str]:
        return [*self.images, *map(str, self.frame)]

    def describe(self, row: int) -> str:
        """Return the name of a row for messages: see :meth:`monosemy.data.dataset.Rows.describe`."""
        return Rows("texts", (), None, files=self.files).describe(row)


def read_table(path: Path, encoding: str | None = None, has_header: bool | None = None) -> Table:
    """Read a table by the ending of its name; gzip where it ends in .gz.

    Args:
        encoding: of a file of text; None to find it.
        has_header: whether the first line of a CSV names its columns; None to find it.
    """
    name = path.name.lower()
    if not name.endswith((*sources.TABLE_SUFFIXES, ".txt")):
        raise InputError(
            f"{path} has none of the known endings {', '.join(sources.TABLE_SUFFIXES)}; convert it to one."
        )
    if name.endswith(".xlsx"):
        with needs_extra("excel", f"Reading {path}, an Excel file,", alternative="save it as .csv"):
            importlib.import_module("openpyxl")
    with readable(path, "a table"):
        if name.endswith(".gz"):
            safety.check_gzip(path)
        if name.endswith(".parquet"):
            stored = read_parquet(path)
            images = {column: ParquetImages([path], column) for column in stored.images}
            table = Table(stored.frame, str(path), images, stored.class_names, row_names=stored.row_names)
        elif name.endswith(".xlsx"):
            table = _without_unnamed(_read_excel(path))
        elif name.removesuffix(".gz").endswith((".csv", ".tsv", ".tab", ".txt")):
            frame, layout = text_tables.read_text_table(path, encoding, has_header)
            free = layout.delimiter != ","
            table = _without_unnamed(Table(frame, str(path), has_free_commas=free, messages=[*layout.messages]))
        else:
            table = _read_json(path, encoding)
    if len(table.frame) == 0:
        raise InputError(f"{path} has no rows; give a table with at least one.")
    table.frame.columns = table.frame.columns.map(str)
    check_distinct([str(name) for name in table.frame], path)
    return replace(table, files=((path.name, len(table.frame)),))


def _without_unnamed(table: Table) -> Table:
    """Take out row numbers, which pandas and R write as a first column without a name, and empty columns."""
    frame = table.frame
    unnamed = [name for name in map(str, frame) if _UNNAMED.fullmatch(name)]
    empty = [name for name in unnamed if not frame[name].astype(str).str.strip().any()]
    numbers = [str(name) for name in frame.columns[:1] if str(name) in unnamed and is_numbering(frame[name])]
    if len(numbers) + len(empty) == frame.shape[1]:
        return table
    where = Path(table.where).name
    if empty:
        table.messages.append(f"{where} has {len(empty)} columns without a name and values, which were ignored.")
    if numbers:
        table.messages.append(f"The first column of {where} has no name and numbers the rows; it was ignored.")
    row_names = pd.to_numeric(frame[numbers[0]]) if numbers else None
    return replace(table, frame=frame.drop(columns=[*numbers, *empty]), row_names=row_names)


def is_numbering(values: pd.Series) -> bool:
    """Return whether a column holds a different whole number in each row."""
    texts = [str(value).strip() for value in values]
    return len(set(texts)) == len(texts) and all(text.isdecimal() and len(text) < _MAX_DIGITS for text in texts)


def _read_excel(path: Path) -> Table:
    """Read the first sheet, or all sheets where their names are those of splits; cells keep their types."""
    safety.check_zip(path)
    sheets = pd.read_excel(path, sheet_name=None, dtype=object, keep_default_na=False, engine="openpyxl")
    filled = {str(name): frame for name, frame in sheets.items() if len(frame)}
    if len(filled) > 1 and all(name.lower() in sources.SPLIT_ROLES for name in filled):
        splits = [name for name, frame in filled.items() for _ in frame.index]
        return Table(pd.concat(filled.values(), ignore_index=True), str(path), splits=splits)
    chosen, *others = [*filled, *sheets][: len(filled) or 1]
    messages = [f"Of {path.name}, the sheet {shown(chosen)} was read, but not {names(others)}."] if others else []
    return Table(sheets[chosen], str(path), messages=messages)


def _read_json(path: Path, encoding: str | None) -> Table:
    """Read JSON lines, whatever the ending, a list of rows, or an object that holds lists."""
    file = text_files.text_file(path, encoding)
    with file.open_text() as opened:
        lines = (line for line in opened if line.strip())
        first, has_more = next(lines, ""), next(lines, None) is not None
    is_lines = "jsonl" in path.name.lower() or path.name.lower().endswith(".ndjson")
    if first.lstrip().startswith("{") and not is_lines:
        is_lines = has_more and _is_json(first)
        if not is_lines:
            with file.open_text() as opened:
                return _table_of_object(json.load(opened), path, [*file.messages])
    frame = pd.read_json(path, orient="records", lines=is_lines, dtype=False, encoding=file.encoding)
    return Table(frame, str(path), messages=[*file.messages])


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _table_of_object(content: dict[str, Any], path: Path, messages: list[str]) -> Table:
    """Return the rows that a JSON object holds: a list of them, a list for each split, or a list for each column."""
    if set(content) == {"columns", "index", "data"}:  # as pandas writes with orient="split"
        return Table(pd.DataFrame(content["data"], columns=content["columns"]), str(path), messages=messages)
    lists = {
        name: value
        for name, value in content.items()
        if isinstance(value, list) and value and all(isinstance(row, dict) for row in value)
    }
    rows = [row for value in lists.values() for row in value]
    if lists and all(name.lower() in sources.SPLIT_ROLES for name in lists):
        splits = [name for name, value in lists.items() for _ in value]
        return Table(pd.DataFrame(rows), str(path), splits=splits, messages=messages)
    if len(lists) > 1:
        raise InputError(
            f"{path} holds several lists of rows ({names(lists)}); keep one, or name them by their splits."
        )
    if lists:
        messages.append(f"The rows of {path.name} are its list {shown(next(iter(lists)))}.")
    return Table(pd.DataFrame(rows if lists else content), str(path), messages=messages)


def read_tables(
    paths: Sequence[Path], where: str, *, encoding: str | None = None, label_column: str | None = None
) -> Table:
    """Read several files as one table, in the given order; their names tell their splits apart.

    Files without a column of labels beside train files that have one (`test.csv` of a competition) are left out, and
    so are columns that have no usual name and that some files lack; both with a message.
    """
    tables = [read_table(path, encoding) for path in paths]
    splits = _splits_by_name(paths)
    messages: list[str] = []
    chosen = _labelled_files(paths, tables, splits, label_column, messages)
    paths, tables = [paths[i] for i in chosen], [tables[i] for i in chosen]
    first, shared = tables[0], _shared_columns(paths, tables, where, label_column, messages)
    for path, table in zip(paths, tables, strict=True):
        for name, class_names in table.class_names.items():
            if first.class_names.get(name, class_names) != class_names:
                raise InputError(
                    f"{path} and {paths[0]} differ in the class names of {shown(name)}; give files of one data set."
                )
    distinct = len({path.name for path in paths}) == len(paths)
    return Table(
        pd.concat([table.frame[[c for c in first.frame if c in shared]] for table in tables], ignore_index=True),
        where,
        {name: ParquetImages(paths, name) for name in first.images if name in shared},
        first.class_names,
        None
        if splits is None
        else [splits[i] for i, table in zip(chosen, tables, strict=True) for _ in table.frame.index],
        tuple(
            (path.name if distinct else f"{path.parent.name}/{path.name}", len(table.frame))
            for path, table in zip(paths, tables, strict=True)
        ),
        has_free_commas=all(table.has_free_commas for table in tables),
        messages=[*_joined_messages(paths, tables), *messages],
    )


def _labelled_files(
    paths: Sequence[Path],
    tables: Sequence[Table],
    splits: Sequence[str] | None,
    label_column: str | None,
    messages: list[str],
) -> list[int]:
    """Return the files to read: those of train, the others that have its labels, and no other tables beside them."""
    everything = list(range(len(tables)))
    if splits is None:
        return everything
    train = [i for i in everything if sources.SPLIT_ROLES.get(splits[i].lower()) == "train"]
    first = tables[train[0] if train else 0].columns
    label = sources.near_columns(first, (label_column,)) if label_column else sources.usual_columns(first, "label")
    inputs = [name for role in ("embedding", "image", "text") for name in sources.usual_columns(first, role)]
    left_out = []
    for i in everything if train else []:
        has_role = splits[i].lower() in sources.SPLIT_ROLES
        needed = [*label[:1], *([] if has_role else inputs[:1])]
        lacking = [name for name in needed if name not in tables[i].columns]
        if i not in train and lacking:
            messages.append(f"{names([paths[i].name])} has no column {shown(lacking[0])} and was not read.")
            left_out.append(i)
    return [i for i in everything if i not in left_out]


def _shared_columns(
    paths: Sequence[Path], tables: Sequence[Table], where: str, label_column: str | None, messages: list[str]
) -> set[str]:
    """Return the columns that all files have; raise where one that is needed is not among them."""
    shared = set(tables[0].columns).intersection(*(table.columns for table in tables))
    usual = {sources.plain(name) for candidates in sources.USUAL_NAMES.values() for name in candidates}
    for path, table in zip(paths, tables, strict=True):
        differing = sorted(set(table.columns) ^ set(tables[0].columns))
        needed = [name for name in differing if sources.plain(name) in usual or name == label_column]
        if needed or (differing and not shared):
            name = (needed or differing)[0]
            raise InputError(f"{path} and {paths[0]} differ in the column {shown(name)}; give files with the same.")
    others = sorted({name for table in tables for name in table.columns} - shared, key=sources.natural_key)
    if others:
        messages.append(f"Some files of {where} lack the columns {names(others)}, which were ignored.")
    return shared


def _joined_messages(paths: Sequence[Path], tables: Sequence[Table]) -> list[str]:
    """Return the messages of several files, those that differ only in the name of the file as one."""
    files: dict[str, list[str]] = {}
    for path, table in zip(paths, tables, strict=True):
        for message in table.messages:
            files.setdefault(message.replace(path.name, "\0"), []).append(path.name)
    return [message.replace("\0", names(where) if len(where) > 1 else where[0]) for message, where in files.items()]


def _splits_by_name(paths: Sequence[Path]) -> list[str] | None:
    """Return the split of each file by a word of its name, or by its folder; None where they tell no splits apart.

    A file without such a word is a split of its own name, which studies leave out.
    """
    splits = []
    for path in paths:
        words = [*re.split(r"[^a-z0-9]+", path.name.lower()), path.parent.name.lower().removeprefix("split=")]
        stem = re.sub(r"-\d+-of-\d+$", "", path.stem)
        splits.append(next((sources.SPLIT_ROLES[word] for word in words if word in sources.SPLIT_ROLES), stem))
    return splits if len(set(splits)) > 1 and set(splits) & set(sources.SPLIT_ROLES.values()) else None
