"""Labelled inputs in splits, the rows that readers return, the rules for labels, and the configuration of a source."""

import math
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, Protocol, overload

import numpy as np

from monosemy.data import config, memory_map, pixels, sources
from monosemy.data.findings import DataReport, Finding
from monosemy.errors import InputError, shown
from monosemy.seeding import numpy_rng

Images = np.typing.NDArray[np.uint8] | np.typing.NDArray[np.float32]
"""(N, C, H, W): uint8 from 0 to 255, or float32 in [0, 1]."""
Kind = Literal["images", "texts", "embeddings"]
Inputs = Images | tuple[str, ...]
"""Images (N, C, H, W), embeddings (N, D), or N texts.

Embeddings are float32. Images are uint8 from 0 to 255 (all that come from files), or float32 in [0, 1];
:func:`monosemy.data.dataset.unit_pixels` converts both to the second. An array may be a memory map.
"""
Encoded = bytes | Path | None
"""One encoded image, or the file that holds it; None where a row has none."""
_MAX_DIGITS = 100
"""Longer labels of digits are names: Python refuses to convert numbers of thousands of digits."""


class EncodedImages(Protocol):
    """A list of images that are decoded when they are used."""

    def __len__(self) -> int: ...

    def describe(self, row: int) -> str:
        """Return the name of an image, to begin a message with."""

    def stamps(self, rows: np.typing.NDArray[np.int64]) -> tuple[str, ...]:
        """Return texts that differ where these images differ: names, sizes and times of change of their files."""

    def missing(self) -> np.typing.NDArray[np.bool_]:
        """Return which rows have no image, found without decoding any."""

    def items(self, rows: np.typing.NDArray[np.int64]) -> Iterator[Encoded]:
        """Yield the images of the given rows, which are in rising order."""


class ChosenImages:
    """Some rows of a list of images.

    Args:
        rows: their numbers in the list, rising.
    """

    def __init__(self, images: EncodedImages, rows: np.typing.NDArray[np.int64]) -> None:
        self.images, self.rows = images, rows

    def __len__(self) -> int:
        return len(self.rows)

    def describe(self, row: int) -> str:
        return self.images.describe(int(self.rows[row]))

    def stamps(self, rows: np.typing.NDArray[np.int64]) -> tuple[str, ...]:
        return self.images.stamps(self.rows[rows])

    def missing(self) -> np.typing.NDArray[np.bool_]:
        return self.images.missing()[self.rows]

    def items(self, rows: np.typing.NDArray[np.int64]) -> Iterator[Encoded]:
        return self.images.items(self.rows[rows])


def stamp(path: Path) -> str:
    """Return the name, size and time of change of a file."""
    status = path.stat()
    return f"{path.absolute()} {status.st_size} {status.st_mtime_ns}"


def unit_pixels(images: Images) -> np.typing.NDArray[np.float32]:
    """Return float32 pixels in [0, 1] of the same shape: uint8 pixels over 255, float32 pixels unchanged."""
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


@dataclass(frozen=True)
class Split:
    """Inputs of one kind with a label each."""

    inputs: Inputs
    labels: np.typing.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: np.typing.NDArray[np.integer]) -> "Split":
        """Return the given rows, in the given order."""
        return Split(take(self.inputs, rows), self.labels[rows])


