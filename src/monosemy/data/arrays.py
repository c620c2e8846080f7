"""Embeddings and labels from array files: .npz, .safetensors, .npy and .pt. Nothing that runs code is unpickled."""

import zipfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open

from monosemy.core.files import readable
from monosemy.data import dataset, safety, sources
from monosemy.data.config import DataConfig
from monosemy.data.containers import array_of_tensor, as_labels, as_matrix
from monosemy.errors import InputError, names

_LAST_CHARACTER = 0x10FFFF
_MAX_ITEM_BYTES = 2**26
"""Bytes of a single value; an array without values can promise any, and NumPy allocates one when it converts."""
_REMEDY = "save plain numbers or texts"
Arrays = dict[str, np.typing.NDArray[Any]]


def read_arrays(path: Path, wanted: Collection[str] | None = None) -> Arrays:
    """Read the named arrays of a file; the array of an .npy, and a tensor by itself, are called `embeddings`.

    Types that NumPy lacks, such as bfloat16, become float32.

    Args:
        wanted: names of the arrays; None for all.
    """
    with readable(path, "arrays", _REMEDY):
        suffix = path.suffix.lower()
        if suffix == ".safetensors":
            arrays = _read_safetensors(path, wanted)
        elif suffix == ".npz":
            safety.check_zip(path)
            with np.load(path, allow_pickle=False) as loaded:
                arrays = {name: loaded[name] for name in loaded.files if wanted is None or name in wanted}
        elif suffix == ".pt":
            arrays = _read_tensors(path)
        else:
            arrays = {"embeddings": np.load(path, allow_pickle=False)}
        return {name: _known(array, name) for name, array in arrays.items() if wanted is None or name in wanted}


def array_names(path: Path) -> list[str]:
    """Return the names of the arrays of an .npz, .safetensors or .pt file; only of the last the values are read."""
    with readable(path, "arrays", _REMEDY):
        if path.suffix.lower() == ".safetensors":
            with safe_open(path, framework="pt") as tensors:
                return list(tensors.keys())
        if path.suffix.lower() == ".pt":
            return list(_read_tensors(path))
        safety.check_zip(path)
        with np.load(path, allow_pickle=False) as loaded:
            return list(loaded.files)


def read_npy(path: Path, *, mapped: bool = False) -> np.typing.NDArray[Any]:
    """Read the array of an .npy file.

    Args:
        mapped: open it as a memory map, read a page at a time, where NumPy knows its type.
    """
    with readable(path, "an array", _REMEDY):
        return _known(np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False), "it")


def _read_safetensors(path: Path, wanted: Collection[str] | None) -> Arrays:
    # By torch: the reader for NumPy has no bfloat16.
    with safe_open(path, framework="pt") as tensors:
        stored = [name for name in tensors.keys() if wanted is None or name in wanted]  # noqa: SIM118
        return {name: array_of_tensor(tensors.get_tensor(name), name) for name in stored}


