"""From what the user names to data: labelled for a study, or images to pretrain on."""

import re
from pathlib import Path

from monosemy.data import digits
from monosemy.data.config import DataConfig
from monosemy.data.folders import check_class_sizes
from monosemy.data.formats import read_rows
from monosemy.data.in_memory import from_arrays
from monosemy.data.labelled import LabelledData
from monosemy.data.shifts import with_shifts
from monosemy.data.splits import assign, labelled_data
from monosemy.data.unlabelled import UnlabelledImages, read_unlabelled
from monosemy.progress import OnProgress

__all__ = ["DataConfig", "UnlabelledImages", "from_arrays", "load_data", "load_unlabelled"]


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
    """Read the train images of a source to pretrain on.

    Where a labelled source has no test split, the rows that :func:`load_data` would test on are left out; a source
    without labels gives all its rows.

    At most 2,000 of them (a tenth of a small set), drawn by the seed, are held out; validation and test splits of the
    source are not touched. Class folders and label columns are used where they are there.

    Raises:
        InputError: as for :func:`load_data`, and where the source holds texts or embeddings.
    """
    return read_unlabelled(config, source_name(config.source), seed, on_progress)


def source_name(source: str) -> str:
    """A short name of a source: the last part of its path, without a pattern's wildcards."""
    plain = Path(re.sub(r"[*?\[\]]+", "", source))
    return plain.name if plain.name.split(".")[0].strip("_-") else plain.parent.name or "data"