@dataclass(frozen=True)
class LabelledData:
    """A data set in train, validation and test.

    Labels are integers in [0, C) that index ``class_names``. Training and validation carry the same label noise in a
    study; the test split and the shifted test sets are never noisy and never used before the final scores.
    """

    name: str
    kind: Kind
    train: Split
    validation: Split
    test: Split
    class_names: tuple[str, ...]
    noisy_labels: tuple[np.typing.NDArray[np.int64], np.typing.NDArray[np.int64]] | None = None
    """Observed noisy labels of the train and the validation rows, where the user has a second column of labels."""
    shifts: dict[str, Split] = field(default_factory=dict)
    notices: tuple[str, ...] = ()
    """Messages to the user: what was left out, decided or found on reading."""
    report: DataReport | None = None
    """What was found in the data; None where it was not looked at."""
    whites: pixels.Whites = field(default_factory=pixels.Whites)
    """White levels of images that had more than 8 bits; shifted sets are read with the same."""

    @property
    def n_classes(self) -> int:
        return len(self.class_names)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name} {len(split):,}" for name, split in self.splits().items())
        return f"LabelledData {self.name}: {self.kind}, {self.n_classes} classes; rows: {sizes}"

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
                assert isinstance(split.inputs, np.ndarray)
                finite = np.isfinite(split.inputs.reshape(len(split), -1)).all(axis=1)
                sources.check_missing(
                    np.asarray(~finite), "with NaN or infinity", f"The {split_name} split of {self.name}"
                )
            if self.kind == "images":
                assert isinstance(split.inputs, np.ndarray)
                check_pixels(split.inputs, f"{split_name} split of {self.name}")
        n_present = len(np.unique(self.train.labels))
        if n_present < 2:
            raise InputError(f"The train split of {self.name} has {n_present} class; a classifier needs at least two.")
        if self.noisy_labels is not None:
            for noisy, split in zip(self.noisy_labels, (self.train, self.validation), strict=True):
                if len(noisy) != len(split):
                    raise InputError(
                        f"{self.name} has {len(noisy)} noisy labels for {len(split)} rows; give one for each row."
                    )

    def splits(self) -> dict[str, Split]:
        """Return all splits by name, shifted test sets included."""
        return {"train": self.train, "validation": self.validation, "test": self.test, **self.shifts}

    def with_finding(self, finding: Finding | None) -> "LabelledData":
        """Return the data with a further finding among its messages and in its report."""
        if finding is None:
            return self
        report = self.report and replace(self.report, findings=(*self.report.findings, finding))
        return replace(self, notices=(*self.notices, finding.message), report=report)


@dataclass(frozen=True)
class Rows:
    """All rows of a source as read, in the source's order, before labels become numbers and splits are drawn."""

    kind: Kind
    inputs: Inputs | EncodedImages
    """Images of files are still encoded, so that only rows that are used are ever decoded."""
    labels: list[str] | None
    """Names of classes; None where the source has no labels and none are needed."""
    splits: list[str] | None = None
    vocabulary: tuple[str, ...] | None = None
    """Names of all classes, in the order of the integers that stand for them in the source; None if it has no names."""
    noisy_labels: list[str] | None = None
    """Observed noisy labels, one for each row."""
    index: np.typing.NDArray[np.str_] | None = None
    """The source's own numbers or names of its rows."""
    groups: list[str] | None = None
    """The group of each row, such as its patient; "" for a row that is in none."""
    messages: tuple[str, ...] = ()
    """Messages to the user: what the reader ignored, converted or guessed."""
    files: tuple[tuple[str, int], ...] = ()
    """Name of each file of rows and the number of its rows, in order."""
    numbers: np.typing.NDArray[np.int64] | None = None
    """Positions of the rows among those that were read, rising; None where no row was left out."""

    def __len__(self) -> int:
        return len(self.inputs)

    def describe(self, row: int) -> str:
        """Return the name of a row for a message: its number in the user's file, counted from 0, or its image."""
        if not isinstance(self.inputs, tuple | np.ndarray) and not self.files:
            return self.inputs.describe(row)
        number = row if self.numbers is None else int(self.numbers[row])
        if len(self.files) < 2:
            return f"row {number}"
        starts = np.cumsum([0, *(count for _, count in self.files)])
        file = int(np.searchsorted(starts, number, side="right")) - 1
        return f"row {number - starts[file]} of {self.files[file][0]}"

    def take(self, rows: np.typing.NDArray[np.int64]) -> "Rows":
        """Return the given rows, which are in rising order, under their numbers in the source."""

        def chosen(values: list[str] | None) -> list[str] | None:
            return None if values is None else [values[i] for i in rows]

        inputs = self.inputs
        return replace(
            self,
            inputs=take(inputs, rows) if isinstance(inputs, tuple | np.ndarray) else ChosenImages(inputs, rows),
            labels=chosen(self.labels),
            splits=chosen(self.splits),
            noisy_labels=chosen(self.noisy_labels),
            groups=chosen(self.groups),
            index=None if self.index is None else self.index[rows],
            numbers=rows if self.numbers is None else self.numbers[rows],
        )

    def needed_labels(self) -> list[str]:
        """Return the labels of a source that was read as a labelled one."""
        assert self.labels is not None
        return self.labels


