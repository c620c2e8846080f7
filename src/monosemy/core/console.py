"""The console of a command: progress bars on the error stream, JSON on the output stream, and signals.

A command prints for people, or JSON for other programs and nothing else beside it.
"""

import codecs
import io
import json
import math
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol

from rich.console import Console
from rich.filesize import pick_unit_and_suffix
from rich.progress import (
    BarColumn,
    Progress as ProgressBars,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column, Table
from rich.text import Text

from monosemy.errors import MonosemyWarning

if TYPE_CHECKING:
    import pandas as pd

_LINE_EVERY = 30.0
"""Seconds between lines of progress outside a terminal."""
OnCount = Callable[[int, int], None]
"""Progress of one kind of work: called with (done, total)."""
OnLoss = Callable[[int, int, float], None]
"""Progress of a training: called with (done, total, loss)."""


class Progress(Protocol):
    """Progress of several kinds of work: called with the caption of one of them, (done, total), and a note on it."""

    def __call__(self, what: str, done: int, total: int, note: str = "") -> None: ...


def no_progress(what: str, done: int, total: int, note: str = "") -> None:
    """Ignore all progress."""


_PLAIN = {
    "\u2212": "-", "\u2013": "-", "\u2014": "-", "\u2026": "...", "\u2018": "'", "\u2019": "'", "\u201c": '"',
    "\u201d": '"', "\xb1": "+/-", "\xd7": "x", "\u221a": "sqrt", "\u2191": "up", "\u2193": "down", "\u2264": "<=",
    "\u2265": ">=", "\xa0": " ", "\u202f": " ", "\u2022": "*",
}  # fmt: skip
"""What is printed for characters of ours where the encoding of a stream lacks them."""


def print_every_text() -> None:
    """Make the output and the error stream take every text, whatever the system's encoding.

    - UTF-8 stays what it is.
    - A terminal of another encoding, such as cp1252, shows similar characters, or escapes such as `\\u624b`, for those
      that it lacks.
    - A pipe or file of another encoding becomes UTF-8, which LaTeX, Markdown and CSV are; ASCII with such replacements
      where the user chose an encoding by ``PYTHONIOENCODING``.
    """
    codecs.register_error("monosemy", _replaced)
    for stream in (sys.stdout, sys.stderr):
        if not isinstance(stream, io.TextIOWrapper):  # a caller has replaced it by something else
            continue
        encoding: str | None = None
        if not stream.encoding.lower().startswith("utf") and not stream.isatty():
            encoding = "ascii" if os.environ.get("PYTHONIOENCODING") else "utf-8"
        stream.reconfigure(encoding=encoding, errors="monosemy")


def _replaced(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(_PLAIN.get(c) or c.encode("ascii", "backslashreplace").decode() for c in text), error.end


def show_own_warnings() -> None:
    """Print warnings of this package as one line each, once, and none of other libraries, whose raw form helps nobody.

    Python's own options bring them back: ``-W default`` or ``PYTHONWARNINGS=default``.
    """
    if sys.warnoptions:
        return
    warnings.simplefilter("ignore")
    warnings.simplefilter("once", MonosemyWarning)
    warnings.showwarning = _print_warning


def _print_warning(message: Warning | str, *_: object, **__: object) -> None:
    print(f"Warning: {message}", file=sys.stderr)


def make_console(quiet: bool = False, as_json: bool = False) -> Console:
    """Return the console for people, which is silent for `--quiet` and beside JSON, as are the progress bars then.

    With `--quiet` there are no warnings either.
    """
    if quiet and not sys.warnoptions:
        warnings.simplefilter("ignore")
    return Console(quiet=quiet or as_json)


def print_line(console: Console, line: str) -> None:
    """Print a line as it is: paths in it are neither wrapped nor coloured, and brackets are no markup."""
    console.print(line, highlight=False, markup=False, emoji=False, soft_wrap=True)


def print_table(
    console: Console, heads: Sequence[str], rows: Iterable[Sequence[str]], right: Collection[str] = ()
) -> None:
    """Print a table without lines, with the columns of some heads aligned to the right."""
    table = Table(box=None, pad_edge=False)
    for head in heads:
        table.add_column(head, justify="right" if head in right else "left")
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table, highlight=False)


class _Count(ProgressColumn):
    """The count and the rate: `12.3k/60.0k 1.2k/s`."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        rate = f" {_short(speed)}/s" if speed else ""
        return Text(f"{_short(task.completed)}/{_short(task.total or 0)}{rate}", style="progress.download")


class _Lines:
    """Progress for log files: a line with rate and time left, at most every 30 seconds."""

    def __init__(self, stream: Console) -> None:
        self._stream = stream
        self._printed = time.monotonic()
        self._starts: dict[str, tuple[float, int]] = {}
        """Time and count of the first call for each caption."""

    def __call__(self, what: str, done: int, total: int, note: str = "") -> None:
        now = time.monotonic()
        started, first = self._starts.setdefault(what, (now, done))
        if now - self._printed < _LINE_EVERY:
            return
        self._printed = now
        line = f"{what}: {_short(done)}/{_short(total)}"
        if done > first and now > started:
            rate = (done - first) / (now - started)
            left = timedelta(seconds=round((total - done) / rate))
            line += f", {_short(rate)}/s, about {left} left"
        print_line(self._stream, f"{line} {note}".rstrip())


@contextmanager
def progress(console: Console) -> Iterator[Progress]:
    """Yield a :class:`Progress` with a bar for each caption; outside a terminal a line every 30 seconds.

    It is silent if the console is. A bar that started while another one was running is a part of that work and
    disappears when it is complete; the others stay. In 80 columns the bar, then long captions and notes are shortened:
    count, rate and time left stay.
    """
    stream = Console(stderr=True, quiet=console.quiet)
    if not stream.is_terminal:
        yield no_progress if console.quiet else _Lines(stream)
        return
    bars = ProgressBars(
        TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis", max_width=20)),
        BarColumn(bar_width=None, table_column=Column(ratio=1, min_width=4)),
        _Count(table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[note]}", table_column=Column(no_wrap=True, overflow="ellipsis", max_width=24)),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True, table_column=Column(no_wrap=True)),
        console=stream,
        expand=True,
        disable=console.quiet,
    )
    tasks: dict[str, tuple[TaskID, bool]] = {}

    def on_progress(what: str, done: int, total: int, note: str = "") -> None:
        if what not in tasks:
            nested = any(not task.finished for task in bars.tasks)
            tasks[what] = bars.add_task(what, total=total, note=""), nested
        number, nested = tasks[what]
        bars.update(number, completed=done, total=total, note=note, visible=done < total or not nested)

    with bars:
        yield on_progress


def _short(number: float) -> str:
    """Return at most five characters and a letter: 7, 0.42, 12.3k, 60.0k, 1.2M."""
    unit, suffix = pick_unit_and_suffix(int(number), ["", "k", "M", "G", "T"], 1000)
    value = number / unit
    if suffix:
        return f"{value:,.1f}{suffix}"
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.2g}"


def json_text(answer: Any) -> str:
    """Return JSON of nested dicts, lists, tables, arrays, dataclasses and numbers; NaN and infinity become null.

    It is ASCII, since programs read it whatever the encoding of a pipe.
    """
    return json.dumps(to_plain(answer), indent=2, allow_nan=False)


def outcome_json(
    verdict: Sequence[str],
    warnings: Sequence[str],
    notices: Sequence[str],
    summary: "pd.DataFrame",
    folder: Path | None,
    **more: Any,
) -> str:
    """Return the JSON of a study of any kind."""
    common = {"verdict": verdict, "warnings": warnings, "notices": notices, "summary": summary}
    return json_text(common | more | {"folder": folder})


def to_plain(value: Any) -> Any:
    """Return the value as strings, numbers, lists and dicts; a table becomes a list with a dict for each row."""
    import numpy as np  # imported here: `--help` needs neither
    import pandas as pd

    if isinstance(value, pd.DataFrame):
        return [to_plain(row) for row in value.to_dict("records")]
    if is_dataclass(value) and not isinstance(value, type):
        return to_plain(asdict(value))
    if hasattr(value, "_asdict"):
        return to_plain(value._asdict())
    if isinstance(value, Mapping):
        return {str(name): to_plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(part) for part in value]
    if isinstance(value, np.ndarray | np.generic):
        return to_plain(value.tolist())
    if isinstance(value, Path):
        return str(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


class Stopped(BaseException):
    """The user or the system asked the command to end; no library catches it, since it is no ``Exception``."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Raise :class:`Stopped` at the first SIGINT or SIGTERM; a second ends the process at once."""
    stopping = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopping
        if stopping:
            os._exit(128 + number)
        stopping = True
        raise Stopped(number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
