"""`monosemy report`: pages, figures and a paper's tables of finished studies."""

from pathlib import Path
from typing import Annotated

import typer

from monosemy.cli.shared import Json, Quiet
from monosemy.core.console import make_console
from monosemy.errors import InputError


def report(
    runs: Annotated[list[Path], typer.Argument(help="Folders of finished studies; several are compared.")],
    latex: Annotated[bool, typer.Option("--latex", help="Print the tables as LaTeX (booktabs, multirow).")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the tables as Markdown.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print every number as CSV.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder for page and figures; default the study's own, or runs/comparison.")
    ] = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Make the report of a study again, compare several, or print the tables of a paper.

    **Examples**

    `monosemy report runs/demo` — figures as PNG, SVG and PDF, and report.html

    `monosemy report runs/clinc150 runs/cifar --out runs/both` — one page for both

    `monosemy report runs/demo --latex > table.tex`
    """
    from monosemy.commands.report import FORMATS, execute

    wanted = [name for name, given in zip(FORMATS, (latex, markdown, csv), strict=True) if given]
    if len(wanted) > 1:
        raise InputError(f"--{wanted[0]} and --{wanted[1]} are both given; choose one format.")
    if json and wanted:
        raise InputError(f"--json and --{wanted[0]} are both given; choose one format.")
    execute(runs, wanted[0] if wanted else None, out, make_console(quiet, json), as_json=json)
