"""What several commands need: the options that all have, and how a command ends."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

OUT = typer.Option("--out", help="Folder for results and figures; made if missing.")

Device = Annotated[str | None, typer.Option(help="cpu or cuda; default cuda where there is one.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON, and nothing else.")]
PlanFile = Annotated[Path | None, typer.Option("--plan", help="Run this plan.yaml; the other settings are ignored.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")]


def said(quiet: bool, json: bool) -> Console:
    """Where words for people go, and from which progress knows whether to show itself; JSON stands alone."""
    return Console(quiet=quiet or json)


@contextmanager
def resumable() -> Iterator[None]:
    """Interrupt keys end a command with one sentence."""
    try:
        yield
    except KeyboardInterrupt:
        print("Interrupted. What was finished is kept; the same command goes on from there.", file=sys.stderr)
        raise typer.Exit(130) from None
