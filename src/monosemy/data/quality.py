"""Rows that cannot be used: one policy for missing labels, inputs and splits, whatever they were read from."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from monosemy.data import config, dataset, sources
from monosemy.data.findings import Finding
from monosemy.errors import InputError

_NAMED = 5
"""Rows of each kind that a message names."""
_ROWS_AT_ONCE = 2**16
_NUMBERS_AT_ONCE = 2**22


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
    kept, messages = kept_rows(faults, len(rows), rows.describe, on_bad_row, name)
    if kept is None:
        return rows
    chosen = rows.take(kept)
    return replace(chosen, messages=(*chosen.messages, *messages))


def kept_rows(
    faults: Mapping[str, np.typing.NDArray[np.bool_]],
    n_rows: int,
    describe: Callable[[int], str],
    on_bad_row: config.OnBadRow,
    name: str,
) -> tuple[np.typing.NDArray[np.int64] | None, tuple[str, ...]]:
    """Return the rows that can be used, with a message about the others; None where all can.

    Args:
        faults: which rows cannot be used, (N,), by what they lack.
        describe: returns the name of a row in messages.
        name: the name of the source in messages.
    """
    if not faults:
        return None, ()
    bad = np.logical_or.reduce(list(faults.values()))
    counts = ", ".join(f"{int(there.sum()):,} {fault} ({_named(there, describe)})" for fault, there in faults.items())
    fault = f"{int(bad.sum()):,} of {n_rows:,} rows that cannot be used: {counts}"
    counted = " (rows count from 0, without the header)" if describe(0).startswith("row ") else ""
    if on_bad_row == "stop":
        raise InputError(f"{name} has {fault}; repair them, or leave them out by --on-bad-row skip{counted}.")
    if bad.all():
        raise InputError(f"{name} has no row that can be used: {counts}{counted}.")
    return np.flatnonzero(~bad), (f"Left out: {fault}{counted}.",)


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


_DOMINATES = 30
"""Ratio of a column's spread, or distance from 0, to the usual spread from which the column is named."""


def scale_findings(rows: np.typing.NDArray[np.floating]) -> list[Finding]:
    """Return what the scales of the columns (N, D) mean: constant columns, and a few that hide the others."""
    means, spreads = np.empty(rows.shape[1]), np.empty(rows.shape[1])
    step = max(1, _NUMBERS_AT_ONCE // max(1, len(rows)))
    for start in range(0, rows.shape[1], step):
        block = rows[:, start : start + step].astype(np.float64)
        means[start : start + step], spreads[start : start + step] = block.mean(axis=0), block.std(axis=0)
    constant = spreads <= 1e-7 * np.abs(means)
    found = []
    if constant.any():
        n = int(constant.sum())
        found.append(
            Finding(
                "scale",
                f"{n:,} of {rows.shape[1]:,} columns {'are' if n > 1 else 'is'} constant ({_columns(constant)}), so "
                f"they carry nothing.",
                "note" if n < rows.shape[1] else "error",
            )
        )
    usual = float(np.median(spreads[~constant])) if not constant.all() else 0.0
    wide = spreads > _DOMINATES * usual
    if wide.any() and wide.sum() <= rows.shape[1] / 10 + 1 and usual:
        most = int(spreads.argmax())
        found.append(
            Finding(
                "scale",
                f"{int(wide.sum()):,} of {rows.shape[1]:,} columns have a far larger scale than the others "
                f"({_columns(wide)}; column {most} has the standard deviation {spreads[most]:.3g}, the usual one is "
                f"{usual:.3g}) and hide them; divide each column by its standard deviation.",
            )
        )
    offset = (np.abs(means) > _DOMINATES * np.maximum(spreads, usual)) & (~constant | (np.abs(means) > 0)) & bool(usual)
    if offset.any():
        most = int(np.abs(means).argmax())
        found.append(
            Finding(
                "scale",
                f"{int(offset.sum()):,} of {rows.shape[1]:,} columns lie far from 0 ({_columns(offset)}; column {most} "
                f"has the mean {means[most]:.3g}, the usual standard deviation is {usual:.3g}); subtract the means.",
            )
        )
    return found


def _columns(there: np.typing.NDArray[np.bool_]) -> str:
    numbers = np.flatnonzero(there)
    more = f" and {len(numbers) - _NAMED:,} more" if len(numbers) > _NAMED else ""
    return f"column{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers[:_NAMED]))}{more}"


def _named(there: np.typing.NDArray[np.bool_], describe: Callable[[int], str]) -> str:
    """Return the names of the first rows, and the number of the others."""
    numbers = np.flatnonzero(there)
    first = ", ".join(describe(int(number)) for number in numbers[:_NAMED])
    return first + (f" and {len(numbers) - _NAMED:,} more" if len(numbers) > _NAMED else "")
