"""Load labelled data for a study, images to pretrain on, and shifted test sets: from any source, or from arrays."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from monosemy.core.console import Progress
from monosemy.data import cifar, digits, sources, tables
from monosemy.data.arrays import read_npy, rows_of_array_file
from monosemy.data.config import DIGIT_PAIRS, DataConfig, OnBadRow
from monosemy.data.dataset import (
    Images,
    Inputs,
    Kind,
    LabelledData,
    Rows,
    Split,
    encode_labels,
    label_texts,
    named,
    ordered_classes,
    stratified_split,
)
from monosemy.data.image_folders import check_class_sizes, rows_of_folder
from monosemy.data.labels import read_labels, read_noisy_labels
from monosemy.data.quality import usable_rows
from monosemy.data.splits import (
    assign,
    check_shift_kind,
    inputs_by_part,
    labelled_data,
    rows_by_split,
    shifted_split,
    source_splits,
)
from monosemy.errors import InputError
from monosemy.seeding import numpy_rng

HELD_OUT = 2_000
"""Maximum number of images that are held out, and at most a tenth of all."""
SEVERITIES = (1, 2, 3, 4, 5)
"""Severities of each corruption in CIFAR-10-C and CIFAR-100-C, one block of rows after the other."""


def load_data(config: DataConfig, seed: int = 0, on_progress: Progress | None = None) -> LabelledData:
    """Read a source, split it where it is not split yet, and encode its labels.

    Images of files are uint8, and memory maps where they would fill the memory.

    Raises:
        InputError: the source does not exist, cannot be read, or cannot be used for a study.
    """
    vocabulary = None
    if config.source == DIGIT_PAIRS:
        data = digits.digit_pairs(validation_fraction=config.validation_fraction, seed=seed)
    else:
        rows = read_rows(config.source, config)
        check_class_sizes(rows)
        name, vocabulary = source_name(config.source), rows.vocabulary
        data = labelled_data(name, rows, assign(rows, config, seed, name), config, on_progress)
    return _with_shifts(data, config, vocabulary, on_progress)


def read_rows(name: str, config: DataConfig, labelled: bool = True) -> Rows:
    """Read the rows of a source of any kind except digit pairs that can be used, with the noisy labels of its plan.

    Args:
        labelled: whether every row needs a label.

    Raises:
        InputError: the source cannot be read, or has rows that cannot be used: see
            :func:`monosemy.data.quality.usable_rows`.
    """
    rows = _all_rows(name, config, labelled)
    if config.noisy_labels is not None and labelled:
        parts = source_splits(rows, name, [])
        development = np.sort(np.concatenate([parts["train"], parts.get("validation", parts["train"][:0])]))
        noisy = read_noisy_labels(
            config.noisy_labels, config.noisy_label_column, rows, development, config.missing_labels
        )
        rows = replace(rows, noisy_labels=noisy)
    return usable_rows(rows, config.on_bad_row, name, labelled)


def _all_rows(name: str, config: DataConfig, labelled: bool) -> Rows:
    source = sources.classify(name)
    # Images may have array files beside them.
    of_images = source.is_folder and source.kind in ("images", "array")
    if config.classes is not None and not of_images:
        raise InputError(f"data.classes={config.classes} requires a folder of class folders, not {name}; leave it out.")
    table = table_of(source)
    if table is not None:
        return tables.rows_of_table(table, config, labelled)
    if source.kind == "cifar":
        return cifar.rows_of_cifar(source.paths[0], config.label_column)
    if of_images:
        return rows_of_folder(Path(name), config.classes, labelled)
    if source.kind == "array" and len(source.paths) == 1:
        messages: list[str] = []
        labels = None if config.labels is None else read_labels(config.labels, config.missing_labels, messages)
        rows = rows_of_array_file(source.paths[0], config, labelled, labels)
        return replace(rows, messages=(*rows.messages, *messages))
    raise source.unsupported(
        f"a file that ends in {', '.join((*sources.TABLE_SUFFIXES, *sources.ARRAY_SUFFIXES))}, a folder of images, or "
        f"the name of a Hugging Face data set"
    )


def table_of(source: sources.Source) -> tables.Table | None:
    """Read the table of one or several files, or of a data set of the hub; None for other sources."""
    if source.kind == "hub":
        return tables.table_of_hub(source.name)
    if source.kind != "table":
        return None
    if source.is_folder:
        return tables.read_tables(source.paths, f"The folder {source.name}")
    if source.paths == (Path(source.name),):
        return tables.read_table(source.paths[0])
    return tables.read_tables(source.paths, source.name)


def read_texts(name: str, column: str | None = None, role: sources.Role = "text") -> tuple[str, ...]:
    """Read texts: the lines of a .txt file that are not blank, or a column of a table.

    Args:
        column: name of the column; None for one with a usual name of the role, or the only one with texts.

    Raises:
        InputError: the source cannot be read, has no such column, or a text is missing.
    """
    source = sources.classify(name)
    if source.kind == "text":
        return tuple(line for path in source.paths for line in sources.read_lines(path, "file of texts"))
    table = table_of(source)
    if table is None:
        raise source.unsupported(f"a .txt file, or a table ({', '.join(sources.TABLE_SUFFIXES)})")
    strings = [str(name) for name in table.frame if isinstance(table.frame[name].iloc[0], str)]
    chosen = sources.choose_column(strings, role, column, table.where, noun="column of texts", or_only=True)
    texts = cast(tuple[str, ...], tables.inputs_of(table.frame[chosen], "texts", table.where))
    usable_rows(Rows(kind="texts", inputs=texts, labels=None, files=table.files), "stop", table.where)
    return texts


def source_name(source: str) -> str:
    """Return a short name of a source: the last part of its path, without a pattern's wildcards."""
    plain = Path(re.sub(r"[*?\[\]]+", "", source))
    return plain.name if plain.name.split(".")[0].strip("_-") else plain.parent.name or "data"


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
    on_bad_row: OnBadRow = "stop",
) -> LabelledData:
    """Create a :class:`LabelledData` from arrays, or from lists of texts.

    Images are uint8 or float32 in [0, 1], and are not converted; memory maps are not loaded.

    Args:
        on_bad_row: stop at rows without a label or an input, or with NaN; or skip and report them.
    """
    arrays = {"train": (X_train, y_train), "test": (X_test, y_test)}
    if X_validation is not None:
        arrays["validation"] = (X_validation, y_validation)
    read = {part: _array_rows(f"The {part} part", x, y, on_bad_row) for part, (x, y) in arrays.items()}
    inputs: dict[str, Any] = {part: rows.inputs for part, rows in read.items()}
    for part, x in inputs.items():
        if _description(x) != _description(inputs["train"]):
            raise InputError(
                f"The {part} part holds {_description(x)}, not {_description(inputs['train'])} like train; make them "
                f"equal."
            )
    class_names = ordered_classes(read["train"].needed_labels())
    if len(class_names) < 2:
        raise InputError(f"{name} has the one class {class_names[0]!r} in train; a classifier needs at least two.")
    splits, notices = {}, [message for rows in read.values() for message in rows.messages]
    for part, x in inputs.items():
        split = Split(x, encode_labels(read[part].needed_labels(), class_names))
        known = np.flatnonzero(split.labels >= 0)
        if len(known) < len(split):
            notices.append(f"Left out: {len(split) - len(known)} {part} rows whose label does not occur in train.")
            split = split.take(known)
        splits[part] = split
    if "validation" not in splits:
        rest, split_off = stratified_split(splits["train"].labels, validation_fraction, numpy_rng("splits", seed))
        splits |= {"train": splits["train"].take(rest), "validation": splits["train"].take(split_off)}
    extra = {}
    for shift, (shift_x, shift_y) in (shifts or {}).items():
        rows = _array_rows(f"The shifted set {shift!r}", shift_x, shift_y, on_bad_row)
        notices += rows.messages
        check_shift_kind(shift, rows.kind, read["train"].kind)
        shift_inputs: Any = rows.inputs
        extra[shift] = shifted_split(
            shift, Split(shift_inputs, encode_labels(rows.needed_labels(), class_names)), splits["test"], name
        )
    return LabelledData(
        name=name,
        kind=read["train"].kind,
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
        class_names=class_names,
        shifts=extra,
        notices=tuple(notices),
    )


