"""A look at a data set before anything is computed on it."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from monosemy.core.console import Progress
from monosemy.data import classes, copies, dataset, inspection, load, quality, splits
from monosemy.data.config import DIGIT_PAIRS, DataConfig
from monosemy.data.findings import DataReport, Finding, notes
from monosemy.errors import InputError

TextCheck = Callable[[tuple[str, ...]], Finding | None]
"""A look at all texts, such as at those that an encoder cuts."""


def check_data(
    config: DataConfig, seed: int = 0, on_progress: Progress | None = None, text_check: TextCheck | None = None
) -> DataReport:
    """Return what a study would find in its data: sizes, classes, splits, missing values, copies and scales.

    Nothing is trained, and what would stop a study is reported instead.

    Args:
        seed: seed of the splits, where they are drawn.
        text_check: a further look at texts, such as at their length.

    Raises:
        InputError: the source cannot be read at all.
    """
    if config.source == DIGIT_PAIRS:
        report = load.load_data(config, seed, on_progress).report
        assert report is not None
        return report
    name = load.source_name(config.source)
    rows, findings = _rows(config)
    faults = quality.missing_values(rows)
    missing = {fault: int(there.sum()) for fault, there in faults.items()}
    usable = rows
    try:
        usable = quality.usable_rows(rows, config.on_bad_row, config.source)
    except InputError as error:
        findings.append(Finding("missing", str(error)))
        bad = np.logical_or.reduce(list(faults.values()))
        if bad.all():
            findings[-1] = replace(findings[-1], severity="error")
            return DataReport(name, rows.kind, len(rows), 0, missing=missing, findings=tuple(findings))
        usable = rows.take(np.flatnonzero(~bad))
    if text_check is not None and isinstance(usable.inputs, tuple):
        finding = text_check(usable.inputs)
        findings += [] if finding is None else [finding]
    found = copies.find_copies(usable.inputs, on_progress)
    report = _report(config, seed, name, usable, found, findings)
    return replace(report, n_rows=len(rows), missing=missing)


def _rows(config: DataConfig) -> tuple[dataset.Rows, list[Finding]]:
    """Return all rows; without labels where none are found."""
    try:
        return load.all_rows(config.source, config), []
    except InputError as error:
        if config.label_column is not None or config.labels is not None:
            raise
        try:
            rows = load.all_rows(config.source, config, labelled=False)
        except InputError:
            raise error from None
        return rows, [Finding("labels", f"No labels were found, and studies need them: {error}")]


def _report(
    config: DataConfig, seed: int, name: str, rows: dataset.Rows, found: copies.Copies, findings: list[Finding]
) -> DataReport:
    everything = {"all": np.arange(len(rows))}
    stop = None
    if rows.labels is not None:
        try:
            assigned = splits.assign(rows, config, seed, name, inspection.groups_to_keep(rows, found))
            return inspection.report_on(name, rows, assigned, found, findings)
        except InputError as error:
            stop = Finding("labels", str(error), "error")
    numbers = np.zeros(len(rows), dtype=np.int64)
    counted = copies.count_copies(found, everything, numbers)
    look_alike = classes.look_alike_finding(dict.fromkeys(rows.labels)) if rows.labels is not None else None
    more = [finding for finding in (stop, look_alike) if finding is not None]
    return DataReport(
        source=name,
        kind=rows.kind,
        n_rows=len(rows),
        n_used=len(rows),
        copies=inspection.copy_numbers(counted),
        findings=(
            *findings,
            *notes("reading", rows.messages),
            *more,
            *inspection.copy_findings(counted, found.unseen, everything),
            *inspection.input_findings(rows.inputs, everything["all"]),
        ),
    )
