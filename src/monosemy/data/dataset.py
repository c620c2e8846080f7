"""Images as arrays: uint8 as files hold them, or float32 in [0, 1].

What a study works on: labelled inputs, split into train, validation and test.

Where data comes from and how it is read.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Gt, Lt
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from monosemy.data.memory_map import take_mapped
from monosemy.errors import InputError

Images = NDArray[np.uint8] | NDArray[np.float32]
"""(N, C, H, W): uint8 0 to 255, or float32 in [0, 1]."""


def unit_pixels(images: Images) -> NDArray[np.float32]:
    """float32 in [0, 1] of the same shape: uint8 pixels over 255, float32 pixels as they are."""
    if images.dtype == np.uint8:
        return np.divide(images, np.float32(255), dtype=np.float32)
    return images.astype(np.float32, copy=False)


def check_pixels(images: Images, where: str) -> None:
    """Raise for images that are neither uint8 nor float32 in [0, 1]."""
    if images.dtype == np.uint8 or images.size == 0:
        return
    low, high = images.min(), images.max()
    # One part in a million is what rounding of a weighted mean may leave; NaN fails the comparison.
    if images.dtype != np.float32 or not (low >= -1e-6 and high <= 1 + 1e-6):
        raise InputError(
            f"The {where} has pixels of type {images.dtype} from {low:g} to {high:g}; give uint8 from 0 to 255, or "
            f"float32 from 0 to 1."
        )


Kind = Literal["images", "texts", "embeddings"]
Inputs = Images | tuple[str, ...]
"""Images (N, C, H, W), embeddings (N, D), or N texts.

Embeddings are float32. Images are uint8 from 0 to 255 (all that come from files), or float32 in [0, 1];
:func:`monosemy.data.dataset.unit_pixels` makes the second of both. An array may be a memory map.
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
    noisy_labels: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None
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
        if self.noisy_labels is not None:
            for given, split in zip(self.noisy_labels, (self.train, self.validation), strict=True):
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


OnBadImage = Literal["stop", "skip"]


class DataConfig(BaseModel):
    """Where the data comes from and how it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str = "digit-pairs"
    """`digit-pairs`, a file, several parquet files (a folder of them or a pattern such as `cifar100_*.parquet`), a
    folder of CIFAR's own files, a folder of class folders, or the id of a Hugging Face data set."""
    input_column: str | None = None
    """Column of texts, images or embeddings; found by its usual names where not given."""
    label_column: str | None = None
    """Column of the labels; for CIFAR-100's own files `fine_label` or `coarse_label`."""
    split_column: str | None = None
    noisy_label_column: str | None = None
    """Column with real noisy labels, of the source or of the file `noisy_labels`; the scenario `given-labels` trains
    on it."""
    noisy_labels: Path | None = None
    """File with real noisy labels of the source's train rows: matched by a column `index`, else in the same order."""
    labels: Path | None = None
    """File with the labels of a plain .npy of embeddings."""
    classes: Path | None = None
    """Text file with the class folders to use, one a line; what follows the first word is a comment."""
    on_bad_image: OnBadImage = "stop"
    """What to do about an image that cannot be read."""
    shifts: dict[str, str] = {}
    """Shifted test sets: name to file or folder, read like the source, or a folder of CIFAR-10-C's layout."""
    test_fraction: Annotated[float, Gt(0), Lt(1)] = 0.25
    """Share split off as test, class by class, where the source has no split."""
    validation_fraction: Annotated[float, Gt(0), Lt(1)] = 0.2
    """Share of train split off for choosing hyper-parameters, where the source has no validation split."""
    image_size: Annotated[int, Ge(8)] | None = None
    """Side of the square that images are resized (shorter side) and cropped (centre) to; their own size where it is
    not given, or 32 where they differ. Shifted sets take the data's size."""
