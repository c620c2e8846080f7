"""Tables of delimited text as people have them: delimiter, quotation marks and header are found and said.

pandas reads the rows. It takes the delimiter and the quoting as they are given: a semicolon instead of a comma would
make one column, and a quotation mark that a TSV means literally would join rows. So both are looked up before.
"""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import pandas as pd

from monosemy.data.text_files import TextFile, text_file
from monosemy.errors import InputError, reason, shown

_CLOSING = re.compile(r'(?:[^"]|"")*+"(?!")')
"""The rest of a field in quotation marks; doubled marks are a part of it."""
_QUOTED = re.compile(r'"(?:[^"]|"")*"')
_SAMPLE = 2**18
"""Characters at the beginning from which delimiter and header are found."""
_MAX_RECORDS = 200
_AGREEING = 0.9
"""Fraction of the first records that must have as many fields as the header where not all have."""
_TITLES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars", r"\s+": "spaces"}
_SPACES = r"\s+"
_HINT = re.compile(r"sep=(.)\r?\n")
"""The line in which Excel states the delimiter."""
_NUMBER = re.compile(r"[+-]?(\d+[.,]?\d*|[.,]\d+)([eE][+-]?\d+)?")
"""A number with a point or a comma before its decimals."""


@dataclass(frozen=True)
class Layout:
    """The way in which a text is a table."""

    delimiter: str
    has_header: bool = True
    quoting: int = csv.QUOTE_MINIMAL
    skipped: int = 0
    """Lines before the header."""
    messages: tuple[str, ...] = ()


def read_text_table(
    path: Path, encoding: str | None = None, has_header: bool | None = None
) -> tuple[pd.DataFrame, Layout]:
    """Read a delimited text as a table of strings; columns are numbered where there is no header.

    Args:
        encoding, has_header: of the file, where they are known.
    """
    file = text_file(path, encoding)
    layout = find_layout(file)
    layout = layout if has_header is None else replace(layout, has_header=has_header)
    try:
        frame = pd.read_csv(  # type: ignore[call-overload]  # its stubs know the numbers of quoting only
            path,
            sep=layout.delimiter,
            encoding=file.encoding,
            dtype=str,
            keep_default_na=False,
            quoting=layout.quoting,
            skiprows=layout.skipped,
            header=0 if layout.has_header else None,
        )
    except pd.errors.ParserError as error:
        cause = str(error).removeprefix("Error tokenizing data. C error: ")
        raise InputError(
            f"{path} cannot be read as a table ({reason(ValueError(cause))}; its separator is "
            f"{shown(layout.delimiter)}); quote the fields that hold a separator, and double the marks inside."
        ) from error
    if not isinstance(frame.index, pd.RangeIndex):  # pandas took surplus first fields as an index
        raise InputError(f"{path} has rows with more fields than its header; quote the fields that hold a separator.")
    frame.columns = frame.columns.map(str)
    if layout.has_header:  # np.savetxt writes its header as a comment
        frame = frame.rename(columns={name: name.removeprefix("# ") for name in frame.columns[:1]})
    return frame, replace(layout, messages=(*file.messages, *layout.messages))


def find_layout(file: TextFile) -> Layout:
    """Find delimiter and header of a table from its beginning, and the quoting from all lines."""
    with file.open_text() as opened:
        text = opened.read(_SAMPLE)
        whole = len(text) < _SAMPLE
    hint = _HINT.match(text)
    text = text[hint.end() :] if hint else text
    usual = "\t" if file.path.name.lower().endswith((".tsv", ".tsv.gz", ".tab")) else ","
    delimiter = hint.group(1) if hint else find_delimiter(text, usual, whole)
    messages = []
    if delimiter != usual:
        messages.append(f"The fields of {file.path.name} are separated by {_TITLES.get(delimiter, shown(delimiter))}.")
    records = _records(text, delimiter, whole)
    _check_header(records, file.path)
    has_header = _has_header(records)
    if not has_header:
        messages.append(
            f"{file.path.name} has numbers in its first line, which was read as data; its columns were numbered from 0."
        )
    layout = Layout(delimiter, has_header, skipped=1 if hint else 0)
    quoting = layout.quoting
    if file.has_quotes and delimiter != _SPACES:
        quoting, said = _find_quoting(file, layout)
        messages += said
    return replace(layout, quoting=quoting, messages=tuple(messages))


def find_delimiter(text: str, usual: str, whole: bool = True) -> str:
    """Return the delimiter by which the header and the first records have equally many fields, more than one.

    The usual one of the file's ending goes first, also where some records disagree; pandas then names the first of
    them. ``csv.Sniffer`` is no help: it takes letters for delimiters, and quotation marks mislead it.

    Args:
        whole: whether this is the whole text; otherwise the last record is incomplete.
    """
    candidates = list(dict.fromkeys((usual, ",", ";", "\t", "|")))
    agreeing: dict[str, float] = {}
    for delimiter in candidates:
        widths = [len(record) for record in _records(text, delimiter, whole)]
        if widths and widths[0] > 1:
            agreeing[delimiter] = sum(width == widths[0] for width in widths) / len(widths)
    if agreeing.get(";") == 1.0 and _are_decimals(_records(text, ";", whole)):
        return ";"
    for least in (1.0, _AGREEING):
        for delimiter, fraction in agreeing.items():
            if fraction >= least:
                return delimiter
    if not agreeing and _is_numbers_by_spaces(text):
        return _SPACES
    return usual


