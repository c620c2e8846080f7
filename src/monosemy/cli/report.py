"""`monosemy report`: pages, figures and a paper's tables of finished studies."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monosemy.cli.options import Json, Quiet
from monosemy.core.console import json_text, make_console, print_line, progress
from monosemy.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from monosemy.results.result import StudyResult

app = typer.Typer(add_completion=False)


@app.command()
def report(
    folders: Annotated[
        list[Path], typer.Argument(metavar="FOLDER", help="Finished studies of any kind; several are compared.")
    ],
    latex: Annotated[bool, typer.Option("--latex", help="Print the tables as LaTeX (booktabs, multirow).")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the tables as Markdown.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print every number as CSV.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder of page and figures; by default the study's, or runs/comparison.")
    ] = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Write the report of a study again, compare several studies, or print the tables of a paper.

    **Examples**

    `monosemy report runs/demo` — figures as PNG, SVG and PDF, and report.html

    `monosemy report runs/clinc150 runs/cifar --out runs/both` — one page for both

    `monosemy report runs/demo --latex > table.tex`
    """
    flags = {"--latex": latex, "--markdown": markdown, "--csv": csv, "--json": json}
    given = [name for name, value in flags.items() if value]
    if len(given) > 1:
        raise InputError(f"{given[0]} and {given[1]} are both given; choose one format.")
    console, faults = make_console(quiet, json), list[str]()
    studies = _read(folders, faults)
    if studies and (latex or markdown or csv):
        from monosemy.report.latex import as_csv, as_latex, as_markdown

        print((as_latex if latex else as_markdown if markdown else as_csv)(studies), end="")
    elif studies:
        page = _write(studies, out, faults, console)
        if json:
            print(json_text({"page": page, "studies": {name: result.summary for name, result in studies.items()}}))
        print_line(console, str(page))
    if faults:
        raise InputError(" ".join(faults))


def _write(studies: "dict[str, StudyResult]", out: Path | None, faults: list[str], console: "Console") -> Path:
    """Write the page of one study with its figures and missing files, or one page for several."""
    from monosemy.report.latex import write_comparison
    from monosemy.study.engine import write_pages
    from monosemy.study.registry import study_kind

    if len(studies) > 1:
        return write_comparison(studies, out or Path("runs") / "comparison")
    (result,) = studies.values()
    assert result.folder is not None
    kind, folder = study_kind(result.kind), out or result.folder
    with progress(console) as on_progress:
        problem = kind.restore_files(result, folder, on_progress)
    if problem is not None:
        faults.append(problem)
    return write_pages(kind, result, folder)


def _read(folders: Sequence[Path], faults: list[str]) -> "dict[str, StudyResult]":
    """Return studies by the shortest ends of their paths that differ; those that cannot be read become faults.

    Studies of another version than the first one are not compared with it.
    """
    from monosemy.study.registry import read_study, version_of

    places = [folder.resolve() for folder in folders]
    if len(set(places)) < len(places):
        raise InputError(f"The folder {folders[0]} is given twice; give each study once.")
    depth = 1
    while len({place.parts[-depth:] for place in places}) < len(places):
        depth += 1
    studies, first = {}, None
    for folder, place in zip(folders, places, strict=True):
        try:
            result = read_study(folder, faults)
            if len(folders) > 1:
                version = version_of(folder)
                first = first or version
                if version != first:
                    raise InputError(
                        f"The study in {folder} is by monosemy {version} and those before it by {first}, which are "
                        f"different versions; run one of them again before comparing."
                    )
        except InputError as error:
            faults.append(str(error))
        else:
            studies[str(Path(*place.parts[-depth:]))] = result
    return studies
