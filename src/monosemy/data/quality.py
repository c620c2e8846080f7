"""Rows that cannot be used: one policy for missing labels, inputs and splits, whatever they were read from."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from monosemy.data import config, dataset, sources
from monosemy.errors import InputError

_NAMED = 5
"""Rows of each kind that a message names."""
_ROWS_AT_ONCE = 2**16


def usable_rows(rows: dataset.Rows, on_bad_row: config.OnBadRow, name: str, labelled: bool = True) -> dataset.Rows:
    """Return rows that all have a label, an input and a split; the policy for missing values everywhere.

    Nothing is imputed. All rows that lack something are found in one round and counted by what they lack; then reading
    stops, or they are left out with a message.

    Args:
        name: the name of the source in messages.
        labelled: whether a label is needed; rows of splits that studies leave out need none.

    Raises:
        InputError: a row lacks something and ``on_bad_row`` is "stop", or no row is left.
    """
    faults = missing_values(rows, labelled)
    if not faults:
        return rows
    bad = np.logical_or.reduce(list(faults.values()))
    counts = ", ".join(f"{int(there.sum()):,} {fault} ({_named(there, rows)})" for fault, there in faults.items())
    fault = f"{int(bad.sum()):,} of {len(rows):,} rows that cannot be used: {counts}"
    counted = " (rows count from 0, without the header)" if rows.describe(0).startswith("row ") else ""
    if on_bad_row == "stop":
        raise InputError(f"{name} has {fault}; repair them, or leave them out by --on-bad-row skip{counted}.")
    if bad.all():
        raise InputError(f"{name} has no row that can be used: {counts}{counted}.")
    kept = rows.take(np.flatnonzero(~bad))
    return replace(kept, messages=(*kept.messages, f"Left out: {fault}{counted}."))


def missing_values(rows: dataset.Rows, labelled: bool = True) -> dict[str, np.typing.NDArray[np.bool_]]:
    """Return which rows lack something, (N,), by what they lack; only what at least one row lacks is named."""
    faults = {_FAULTS[rows.kind]: _missing_inputs(rows.inputs)}
    splits = rows.splits
    if splits is not None:
        faults["without a split"] = _where(splits, lambda split: not split)
    if labelled and rows.labels is not None:
        faults["without a label"] = _where(rows.labels, lambda label: not label) & _in_study(splits, len(rows))
    if labelled and rows.noisy_labels is not None:
        development = _in_study(splits, len(rows), ("train", "validation"))
        faults["without a noisy label"] = _where(rows.noisy_labels, lambda label: not label) & development
    return {fault: missing for fault, missing in faults.items() if missing.any()}


_FAULTS: dict[dataset.Kind, str] = {
    "texts": "with an empty text",
    "embeddings": "with NaN or infinity",
    "images": "without an image",
}


def _where(values: list[str], test: Callable[[str], bool]) -> np.typing.NDArray[np.bool_]:
    return np.fromiter(map(test, values), dtype=bool, count=len(values))


def _in_study(
    splits: list[str] | None, n_rows: int, roles: tuple[str, ...] = ("train", "validation", "test")
) -> np.typing.NDArray[np.bool_]:
    """Return which rows are in splits of these roles; all where the source has no splits."""
    if splits is None:
        return np.ones(n_rows, dtype=bool)
    return _where(splits, lambda split: sources.SPLIT_ROLES.get(split.lower()) in roles)


def _missing_inputs(inputs: dataset.Inputs | dataset.EncodedImages) -> np.typing.NDArray[np.bool_]:
    if isinstance(inputs, tuple):
        return np.fromiter((not text.strip() for text in inputs), dtype=bool, count=len(inputs))
    if not isinstance(inputs, np.ndarray):
        return inputs.missing()
    missing = np.zeros(len(inputs), dtype=bool)
    if inputs.dtype.kind != "f":
        return missing
    for start in range(0, len(inputs), _ROWS_AT_ONCE):
        block = inputs[start : start + _ROWS_AT_ONCE]
        missing[start : start + len(block)] = ~np.isfinite(block).reshape(len(block), -1).all(axis=1)
    return missing


def _named(there: np.typing.NDArray[np.bool_], rows: dataset.Rows) -> str:
    """Return the names of the first rows, and the number of the others."""
    numbers = np.flatnonzero(there)
    first = ", ".join(rows.describe(int(number)) for number in numbers[:_NAMED])
    return first + (f" and {len(numbers) - _NAMED:,} more" if len(numbers) > _NAMED else "")
