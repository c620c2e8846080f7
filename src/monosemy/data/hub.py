"""Data sets of the Hugging Face hub."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monosemy.data.images import Encoded
from monosemy.data.rows import distinct_names
from monosemy.data.tables import Table
from monosemy.errors import InputError, needs_extra, reason


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

    def stamps(self, rows: NDArray[np.int64]) -> tuple[str, ...]:
        return (self.source, self.column, *(str(part._fingerprint) for part in self._parts))

    def items(self, rows: NDArray[np.int64]) -> Iterator[Encoded]:
        parts = np.searchsorted(self._starts, rows, side="right") - 1
        caches = _caches()
        for row, part in zip(rows, parts, strict=True):
            image = self._parts[part][int(row - self._starts[part])][self.column] or {}
            path = Path(image.get("path") or "").resolve()
            # A row may name any file of this machine; only those that came with a data set are opened.
            inside = path.is_file() and any(path.is_relative_to(cache) for cache in caches)
            yield image.get("bytes") or (path if inside else None)


def _caches() -> list[Path]:
    """Where fetched data sets lie."""
    from datasets import config
    from huggingface_hub import constants

    return [Path(name).resolve() for name in (config.HF_CACHE_HOME, config.HF_DATASETS_CACHE, constants.HF_HUB_CACHE)]


def hub_splits(source: str, streaming: bool = False) -> Any:
    """The splits of a data set by its id.

    Args:
        streaming: read rows as they are asked for instead of fetching all before.
    """
    with needs_extra("hub", f"{source} is not a local file or folder, and loading it from the Hugging Face Hub"):
        from datasets import load_dataset
    try:
        return load_dataset(source, streaming=streaming)
    except Exception as error:  # the hub's client raises many types; each means that the data is not to be had
        raise InputError(
            f"{source} is no file or folder here and no Hugging Face data set that loads ({reason(error)}); "
            f"check the name."
        ) from error


def table_of_hub(source: str) -> Table:
    """All splits of a data set by its id; what was fetched before is not fetched again."""
    dataset = hub_splits(source)
    from datasets import ClassLabel
    from datasets import Image as HubImage

    names, parts = [str(name) for name in dataset], list(dataset.values())
    features = parts[0].features
    image_columns = [name for name, kind in features.items() if isinstance(kind, HubImage)]
    for name in image_columns:
        parts = [part.cast_column(name, HubImage(decode=False)) for part in parts]
    frames = [
        part.remove_columns(image_columns).to_pandas().assign(split=name)
        for name, part in zip(names, parts, strict=True)
    ]
    return Table(
        pd.concat(frames, ignore_index=True),
        source,
        {name: HubImages(source, names, parts, name) for name in image_columns},
        {name: distinct_names(kind.names) for name, kind in features.items() if isinstance(kind, ClassLabel)},
    )