def take(inputs: Inputs, rows: np.typing.NDArray[np.integer]) -> Inputs:
    """Return rows of images, embeddings or texts: in memory where they fit, else of a memory map a map again."""
    if isinstance(inputs, tuple):
        return tuple(inputs[i] for i in rows)
    return memory_map.take_mapped(inputs, rows) if isinstance(inputs, np.memmap) else inputs[rows]


def label_texts(
    values: Iterable[Any], missing_labels: Collection[str] = config.MISSING_LABELS, messages: list[str] | None = None
) -> list[str]:
    """Return labels, splits or groups as text: the one way in which values become names.

    - Bytes are decoded as UTF-8, and the white space around a text is removed.
    - Whole numbers are written without a decimal point, also where all texts are such numbers ("0.0" and "1.0").
    - None, NaN, infinity, NaT, <NA>, blank texts and those of ``missing_labels`` are "", which means missing.

    Args:
        messages: list that gets a message for the user where texts were changed.

    Raises:
        InputError: a label is not a single value, or holds bytes that are no UTF-8.
    """
    if isinstance(values, np.ndarray) and values.ndim == 0:
        raise InputError(f"The labels are the one value {shown(values.item())}; give one label for each row.")
    messages = [] if messages is None else messages
    written = ["" if is_missing(value) else _label_text(value) for value in values]
    texts = [text.strip() for text in written]
    spaced = [text for text, plain in zip(written, texts, strict=True) if plain and text != plain]
    if spaced:
        messages.append(f"White space around {len(spaced):,} labels was removed (such as {shown(spaced[0])}).")
    absent = set(missing_labels)
    texts = ["" if text in absent else text for text in texts]
    for name in _DOUBTFUL:
        if n_kept := texts.count(name):
            messages.append(
                f"{n_kept:,} labels {name!r} were kept as a class; list it in data.missing_labels if it means none."
            )
    pointed = [text for text in texts if "." in text]
    if pointed and all(_WHOLE.fullmatch(text) and Decimal(text) % 1 == 0 for text in texts if text):
        messages.append(f"{len(pointed):,} labels such as {shown(pointed[0])} are whole numbers and were read as such.")
        texts = [str(int(Decimal(text))) if "." in text else text for text in texts]
    return texts


_DOUBTFUL = ("NA", "na", "n/a", "?", "-")
"""Texts that some tables write for a missing label and others for a class."""
_WHOLE = re.compile(r"[+-]?([0-9]{1,100}(\.0*)?|[0-9]\.[0-9]{1,20}[eE][+-][0-9]{2})")
"""Texts that may be whole numbers; the second form is that of ``np.savetxt``."""


def is_missing(value: object) -> bool:
    """Return whether a value means a missing one; pandas' own are told by their types' names, without importing it."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    if isinstance(value, np.datetime64 | np.timedelta64):
        return bool(np.isnat(value))
    return isinstance(value, float | np.floating | Decimal) and not math.isfinite(value)


def _label_text(value: Any) -> str:
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            raise InputError(f"The label {shown(value)} holds bytes that are no UTF-8; give texts.") from None
    if isinstance(value, list | tuple | dict | set | np.ndarray):
        raise InputError(f"The label {shown(value)} is not a single value; give one label for each row.")
    whole = isinstance(value, float | np.floating | Decimal) and value == int(value)
    return str(int(value)) if whole else str(value)


def named(labels: Sequence[str], vocabulary: Sequence[str] | None) -> list[str]:
    """Return the names of labels that are all integers of the vocabulary; other labels unchanged."""
    if vocabulary is None or not all(_is_number(label) and int(label) < len(vocabulary) for label in labels):
        return list(labels)
    return [vocabulary[int(label)] for label in labels]


def distinct_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return names of classes, with the number of the class appended to duplicates (ImageNet has two "crane")."""
    names = tuple(names)
    return tuple(f"{name} ({i})" if names.count(name) > 1 else name for i, name in enumerate(names))


