"""One progress display for long work, on the error stream, silent where that is no terminal."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

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
