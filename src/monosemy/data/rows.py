"""Rows as read from a source, before labels become numbers and splits are made."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monosemy.data.encoded import EncodedImages
from monosemy.data.labelled import Inputs, Kind
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
