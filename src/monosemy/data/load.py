"""Which reader a source needs.

Arrays and texts that the user already has, as a data set.

Shifted test sets: read like the source, or folders of CIFAR-10-C's layout.

Images to pretrain on: labels are welcome, but not needed.

From what the user names to data: labelled for a study, or images to pretrain on.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monosemy.core.console import Progress
from monosemy.data import digits
from monosemy.data.arrays import ARRAY_SUFFIXES, read_npy, rows_of_array_file
from monosemy.data.cifar import is_cifar, rows_of_cifar
from monosemy.data.dataset import DataConfig, Images, Inputs, Kind, LabelledData, Split, encode_labels, stratified_split
from monosemy.data.hub import table_of_hub
from monosemy.data.rows import (
    Rows,
    check_class_sizes,
    label_texts,
    named,
    ordered_classes,
    rows_by_split,
    rows_of_folder,
)
from monosemy.data.splits import assign, check_shift_kind, inputs_by_part, labelled_data, own_parts, shifted_split
from monosemy.data.tables import TABLE_SUFFIXES, Table, read_table, read_tables, rows_of_table
from monosemy.errors import InputError
from monosemy.seeding import numpy_rng


def read_rows(source: str, config: DataConfig, labelled: bool = True) -> Rows:
    """All rows of a source, whatever it is.

    Args:
        labelled: whether every row needs a label.
    """
    path = Path(source)
    if source.lower().endswith(ARRAY_SUFFIXES) and not (path.is_dir() or _is_pattern(source)):
        rows = rows_of_array_file(path, config, labelled)
    elif (table := table_of(source)) is not None:
        rows = rows_of_table(table, config, labelled)
    elif path.is_dir():
        if not is_cifar(path):
            return rows_of_folder(path, config.classes, labelled)
        rows = rows_of_cifar(path, config.label_column)
    else:
        raise InputError(
            f"{path} has none of the known endings {', '.join((*TABLE_SUFFIXES, *ARRAY_SUFFIXES))}; convert it to one."
        )
    if config.classes is not None:
        raise InputError(f"--classes {config.classes} needs a folder of class folders, not {source}; leave it out.")
    return rows


def table_of(source: str) -> Table | None:
    """The table that a source is: a file, a pattern of files, a folder of parquet files or a data set of the hub.

    None where it is there, but something else.
    """
    path = Path(source)
    if path.is_dir():
        parquet = _parquet_files(path)
        return read_tables(parquet, f"The folder {path}") if parquet else None
    if _is_pattern(source):
        return read_tables(_matching(source), source)
    if source.lower().endswith(TABLE_SUFFIXES):
        return read_table(path)
    return None if path.exists() else table_of_hub(source)


def _is_pattern(source: str) -> bool:
    return has_magic(source) and not Path(source).exists()


def _parquet_files(folder: Path) -> list[Path]:
    """The parquet files of a folder in Hugging Face's layout: beside each other, or in a folder `data`."""
    return sorted(folder.glob("*.parquet")) or sorted(folder.glob("data/*.parquet"))


def _matching(pattern: str) -> list[Path]:
    paths = [Path(name) for name in sorted(glob(pattern, recursive=True))]
    if not paths:
        raise InputError(f"No file matches {pattern}; correct the pattern.")
    other = next((path for path in paths if not path.name.lower().endswith(TABLE_SUFFIXES)), None)
    if other is not None:
        raise InputError(f"{pattern} matches {other}, which is no table ({', '.join(TABLE_SUFFIXES)}); narrow it.")
    return paths


