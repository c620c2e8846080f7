"""From what the user has to a stream of rows."""

import json
from collections.abc import Iterable
from glob import glob, has_magic
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from monosemy.data.array_stream import (
    TENSOR_NAMES,
    FileTable,
    MemoryTable,
    Table,
    TableStream,
    npy_table,
    safetensors_table,
)
from monosemy.data.arrays import read_arrays
from monosemy.data.iterable_stream import IterableStream
from monosemy.data.memory_map import memory_map
from monosemy.data.parquet_stream import ParquetStream
from monosemy.data.row_stream import RowStream
from monosemy.errors import InputError, needs_extra

SUFFIXES = (".parquet", ".safetensors", ".npy", ".npz")
INDEX_FILE = "activations.json"
"""In a folder of cached activations: what they are, and whether they are all there."""


def open_stream(source: Any, column: str | None = None, *, length: int | None = None) -> RowStream:
    """Rows of anything that holds them; see :func:`monosemy.data.shuffle.shuffled` for another order each pass.

    Args:
        source: an array, tensor or memory map (N, D); a path of .npy, .npz, .safetensors or .parquet, of a folder of
            such files, or a pattern; a Hugging Face id; a ``datasets.Dataset`` or ``IterableDataset``; an iterable of
            arrays, or a function that returns one.
        column: of parquet and data sets the column, of .npz and safetensors the tensor; None for a usual name.
        length: rows that an iterable gives, where that is known.

    Raises:
        InputError: it does not exist, cannot be read, or holds no rows of numbers.
    """
    if isinstance(source, RowStream):
        return source
    if isinstance(source, str | Path):
        return _named(str(source), column)
    if isinstance(source, np.ndarray | Tensor):
        table: Table = _mapped(source) or MemoryTable(source)
        return TableStream([table], table.name)
    if type(source).__module__.split(".")[0] == "datasets":
        return _of_dataset(source, column)
    if isinstance(source, Iterable) or callable(source):
        return IterableStream(source, length)
    raise InputError(f"A source of type {type(source).__name__} holds no rows; give an array, a path or an iterable.")


def _mapped(values: Any) -> FileTable | None:
    """Neighbouring rows of a read-only memory map as a part of its file, which needs no memory."""
    whole = memory_map(values)
    if whole is None or whole.filename is None or values.ndim != 2 or 0 in values.shape:
        return None
    if not values.flags.c_contiguous or values.dtype.kind not in "fiu":
        return None
    start = whole.offset + values.ctypes.data - whole.ctypes.data  # of a part, NumPy tells the offset of the whole
    return FileTable(Path(whole.filename), start, (values.shape[0], values.shape[1]), values.dtype.str)


def _of_dataset(dataset: Any, column: str | None) -> RowStream:
    from monosemy.data.iterable_stream import DatasetTable, HubStream

    if isinstance(dataset, dict):
        raise InputError(f"The data set has the splits {', '.join(dataset)}; give one of them.")
    name = f"the data set {getattr(dataset.info, 'dataset_name', None) or ''}".strip()
    if hasattr(dataset, "__len__"):
        return TableStream([DatasetTable(dataset, column, name)], name)
    return HubStream(dataset, column, name)


def _named(source: str, column: str | None) -> RowStream:
    path = Path(source)
    if path.is_dir():
        if (path / "dataset_info.json").is_file() and (path / "state.json").is_file():
            return _of_dataset(_saved_dataset(path), column)
        return _files(_of_folder(path), column, source)
    if has_magic(source) and not path.exists():
        paths = [Path(name) for name in sorted(glob(source, recursive=True))]
        if not paths:
            raise InputError(f"No file matches {source}; correct the pattern.")
        return _files(paths, column, source)
    if path.exists() or path.suffix.lower() in SUFFIXES:
        if not path.is_file():
            raise InputError(f"The file {path} does not exist; give the path of a file with rows.")
        return _files([path], column, source)
    from monosemy.data.iterable_stream import dataset_of

    return _of_dataset(dataset_of(source), column)


def _saved_dataset(path: Path) -> Any:
    with needs_extra("hub", f"Reading {path}, a saved Hugging Face data set,"):
        from datasets import load_from_disk
    return load_from_disk(str(path))


def _of_folder(folder: Path) -> list[Path]:
    _check_finished(folder)
    for suffix in SUFFIXES:
        found = sorted(folder.glob(f"*{suffix}")) or sorted(folder.glob(f"data/*{suffix}"))
        found = [path for path in found if not path.name.startswith(".")]
        if found:
            return found
    raise InputError(f"The folder {folder} holds no file of rows ({', '.join(SUFFIXES)}); give one that does.")


def _check_finished(folder: Path) -> None:
    index = folder / INDEX_FILE
    if not index.exists():
        return
    try:
        finished = bool(json.loads(index.read_text(encoding="utf-8"))["finished"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{index} cannot be read; make the activations again, or remove it.") from error
    if not finished:
        raise InputError(
            f"The activations in {folder} are not finished; run what makes them again, or give "
            f"'{folder}/*.safetensors' to use those that are there."
        )


def _files(paths: list[Path], column: str | None, name: str) -> RowStream:
    kinds = {path.suffix.lower() for path in paths}
    odd = next((path for path in paths if path.suffix.lower() not in SUFFIXES), None)
    if odd is not None:
        raise InputError(f"{odd} has none of the known endings {', '.join(SUFFIXES)}; convert it to one.")
    if len(kinds) > 1:
        raise InputError(f"{name} holds files of several kinds ({', '.join(sorted(kinds))}); give those of one.")
    if kinds == {".parquet"}:
        return ParquetStream(paths, column, name)
    if column is not None and kinds == {".npy"}:
        raise InputError(f"column={column!r} has no meaning for {name}, whose files hold one array; leave it out.")
    return TableStream([_table(path, column) for path in paths], name)


def _table(path: Path, column: str | None) -> Table:
    if path.suffix.lower() == ".npy":
        return npy_table(path)
    if path.suffix.lower() == ".safetensors":
        return safetensors_table(path, column)
    arrays = read_arrays(path)
    names = [column] if column is not None else [*TENSOR_NAMES, *(arrays if len(arrays) == 1 else ())]
    found = next((name for name in names if name in arrays), None)
    if found is None:
        raise InputError(f"{path} has no array {column or 'of rows'!r} (it has {', '.join(arrays)}); name yours.")
    return MemoryTable(arrays[found], str(path))
