"""Labels that have a file of their own, or are stored beside rows that are streamed."""

import csv
from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from monosemy.core.files import readable
from monosemy.data import arrays, columns, config, dataset, parquet, sources, tables, text_tables
from monosemy.data.containers import as_labels
from monosemy.data.text_files import TextFile, text_file
from monosemy.errors import InputError, names, shown

_TEXT_SUFFIXES = (".csv", ".tsv", ".tab", ".txt", ".csv.gz", ".tsv.gz")


def read_labels(
    path: Path,
    missing_labels: Collection[str] = config.MISSING_LABELS,
    messages: list[str] | None = None,
    *,
    n_rows: int | None = None,
) -> list[str]:
    """Read labels in the order of the rows: an array file, a table with a label column or a single one, or lines.

    A row without a label has the label ""; see :func:`monosemy.data.dataset.label_texts` for the arguments. A column
    `index` with the positions of the rows, or row numbers without a name that are not in order, sort the labels.

    Args:
        n_rows: the number of rows, where it is known; it tells whether a first line is a header.
    """
    messages = [] if messages is None else messages
    name = path.name.lower()
    if name.endswith(sources.ARRAY_SUFFIXES):
        values = _label_array(path)
        return dataset.label_texts(
            values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values, missing_labels, messages
        )
    if name.endswith(_TEXT_SUFFIXES):
        with readable(path, "labels"):
            file = text_file(path)
            layout = text_tables.find_layout(file)
            lines = _single_column(file, layout)
        if lines is not None:
            messages += file.messages
            return dataset.label_texts(_without_header(lines, path, n_rows, messages), missing_labels, messages)
    table = _table_of_labels(path, n_rows)
    others = [column for column in table.columns if sources.plain(column) != "index"]
    only = others[0] if len(others) == 1 else None
    labels = dataset.label_texts(table.frame[columns.column(table, only, "label")], missing_labels, table.messages)
    messages += table.messages
    order = _stored_order(table, messages)
    return labels if order is None else [labels[i] for i in order]


def _table_of_labels(path: Path, n_rows: int | None) -> tables.Table:
    """Read a table, whose first line is data where the number of rows shows it and no usual name is in it."""
    table = tables.read_table(path)
    is_short = n_rows == len(table.frame) + 1 and not sources.usual_columns(table.columns, "label")
    if not is_short or not path.name.lower().endswith(_TEXT_SUFFIXES):
        return table
    table = tables.read_table(path, has_header=False)
    numbers = [name for name in table.columns if tables.is_numbering(table.frame[name])]
    if len(numbers) != 1 or len(table.columns) != 2:
        return table
    return replace(table, frame=table.frame.drop(columns=numbers), row_names=pd.to_numeric(table.frame[numbers[0]]))


def _label_array(path: Path) -> np.typing.NDArray[np.generic]:
    stored = arrays.read_arrays(path)
    if len(stored) == 1:
        return next(iter(stored.values()))
    return stored[sources.choose_column(stored, "label", None, str(path), noun="array")]


def _single_column(file: TextFile, layout: text_tables.Layout) -> list[str | None] | None:
    """Return the lines of a file of one column, None for blank ones but those at the end; None for other files."""
    with file.open_text() as opened:
        records = list(csv.reader(opened, delimiter=layout.delimiter)) if len(layout.delimiter) == 1 else [["", ""]]
    first = next(filter(None, records), [])
    if len(first) != 1 or any(len(record) > 1 for record in records):
        return None
    lines = [record[0].strip() if record else None for record in records]
    while lines and lines[-1] is None:
        lines.pop()
    return lines


def _without_header(lines: list[str | None], path: Path, n_rows: int | None, messages: list[str]) -> list[str]:
    """Return the labels of a file of one column, without the header that it may have and without blank lines.

    A blank line is a missing label only where the number of rows shows it. The first line is the header if it is a
    usual name, or if the number of rows shows it; else unless it occurs again or all lines are numbers.
    """
    filled = [line for line in lines if line is not None]
    if not any(filled):
        raise InputError(f"{path} has no labels; write one on each line.")
    n_blank = len(lines) - len(filled)
    if n_rows not in (len(filled), len(filled) - 1) and n_rows in (len(lines), len(lines) - 1):
        filled = [line or "" for line in lines]
    elif n_blank:
        messages.append(f"{n_blank} blank lines of {path.name} were left out.")
    first, rest = filled[0], filled[1:]
    is_usual = sources.plain(first) in map(sources.plain, sources.USUAL_NAMES["label"])
    if is_usual and first not in rest:
        return rest
    if n_rows in (len(rest), len(filled)):
        has_header = n_rows == len(rest)
    elif first in rest or not rest:
        has_header = False
    else:
        has_header = not all(text_tables.is_number(line) for line in filled if line)
    if has_header:
        messages.append(f"The first line of {path.name}, {shown(first)}, was read as its header.")
    else:
        messages.append(f"{path.name} has no header; its first line was read as a label.")
    return rest if has_header else filled