def from_arrays(
    X_train: Inputs,
    y_train: object,
    X_test: Inputs,
    y_test: object,
    *,
    X_validation: Inputs | None = None,
    y_validation: object = None,
    name: str = "arrays",
    validation_fraction: float = 0.2,
    shifts: Mapping[str, tuple[Inputs, object]] | None = None,
    seed: int = 0,
) -> LabelledData:
    """A :class:`LabelledData` from arrays (or lists of texts) that the user already has.

    Images are uint8 or float32 in [0, 1], and stay what they are; memory maps are not loaded.
    """
    given = {"train": (X_train, y_train), "test": (X_test, y_test)}
    if X_validation is not None:
        given["validation"] = (X_validation, y_validation)
    inputs = {part: _as_inputs(x) for part, (x, _) in given.items()}
    labels = {part: label_texts(np.asarray(y).ravel()) for part, (_, y) in given.items()}
    for part, x in inputs.items():
        _check_lengths(f"{part} part", x, labels[part])
        if _form(x) != _form(inputs["train"]):
            raise InputError(
                f"The {part} part holds {_form(x)}, not {_form(inputs['train'])} like train; make them equal."
            )
    class_names = ordered_classes(labels["train"], None)
    if len(class_names) < 2:
        raise InputError(f"{name} has the one class {class_names[0]!r} in train; a classifier needs at least two.")
    splits, notices = {}, []
    for part, x in inputs.items():
        split = Split(x, encode_labels(labels[part], class_names))
        known = np.flatnonzero(split.labels >= 0)
        if len(known) < len(split):
            notices.append(f"Left out: {len(split) - len(known)} {part} rows whose label does not occur in train.")
            split = split.take(known)
        splits[part] = split
    if "validation" not in splits:
        kept, split_off = stratified_split(splits["train"].labels, validation_fraction, numpy_rng("splits", seed))
        splits |= {"train": splits["train"].take(kept), "validation": splits["train"].take(split_off)}
    extra = {}
    for shift, (shift_x, shift_y) in (shifts or {}).items():
        shift_inputs, shift_labels = _as_inputs(shift_x), label_texts(np.asarray(shift_y).ravel())
        _check_lengths(f"shifted set {shift!r}", shift_inputs, shift_labels)
        check_shift_kind(shift, _kind_of(shift_inputs), _kind_of(inputs["train"]))
        extra[shift] = shifted_split(
            shift, Split(shift_inputs, encode_labels(shift_labels, class_names)), splits["test"], name
        )
    return LabelledData(
        name=name,
        kind=_kind_of(inputs["train"]),
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
        class_names=class_names,
        shifts=extra,
        notices=tuple(notices),
    )


def _check_lengths(what: str, inputs: Inputs, labels: list[str]) -> None:
    if len(inputs) != len(labels):
        raise InputError(f"The {what} has {len(inputs)} inputs but {len(labels)} labels; give one label for each.")


def _kind_of(inputs: Inputs) -> Kind:
    """What an array or a tuple holds, by its shape."""
    if isinstance(inputs, tuple):
        return "texts"
    return "embeddings" if inputs.ndim == 2 else "images"


def _form(inputs: Inputs) -> str:
    return "texts" if isinstance(inputs, tuple) else f"{_kind_of(inputs)} of shape {inputs.shape[1:]}"


def _as_inputs(values: Any) -> Inputs:
    if isinstance(values, list | tuple) and values and isinstance(values[0], str):
        return tuple(values)
    array = values if isinstance(values, np.memmap) else np.asarray(values)
    if array.ndim not in (2, 4) or not np.issubdtype(array.dtype, np.number):
        raise InputError(
            f"Inputs of shape {array.shape} and type {array.dtype} are neither texts, nor embeddings (N, D), nor "
            f"images (N, C, H, W); reshape them."
        )
    if isinstance(array, np.memmap) and array.ndim == 4 and array.dtype in (np.uint8, np.float32):
        return array
    if array.ndim == 4 and array.dtype == np.uint8:
        return array.copy()
    if array.ndim == 4 and np.issubdtype(array.dtype, np.integer):
        raise InputError(f"Images of type {array.dtype} have no known range; give uint8, or float32 from 0 to 1.")
    return array.astype(np.float32)


SEVERITIES = (1, 2, 3, 4, 5)
"""Of each corruption in CIFAR-10-C and CIFAR-100-C, one block of rows after the other."""