def ordered_classes(labels: Iterable[str], vocabulary: Sequence[str] | None = None) -> tuple[str, ...]:
    """Return the classes that occur: in the vocabulary's order, else whole numbers by value before other names."""
    present = set(labels)
    if vocabulary is not None:
        return tuple(name for name in vocabulary if name in present)
    return tuple(sorted(present, key=lambda label: (0, int(label), label) if _is_number(label) else (1, 0, label)))


def _is_number(label: str) -> bool:
    return label.isdecimal() and len(label) <= _MAX_DIGITS


def encode_labels(labels: Sequence[object], class_names: Sequence[str]) -> np.typing.NDArray[np.int64]:
    """Return the positions of labels (compared as text) in ``class_names``; -1 for a label that is not among them."""
    position = {name: i for i, name in enumerate(class_names)}
    return np.array([position.get(str(label), -1) for label in labels], dtype=np.int64)


def stratified_split(
    labels: np.typing.NDArray[np.integer],
    fraction: float,
    rng: np.random.Generator,
    groups: np.typing.NDArray[np.integer] | None = None,
) -> tuple[np.typing.NDArray[np.int64], np.typing.NDArray[np.int64]]:
    """Return the rows (remaining, split off) with ``fraction`` of every class split off, rounded; both rise.

    A class of two or more groups gives at least one and keeps at least one. Scikit-learn's ``StratifiedShuffleSplit``
    refuses classes of one row and does not promise a row of each class on both sides, its ``StratifiedGroupKFold``
    knows fractions of one over an integer only, and both draw other rows.

    Args:
        groups: (N,), the group of each row; its rows stay together and count for the class that most of them have. By
            default each row is a group.
    """
    groups = np.arange(len(labels)) if groups is None else groups
    _, firsts, members = np.unique(groups, return_index=True, return_inverse=True)
    sizes = np.bincount(members, minlength=len(firsts))
    classes, codes = np.unique(labels, return_inverse=True)
    counted, counts = np.unique(members * max(1, len(classes)) + codes, return_counts=True)
    order = np.lexsort((counted, -counts))  # the most frequent class of each group comes first, then the smallest
    _, most = np.unique(counted[order] // max(1, len(classes)), return_index=True)
    class_of = counted[order][most] % max(1, len(classes))
    split_off = np.zeros(len(firsts), dtype=bool)
    for label in range(len(classes)):
        own = np.flatnonzero(class_of == label)
        own = own[np.argsort(firsts[own])]
        n_rows = int(sizes[own].sum())
        wanted = int(np.clip(round(fraction * n_rows), min(1, n_rows - 1), max(n_rows - 1, 0)))
        split_off[_drawn_groups(rng.permutation(own), sizes, wanted)] = True
    chosen = split_off[members]
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def _drawn_groups(
    groups: np.typing.NDArray[np.integer], sizes: np.typing.NDArray[np.integer], n_rows: int
) -> list[int]:
    """Return those of the groups, in their order, that fit into a number of rows; one of several fits always."""
    drawn, left = [], n_rows
    for group in groups:
        if sizes[group] <= left:
            drawn.append(int(group))
            left -= int(sizes[group])
    if not drawn and len(groups) > 1 and n_rows:
        drawn = [int(groups[np.argmin(sizes[groups])])]
    return drawn


_Dictionaries = list[dict[str, Any]]


@overload
def subsample(rows: Split, n_rows: int | None, seed: int) -> Split: ...
@overload
def subsample(rows: _Dictionaries, n_rows: int | None, seed: int) -> _Dictionaries: ...
def subsample(rows: Split | _Dictionaries, n_rows: int | None, seed: int) -> Split | _Dictionaries:
    """Return at most ``n_rows`` rows, drawn by the seed, in their order; all where it is None.

    The subsets of one seed are nested: a larger number only adds rows.
    """
    if n_rows is None or n_rows >= len(rows):
        return rows
    drawn = np.sort(numpy_rng("rows", seed).permutation(len(rows))[:n_rows])
    if isinstance(rows, list):
        return [rows[i] for i in drawn]
    return rows.take(drawn)
