"""Arrays and texts that the user already has, as a data set."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from monosemy.data.labelled import Inputs, Kind, LabelledData, Split, encode_labels, stratified_split
from monosemy.data.rows import label_texts, ordered_classes
from monosemy.data.splits import check_shift_kind, shifted_split
from monosemy.errors import InputError
from monosemy.seeding import numpy_rng


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
