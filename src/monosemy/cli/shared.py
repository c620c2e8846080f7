"""What several commands need."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

OUT = typer.Option("--out", help="Folder for results and figures; made if missing.")


@contextmanager
def resumable() -> Iterator[None]:
    """Interrupt keys end a command with one sentence."""
    try:
        yield
    except KeyboardInterrupt:
        print("Interrupted. What was finished is kept; the same command goes on from there.", file=sys.stderr)
        raise typer.Exit(130) from None