def _read_tensors(path: Path) -> Arrays:
    """Read a tensor, a dictionary of tensors, or a pair of inputs and labels that ``torch.save`` wrote.

    Raises:
        ValueError: the file holds anything else.
    """
    if not zipfile.is_zipfile(path):
        raise ValueError("it was not saved by torch.save of torch 1.6 or later")
    safety.check_zip(path)
    content = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(content, torch.Tensor):
        content = {"embeddings": content}
    elif isinstance(content, list | tuple) and len(content) == 2:
        content = dict(zip(("embeddings", "labels"), content, strict=True))
    if not isinstance(content, dict):
        raise ValueError(f"it holds a {type(content).__name__}, not a tensor or a dictionary of tensors")
    tensors = {str(name): value for name, value in content.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        raise ValueError("it holds no tensors")
    for tensor in tensors.values():  # a view can be larger than its storage
        safety.check_growth(path, tensor.numel() * tensor.element_size())
    return {name: array_of_tensor(tensor, name) for name, tensor in tensors.items()}


def _known(array: Any, name: str) -> np.typing.NDArray[Any]:
    """Return an array that is sound, its values in a type of NumPy's own.

    ``ml_dtypes`` saves its bfloat16 as values of two bytes without a type.
    """
    _check_plain(array, name)
    if array.dtype.kind == "V" and array.dtype.itemsize == 2 and array.dtype.names is None:
        bits = torch.from_numpy(np.array(array).view(np.int16))
        return array_of_tensor(bits.view(torch.bfloat16))
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


def rows_of_array_files(paths: Sequence[Path], config: DataConfig, labelled: bool = True) -> dataset.Rows:
    """Read the rows of several array files one after the other; those of a single one as it stores them.

    Raises:
        InputError: a file cannot be read, or differs from the first in what it holds.
    """
    parts = [rows_of_array_file(path, config, labelled) for path in paths]
    if len(parts) == 1:
        return parts[0]
    widths = [np.asarray(part.inputs).shape[1] for part in parts]
    for path, part, width in zip(paths, parts, widths, strict=True):
        if width != widths[0]:
            raise InputError(
                f"{path} holds embeddings of {width} numbers, but {paths[0]} of {widths[0]}; encode all alike."
            )
        if (part.labels is None, part.splits is None) != (parts[0].labels is None, parts[0].splits is None):
            raise InputError(f"{path} and {paths[0]} differ in their labels or splits; store the same arrays in both.")
    labels = [part.labels for part in parts if part.labels is not None]
    splits = [part.splits for part in parts if part.splits is not None]
    return dataset.Rows(
        kind="embeddings",
        inputs=np.concatenate([np.asarray(part.inputs) for part in parts]),
        labels=[label for part in labels for label in part] if labels else None,
        splits=[split for part in splits for split in part] if splits else None,
        messages=tuple(dict.fromkeys(message for part in parts for message in part.messages)),
        files=tuple((path.name, len(part)) for path, part in zip(paths, parts, strict=True)),
    )


def rows_of_array_file(path: Path, config: DataConfig, labelled: bool = True) -> dataset.Rows:
    """Read embeddings and labels of all splits: `X_train`, `y_train`, ..., or one array of each with a usual name.

    Args:
        labelled: whether labels are needed.
    """
    arrays = read_arrays(path)
    parts = [name for name in ("train", "validation", "val", "test") if f"X_{name}" in arrays]
    if parts and config.input_column is None:
        return _rows_of_parts(arrays, parts, path, config, labelled)
    messages: list[str] = []
    name = sources.choose_column(
        arrays, "embedding", config.input_column, str(path), noun="array", or_only=True, messages=messages
    )
    inputs = as_matrix(arrays[name], f"{path}: {name}")
    labels = None
    if labelled or config.label_column is not None or sources.usual_columns(arrays, "label"):
        values = arrays[_label_array(arrays, config, path, messages)]
        labels = dataset.label_texts(as_labels(values, f"The labels of {path}"), config.missing_labels, messages)
        if len(labels) != len(inputs):
            raise InputError(f"{path} has {len(inputs)} embeddings but {len(labels)} labels; give one label for each.")
    splits = None
    if config.split_column is not None or sources.usual_columns(arrays, "split"):
        chosen = sources.choose_column(arrays, "split", config.split_column, str(path), noun="array", messages=messages)
        splits = dataset.label_texts(as_labels(arrays[chosen], f"The splits of {path}"))
        if len(splits) != len(inputs):
            raise InputError(f"{path} has {len(inputs)} embeddings but {len(splits)} splits; give one split for each.")
    return dataset.Rows(kind="embeddings", inputs=inputs, labels=labels, splits=splits, messages=tuple(messages))


def _rows_of_parts(
    arrays: Arrays, parts: Sequence[str], path: Path, config: DataConfig, labelled: bool
) -> dataset.Rows:
    """Return the rows of the arrays `X_train`, `y_train`, `X_test`, ... with their splits."""
    missing = [f"y_{name}" for name in parts if f"y_{name}" not in arrays]
    if missing and (labelled or len(missing) < len(parts)):
        raise InputError(f"{path} has no array {missing[0]!r}; store one label for each embedding.")
    matrices = [as_matrix(arrays[f"X_{name}"], f"{path}: X_{name}") for name in parts]
    if len({matrix.shape[1] for matrix in matrices}) > 1:
        widths = ", ".join(f"X_{name} {m.shape[1]}" for name, m in zip(parts, matrices, strict=True))
        raise InputError(f"{path} holds embeddings of different widths ({widths}); encode all alike.")
    labels, messages = None, list[str]()
    if not missing:
        values = [as_labels(arrays[f"y_{name}"], f"{path}: y_{name}") for name in parts]
        for name, matrix, part in zip(parts, matrices, values, strict=True):
            if len(part) != len(matrix):
                raise InputError(
                    f"{path} has {len(matrix)} embeddings X_{name} but {len(part)} labels y_{name}; give one for each."
                )
        labels = dataset.label_texts([value for part in values for value in part], config.missing_labels, messages)
    return dataset.Rows(
        kind="embeddings",
        inputs=np.concatenate(matrices),
        labels=labels,
        splits=[name for name, matrix in zip(parts, matrices, strict=True) for _ in matrix],
        messages=tuple(messages),
        files=tuple((f"X_{name}", len(matrix)) for name, matrix in zip(parts, matrices, strict=True)),
    )


def _label_array(arrays: Arrays, config: DataConfig, path: Path, messages: list[str]) -> str:
    if config.label_column is None and not sources.usual_columns(arrays, "label"):
        raise InputError(
            f"{path} has no array 'labels' (its arrays are {names(arrays)}); store it beside the embeddings, or name a "
            f"file of labels with --labels."
        )
    return sources.choose_column(arrays, "label", config.label_column, str(path), noun="array", messages=messages)
