"""Embeddings and labels from array files."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from monosemy.data.dataset import DataConfig
from monosemy.data.rows import Rows, label_texts
from monosemy.data.safety import check_zip
from monosemy.data.tables import LABEL_CANDIDATES, column, read_table
from monosemy.errors import InputError, reason

ARRAY_SUFFIXES = (".npz", ".safetensors", ".npy")
_LAST_CHARACTER = 0x10FFFF
_LONGEST = 2**26
"""Bytes of a single value; an array without values can promise any, and NumPy makes room for one when it converts."""


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Named arrays of an .npz, .safetensors or .npy file; nothing is ever unpickled."""
    if not path.is_file():
        raise InputError(f"The file {path} does not exist; give the path of a data file.")
    try:
        if path.suffix.lower() == ".safetensors":
            arrays = dict(load_file(path))
        elif path.suffix.lower() == ".npz":
            check_zip(path)
            with np.load(path, allow_pickle=False) as loaded:
                arrays = {name: loaded[name] for name in loaded.files}
        else:
            arrays = {"embeddings": np.load(path, allow_pickle=False)}
        for name, array in arrays.items():
            check_plain(array, name)
    except InputError:
        raise
    except Exception as error:  # damaged files raise nearly every type; each means just that
        raise InputError(f"{path} cannot be read as arrays ({reason(error)}); save plain numbers or texts.") from error
    return arrays


def read_npy(path: Path, *, mapped: bool = False) -> NDArray[Any]:
    """The array of an .npy file; nothing is ever unpickled.

    Args:
        mapped: as a memory map, read a page at a time.
    """
    if not path.is_file():
        raise InputError(f"The file {path} does not exist; give the path of a data file.")
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
        check_plain(array, "it")
    except Exception as error:  # damaged files raise nearly every type; each means just that
        raise InputError(
            f"{path} cannot be read as an array ({reason(error)}); save plain numbers or texts."
        ) from error
    return array


def check_plain(array: Any, name: str) -> None:
    """Raise where a file's part is no array, or its values have no size or too large a one, or are no characters."""
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{name} holds no array")
    if array.size and not array.dtype.itemsize:  # of which an empty file can hold any number
        raise ValueError(f"{name} has values of 0 bytes")
    if array.dtype.itemsize > _LONGEST:
        raise ValueError(f"{name} has values of {array.dtype.itemsize:,} bytes")
    if array.dtype.kind == "U" and array.size:
        characters = np.ascontiguousarray(array).view(f"{array.dtype.str[0]}u4")
        if characters.max() > _LAST_CHARACTER:
            raise ValueError(f"{name} holds no texts")


def read_labels(path: Path) -> NDArray[Any]:
    """Labels in the order of the embeddings: .npy, or a table with a label column or a single column."""
    if path.suffix == ".npy":
        return read_npy(path)
    table = read_table(path)
    only = table.columns[0] if len(table.columns) == 1 else None
    name = column(table, only, LABEL_CANDIDATES, "label")
    return table.frame[name].to_numpy()


def rows_of_array_file(path: Path, config: DataConfig, labelled: bool = True) -> Rows:
    """Embeddings and labels, of all splits or of each.

    Args:
        labelled: whether labels are needed.
    """
    arrays = read_arrays(path)
    if config.labels is not None:
        arrays["labels"] = read_labels(config.labels)
    parts = [name for name in ("train", "validation", "val", "test") if f"X_{name}" in arrays]
    if parts:
        missing = [f"y_{name}" for name in parts if f"y_{name}" not in arrays]
        if missing and (labelled or len(missing) < len(parts)):
            raise InputError(f"{path} has no array {missing[0]!r}; store one label for each embedding.")
        matrices = [_matrix(arrays[f"X_{name}"], path) for name in parts]
        if len({matrix.shape[1] for matrix in matrices}) > 1:
            widths = ", ".join(f"X_{name} {m.shape[1]}" for name, m in zip(parts, matrices, strict=True))
            raise InputError(f"{path} holds embeddings of different widths ({widths}); encode all alike.")
        inputs = np.concatenate(matrices)
        labels = None if missing else [label for name in parts for label in label_texts(arrays[f"y_{name}"])]
        splits: list[str] | None = [name for name in parts for _ in range(len(arrays[f"X_{name}"]))]
    else:
        names = [name for name in ("embeddings", "embedding", "X", "features") if name in arrays]
        label_names = [name for name in ("labels", "label", "y") if name in arrays]
        if not names:
            raise InputError(f"{path} has no array 'embeddings' (it has {', '.join(arrays)}); rename yours.")
        if not label_names and labelled:
            raise InputError(
                f"{path} has no array 'labels'; store it beside the embeddings or name a file by --labels."
            )
        inputs = _matrix(arrays[names[0]], path)
        labels = label_texts(arrays[label_names[0]]) if label_names else None
        splits = label_texts(arrays["split"]) if "split" in arrays else None
    if labels is not None and len(labels) != len(inputs):
        raise InputError(f"{path} has {len(inputs)} embeddings but {len(labels)} labels; give one label for each.")
    return Rows(kind="embeddings", inputs=inputs, labels=labels, splits=splits)


def _matrix(values: np.ndarray, path: Path) -> np.ndarray:
    if values.ndim != 2 or values.dtype.kind not in "fiu" or values.shape[1] == 0:
        raise InputError(
            f"{path} holds embeddings of shape {values.shape} and type {values.dtype}; give numbers (N, D)."
        )
    return values.astype(np.float32)
