"""Load labelled data for a study, images to pretrain on, and shifted test sets: from any source, or from arrays."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np

from monosemy.core.console import Progress
from monosemy.core.files import valid_text
from monosemy.data import cifar, columns, digits, hub, sources, tables
from monosemy.data.arrays import read_npy, rows_of_array_files
from monosemy.data.config import DIGIT_PAIRS, DataConfig
from monosemy.data.copies import find_copies
from monosemy.data.dataset import Images, LabelledData, Rows, Split, encode_labels, named, ordered_classes
from monosemy.data.image_folders import rows_of_folder
from monosemy.data.inspection import groups_to_keep, report_on, report_on_splits
from monosemy.data.labels import read_labels, read_noisy_labels
from monosemy.data.quality import missing_values, usable_rows
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
        data = replace(data, report=report_on_splits(data))
    else:
        everything = all_rows(config.source, config)
        rows = usable_rows(everything, config.on_bad_row, config.source)
        name, vocabulary = source_name(config.source), rows.vocabulary
        copies = find_copies(rows.inputs, on_progress)
        assigned = assign(rows, config, seed, name, groups_to_keep(rows, copies))
        report = report_on(name, rows, assigned, copies)
        if len(rows) < len(everything):
            missing = {fault: int(there.sum()) for fault, there in missing_values(everything).items()}
            report = replace(report, n_rows=len(everything), missing=missing)
        data = labelled_data(name, rows, assigned, report, config, on_progress)
    return _with_shifts(data, config, vocabulary, on_progress)


def read_rows(name: str, config: DataConfig, labelled: bool = True) -> Rows:
    """Read the rows of a source of any kind except digit pairs that can be used, with the noisy labels of its plan.

    Args:
        labelled: whether every row needs a label.

    Raises:
        InputError: the source cannot be read, or has rows that cannot be used: see
            :func:`monosemy.data.quality.usable_rows`.
    """
    return usable_rows(all_rows(name, config, labelled), config.on_bad_row, name, labelled)


def all_rows(name: str, config: DataConfig, labelled: bool = True) -> Rows:
    """Read the rows of a source as they are: what is missing is empty or NaN."""
    rows = _rows_of(name, config, labelled)
    if config.group_column is not None and rows.groups is None:
        raise InputError(f"data.group_column={config.group_column!r} requires a table, not {name}; leave it out.")
    if config.noisy_labels is not None and labelled:
        parts = source_splits(rows, name, [])
        development = np.sort(np.concatenate([parts["train"], parts.get("validation", parts["train"][:0])]))
        messages: list[str] = []
        noisy = read_noisy_labels(
            config.noisy_labels, config.noisy_label_column, rows, development, config.missing_labels, messages
        )
        rows = replace(rows, noisy_labels=noisy, messages=(*rows.messages, *messages))
    return rows


def _rows_of(name: str, config: DataConfig, labelled: bool) -> Rows:
    source = sources.classify(name)
    if config.classes is not None and source.kind != "images":
        raise InputError(f"data.classes={config.classes} requires a folder of class folders, not {name}; leave it out.")
    table = table_of(source, config)
    if table is not None:
        rows = columns.rows_of_table(table, config, labelled and config.labels is None)
    elif source.kind == "cifar":
        rows = cifar.rows_of_cifar(source.paths[0], config.label_column)
    elif source.kind == "images":
        rows = rows_of_folder(Path(name), config.classes, labelled)
    elif source.kind == "array":
        rows = rows_of_array_files(source.paths, config, labelled and config.labels is None)
    else:
        raise source.unsupported(
            f"a file that ends in {', '.join((*sources.TABLE_SUFFIXES, *sources.ARRAY_SUFFIXES))}, a folder of images, "
            f"or the name of a Hugging Face data set"
        )
    rows = replace(rows, messages=(*source.messages, *rows.messages))
    if config.labels is None:
        return rows
    if rows.kind == "images":
        raise InputError(f"labels={config.labels} cannot be matched to the images of {name}; leave it out.")
    return _with_labels(rows, name, config)


def _with_labels(rows: Rows, name: str, config: DataConfig) -> Rows:
    """Return rows with the labels of the configuration's own file, in the order of the rows."""
    assert config.labels is not None
    messages: list[str] = []
    labels = read_labels(config.labels, config.missing_labels, messages, n_rows=len(rows))
    if len(labels) != len(rows):
        raise InputError(
            f"{name} has {len(rows)} {rows.kind} but {config.labels} has {len(labels)} labels; give one label for each."
        )
    return replace(rows, labels=labels, vocabulary=None, messages=(*rows.messages, *messages))


def table_of(source: sources.Source, config: DataConfig | None = None) -> tables.Table | None:
    """Read the table of one or several files, or of a data set of Hugging Face's; None for other sources.

    Args:
        config: settings for reading; the defaults where it is None.
    """
    encoding, label_column = (None, None) if config is None else (config.encoding, config.label_column)
    if source.kind == "hub":
        return hub.table_of_hub(source.name)
    if source.kind == "dataset":
        return hub.table_of_saved(source.paths[0])
    if source.kind != "table":
        return None
    if source.paths == (Path(source.name),):
        return tables.read_table(source.paths[0], encoding)
    where = f"The folder {source.name}" if source.is_folder else source.name
    return tables.read_tables(source.paths, where, encoding=encoding, label_column=label_column)


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
    texts = cast(tuple[str, ...], columns.inputs_of(table, columns.InputColumns((chosen,), "texts")))
    usable_rows(Rows(kind="texts", inputs=texts, labels=None, files=table.files), "stop", table.where)
    return texts


def source_name(source: str) -> str:
    """Return a short name of a source: the last part of its path, without a pattern's wildcards."""
    plain = Path(re.sub(r"[*?\[\]]+", "", source))
    return valid_text(plain.name if plain.name.split(".")[0].strip("_-") else plain.parent.name or "data")


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
    for path in sorted(folder.glob("*.npy"), key=sources.natural_key):
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