def _array_rows(what: str, x: object, y: Any, on_bad_row: OnBadRow) -> Rows:
    """Return inputs and their labels as rows that can be used.

    Args:
        what: the subject of messages.
    """
    inputs, messages = _as_inputs(x), list[str]()
    # NumPy would make the text "nan" of a NaN among texts.
    values = np.asarray(y, dtype=object if isinstance(y, list | tuple) else None)
    labels = label_texts(values.ravel(), messages=messages)
    if len(inputs) != len(labels):
        raise InputError(f"{what} has {len(inputs)} inputs but {len(labels)} labels; give one label for each.")
    rows = Rows(kind=_kind_of(inputs), inputs=inputs, labels=labels, messages=tuple(messages))
    return usable_rows(rows, on_bad_row, what)


def _kind_of(inputs: Inputs) -> Kind:
    if isinstance(inputs, tuple):
        return "texts"
    return "embeddings" if inputs.ndim == 2 else "images"


def _description(inputs: Inputs) -> str:
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


def _with_shifts(
    data: LabelledData, config: DataConfig, vocabulary: Sequence[str] | None, on_progress: Progress | None = None
) -> LabelledData:
    """Return the data with the shifted test sets of the configuration.

    A folder of CIFAR-10-C's layout becomes a set for each corruption and severity, such as `c/gaussian_noise@3`.

    Args:
        vocabulary: the names of the data's integer labels, where it has any.
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
    return replace(data, shifts=shifts, notices=tuple(notices))


def _shift(
    name: str,
    source: str,
    config: DataConfig,
    data: LabelledData,
    vocabulary: Sequence[str] | None,
    notices: list[str],
    on_progress: Progress | None,
) -> Split:
    # Noisy labels and the choice of classes belong to the source, and so does its file of labels, unless the shifted
    # set is a .npy too.
    of_source = {"noisy_label_column": None, "noisy_labels": None, "classes": None}
    of_source |= {} if source.lower().endswith(".npy") else {"labels": None}
    config = config.model_copy(update=of_source)
    rows = read_rows(source, config)
    check_shift_kind(name, rows.kind, data.kind)
    chosen = np.arange(len(rows.inputs))
    if rows.splits is not None:
        splits = rows_by_split(rows.splits)[0]
        chosen = splits.get("test", splits.get("validation", chosen))  # train rows only where there is nothing else
    labels = _numbers(rows, vocabulary, data.class_names)
    if (labels[chosen] >= 0).any():  # otherwise shifted_split raises
        chosen = chosen[labels[chosen] >= 0]
    size = tuple(data.test.inputs.shape[2:]) if isinstance(data.test.inputs, np.ndarray) else None
    inputs, parts, messages, _ = inputs_by_part(rows.inputs, {name: chosen}, config, on_progress, size, data.whites)
    notices += [f"Shifted set {name!r}: {message}" for message in (*rows.messages, *messages)]
    return shifted_split(name, Split(inputs[name], labels[parts[name]]), data.test, data.name)


def _numbers(rows: Rows, vocabulary: Sequence[str] | None, class_names: tuple[str, ...]) -> np.typing.NDArray[np.int64]:
    """Return labels as the data's integers, also where one of the two has names and the other integers."""
    labels = rows.needed_labels()
    candidates = [labels, named(labels, vocabulary)]
    if rows.vocabulary is not None:
        position = {label: str(i) for i, label in enumerate(rows.vocabulary)}
        candidates.append([position[label] for label in labels])
    encoded = [encode_labels(texts, class_names) for texts in candidates]
    return next((numbers for numbers in encoded if (numbers >= 0).any()), encoded[0])