def _stored_order(table: tables.Table, messages: list[str]) -> np.typing.NDArray[np.int64] | None:
    """Return the order that sorts a table by the positions that it stores; None where it is sorted or stores none."""
    keys = columns.row_keys(table)
    numbers = table.row_names if keys is None else keys
    if numbers is None or not all(str(number).isdecimal() for number in numbers):
        return None
    positions = np.array([int(number) for number in numbers])
    order = np.argsort(positions, kind="stable")
    if (np.diff(positions) > 0).all():
        return None
    if not np.isin(positions[order[0]], (0, 1)) or not (np.diff(positions[order]) == 1).all():
        if keys is None:
            return None
        raise InputError(
            f"{table.where} has a column 'index' that does not hold the positions of its rows; give them from 0 on."
        )
    messages.append(f"The rows of {table.where} were sorted by the row numbers that it stores.")
    return order


def encoded_labels(
    texts: list[str], where: str, vocabulary: tuple[str, ...] | None = None
) -> tuple[np.typing.NDArray[np.int64], tuple[str, ...]]:
    """Return labels as positions in the sorted names of their classes, (N,), and these names.

    Raises:
        InputError: a row has no label.
    """
    sources.check_missing(np.array([not text for text in texts], dtype=bool), "without a label", where)
    names = dataset.ordered_classes(texts, vocabulary)
    return dataset.encode_labels(texts, names), names


def class_positions(labels: Any, n_rows: int) -> tuple[np.typing.NDArray[np.int64], tuple[str, ...]]:
    """Return labels of any kind as positions in the sorted names of their classes, (N,), and these names.

    Raises:
        InputError: there are more or fewer than rows, or a row has none.
    """
    texts = dataset.label_texts(as_labels(labels))
    if len(texts) != n_rows:
        raise InputError(f"There are {n_rows} rows but {len(texts)} labels; give one label for each row.")
    return encoded_labels(texts, "The list of labels")


def stored_labels(
    source: str,
    file: Path | None,
    input_column: str | None,
    label_column: str | None,
    *,
    n_rows: int | None = None,
    messages: list[str] | None = None,
) -> tuple[np.typing.NDArray[np.int64], tuple[str, ...]] | None:
    """Return the classes of the rows of a source, (N,), and their names; None where there are no labels.

    Args:
        source: where the rows come from: labels are looked for in a single file of arrays or a single table.
        file: a file with the labels, in the order of the rows; it has precedence over the source.
        input_column: array or column of the rows, where the user named it: ``y_test`` are the labels of ``X_test``.
        label_column: array or column of the labels, where the user named it.
        n_rows: the number of rows, where it is known; it tells whether the first line of a file is a header.
        messages: list that gets messages for the user.

    Raises:
        InputError: a file cannot be read, lacks the named column, or has rows without a label.
    """
    if file is not None:
        return encoded_labels(read_labels(file, messages=messages, n_rows=n_rows), str(file))
    candidates = sources.USUAL_NAMES["label"]
    if label_column is not None:
        candidates = (label_column,)
    elif input_column is not None and input_column.startswith("X_"):
        candidates = ("y_" + input_column.removeprefix("X_"),)
    texts = _labels_of_source(sources.classify(source), candidates)
    if texts is not None:
        return encoded_labels(texts, source)
    if label_column is not None:
        raise InputError(f"{source} has no labels {label_column!r}; name a file of labels with --labels.")
    return None


