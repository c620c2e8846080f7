"""What a study works on: labelled inputs, split into train, validation and test."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from monosemy.data.maps import take_mapped
from monosemy.data.pixels import Images, check_pixels
from monosemy.errors import InputError

Kind = Literal["images", "texts", "embeddings"]
Inputs = Images | tuple[str, ...]
"""Images (N, C, H, W), embeddings (N, D), or N texts.

Embeddings are float32. Images are uint8 from 0 to 255 (all that come from files), or float32 in [0, 1];
:func:`monosemy.data.pixels.unit_pixels` makes the second of both. An array may be a memory map.
"""


@dataclass(frozen=True)
class Split:
    """Inputs of one kind with a label each."""

    inputs: Inputs
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[np.integer]) -> "Split":
        """The given rows, in the given order."""
        return Split(take(self.inputs, rows), self.labels[rows])


@dataclass(frozen=True)
class LabelledData:
    """A data set as a study needs it.

    Labels are integers in [0, C) that index ``class_names``. Training and validation carry the same label noise in a
    study; the test split and the shifted test sets are never noisy and never looked at before the final scores.
    """

    name: str
    kind: Kind
    train: Split
    validation: Split
    test: Split
    class_names: tuple[str, ...]
    given_labels: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None
    """Real noisy labels of the train and the validation rows, where the user has a second label column."""
    shifts: dict[str, Split] = field(default_factory=dict)
    notices: tuple[str, ...] = ()
    """What was left out or decided on reading, said to the user."""

    @property
    def n_classes(self) -> int:
        return len(self.class_names)

    def __post_init__(self) -> None:
        for split_name, split in self.splits().items():
            if len(split) == 0:
                raise InputError(f"The {split_name} split of {self.name} is empty; give it at least one row.")
            if len(split.inputs) != len(split.labels):
                raise InputError(
                    f"The {split_name} split of {self.name} has {len(split.inputs)} inputs but {len(split.labels)} "
                    f"labels; give one label for each input."
                )
            if self.kind == "embeddings":
                check_finite(split.inputs, f"{split_name} split of {self.name}")
            if self.kind == "images":
                assert isinstance(split.inputs, np.ndarray)
                check_pixels(split.inputs, f"{split_name} split of {self.name}")
        n_present = len(np.unique(self.train.labels))
        if n_present < 2:
            raise InputError(f"The train split of {self.name} has {n_present} class; a classifier needs at least two.")
        if self.given_labels is not None:
            for given, split in zip(self.given_labels, (self.train, self.validation), strict=True):
                if len(given) != len(split):
                    raise InputError(
                        f"{self.name} has {len(given)} noisy labels for {len(split)} rows; give one for each row."
                    )

    def splits(self) -> dict[str, Split]:
        """All splits by name, shifted test sets included."""
        return {"train": self.train, "validation": self.validation, "test": self.test, **self.shifts}


def take(inputs: Inputs, rows: NDArray[np.integer]) -> Inputs:
    """Rows of images, embeddings or texts; of a memory map those that fit into memory, else a map again."""
    if isinstance(inputs, tuple):
        return tuple(inputs[i] for i in rows)
    return take_mapped(inputs, rows) if isinstance(inputs, np.memmap) else inputs[rows]


def check_finite(inputs: Inputs, where: str) -> None:
    """Raise where embeddings or images hold NaN or infinity."""
    assert isinstance(inputs, np.ndarray)
    bad = ~np.isfinite(inputs).all(axis=tuple(range(1, inputs.ndim)))
    if bad.any():
        raise InputError(
            f"The {where} holds NaN or infinity in {int(bad.sum())} of {len(inputs)} rows "
            f"(first: row {int(bad.argmax())}); drop or repair these rows."
        )


def encode_labels(labels: Sequence[object], class_names: Sequence[str]) -> NDArray[np.int64]:
    """Positions of the labels (compared as text) in ``class_names``; -1 for a label that is not there."""
    position = {name: i for i, name in enumerate(class_names)}
    return np.array([position.get(str(label), -1) for label in labels], dtype=np.int64)


def stratified_split(
    labels: NDArray[np.integer], fraction: float, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows (kept, split off) with ``fraction`` of every class split off, rounded; row order is preserved.

    A class of two or more rows gives at least one and keeps at least one.
    """
    split_off = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        n = int(np.clip(round(fraction * len(rows)), min(1, len(rows) - 1), max(len(rows) - 1, 0)))
        split_off[rng.permutation(rows)[:n]] = True
    return np.flatnonzero(~split_off), np.flatnonzero(split_off)
