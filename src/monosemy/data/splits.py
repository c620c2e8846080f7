"""From rows to train, validation and test with integer labels; images are decoded once the splits are known."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from monosemy.core.console import Progress
from monosemy.data import classes, dataset, images, pixels, sources
from monosemy.data.config import DataConfig
from monosemy.data.findings import DataReport, notes
from monosemy.errors import InputError, names, shown
from monosemy.seeding import numpy_rng

Numbers = np.typing.NDArray[np.int64]

_NAMED = 5
"""Splits that a message names."""


@dataclass
class Assigned:
    """Rows assigned to splits, and their labels as integers."""

    parts: dict[str, np.typing.NDArray[np.int64]]
    """Row numbers of train, validation and test, rising."""
    labels: np.typing.NDArray[np.int64]
    """Labels of all rows; -1 for a label that is not a class."""
    noisy_labels: np.typing.NDArray[np.int64] | None
    """Observed noisy labels of all rows; -1 outside train and validation."""
    class_names: tuple[str, ...]
    notices: list[str] = field(default_factory=list)
    drawn: tuple[str, ...] = ()
    """Splits that were drawn."""


def assign(rows: dataset.Rows, config: DataConfig, seed: int, name: str, groups: Numbers | None = None) -> Assigned:
    """Split what is not split yet, class by class, and encode the labels; the classes are those of train.

    Args:
        groups: (N,), the group of each row, which stays in one split where that is drawn. Where too few different rows
            are left and the user named no groups, rows are drawn one by one instead.

    Raises:
        InputError: a study cannot run on the rows: one class, labels that are no classes, or too few rows.
    """
    assigned = _assigned(rows, config, seed, name, groups)
    if _fault(assigned, name) is not None and groups is not None and rows.groups is None:
        assigned = _assigned(rows, config, seed, name, None)
        assigned.notices.append("Copies were not kept in one split, since too few different rows would be left.")
    fault = _fault(assigned, name)
    if fault is not None:
        raise InputError(fault)
    if rows.noisy_labels is not None:
        assigned.noisy_labels = _encode_noisy(rows.noisy_labels, assigned.parts, rows, assigned.class_names, name)
    return assigned


def _assigned(rows: dataset.Rows, config: DataConfig, seed: int, name: str, groups: Numbers | None) -> Assigned:
    """Return the rows in their splits, with what :func:`assign` checks still unchecked."""
    rng = numpy_rng("splits", seed)
    notices: list[str] = []
    texts = rows.needed_labels()
    parts = source_splits(rows, name, notices)
    drawn = tuple(part for part in ("validation", "test") if part not in parts)
    classes.check_classes([texts[i] for members in parts.values() for i in members], name)
    groups = np.arange(len(texts)) if groups is None else groups
    if "test" not in parts:
        # The classes in alphabetical order: so the draws do not depend on what else is known of them.
        _, codes = np.unique([texts[i] for i in parts["train"]], return_inverse=True)
        rest, test = dataset.stratified_split(codes, config.test_fraction, rng, groups[parts["train"]])
        source = "No test split" if rows.splits is not None else "No split column"
        unit = "train rows became it" if rows.splits is not None else "rows became the test set"
        notices.append(f"{source}: {len(test)} of {len(codes)} {unit}, class by class.")
        parts |= {"train": parts["train"][rest], "test": parts["train"][test]}
    class_names = dataset.ordered_classes((texts[i] for i in parts["train"]), rows.vocabulary)
    labels = dataset.encode_labels(texts, class_names)
    if "validation" not in parts:
        members = parts["train"]
        rest, split_off = dataset.stratified_split(labels[members], config.validation_fraction, rng, groups[members])
        parts |= {"train": members[rest], "validation": members[split_off]}
    for part, members in parts.items():
        known = labels[members] >= 0
        if not known.all():
            notices.append(f"Left out: {int((~known).sum())} {part} rows whose label does not occur in train.")
            parts[part] = members[known]
    return Assigned(parts, labels, None, class_names, notices, drawn)


def _fault(assigned: Assigned, name: str) -> str | None:
    """Return why no study can run on rows in their splits; None where one can."""
    if len(assigned.class_names) < 2:
        return f"{name} has the one class {assigned.class_names[0]!r} in train; a classifier needs at least two."
    for part in assigned.drawn:
        if not len(assigned.parts[part]):
            n_rows = sum(map(len, assigned.parts.values()))
            return (
                f"{name} has {n_rows:,} rows of {len(assigned.class_names):,} classes, too few for a {part} split; "
                f"give at least three rows of each class."
            )
    return None


def source_splits(rows: dataset.Rows, name: str, notices: list[str]) -> dict[str, np.typing.NDArray[np.int64]]:
    """Return the row numbers of the splits that the source has; all rows are train where it has none."""
    if rows.splits is None:
        return {"train": np.arange(len(rows.inputs))}
    parts, ignored = rows_by_split(rows.splits)
    if ignored:
        counts = ", ".join(f"{shown(split)} ({count})" for split, count in list(ignored.items())[:_NAMED])
        more = f" and {len(ignored) - _NAMED:,} more" if len(ignored) > _NAMED else ""
        notices.append(f"Left out: rows of the splits {counts}{more}.")
    if "train" not in parts:
        raise InputError(
            f"{name} has no train rows (its splits are {names(dict.fromkeys(rows.splits))}); name the split train."
        )
    return parts


def rows_by_split(splits: Sequence[str]) -> tuple[dict[str, np.typing.NDArray[np.int64]], dict[str, int]]:
    """Return row numbers by role (train, validation, test), and the sizes of splits that have none of these roles."""
    names, inverse = np.unique(np.array(splits), return_inverse=True)
    roles: dict[str, np.typing.NDArray[np.int64]] = {}
    ignored: dict[str, int] = {}
    for number, name in enumerate(names.tolist()):
        rows = np.flatnonzero(inverse == number)
        role = sources.SPLIT_ROLES.get(name.lower())
        if role is None:
            ignored[name] = len(rows)
        else:
            roles[role] = np.sort(np.concatenate([roles.get(role, rows[:0]), rows]))
    return roles, ignored


def _encode_noisy(
    noisy_texts: list[str],
    parts: dict[str, np.typing.NDArray[np.int64]],
    rows: dataset.Rows,
    class_names: tuple[str, ...],
    name: str,
) -> np.typing.NDArray[np.int64]:
    result = np.full(len(noisy_texts), -1, dtype=np.int64)
    members = np.concatenate([parts["train"], parts["validation"]])
    texts = dataset.named([noisy_texts[i] for i in members], rows.vocabulary)
    result[members] = dataset.encode_labels(texts, class_names)
    unknown = result[members] < 0
    if unknown.any():
        raise InputError(
            f"{name} has the noisy label {texts[int(unknown.argmax())]!r}, which is not one of its classes; correct it."
        )
    return result


def labelled_data(
    name: str,
    rows: dataset.Rows,
    assigned: Assigned,
    report: DataReport,
    config: DataConfig,
    on_progress: Progress | None,
) -> dataset.LabelledData:
    """Return the data set of rows that have their splits; images are decoded now."""
    inputs, parts, notices, whites = inputs_by_part(rows.inputs, assigned.parts, config, on_progress)
    lost = np.setdiff1d(assigned.labels[assigned.parts["train"]], assigned.labels[parts["train"]])
    if len(lost):
        raise InputError(
            f"{name} has no train image that can be used of the classes "
            f"{names(assigned.class_names[number] for number in lost)}; repair their images, or leave the classes out."
        )
    splits = {part: dataset.Split(inputs[part], assigned.labels[members]) for part, members in parts.items()}
    report = replace(report, findings=(*report.findings, *notes("reading", notices)))
    noisy = assigned.noisy_labels
    return dataset.LabelledData(
        name=name,
        kind=rows.kind,
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
        class_names=assigned.class_names,
        noisy_labels=None if noisy is None else (noisy[parts["train"]], noisy[parts["validation"]]),
        notices=report.messages(),
        report=report,
        whites=whites,
    )


class PartInputs(NamedTuple):
    """The inputs of each part, and the rows they come from: all wanted ones but images that cannot be used."""

    inputs: dict[str, dataset.Inputs]
    rows: dict[str, np.typing.NDArray[np.int64]]
    notices: list[str]
    whites: pixels.Whites


def inputs_by_part(
    inputs: dataset.Inputs | dataset.EncodedImages,
    parts: dict[str, np.typing.NDArray[np.int64]],
    config: DataConfig,
    on_progress: Progress | None,
    size: tuple[int, int] | None = None,
    whites: pixels.Whites | None = None,
) -> PartInputs:
    """Return the inputs of each part; encoded images are decoded.

    Args:
        size: height and width of decoded images, where they differ from the configured ones.
        whites: white levels of images of more than 8 bits, where those of other images are to be used.
    """
    if isinstance(inputs, tuple | np.ndarray):
        taken = {part: dataset.take(inputs, members) for part, members in parts.items()}
        return PartInputs(taken, parts, [], pixels.Whites())
    if size is None and config.image_size is not None:
        size = (config.image_size, config.image_size)
    if whites is None or config.white_level is not None:
        whites = pixels.Whites(config.white_level, config.white_level)
    decoded = images.decode_parts(
        inputs, parts, size, config.on_bad_row, on_progress, background=config.background, whites=whites
    )
    return PartInputs(
        {part: pictures.images for part, pictures in decoded.parts.items()},
        {part: pictures.rows for part, pictures in decoded.parts.items()},
        decoded.notices,
        decoded.whites,
    )


def check_shift_kind(name: str, kind: dataset.Kind, expected: dataset.Kind) -> None:
    """Raise where a shifted set holds other inputs than the data."""
    if kind != expected:
        raise InputError(f"The shifted set {name!r} holds {kind}, but the data holds {expected}; give the same.")


def shifted_split(name: str, split: dataset.Split, like: dataset.Split, where: str) -> dataset.Split:
    """Return the rows of a shifted set whose label is a class of the data.

    Args:
        split: the shifted set; its labels are -1 for what is not a class.
        like: the data's test split.
        where: the data's name, for messages.
    """
    known = np.flatnonzero(split.labels >= 0)
    if len(known) == 0:
        raise InputError(f"The shifted set {name!r} shares no class with {where}; give one with the same labels.")
    shapes = [getattr(x, "shape", (0,))[1:] for x in (split.inputs, like.inputs)]
    if shapes[0] != shapes[1]:
        raise InputError(f"The shifted set {name!r} has inputs of shape {shapes[0]}, not {shapes[1]}; make them equal.")
    return split if len(known) == len(split) else split.take(known)