def _records(text: str, delimiter: str, whole: bool) -> list[list[str]]:
    """Return the first records that are not blank; none where they cannot be parsed."""
    if delimiter == _SPACES:
        return [line.split() for line in text.splitlines()[:_MAX_RECORDS] if line.strip()]
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        records = [record for record in islice(reader, _MAX_RECORDS + 1) if record]
    except csv.Error:  # a field of more than 128 KiB, which an unpaired quotation mark makes
        return []
    return records if whole or len(records) <= 1 else records[: min(len(records) - 1, _MAX_RECORDS)]


def _are_decimals(records: Sequence[Sequence[str]]) -> bool:
    """Return whether each field with a comma is a number, so that commas stand before decimals."""
    fields = [field for record in records for field in record if "," in field]
    return bool(fields) and all(map(is_number, fields))


def _is_numbers_by_spaces(text: str) -> bool:
    """Return whether the lines are equally many numbers between spaces, as ``np.savetxt`` writes them."""
    lines = [line.split() for line in text.splitlines()[: _MAX_RECORDS - 1] if line.strip()]
    return (
        len(lines) > 1
        and len(lines[0]) > 1
        and all(len(fields) == len(lines[0]) and all(map(is_number, fields)) for fields in lines)
    )


def is_number(text: str) -> bool:
    """Return whether a text is a finite number."""
    return _NUMBER.fullmatch(text.strip()) is not None


def _check_header(records: Sequence[Sequence[str]], path: Path) -> None:
    """Raise where a name stands twice in the header; pandas would number the second."""
    header = [name for name in records[0] if name.strip() and not is_number(name)] if records else []
    twice = next((name for name in header if header.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{path} has the column {shown(twice)} twice; rename one.")


def _has_header(records: Sequence[Sequence[str]]) -> bool:
    """Return whether the first record names the columns: it does unless it holds data.

    It holds data where each field is a number, except for whole numbers that differ (pandas names columns so), or
    where a field is a number with decimals above another number.
    """
    if len(records) < 2 or len(records[0]) < 2:
        return True
    first, second = records[0], records[1]
    if all(map(is_number, first)):
        return all(field.strip().isdecimal() for field in first) and len(set(first)) == len(first)
    return not any(
        is_number(one) and not one.strip().isdecimal() and is_number(two)
        for one, two in zip(first, second, strict=False)
    )


@dataclass
class _Marks:
    """The quotation marks of a table, line by line."""

    delimiter: str
    width: int = 0
    """Fields of the header."""
    is_quoted: bool = False
    """Whether all names in the header have marks: then the writer quotes, and what marks join belongs together."""
    is_open: bool = False
    """Whether a field goes on in the next line."""
    n_needed: int = 0
    """Records that need their marks: a field holds a delimiter or a line break."""
    odd: list[int] = field(default_factory=list)
    """Records whose marks do not pair: they join lines each of which is a whole record, or text follows a field."""
    record: int = -1
    """Number of the record that was read last; the header is 0."""
    _whole_lines: bool = True
    """Whether each line of the open field has as many fields as the header."""

    def add(self, line: str) -> None:
        """Take the next line that is not blank."""
        starts = not self.is_open
        self.record += starts
        n_plain = line.count(self.delimiter) + 1
        n_fields, odd = self._parse(line) if self.is_open or '"' in line else (n_plain, False)
        if not self.width:
            self.width = n_fields
            self.is_quoted = all(_QUOTED.fullmatch(name) for name in line.split(self.delimiter))
        self._whole_lines = n_plain == self.width and (starts or self._whole_lines)
        if self.is_open:
            return
        if not starts:
            self._count(self._whole_lines)
        elif odd:
            self.odd.append(self.record)
        elif n_plain != self.width:
            self.n_needed += n_fields == self.width

    def end(self) -> None:
        """Take the end of the file."""
        if self.is_open:
            self._count(self._whole_lines)

    def _count(self, is_odd: bool) -> None:
        if is_odd and not self.is_quoted:
            self.odd.append(self.record)
        else:
            self.n_needed += 1

    def _parse(self, line: str) -> tuple[int, bool]:
        """Return the number of fields of a line, and whether text follows a closed field, as pandas reads them."""
        n_fields, odd, start = 1, False, 0
        while True:
            if self.is_open or line.startswith('"', start):
                closing = _CLOSING.match(line, start if self.is_open else start + 1)
                self.is_open = closing is None
                if closing is None:
                    return n_fields, odd
                start = closing.end()
                odd = odd or not (start == len(line) or line.startswith(self.delimiter, start))
            start = line.find(self.delimiter, start) + len(self.delimiter)
            if start < len(self.delimiter):
                return n_fields, odd
            n_fields += 1


def _find_quoting(file: TextFile, layout: Layout) -> tuple[int, list[str]]:
    """Return how pandas should read quotation marks, and messages.

    In a TSV they are mostly a part of the text. Where some do not pair there, and none is needed, all are; what pandas
    would do is to join all lines up to the next mark.
    """
    marks = _Marks(layout.delimiter)
    with file.open_text() as lines:
        for line in islice(lines, layout.skipped, None):
            if line := line.rstrip("\r\n"):
                marks.add(line)
    marks.end()
    if not marks.odd:
        return csv.QUOTE_MINIMAL, []
    where = f"in {len(marks.odd):,} rows (first: row {marks.odd[0] - layout.has_header})"
    if layout.delimiter == "\t" and not marks.n_needed:
        return csv.QUOTE_NONE, [
            f"{file.path.name} has quotation marks that do not pair {where}; all marks were read as characters of the "
            f"texts."
        ]
    return csv.QUOTE_MINIMAL, [
        f"{file.path.name} has quotation marks that do not pair {where}: they join lines that are whole rows, or are "
        f"lost; double the marks inside of a text."
    ]
