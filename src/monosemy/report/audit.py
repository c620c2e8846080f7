"""The review page of an audit: rows whose labels may be wrong, decided one by one, and the decisions read again."""

import csv
import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from monosemy.core.files import readable, write_text
from monosemy.data.text_files import text_file
from monosemy.data.text_tables import find_delimiter
from monosemy.errors import InputError, names, shown
from monosemy.report import packing
from monosemy.report.html import HIDDEN, rendered

MOST_BYTES = 29_000_000
"""Of the page: below 30 MB with its style and scripts."""
MOST_ROWS = 200_000
"""A browser draws no list that is much higher."""
_SIDES = (64, 256)
"""Of thumbnails of larger images: on smaller ones a label can hardly be judged."""
_MOST_PIXELS = 2 * packing.MOST_PIXELS
"""In all thumbnails together: at 64 x 64 they take about as much as the page may."""
_BLOCK_ROWS, _BLOCK_CHARACTERS = 500, 400_000
"""At most in a block that is compressed, and read by the page, as a whole."""
_LONGEST_TEXT = 100_000
_ROW_BYTES = 16
"""Of two labels and a probability."""


@dataclass(frozen=True)
class AuditPage:
    """The content of the page: N rows, the most suspicious first."""

    title: str
    """Name of the data."""
    about: Sequence[str]
    """Sentences for the top, such as the estimated noise rate with its interval, and how the rows were scored."""
    row_names: Sequence[str]
    """Keys of the decisions, unique, such as `row 17` or `photos/cat/3.png`."""
    given: NDArray[np.int64]
    """(N,), positions in ``class_names``."""
    suggested: NDArray[np.int64]
    """(N,), positions in ``class_names``."""
    probability_wrong: NDArray[np.floating[Any]]
    """(N,), in [0, 1], falling."""
    reasons: Sequence[str]
    """Why the given label may be wrong, in words."""
    class_names: Sequence[str]
    inputs: tuple[str, ...] | NDArray[np.uint8] | None
    """Texts, or images (N, C, H, W); embeddings have None."""


