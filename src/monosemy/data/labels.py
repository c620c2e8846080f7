"""Labels that have a file of their own, or are stored beside rows that are streamed."""

from collections.abc import Collection
from pathlib import Path

import numpy as np

from monosemy.core.files import readable
from monosemy.data import arrays, config, dataset, sources, tables
from monosemy.errors import InputError


def read_labels(
    path: Path, missing_labels: Collection[str] = config.MISSING_LABELS, messages: list[str] | None = None
) -> list[str]:
    """Read labels in the order of the rows: a .npy, or a table with a label column or a single column.

    A row without a label has the label ""; see :func:`monosemy.data.dataset.label_texts` for the arguments.
    """
    if path.suffix.lower() == ".npy":
        values = arrays.read_npy(path)
        values = values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
        return dataset.label_texts(values, missing_labels, messages)
    table = tables.read_table(path)
    only = table.columns[0] if len(table.columns) == 1 else None
    return dataset.label_texts(table.frame[tables.column(table, only, "label")], missing_labels, messages)


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


def stored_labels(
    source: str, file: Path | None, input_column: str | None, label_column: str | None
) -> tuple[np.typing.NDArray[np.int64], tuple[str, ...]] | None:
    """Return the classes of the rows of a source, (N,), and their names; None where there are no labels.

    Args:
        source: where the rows come from: labels are looked for in a single .npz, .safetensors or .parquet file.
        file: a file with the labels, in the order of the rows; it has precedence over the source.
        input_column: array or column of the rows, where the user named it: ``y_test`` are the labels of ``X_test``.
        label_column: array or column of the labels, where the user named it.

    Raises:
        InputError: a file cannot be read, lacks the named column, or has rows without a label.
    """
    if file is not None:
        return encoded_labels(read_labels(file), str(file))
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
        column_values = tables.read_parquet_column(path, candidates)
        return None if column_values is None else dataset.label_texts(column_values)
    if path.suffix.lower() not in (".npz", ".safetensors"):
        return None
    values = arrays.read_array(path, candidates)
    with readable(path, "labels", "save plain numbers or texts"):
        return None if values is None else dataset.label_texts(values.ravel())


def read_noisy_labels(
    path: Path,
    wanted: str | None,
    rows: dataset.Rows,
    development: np.typing.NDArray[np.int64],
    missing_labels: Collection[str] = config.MISSING_LABELS,
) -> list[str]:
    """Read a noisy label for each row of the source; "" for rows that are not in ``development``.

    Args:
        wanted: column of the labels; None for the one with a usual name, or the only one.
        development: the rows that the file labels: train and validation of the source, rising. They are matched by the
            file's column `index` with the source's own, or with their positions in ``development`` where the source
            has none; without that column by order.
    """
    numbers = None
    if path.suffix.lower() == ".npy":
        labels = read_labels(path, missing_labels)
    else:
        table = tables.read_table(path)
        labels, numbers = (
            dataset.label_texts(table.frame[_noisy_column(table, wanted)], missing_labels),
            tables.row_numbers(table.frame),
        )
    if numbers is not None:
        places = _places_by_index(path, numbers, rows, development)
    elif len(labels) == len(development):
        places = np.arange(len(development))
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
    others = [name for name in table.columns if name != "index"]
    if wanted is None:
        wanted = sources.choose_column(others, "noisy label", None, table.where, or_only=True)
    return tables.column(table, wanted, "noisy label")


def _places_by_index(
    path: Path, numbers: np.typing.NDArray[np.int64], rows: dataset.Rows, development: np.typing.NDArray[np.int64]
) -> np.typing.NDArray[np.int64]:
    """Return the position in the file of each development row's number."""
    wanted = np.arange(len(development)) if rows.index is None else rows.index[development]
    for where, values in ((str(path), numbers), ("The data", wanted)):
        if len(np.unique(values)) < len(values):
            raise InputError(f"{where} has a number twice in the column 'index'; give each row a different number.")
    order = np.argsort(numbers)
    places = order[np.minimum(np.searchsorted(numbers, wanted, sorter=order), len(numbers) - 1)]
    missing = numbers[places] != wanted
    if missing.any():
        raise InputError(
            f"{path} has no label for {int(missing.sum())} train rows (first: index {wanted[missing.argmax()]}); give "
            f"one for each train row."
        )
    return places
