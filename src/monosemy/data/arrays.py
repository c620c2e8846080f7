"""Embeddings and labels from array files: .npz, .safetensors and .npy. Nothing is ever unpickled."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file

from monosemy.core.files import readable
from monosemy.data import dataset, safety, sources
from monosemy.data.config import DataConfig
from monosemy.errors import InputError

_LAST_CHARACTER = 0x10FFFF
_MAX_ITEM_BYTES = 2**26
"""Bytes of a single value; an array without values can promise any, and NumPy allocates one when it converts."""
_REMEDY = "save plain numbers or texts"


def read_arrays(path: Path) -> dict[str, np.typing.NDArray[Any]]:
    """Read all named arrays of an .npz or .safetensors file; the array of an .npy file is called `embeddings`."""
    with readable(path, "arrays", _REMEDY):
        if path.suffix.lower() == ".safetensors":
            arrays = dict(load_file(path))
        elif path.suffix.lower() == ".npz":
            safety.check_zip(path)
            with np.load(path, allow_pickle=False) as loaded:
                arrays = {name: loaded[name] for name in loaded.files}
        else:
            arrays = {"embeddings": np.load(path, allow_pickle=False)}
        for name, array in arrays.items():
            _check_plain(array, name)
    return arrays


def read_array(path: Path, candidates: Collection[str]) -> np.typing.NDArray[Any] | None:
    """Read the first of several arrays that an .npz or .safetensors file has, and nothing else; None if it has none."""
    with readable(path, "arrays", _REMEDY):
        if path.suffix.lower() == ".safetensors":
            with safe_open(path, framework="np") as tensors:
                names = list(tensors.keys())
                name = next((name for name in candidates if name in names), None)
                return None if name is None else np.asarray(tensors.get_tensor(name))
        safety.check_zip(path)
        with np.load(path, allow_pickle=False) as loaded:
            name = next((name for name in candidates if name in loaded.files), None)
            if name is None:
                return None
            array: np.typing.NDArray[Any] = loaded[name]
        _check_plain(array, name)
        return array


def read_npy(path: Path, *, mapped: bool = False) -> np.typing.NDArray[Any]:
    """Read the array of an .npy file.

    Args:
        mapped: open it as a memory map, read a page at a time.
    """
    with readable(path, "an array", _REMEDY):
        array: np.typing.NDArray[Any] = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
        _check_plain(array, "it")
    return array


def _check_plain(array: Any, name: str) -> None:
    """Raise where a member of a file is not an array, or where the size or the characters of its values are unsound."""
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{name} is not an array")
    if array.size and not array.dtype.itemsize:  # an empty file can hold any number of these
        raise ValueError(f"{name} has values of 0 bytes")
    if array.dtype.itemsize > _MAX_ITEM_BYTES:
        raise ValueError(f"{name} has values of {array.dtype.itemsize:,} bytes")
    if array.dtype.kind == "U" and array.size:
        characters = np.ascontiguousarray(array).view(f"{array.dtype.str[0]}u4")
        if characters.max() > _LAST_CHARACTER:
            raise ValueError(f"{name} has invalid characters")


def rows_of_array_file(
    path: Path, config: DataConfig, labelled: bool = True, label_file: list[str] | None = None
) -> dataset.Rows:
    """Read embeddings and labels of all splits: `X_train`, `y_train`, ..., or one array of each with a usual name.

    Args:
        labelled: whether labels are needed.
        label_file: labels that have a file of their own; they replace those of the file.
    """
    arrays = read_arrays(path)
    splits: list[str] | None
    labels: list[str] | None = None
    messages: list[str] = []
    files: tuple[tuple[str, int], ...] = ()
    parts = [name for name in ("train", "validation", "val", "test") if f"X_{name}" in arrays]
    if parts and config.input_column is None:
        missing = [f"y_{name}" for name in parts if f"y_{name}" not in arrays]
        if missing and (labelled or len(missing) < len(parts)):
            raise InputError(f"{path} has no array {missing[0]!r}; store one label for each embedding.")
        matrices = [_matrix(arrays[f"X_{name}"], path) for name in parts]
        if len({matrix.shape[1] for matrix in matrices}) > 1:
            widths = ", ".join(f"X_{name} {m.shape[1]}" for name, m in zip(parts, matrices, strict=True))
            raise InputError(f"{path} holds embeddings of different widths ({widths}); encode all alike.")
        inputs = np.concatenate(matrices)
        if not missing:
            joined = [value for name in parts for value in arrays[f"y_{name}"]]
            labels = dataset.label_texts(joined, config.missing_labels, messages)
        files = tuple((f"X_{name}", len(arrays[f"X_{name}"])) for name in parts)
        splits = [name for name in parts for _ in range(len(arrays[f"X_{name}"]))]
    else:
        inputs = _matrix(
            arrays[sources.choose_column(arrays, "embedding", config.input_column, str(path), noun="array")], path
        )
        labels = label_file
        if labels is None and (labelled or any(name in arrays for name in sources.USUAL_NAMES["label"])):
            values = arrays[_label_array(arrays, config, path)]
            labels = dataset.label_texts(values, config.missing_labels, messages)
        splits = dataset.label_texts(arrays["split"]) if "split" in arrays else None
    if labels is not None and len(labels) != len(inputs):
        raise InputError(f"{path} has {len(inputs)} embeddings but {len(labels)} labels; give one label for each.")
    return dataset.Rows(
        kind="embeddings", inputs=inputs, labels=labels, splits=splits, messages=tuple(messages), files=files
    )


def _label_array(arrays: dict[str, np.typing.NDArray[Any]], config: DataConfig, path: Path) -> str:
    if config.label_column is None and not any(name in arrays for name in sources.USUAL_NAMES["label"]):
        raise InputError(
            f"{path} has no array 'labels'; store it beside the embeddings, or name a file of labels with --labels."
        )
    return sources.choose_column(arrays, "label", config.label_column, str(path), noun="array")


def _matrix(values: np.typing.NDArray[Any], path: Path) -> np.typing.NDArray[np.float32]:
    if values.ndim != 2 or values.dtype.kind not in "fiu" or values.shape[1] == 0:
        raise InputError(
            f"{path} holds embeddings of shape {values.shape} and type {values.dtype}; give numbers (N, D)."
        )
    return values.astype(np.float32)
