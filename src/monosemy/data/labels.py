"""Labels of rows that are streamed: from a file of their own, or from the file of the rows, which stays on the disk.

Real noisy labels from a file of their own.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from safetensors import safe_open

from monosemy.data.arrays import check_plain, read_arrays, read_labels
from monosemy.data.dataset import encode_labels
from monosemy.data.rows import Rows, label_texts, ordered_classes
from monosemy.data.safety import check_parquet, check_zip, checked_batches
from monosemy.data.tables import LABEL_CANDIDATES, Table, column, column_labels, read_table, row_numbers
from monosemy.errors import InputError, reason

_ARRAY_NAMES = ("labels", "label", "y")


def stored_labels(
    source: str, file: Path | None, rows_column: str | None, label_column: str | None
) -> tuple[NDArray[np.int64], tuple[str, ...]] | None:
    """Classes of the rows of a source, (N,), and their names; None where there are no labels.

    Args:
        source: what the rows come from: labels are looked for in a single .npz, .safetensors or .parquet file.
        file: a file with the labels, in the order of the rows; goes before those of the source.
        rows_column: array or column of the rows, where the user named it: ``y_test`` are the labels of ``X_test``.
        label_column: array or column of the labels, where the user named it.

    Raises:
        InputError: a file cannot be read, has no such column, or rows without a label.
    """
    if file is not None:
        texts = label_texts(read_labels(file))
        where = str(file)
    else:
        found = _of_source(Path(source), rows_column, label_column)
        if found is None:
            if label_column is not None:
                raise InputError(f"{source} has no labels {label_column!r}; name a file of labels by --labels.")
            return None
        texts, where = found, source
    missing = texts.count("")
    if missing:
        raise InputError(f"{where} has {missing} rows without a label; drop these rows.")
    names = ordered_classes(texts, None)
    return encode_labels(texts, names), names


def _of_source(path: Path, rows_column: str | None, label_column: str | None) -> list[str] | None:
    suffix = path.suffix.lower()
    if not path.is_file() or suffix not in (".npz", ".safetensors", ".parquet"):
        return None
    candidates = [label_column] if label_column is not None else []
    if not candidates and rows_column is not None and rows_column.startswith("X_"):
        candidates.append("y_" + rows_column.removeprefix("X_"))
    if not candidates:
        candidates = [*(LABEL_CANDIDATES if suffix == ".parquet" else _ARRAY_NAMES)]
    try:
        if suffix == ".parquet":
            return _of_parquet(path, candidates)
        values = _of_npz(path, candidates) if suffix == ".npz" else _of_safetensors(path, candidates)
    except InputError:
        raise
    except Exception as error:  # damaged files raise nearly every type; each means just that
        raise InputError(f"{path} holds labels that cannot be read ({reason(error)}); save plain ones.") from error
    return None if values is None else label_texts(values.ravel())


def _of_parquet(path: Path, candidates: list[str]) -> list[str] | None:
    with pq.ParquetFile(path) as file:
        check_parquet(path)
        name = next((name for name in candidates if name in file.schema_arrow.names), None)
        if name is None:
            return None
        table = pa.Table.from_batches(checked_batches(path, file.iter_batches(columns=[name])))
        table.validate(full=True)
        return column_labels(table.to_pandas(ignore_metadata=True)[name])


def _of_npz(path: Path, candidates: list[str]) -> NDArray[Any] | None:
    check_zip(path)
    with np.load(path, allow_pickle=False) as file:
        name = next((name for name in candidates if name in file.files), None)
        if name is None:
            return None
        array = file[name]
    check_plain(array, name)
    return array


def _of_safetensors(path: Path, candidates: list[str]) -> NDArray[Any] | None:
    with safe_open(path, framework="np") as file:
        name = next((name for name in candidates if name in file.keys()), None)  # noqa: SIM118
        return None if name is None else np.asarray(file.get_tensor(name))


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
    return column(table, wanted, CANDIDATES, "noisy label")


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
