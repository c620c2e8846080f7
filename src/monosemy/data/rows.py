"""Rows as read from a source, before labels become numbers and splits are made.

Folders of images: a folder a class, or images alone.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monosemy.data.dataset import Inputs, Kind
from monosemy.data.images import EncodedImages, FileImages
from monosemy.errors import InputError, shown

SPLIT_ROLES = {
    "train": "train", "training": "train",
    "val": "validation", "valid": "validation", "validation": "validation", "dev": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip


_MOST_DIGITS = 100


@dataclass(frozen=True)
class Rows:
    """All rows of a source, in the source's order."""

    kind: Kind
    inputs: Inputs | EncodedImages
    """Images of files are still encoded, so that only rows that are used are ever decoded."""
    labels: list[str] | None
    """Names of classes; None where the source has no labels and none are needed."""
    splits: list[str] | None = None
    vocabulary: tuple[str, ...] | None = None
    """Names of all classes, in the order of the integers that stand for them in the source; None if it has no names."""
    given: list[str] | None = None
    """Real noisy labels, one for each row."""
    index: NDArray[np.int64] | None = None
    """The source's own numbers of its rows."""

    def needed_labels(self) -> list[str]:
        """The labels of a source that was read as a labelled one."""
        assert self.labels is not None
        return self.labels


def label_texts(values: Iterable[Any]) -> list[str]:
    """Labels as text; 3.0 is the label 3, as some writers make whole numbers floats."""
    if isinstance(values, np.ndarray) and values.ndim == 0:
        raise InputError(f"The labels are the one value {shown(values.item())}; give one label for each row.")
    texts = []
    for value in values:
        if isinstance(value, list | tuple | dict | set | np.ndarray):
            raise InputError(f"The label {shown(value)} is no single value; give one label for each row.")
        if isinstance(value, float | np.floating):
            if not np.isfinite(value):
                raise InputError(f"The label {value} is no class; drop rows without a label.")
            value = int(value) if value == int(value) else value
        texts.append(str(value))
    return texts


def named(labels: Sequence[str], vocabulary: Sequence[str] | None) -> list[str]:
    """Labels that are all integers of the vocabulary as the names of their classes; others as they are."""
    if vocabulary is None or not all(_is_number(label) and int(label) < len(vocabulary) for label in labels):
        return list(labels)
    return [vocabulary[int(label)] for label in labels]


def distinct_names(names: Iterable[str]) -> tuple[str, ...]:
    """Names of classes with the class number behind those that stand for several classes (ImageNet has two "crane")."""
    names = tuple(names)
    return tuple(f"{name} ({i})" if names.count(name) > 1 else name for i, name in enumerate(names))


def ordered_classes(labels: Iterable[str], vocabulary: Sequence[str] | None) -> tuple[str, ...]:
    """The classes that occur: in the order of the vocabulary, else whole numbers by value before names by alphabet."""
    present = set(labels)
    if vocabulary is not None:
        return tuple(name for name in vocabulary if name in present)
    return tuple(sorted(present, key=lambda label: (0, int(label), label) if _is_number(label) else (1, 0, label)))


def _is_number(label: str) -> bool:
    """Whether a label is a whole number; Python reads none of thousands of digits."""
    return label.isdecimal() and len(label) <= _MOST_DIGITS


def rows_by_split(splits: Sequence[str]) -> tuple[dict[str, NDArray[np.int64]], dict[str, int]]:
    """Row numbers by role (train, validation, test), and the sizes of splits that have none of these roles."""
    names, inverse = np.unique(np.array(splits), return_inverse=True)
    roles: dict[str, NDArray[np.int64]] = {}
    ignored: dict[str, int] = {}
    for number, name in enumerate(names.tolist()):
        rows = np.flatnonzero(inverse == number)
        role = SPLIT_ROLES.get(name.lower())
        if role is None:
            ignored[name] = len(rows)
        else:
            roles[role] = np.sort(np.concatenate([roles.get(role, rows[:0]), rows]))
    return roles, ignored


IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"}


def rows_of_folder(folder: Path, classes: Path | None, labelled: bool) -> Rows:
    """`class/image` or `split/class/image`; without labels also `image` or `split/image`.

    Args:
        classes: a file that names the class folders to use; all where None.
        labelled: whether every image must lie in a folder of its class.
    """
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
    if not files:
        raise InputError(f"The folder {folder} holds no images; give a folder of class folders.")
    parts = [file.relative_to(folder).parts for file in files]
    has_splits = all(len(p) > 1 and p[0].lower() in SPLIT_ROLES for p in parts)
    below = [p[1:] if has_splits else p for p in parts]
    in_classes = all(len(p) > 1 for p in below)
    if not in_classes and (labelled or classes is not None):
        raise InputError(f"The folder {folder} has images outside class folders; put each into a folder of its class.")
    kept = list(range(len(files)))
    if classes is not None:
        wanted = read_classes(classes)
        present = {p[0] for p in below}
        for name in wanted:
            if name not in present:
                raise InputError(f"{classes} names the class {name!r}, of which {folder} has no images; correct it.")
        kept = [i for i in kept if below[i][0] in set(wanted)]
    return Rows(
        kind="images",
        inputs=FileImages(folder, [files[i] for i in kept]),
        labels=[below[i][0] for i in kept] if in_classes else None,
        splits=[parts[i][0].lower() for i in kept] if has_splits else None,
    )


def read_classes(path: Path) -> list[str]:
    """The first word of each line, such as `n01440764` of `n01440764 tench`; empty lines do not count."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The list of classes {path} cannot be read; give a text file with one a line.") from error
    names = [line.split()[0] for line in lines if line.strip()]
    if not names:
        raise InputError(f"The list of classes {path} is empty; write the name of a class folder on each line.")
    return names


def check_class_sizes(rows: Rows) -> None:
    """Raise for a class folder with one image in a folder that has no splits: it cannot be split into train and test.

    Rows of other sources are not looked at.
    """
    if not isinstance(rows.inputs, FileImages) or rows.splits is not None:
        return
    names, counts = np.unique(rows.needed_labels(), return_counts=True)
    if counts.min() < 2:
        raise InputError(
            f"The class folder {rows.inputs.folder / str(names[counts.argmin()])} has one image, which cannot be split "
            f"into train and test; add images, or leave the class out by a list of --classes."
        )
