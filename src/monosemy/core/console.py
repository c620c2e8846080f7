"""One progress display for long work, on the error stream, silent where that is no terminal.

What a command found, for other programs: JSON with null for what is not known, and nothing else beside it.

Interrupt keys and a polite kill, as an exception that no library takes for its own.
"""

import json
import math
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import numpy as np
import pandas as pd
from rich.console import Console
from rich.filesize import pick_unit_and_suffix
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text


class OnProgress(Protocol):
    """Told how far each kind of work is."""

    def __call__(self, what: str, done: int, total: int, note: str = "") -> None: ...


class _Count(ProgressColumn):
    """How much is done, and how much a second: `12.3k/60.0k 1.2k/s`."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        rate = f" {_short(speed)}/s" if speed else ""
        return Text(f"{_short(task.completed)}/{_short(task.total or 0)}{rate}", style="progress.download")


def make_console(quiet: bool = False, json: bool = False) -> Console:
    """Return the console that text for people goes to; JSON stands alone on the output stream."""
    return Console(quiet=quiet or json)


@contextmanager
def progress(console: Console) -> Iterator[OnProgress]:
    """Yield a function of (what, done, in all) that keeps one bar for each ``what``; quiet if the console is.

    In 80 columns the bar, then long names and notes give way: count, rate and time left stay.
    """
    stream = Console(stderr=True, quiet=console.quiet)
    bars = Progress(
        TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis", max_width=20)),
        BarColumn(bar_width=None, table_column=Column(ratio=1, min_width=4)),
        _Count(table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[note]}", table_column=Column(no_wrap=True, overflow="ellipsis", max_width=24)),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True, table_column=Column(no_wrap=True)),
        console=stream,
        expand=True,
        disable=not stream.is_terminal,
    )
    tasks = {}

    def on_progress(what: str, done: int, total: int, note: str = "") -> None:
        if what not in tasks:
            tasks[what] = bars.add_task(what, total=total, note="")
        bars.update(tasks[what], completed=done, total=total, note=note)
        if done >= total:
            bars.update(tasks[what], visible=what in ("Training encoders", "Feature sets"))

    with bars:
        yield on_progress


def _short(number: float) -> str:
    """At most five characters and a letter: 7, 0.42, 12.3k, 60.0k, 1.2M."""
    unit, suffix = pick_unit_and_suffix(int(number), ["", "k", "M", "G", "T"], 1000)
    value = number / unit
    if suffix:
        return f"{value:,.1f}{suffix}"
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.2g}"


def json_text(answer: Any) -> str:
    """JSON of nested dicts, lists, tables, arrays, dataclasses and numbers; NaN and infinity become null."""
    return json.dumps(plain(answer), indent=2, ensure_ascii=False, allow_nan=False)


def outcome_json(
    verdict: Sequence[str],
    warnings: Sequence[str],
    notices: Sequence[str],
    summary: pd.DataFrame,
    folder: Path | None,
    **more: Any,
) -> str:
    """What every kind of study tells a machine."""
    told = {"verdict": verdict, "warnings": warnings, "notices": notices, "summary": summary}
    return json_text(told | more | {"folder": folder})


def plain(value: Any) -> Any:
    """The same as strings, numbers, lists and dicts; a table becomes a list with a dict for each row."""
    if isinstance(value, pd.DataFrame):
        return [plain(row) for row in value.to_dict("records")]
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if hasattr(value, "_asdict"):
        return plain(value._asdict())
    if isinstance(value, Mapping):
        return {str(name): plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, Path):
        return str(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


class Stopped(BaseException):
    """The user, or the system, wants the command to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Raise :class:`Stopped` at the first SIGINT or SIGTERM; a second ends the process on the spot."""
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