def write_audit_page(page: AuditPage, path: Path) -> None:
    """Write the page; it opens offline.

    Where it would be larger than 30 MB it has only the most suspicious rows, and says how many.

    Raises:
        InputError: the parts of the page do not fit together.
    """
    _check(page)
    n = min(len(page.row_names), MOST_ROWS)
    has_images = isinstance(page.inputs, np.ndarray)
    if isinstance(page.inputs, np.ndarray):
        size = packing.thumbnail_size((page.inputs.shape[2], page.inputs.shape[3]), n, _SIDES)
        n = min(n, _MOST_PIXELS // (size[0] * size[1]))
    blocks, starts, n = _blocks(page, n, MOST_BYTES // 2 if has_images else MOST_BYTES)
    sheets = None
    if isinstance(page.inputs, np.ndarray) and n:
        rest = MOST_BYTES - sum(map(len, blocks)) - n * _ROW_BYTES
        sheets = _sheets_within(packing.thumbnails(page.inputs, np.arange(n), size), rest)
        n = min(n, sheets.columns * (sheets.rows * (len(sheets.files) - 1) + sheets.last_rows))
        starts = [start for start in starts if start < n]
        blocks = blocks[: len(starts)]
    kind = "images" if has_images else "none" if page.inputs is None else "texts"
    write_text(path, _html(page, n, kind, list(zip(starts, blocks, strict=True)), sheets))


def _check(page: AuditPage) -> None:
    n = len(page.row_names)
    inputs = () if page.inputs is None else (("inputs", page.inputs),)
    for name, values in (
        ("given", page.given), ("suggested", page.suggested), ("probability_wrong", page.probability_wrong),
        ("reasons", page.reasons), *inputs,
    ):  # fmt: skip
        if len(values) != n:
            raise InputError(f"{name} has {len(values):,} entries for {n:,} row_names; give one for each.")
    for name, labels in (("given", page.given), ("suggested", page.suggested)):
        if n and not (labels.min() >= 0 and labels.max() < len(page.class_names)):
            raise InputError(
                f"{name} has labels from {labels.min()} to {labels.max()} for {len(page.class_names)} class_names; "
                f"give positions in class_names."
            )
    known = page.probability_wrong
    if not ((known >= 0) & (known <= 1)).all() or (np.diff(known) > 0).any():
        raise InputError("probability_wrong is not falling within [0, 1]; sort the rows, the most suspicious first.")
    for name, values in (("row_names", page.row_names), ("class_names", page.class_names)):
        if len(set(values)) != len(values):
            twice = next(text for text, times in Counter(values).items() if times > 1)
            raise InputError(f"{name} has {shown(twice)} twice; make the names unique.")


def _blocks(page: AuditPage, n_rows: int, most_bytes: int) -> tuple[list[Markup], list[int], int]:
    """Return names, reasons and texts in compressed blocks, the first row of each, and how many rows they hold.

    They hold the first ``n_rows``, or as many as fit.
    """
    blocks: list[Markup] = []
    starts: list[int] = []
    left = most_bytes
    for start, stop in _spans(page, n_rows):
        rows = range(start, stop)
        block = packing.compressed(
            {
                "names": [page.row_names[row] for row in rows],
                "reasons": [page.reasons[row] for row in rows],
                "texts": [_cut(page.inputs[row]) for row in rows] if isinstance(page.inputs, tuple) else [],
            }
        )
        left -= len(block) + _ROW_BYTES * len(rows)
        if left < 0:
            return blocks, starts, start
        blocks.append(block)
        starts.append(start)
    return blocks, starts, n_rows


def _spans(page: AuditPage, n_rows: int) -> Iterator[tuple[int, int]]:
    """Yield first row and end of blocks; one of few but long texts has fewer rows."""
    start = characters = 0
    for row in range(n_rows):
        size = len(page.inputs[row]) if isinstance(page.inputs, tuple) else 0
        characters += min(size, _LONGEST_TEXT) + len(page.reasons[row])
        if row + 1 == n_rows or row + 1 - start == _BLOCK_ROWS or characters >= _BLOCK_CHARACTERS:
            yield start, row + 1
            start, characters = row + 1, 0


def _cut(text: str) -> str:
    rest = len(text) - _LONGEST_TEXT
    return text if rest <= 0 else f"{text[:_LONGEST_TEXT]}… ({rest:,} more characters are not on this page)"


def _sheets_within(images: packing.Pixels, most_bytes: int) -> packing.Sheets:
    """Return as many sheets, at least one, as fit at the lowest quality."""
    sheets = packing.sprite_sheets(images, most_bytes * 3 // 4)
    sizes = np.cumsum([-(-len(file) // 3) * 4 for file in sheets.files])
    n_files = max(1, int(np.searchsorted(sizes, most_bytes, side="right")))
    if n_files == len(sheets.files):
        return sheets
    return replace(sheets, files=sheets.files[:n_files], last_rows=sheets.rows)


def _html(
    page: AuditPage, n: int, kind: str, blocks: Sequence[tuple[int, Markup]], sheets: packing.Sheets | None
) -> str:
    arrays = packing.Arrays()
    content = {
        "given": arrays.add(page.given[:n], np.int32),
        "suggested": arrays.add(page.suggested[:n], np.int32),
        "probability": arrays.add(page.probability_wrong[:n], np.float32),
    }
    values: dict[str, Any] = {
        "kind": kind,
        "n": n,
        "classes": list(page.class_names),
        "rows": content,
        "blocks": [start for start, _ in blocks],
        "hidden": HIDDEN.pattern,
        "digest": _digest(page, n),
    }
    parts = [(f"block-{number}", block) for number, (_, block) in enumerate(blocks)]
    pictures = []
    if sheets is not None:
        values["sheets"] = sheets.layout()
        pictures = sheets.parts()
    context = {
        "title": page.title,
        "about": page.about,
        "left_out": _left_out(page, n),
        "page": packing.json_text(values),
        "first": [("arrays", arrays.text()), *parts[:1], *pictures[:1]],
        "rest": [*parts[1:], *pictures[1:]],
    }
    return rendered("audit.html.j2", context, ("packed.js", "audit_files.js", "audit.js"))


def _left_out(page: AuditPage, n: int) -> str:
    total = len(page.row_names)
    if n == total:
        return ""
    return (
        f"The {n:,} most suspicious of {total:,} rows are on this page, those whose label is wrong with a probability "
        f"of at least {100 * page.probability_wrong[n - 1]:.1f} %; a page of all rows would be too large."
    )


def _digest(page: AuditPage, n: int) -> str:
    """Return a digest of what decisions are about; a browser keeps them under it."""
    labels = (page.given[:n].tolist(), page.suggested[:n].tolist())
    content = json.dumps([list(page.class_names), list(page.row_names[:n]), *labels])
    return hashlib.sha256(content.encode()).hexdigest()[:32]


_COLUMNS = ("row", "given", "suggested", "decision", "label")
_LABEL_OF = {"accept": "suggested", "keep": "given", "relabel": "label"}
"""The column that holds the label after a decision."""
_SKIP = "skip"
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
"""A beginning that makes a spreadsheet compute; apostrophes before it count, so that quoting can be undone."""
_PLAIN_NUMBER = re.compile(r"-[0-9]+([.][0-9]+)?")


def read_decisions(path: Path) -> dict[str, str]:
    """Read the decisions that the page has exported, as CSV or JSON.

    Returns: the label after the decision of each row, by the row's name; rows that were skipped are left out.

    Raises:
        InputError: the file is missing or is no CSV or JSON, a column is missing, a decision is unknown or disagrees
            with its label, or a row stands in it twice with different decisions.
    """
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".json"):
        raise InputError(f"{path} is neither .csv nor .json; give the file that the page of the audit has exported.")
    with readable(path, suffix[1:].upper(), "give the file that the page of the audit has exported"):
        records = _json_records(path) if suffix == ".json" else _csv_records(path)
    decided: dict[str, tuple[str, str]] = {}
    for number, record in enumerate(records, start=1):
        row, decision, label = record["row"], record["decision"], _label(record, number, path)
        if decided.setdefault(row, (decision, label)) != (decision, label):
            raise InputError(f"{path} has {shown(row)} twice with different decisions; remove one of them.")
    return {row: label for row, (decision, label) in decided.items() if decision != _SKIP}


def _label(record: dict[str, str], number: int, path: Path) -> str:
    """Return the label after a decision; skipping leaves none."""
    decision = record["decision"]
    if decision != _SKIP and decision not in _LABEL_OF:
        raise InputError(
            f"{path} has the decision {shown(decision)} in record {number} (row {shown(record['row'])}); write accept, "
            f"keep, relabel or skip."
        )
    label = "" if decision == _SKIP else record[_LABEL_OF[decision]]
    if label != record["label"] or (decision == "relabel" and not label):
        meant = "a label" if decision == "relabel" else shown(label)
        raise InputError(
            f"{path} has the label {shown(record['label'])} in record {number} (row {shown(record['row'])}), but its "
            f"decision {decision} means {meant}; make them agree."
        )
    return label


def _json_records(path: Path) -> list[dict[str, str]]:
    records = json.loads(path.read_text(encoding="utf-8-sig"))
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise ValueError("it is no list of objects")
    for number, record in enumerate(records, start=1):
        _check_columns(record, path)
        wrong = next((name for name in _COLUMNS if not isinstance(record[name], str)), None)
        if wrong is not None:
            raise ValueError(f"{wrong} of record {number} is no text")
    return records


def _csv_records(path: Path) -> list[dict[str, str]]:
    """Read a table as the page writes it, or as a spreadsheet saves that: with semicolons, or in another encoding."""
    with text_file(path).open_text() as opened:
        text = opened.read()
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=find_delimiter(text, ","), strict=True)
    header, *rows = [row for row in reader if row] or [[]]
    _check_columns(header, path)
    uneven = next((number for number, row in enumerate(rows, start=1) if len(row) != len(header)), None)
    if uneven is not None:
        raise ValueError(f"record {uneven} has not as many fields as the header")
    return [dict(zip(header, map(_without_apostrophe, row), strict=True)) for row in rows]


def _check_columns(columns: Sequence[str] | dict[str, str], path: Path) -> None:
    missing = [name for name in _COLUMNS if name not in columns]
    if missing:
        raise InputError(
            f"{path} has no column {names(missing)}; give the file that the page of the audit has exported."
        )


def _without_apostrophe(field: str) -> str:
    """Undo what the page does to a text that a spreadsheet would compute: it puts an apostrophe before it."""
    text = field.removeprefix("'")
    return text if text != field and _is_formula(text) else field


def _is_formula(text: str) -> bool:
    return _FORMULA.match(text) is not None and not _PLAIN_NUMBER.fullmatch(text)