def is_corruption_folder(folder: Path) -> bool:
    """Return whether a folder holds `labels.npy` and other .npy files beside it, as CIFAR-10-C does."""
    return (folder / "labels.npy").is_file() and len(list(folder.glob("*.npy"))) > 1


def _corruptions(name: str, folder: Path, data: LabelledData, vocabulary: Sequence[str] | None) -> dict[str, Split]:
    """Return a split for each corruption and severity; the images stay in their files."""
    check_shift_kind(name, "images", data.kind)
    labels = read_npy(folder / "labels.npy")
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise InputError(f"{folder / 'labels.npy'} does not hold a list of integers; download CIFAR-10-C again.")
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
                f"CIFAR-10-C; move it out of the folder."
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


@dataclass(frozen=True)
class UnlabelledImages:
    """The train images of a source, a few of them held out to monitor the features; test images are in neither."""

    name: str
    train: Images
    train_labels: np.typing.NDArray[np.int64] | None
    """None where the source does not label each image."""
    held_out: Images
    held_out_labels: np.typing.NDArray[np.int64] | None
    class_names: tuple[str, ...]
    """Empty without labels."""
    notices: tuple[str, ...] = ()


def load_unlabelled(config: DataConfig, seed: int = 0, on_progress: Progress | None = None) -> UnlabelledImages:
    """Read the train images of a source to pretrain on.

    Where a labelled source has no test split, the rows that :func:`load_data` would test on are left out; a source
    without labels gives all its rows.

    At most 2,000 of them (a tenth of a small set), drawn by the seed, are held out; validation and test splits of the
    source are not used. Class folders and label columns are used where they exist.

    Raises:
        InputError: as for :func:`load_data`, and where the source holds texts or embeddings.
    """
    name = source_name(config.source)
    rows = _digit_rows(config, seed) if config.source == DIGIT_PAIRS else read_rows(config.source, config, False)
    notices = list(rows.messages)
    if rows.kind != "images":
        raise InputError(f"{config.source} holds {rows.kind}, not images; give images to pretrain on.")
    train = _train_rows(rows, config, seed, name, notices)
    if len(train) < 2:
        raise InputError(f"{name} has {len(train)} train image; pretraining needs at least two.")
    n_held_out = max(1, min(HELD_OUT, len(train) // 10))
    held_out = np.sort(numpy_rng("held-out", seed).choice(train, n_held_out, replace=False))
    wanted = {"train": np.setdiff1d(train, held_out), "held_out": held_out}
    inputs, parts, messages, _ = inputs_by_part(rows.inputs, wanted, config, on_progress)
    labels: np.typing.NDArray[np.int64] | None = None
    class_names: tuple[str, ...] = ()
    if rows.labels is not None and all(rows.labels[i] for i in train):
        class_names = ordered_classes((rows.labels[i] for i in train), rows.vocabulary)
        labels = encode_labels(rows.labels, class_names)
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
        notices=(*notices, *messages),
    )


def _train_rows(
    rows: Rows, config: DataConfig, seed: int, name: str, notices: list[str]
) -> np.typing.NDArray[np.int64]:
    """Return the train rows; where the source has no test split, without those that a study would test on."""
    messages: list[str] = []
    parts = source_splits(rows, name, messages)
    train, labels = parts["train"], rows.labels
    classes = set() if labels is None else {labels[i] for i in train}
    if "test" in parts or config.source == DIGIT_PAIRS or "" in classes or len(classes) < 2:
        notices += messages
        return train
    assigned = assign(rows, config, seed, name)
    notices += assigned.notices
    names = ("train",) if "validation" in parts else ("train", "validation")
    return np.sort(np.concatenate([assigned.parts[part] for part in names]))


def _digit_rows(config: DataConfig, seed: int) -> Rows:
    data = digits.digit_pairs(validation_fraction=config.validation_fraction, seed=seed)
    development = (data.train, data.validation)
    return Rows(
        kind="images",
        inputs=np.concatenate([np.asarray(split.inputs) for split in development]),
        labels=[data.class_names[label] for split in development for label in split.labels],
    )
