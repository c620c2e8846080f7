"""Data sets of Hugging Face's library: by their names on the hub, and as folders that ``save_to_disk`` wrote."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from monosemy.core.files import readable
from monosemy.data.dataset import Encoded, distinct_names
from monosemy.data.tables import Table
from monosemy.errors import InputError, needs_extra, reason


def hub_splits(source: str, streaming: bool = False) -> Any:
    """Load the splits of a data set by its name.

    Args:
        streaming: read rows when they are used instead of downloading all before.
    """
    with needs_extra("hub", f"{source} is not a local file or folder, and loading it from the Hugging Face Hub"):
        from datasets import load_dataset
    try:
        return load_dataset(source, streaming=streaming)
    except Exception as error:  # the hub's client raises many types; each means that the data cannot be loaded
        raise InputError(
            f"{source} is not a file or folder, and loading it as a Hugging Face data set failed ({reason(error)}); "
            f"check the name."
        ) from error


def saved_dataset(folder: Path) -> Any:
    """Load a data set, or a dictionary of its splits, that ``save_to_disk`` wrote.

    Raises:
        InputError: a file is damaged; the library would read memory that is not the file's, and end the process.
    """
    with needs_extra("hub", f"Reading {folder}, a saved Hugging Face data set,"):
        from datasets import load_from_disk
    index = folder / ("dataset_dict.json" if (folder / "dataset_dict.json").is_file() else "state.json")
    with readable(index, "a saved Hugging Face data set"):
        loaded = load_from_disk(str(folder))
        for part in loaded.values() if isinstance(loaded, dict) else [loaded]:
            part.data.table.validate(full=True)
        return loaded


def table_of_hub(source: str) -> Table:
    """Read all splits of a data set by its name; the library caches what it has downloaded."""
    return table_of_splits(hub_splits(source), source)


def table_of_saved(folder: Path) -> Table:
    """Read all rows of a folder that ``save_to_disk`` wrote."""
    loaded = saved_dataset(folder)
    index = folder / "dataset_dict.json" if isinstance(loaded, dict) else folder / "state.json"
    with readable(index, "a saved Hugging Face data set"):
        return table_of_splits(loaded if isinstance(loaded, dict) else {"": loaded}, str(folder))


def table_of_splits(splits: Mapping[Any, Any], where: str) -> Table:
    """Return the rows of all splits as a table with the column `split`; without it where the one split has no name."""
    from datasets import ClassLabel, Image as HubImage

    names, parts = [str(name) for name in splits], list(splits.values())
    features = parts[0].features
    image_columns = [name for name, kind in features.items() if isinstance(kind, HubImage)]
    for name in image_columns:
        parts = [part.cast_column(name, HubImage(decode=False)) for part in parts]
    frames = [part.remove_columns(image_columns).to_pandas() for part in parts]
    if names != [""]:
        frames = [frame.assign(split=name) for name, frame in zip(names, frames, strict=True)]
    frame = pd.concat(frames, ignore_index=True)
    if len(frame) == 0:
        raise InputError(f"{where} has no rows; give a data set with at least one.")
    return Table(
        frame,
        where,
        {name: HubImages(where, names, parts, name) for name in image_columns},
        {name: distinct_names(kind.names) for name, kind in features.items() if isinstance(kind, ClassLabel)},
        files=tuple((f"the split {name}", len(part)) for name, part in zip(names, parts, strict=True) if name),
    )


class HubImages:
    """A column of images in the parts of a loaded data set, read from its files when used."""

    def __init__(self, source: str, names: Sequence[str], parts: Sequence[Any], column: str) -> None:
        self.source, self.names, self.column = source, names, column
        self._parts = [part.select_columns([column]) for part in parts]
        self._starts = np.cumsum([0, *map(len, parts)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def describe(self, row: int) -> str:
        part = int(np.searchsorted(self._starts, row, side="right")) - 1
        return f"Image {row - self._starts[part]} of {self.names[part]} of {self.source}"

    def stamps(self, rows: np.typing.NDArray[np.int64]) -> tuple[str, ...]:
        return (self.source, self.column, *(str(part._fingerprint) for part in self._parts))

    def missing(self) -> np.typing.NDArray[np.bool_]:
        return np.array([item is None for item in self.items(np.arange(len(self)))], dtype=bool)

    def items(self, rows: np.typing.NDArray[np.int64]) -> Iterator[Encoded]:
        parts = np.searchsorted(self._starts, rows, side="right") - 1
        caches = _cache_folders()
        for row, part in zip(rows, parts, strict=True):
            image = self._parts[part][int(row - self._starts[part])][self.column] or {}
            path = Path(image.get("path") or "").resolve()
            # A row may name any file of this machine; only those that came with a data set are opened.
            inside = path.is_file() and any(path.is_relative_to(cache) for cache in caches)
            yield image.get("bytes") or (path if inside else None)


def _cache_folders() -> list[Path]:
    from datasets import config
    from huggingface_hub import constants

    return [Path(name).resolve() for name in (config.HF_CACHE_HOME, config.HF_DATASETS_CACHE, constants.HF_HUB_CACHE)]