def with_shifts(
    data: LabelledData, config: DataConfig, vocabulary: Sequence[str] | None, on_progress: Progress | None = None
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
    on_progress: Progress | None,
) -> Split:
    # Noisy labels and the choice of classes are the source's own, and so is its file of labels, unless the shifted set
    # is a plain .npy too.
    own = {"noisy_label_column": None, "noisy_labels": None, "classes": None}
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


HELD_OUT = 2_000
"""At most so many images are held out, and at most a tenth of all."""


@dataclass(frozen=True)
class UnlabelledImages:
    """The train images of a source, a few of them held out to watch the features by; test images are in neither."""

    name: str
    train: Images
    train_labels: NDArray[np.int64] | None
    """None where the source does not label each image."""
    held_out: Images
    held_out_labels: NDArray[np.int64] | None
    class_names: tuple[str, ...]
    """Empty without labels."""
    notices: tuple[str, ...] = ()


def read_unlabelled(
    config: DataConfig, name: str, seed: int = 0, on_progress: Progress | None = None
) -> UnlabelledImages:
    """See :func:`monosemy.data.load.load_unlabelled`."""
    notices: list[str] = []
    rows = _digit_rows(config, seed) if config.source == digits.NAME else read_rows(config.source, config, False)
    if rows.kind != "images":
        raise InputError(f"{config.source} holds {rows.kind}, not images; give images to pretrain on.")
    train = _train_rows(rows, config, seed, name, notices)
    if len(train) < 2:
        raise InputError(f"{name} has {len(train)} train image; pretraining needs at least two.")
    n_held_out = max(1, min(HELD_OUT, len(train) // 10))
    held_out = np.sort(numpy_rng("held-out", seed).choice(train, n_held_out, replace=False))
    wanted = {"train": np.setdiff1d(train, held_out), "held_out": held_out}
    inputs, parts, said = inputs_by_part(rows.inputs, wanted, config, on_progress)
    labels, class_names = _labels(rows, train)
    train_images, held_out_images = inputs["train"], inputs["held_out"]
    assert isinstance(train_images, np.ndarray)
    assert isinstance(held_out_images, np.ndarray)
    return UnlabelledImages(
        name=name,
        train=train_images,
        train_labels=None if labels is None else labels[parts["train"]],
        held_out=held_out_images,
        held_out_labels=None if labels is None else labels[parts["held_out"]],
        class_names=class_names,
        notices=(*notices, *said),
    )


def _train_rows(rows: Rows, config: DataConfig, seed: int, name: str, notices: list[str]) -> NDArray[np.int64]:
    """The train rows; without a test split of the source's own, never those that a study of it would test on."""
    said: list[str] = []
    parts = own_parts(rows, name, said)
    train, labels = parts["train"], rows.labels
    classes = set() if labels is None else {labels[i] for i in train}
    if "test" in parts or config.source == digits.NAME or "" in classes or len(classes) < 2:
        notices += said
        return train
    assigned = assign(rows, config.model_copy(update={"noisy_labels": None}), seed, name)
    notices += assigned.notices
    kept = [assigned.parts["train"]] if "validation" in parts else [assigned.parts[p] for p in ("train", "validation")]
    return np.sort(np.concatenate(kept))


def _labels(rows: Rows, train: NDArray[np.int64]) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    """Numbers of the labels and names of the classes, if every train row has a label."""
    if rows.labels is None or any(rows.labels[i] == "" for i in train):
        return None, ()
    class_names = ordered_classes((rows.labels[i] for i in train), rows.vocabulary)
    return encode_labels(rows.labels, class_names), class_names


def _digit_rows(config: DataConfig, seed: int) -> Rows:
    data = digits.digit_pairs(validation_fraction=config.validation_fraction, seed=seed)
    development = (data.train, data.validation)
    return Rows(
        kind="images",
        inputs=np.concatenate([np.asarray(split.inputs) for split in development]),
        labels=[data.class_names[label] for split in development for label in split.labels],
    )


def load_data(config: DataConfig, seed: int = 0, on_progress: Progress | None = None) -> LabelledData:
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


def load_unlabelled(config: DataConfig, seed: int = 0, on_progress: Progress | None = None) -> UnlabelledImages:
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
