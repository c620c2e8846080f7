"""One progress display for long work, on the error stream, silent where that is no terminal."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class OnProgress(Protocol):
    """Told how far each kind of work is."""

    def __call__(self, what: str, done: int, total: int, note: str = "") -> None: ...


@contextmanager
def progress(console: Console) -> Iterator[OnProgress]:
    """Yield a function of (what, done, in all) that keeps one bar for each ``what``; quiet if the console is."""
    stream = Console(stderr=True, quiet=console.quiet)
    bars = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=stream,
        disable=not stream.is_terminal,
    )
    tasks = {}

    def on_progress(what: str, done: int, total: int, note: str = "") -> None:
        if what not in tasks:
            tasks[what] = bars.add_task(what, total=total, rate="", note="")
        speed = bars.tasks[tasks[what]].speed
        bars.update(tasks[what], completed=done, total=total, rate=f"{speed:,.1f}/s" if speed else "", note=note)
        if done >= total:
            bars.update(tasks[what], visible=what in ("Training encoders", "Feature sets"))

    with bars:
        yield on_progress
