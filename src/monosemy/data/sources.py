"""From what the user names to data: labelled for a study, embeddings to measure, or images to pretrain on."""

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monosemy.data import digits
from monosemy.data.config import DataConfig
from monosemy.data.folders import check_class_sizes
from monosemy.data.formats import read_rows
from monosemy.data.in_memory import from_arrays
from monosemy.data.labelled import Kind, LabelledData, check_finite, encode_labels
from monosemy.data.rows import ordered_classes
from monosemy.data.shifts import with_shifts
from monosemy.data.splits import assign, labelled_data
from monosemy.data.unlabelled import UnlabelledImages, read_unlabelled
from monosemy.errors import InputError
from monosemy.progress import OnProgress

__all__ = ["DataConfig", "UnlabelledImages", "from_arrays", "load_data", "load_embeddings", "load_unlabelled"]


def load_data(config: DataConfig, seed: int = 0, on_progress: OnProgress | None = None) -> LabelledData:
    """Read the source, split it where it is not split yet, and encode its labels.

    Images of files are uint8, and memory maps where they would fill the memory.

    Raises:
        InputError: what was named does not exist, cannot be read, or cannot be used for a study.
    """
    vocabulary = None
    if config.source == digits.NAME:
        data = digits.digit_pairs(validation_fraction=config.validation_fraction, seed=seed)
    else:
        rows = read_rows(config.source, config)
        check_class_sizes(rows)
        name, vocabulary = source_name(config.source), rows.vocabulary
        data = labelled_data(name, rows, assign(rows, config, seed, name), config, on_progress)
    return with_shifts(data, config, vocabulary, on_progress)


def load_unlabelled(config: DataConfig, seed: int = 0, on_progress: OnProgress | None = None) -> UnlabelledImages:
    """Read the train images of a source to pretrain on: all rows where it has no splits.

    At most 2,000 of them (a tenth of a small set), drawn by the seed, are held out; validation and test splits of the
    source are not touched. Class folders and label columns are used where they are there.

    Raises:
        InputError: as for :func:`load_data`, and where the source holds texts or embeddings.
    """
    return read_unlabelled(config, source_name(config.source), seed, on_progress)


def load_embeddings(config: DataConfig) -> tuple[NDArray[np.float32], NDArray[np.int64], tuple[str, ...]]:
    """All rows of a source of embeddings (N, D), whatever their split, their labels, and the names of the classes.

    Raises:
        InputError: as for :func:`load_data`, and where the source holds texts or images.
    """
    kind: Kind = "images"
    if config.source != digits.NAME:
        rows = read_rows(config.source, config)
        kind = rows.kind
    if kind != "embeddings":
        raise InputError(
            f"{config.source} holds {kind}, not embeddings or codes; embed them first, or run "
            f"`monosemy study --data {config.source}`, which embeds and measures them."
        )
    inputs = rows.inputs
    assert isinstance(inputs, np.ndarray)
    if inputs.size == 0:
        raise InputError(
            f"{config.source} has embeddings of shape {inputs.shape}; give at least one row and one dimension."
        )
    check_finite(inputs, config.source)
    labels = rows.needed_labels()
    class_names = ordered_classes(labels, rows.vocabulary)
    return inputs.astype(np.float32, copy=False), encode_labels(labels, class_names), class_names


def source_name(source: str) -> str:
    """A short name of a source: the last part of its path, without a pattern's wildcards."""
    plain = Path(re.sub(r"[*?\[\]]+", "", source))
    return plain.name if plain.name.split(".")[0].strip("_-") else plain.parent.name or "data"
