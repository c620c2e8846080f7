"""Shifted test sets: read like the source, or folders of CIFAR-10-C's layout."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monosemy.data.arrays import read_npy
from monosemy.data.config import DataConfig
from monosemy.data.formats import read_rows
from monosemy.data.labelled import LabelledData, Split, encode_labels
from monosemy.data.rows import Rows, named, rows_by_split
from monosemy.data.splits import check_shift_kind, inputs_by_part, shifted_split
from monosemy.errors import InputError
from monosemy.progress import OnProgress

SEVERITIES = (1, 2, 3, 4, 5)
"""Of each corruption in CIFAR-10-C and CIFAR-100-C, one block of rows after the other."""


def with_shifts(
    data: LabelledData, config: DataConfig, vocabulary: Sequence[str] | None, on_progress: OnProgress | None = None
) -> LabelledData:
    """The data with the shifted test sets of the configuration.

    A folder of CIFAR-10-C's layout becomes a set for each corruption and severity, such as `c/gaussian_noise@3`.

    Args:
        vocabulary: the names that integer labels of the data stand for, where it has such.
    """
    if not config.shifts:
        return data
    shifts: dict[str, Split] = {}
    notices = list(data.notices)
    for name, source in config.shifts.items():
        if is_corruption_folder(Path(source)):
            shifts |= _corruptions(name, Path(source), data, vocabulary)
        else:
            shifts[name] = _shift(name, source, config, data, vocabulary, notices, on_progress)
    return LabelledData(**{**data.__dict__, "shifts": shifts, "notices": tuple(notices)})


def _shift(
    name: str,
    source: str,
    config: DataConfig,
    data: LabelledData,
    vocabulary: Sequence[str] | None,
    notices: list[str],
    on_progress: OnProgress | None,
) -> Split:
    # Noisy labels and the choice of classes are the source's own, and so is its file of labels, unless the shifted set
    # is a plain .npy too.
    own = {"given_label_column": None, "given_labels": None, "classes": None}
    own |= {} if source.lower().endswith(".npy") else {"labels": None}
    config = config.model_copy(update=own)
    rows = read_rows(source, config)
    check_shift_kind(name, rows.kind, data.kind)
    chosen = np.arange(len(rows.inputs))
    if rows.splits is not None:
        parts = rows_by_split(rows.splits)[0]
        chosen = parts.get("test", parts.get("validation", chosen))  # train rows only where there is nothing else
    labels = _numbers(rows, vocabulary, data.class_names)
    if (labels[chosen] >= 0).any():  # else the split below says so
        chosen = chosen[labels[chosen] >= 0]
    size = tuple(data.test.inputs.shape[2:]) if isinstance(data.test.inputs, np.ndarray) else None
    inputs, kept, said = inputs_by_part(rows.inputs, {name: chosen}, config, on_progress, size)
    notices += said
    return shifted_split(name, Split(inputs[name], labels[kept[name]]), data.test, data.name)


def _numbers(rows: Rows, vocabulary: Sequence[str] | None, class_names: tuple[str, ...]) -> NDArray[np.int64]:
    """Labels as numbers of the data's classes, also where one of the two has names and the other integers."""
    labels = rows.needed_labels()
    candidates = [labels, named(labels, vocabulary)]
    if rows.vocabulary is not None:
        position = {label: str(i) for i, label in enumerate(rows.vocabulary)}
        candidates.append([position[label] for label in labels])
    encoded = [encode_labels(texts, class_names) for texts in candidates]
    return next((numbers for numbers in encoded if (numbers >= 0).any()), encoded[0])


def is_corruption_folder(folder: Path) -> bool:
    """Whether a folder holds `labels.npy` and other .npy files beside it, as CIFAR-10-C does."""
    return (folder / "labels.npy").is_file() and len(list(folder.glob("*.npy"))) > 1


def _corruptions(name: str, folder: Path, data: LabelledData, vocabulary: Sequence[str] | None) -> dict[str, Split]:
    """A split for each corruption and severity; the images stay in their files."""
    check_shift_kind(name, "images", data.kind)
    labels = read_npy(folder / "labels.npy")
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise InputError(f"{folder / 'labels.npy'} holds no list of whole numbers; download CIFAR-10-C again.")
    texts = [str(label) for label in labels]
    rows = Rows(kind="images", inputs=tuple(texts), labels=texts)
    numbers = _numbers(rows, vocabulary, data.class_names)
    shifts = {}
    for path in sorted(folder.glob("*.npy")):
        if path.name == "labels.npy":
            continue
        images = read_npy(path, mapped=True)
        if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8 or len(images) % len(SEVERITIES):
            raise InputError(
                f"{path} holds {images.dtype} of shape {images.shape}, not bytes (5 N, height, width, 3) as in "
                f"CIFAR-10-C; take it out of the folder."
            )
        n = len(images) // len(SEVERITIES)
        if len(numbers) not in (n, len(images)):
            raise InputError(f"{path} has {len(images)} images but labels.npy has {len(numbers)}; download both again.")
        for block, severity in enumerate(SEVERITIES):
            here = slice(block * n, (block + 1) * n)
            split = Split(images[here].transpose(0, 3, 1, 2), numbers[here] if len(numbers) > n else numbers)
            shift = f"{name}/{path.stem}@{severity}"
            shifts[shift] = shifted_split(shift, split, data.test, data.name)
    return shifts
