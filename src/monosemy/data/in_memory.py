"""Labelled data from values that the user already has in memory."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from monosemy.data.classes import check_classes
from monosemy.data.config import OnBadRow
from monosemy.data.containers import as_inputs, as_labels, check_aligned
from monosemy.data.dataset import (
    Inputs,
    Kind,
    LabelledData,
    Rows,
    Split,
    encode_labels,
    label_texts,
    ordered_classes,
    stratified_split,
)
from monosemy.data.inspection import report_on_splits
from monosemy.data.quality import usable_rows
from monosemy.data.splits import check_shift_kind, shifted_split
from monosemy.errors import InputError
from monosemy.seeding import numpy_rng


def from_arrays(
    X_train: object,
    y_train: object,
    X_test: object,
    y_test: object,
    *,
    X_validation: object = None,
    y_validation: object = None,
    name: str = "arrays",
    validation_fraction: float = 0.2,
    shifts: Mapping[str, tuple[object, object]] | None = None,
    seed: int = 0,
    on_bad_row: OnBadRow = "stop",
) -> LabelledData:
    """Create a :class:`LabelledData` from values in memory: texts, embeddings (N, D), or images (N, C, H, W).

    They may be lists, arrays, tensors, and columns or tables of pandas, polars, Arrow and Hugging Face's library.
    Images are uint8 or float32 in [0, 1], and are not converted; memory maps of images are not loaded.

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
    check_classes([label for rows in read.values() for label in rows.needed_labels()], name)
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
    data = LabelledData(
        name=name,
        kind=read["train"].kind,
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
        class_names=class_names,
        shifts=extra,
        notices=tuple(notices),
    )
    report = report_on_splits(data, drawn=() if X_validation is not None else ("validation",), notices=notices)
    return replace(data, report=report, notices=report.messages())


def _array_rows(what: str, x: object, y: object, on_bad_row: OnBadRow) -> Rows:
    """Return inputs and their labels as rows that can be used.

    Args:
        what: the subject of messages.
    """
    check_aligned(x, y, what)
    inputs, messages = as_inputs(x, f"{what}, its input,"), list[str]()
    labels = label_texts(as_labels(y, f"{what}: its labels"), messages=messages)
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
