"""Real noisy labels from a file of their own."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monosemy.data.arrays import read_arrays
from monosemy.data.rows import Rows, label_texts
from monosemy.data.tables import Table, column, column_labels, read_table, row_numbers
from monosemy.errors import InputError

CANDIDATES = ("noisy_label", "given_label")


def given_labels(path: Path, wanted: str | None, rows: Rows, development: NDArray[np.int64]) -> list[str]:
    """A noisy label for each row of the source, as the file has it; "" for rows that are none of ``development``.

    Args:
        wanted: column of the labels; found by its usual names, or as the only one, where None.
        development: the rows that the file labels, train and validation, before any is split off. They are matched by
            the file's column `index` with the source's own, or with their places among ``development`` where the
            source has none; without that column by order.
    """
    if path.suffix == ".npy":
        labels, numbers = label_texts(next(iter(read_arrays(path).values())).ravel()), None
    else:
        table = read_table(path)
        labels, numbers = column_labels(table.frame[_label_column(table, wanted)]), row_numbers(table.frame)
    places = (
        _by_order(path, len(labels), len(development))
        if numbers is None
        else _by_index(path, numbers, rows, development)
    )
    result = [""] * len(rows.inputs)
    for row, place in zip(development, places, strict=True):
        result[row] = labels[place]
    return result


def _label_column(table: Table, wanted: str | None) -> str:
    others = [name for name in table.columns if name != "index"]
    if wanted is None and len(others) == 1:
        wanted = others[0]
    return column(table, wanted, CANDIDATES, "given label")


def _by_order(path: Path, n_labels: int, n_rows: int) -> NDArray[np.int64]:
    if n_labels != n_rows:
        raise InputError(
            f"{path} has {n_labels} labels for {n_rows} train rows; give one for each, or a column 'index' that says "
            f"which rows they belong to."
        )
    return np.arange(n_rows)


def _by_index(path: Path, numbers: NDArray[np.int64], rows: Rows, development: NDArray[np.int64]) -> NDArray[np.int64]:
    """The place of each development row's number in the file."""
    own = np.arange(len(development)) if rows.index is None else rows.index[development]
    for where, values in ((str(path), numbers), ("The data", own)):
        if len(np.unique(values)) < len(values):
            raise InputError(f"{where} has a number twice in the column 'index'; give each row a number of its own.")
    order = np.argsort(numbers)
    places = order[np.minimum(np.searchsorted(numbers, own, sorter=order), len(numbers) - 1)]
    missing = numbers[places] != own
    if missing.any():
        raise InputError(
            f"{path} has no label for {int(missing.sum())} train rows (first: index {own[missing.argmax()]}); give one "
            f"for each train row."
        )
    return places