def _labels_of_source(source: sources.Source, candidates: tuple[str, ...]) -> list[str] | None:
    if source.is_folder or len(source.paths) != 1:
        return None
    path = source.paths[0]
    if path.suffix.lower() == ".parquet":
        column_values = parquet.read_parquet_column(path, candidates)
        return None if column_values is None else dataset.label_texts(column_values)
    if source.kind == "table":
        table = tables.read_table(path)
        near = sources.near_columns(table.columns, candidates)
        return dataset.label_texts(table.frame[columns.column(table, near[0], "label")]) if near else None
    if path.suffix.lower() not in (".npz", ".safetensors", ".pt"):
        return None
    near = sources.near_columns(arrays.array_names(path), candidates)
    values = arrays.read_arrays(path, near[:1])[near[0]] if near else None
    with readable(path, "labels", "save plain numbers or texts"):
        return None if values is None else dataset.label_texts(as_labels(values, f"The labels of {path}"))


def read_noisy_labels(
    path: Path,
    wanted: str | None,
    rows: dataset.Rows,
    development: np.typing.NDArray[np.int64],
    missing_labels: Collection[str] = config.MISSING_LABELS,
    messages: list[str] | None = None,
) -> list[str]:
    """Read a noisy label for each row of the source; "" for rows that are not in ``development``.

    Args:
        wanted: column of the labels; None for the one with a usual name, or the only one.
        development: the rows that the file labels: train and validation of the source, rising. They are matched by the
            file's column `index` with the source's own, or with their positions in ``development`` where the source
            has none; without that column by order.
        messages: list that gets messages for the user.
    """
    messages = [] if messages is None else messages
    keys = None
    if path.name.lower().endswith((*sources.ARRAY_SUFFIXES, ".txt")):
        labels = read_labels(path, missing_labels, messages, n_rows=len(development))
    else:
        table = tables.read_table(path)
        keys = columns.row_keys(table)
        if wanted is None and keys is None and len(table.columns) == 1:
            labels = read_labels(path, missing_labels, messages, n_rows=len(development))
        else:
            labels = dataset.label_texts(table.frame[_noisy_column(table, wanted)], missing_labels, table.messages)
            messages += table.messages
            order = None if keys is not None else _stored_order(table, messages)
            labels = labels if order is None else [labels[i] for i in order]
            unused = [name for name in table.columns if keys is None and sources.plain(name) in columns.ROW_NAMES]
            if unused:
                messages.append(
                    f"The labels of {path.name} were matched by order, not by its column {names(unused)}; only a "
                    f"column 'index' is used."
                )
    if keys is not None:
        places = _places_by_index(path, [str(key) for key in keys], rows, development)
    elif len(labels) == len(development):
        places = list(range(len(development)))
    else:
        raise InputError(
            f"{path} has {len(labels)} labels for {len(development)} train rows; give one for each, or a column "
            f"'index' with the numbers of their rows."
        )
    result = [""] * len(rows.inputs)
    for row, place in zip(development, places, strict=True):
        result[row] = labels[place]
    return result


def _noisy_column(table: tables.Table, wanted: str | None) -> str:
    if wanted is None:
        others = [name for name in table.columns if sources.plain(name) != "index"]
        wanted = sources.choose_column(others, "noisy label", None, table.where, or_only=True, messages=table.messages)
    return columns.column(table, wanted, "noisy label")


def _places_by_index(
    path: Path, keys: list[str], rows: dataset.Rows, development: np.typing.NDArray[np.int64]
) -> list[int]:
    """Return the position in the file of each development row's key, compared as text.

    Whole numbers are equal whatever type they have, and whatever zeros stand before them where all keys are numbers.
    """
    positions = [str(i) for i in range(len(development))]
    wanted = positions if rows.index is None else [str(key) for key in rows.index[development]]
    if all(key.isdecimal() for key in (*keys, *wanted)):
        unpadded = [[key.lstrip("0") or "0" for key in side] for side in (keys, wanted)]
        if all(len(set(side)) == len(side) for side in unpadded):
            keys, wanted = unpadded
    for where, values in ((str(path), keys), ("The data", wanted)):
        value, count = Counter(values).most_common(1)[0]
        if count > 1:
            raise InputError(
                f"{where} has {shown(str(value))} twice in the column 'index'; give each row a different value."
            )
    places = {str(key): place for place, key in enumerate(keys)}
    missing = [key for key in wanted if key not in places]
    if missing:
        own = "" if rows.index is not None else "; the data has no column 'index', so positions were looked for"
        raise InputError(
            f"{path} has no label for {len(missing)} train rows (first: index {missing[0]}; the file's first is "
            f"{shown(str(next(iter(places))))}{own}); give one for each train row."
        )
    return [places[key] for key in wanted]
