"""`monosemy report`: finished studies in, pages, figures or a paper's tables out."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from monosemy.core.console import json_text, progress
from monosemy.errors import InputError
from monosemy.results.result import StudyResult
from monosemy.study.registry import read_study, study_kind, version_of

FORMATS = ("latex", "markdown", "csv")


def execute(
    folders: Sequence[Path], table: str | None, out: Path | None, console: Console, *, as_json: bool = False
) -> None:
    """Print tables where a format is given, else write figures and page.

    Args:
        folders: of finished studies.
        table: one of FORMATS.
        out: where figures and page go; the study's own folder, for several runs/comparison.

    Raises:
        InputError: a folder holds no finished study, a file of one cannot be read, studies were made by different
            versions, or a gallery cannot be made again; what can be shown without them was shown before.
    """
    faults: list[str] = []
    runs = _read(folders, faults)
    if table is not None and runs:
        from monosemy.report import latex

        print({"latex": latex.as_latex, "markdown": latex.as_markdown, "csv": latex.as_csv}[table](runs), end="")
    elif runs:
        page = _page(runs, out, faults, console)
        if as_json:
            print(json_text({"page": page, "studies": {name: result.summary for name, result in runs.items()}}))
        console.print(Text(str(page)), soft_wrap=True)
    if faults:
        raise InputError(" ".join(faults))


def _page(runs: dict[str, StudyResult], out: Path | None, faults: list[str], console: Console) -> Path:
    """The page of one study with its gallery and figures, or one page for several."""
    if len(runs) > 1:
        from monosemy.report.latex import write_comparison

        return write_comparison(runs, out or Path("runs") / "comparison")

    from monosemy.report.figures import save_figures
    from monosemy.report.html import write_report

    result = next(iter(runs.values()))
    assert result.folder is not None
    folder = out or result.folder
    with progress(console) as on_progress:
        problem = study_kind(result.kind).restore_files(result, folder, on_progress)
    if problem is not None:
        faults.append(problem)
    save_figures(result, folder)
    return write_report(result, folder)


def _read(folders: Sequence[Path], faults: list[str]) -> dict[str, StudyResult]:
    """Studies by the shortest ends of their paths that tell them apart; those that cannot be read are faults."""
    places = [folder.resolve() for folder in folders]
    if len(set(places)) < len(places):
        raise InputError(f"The folder {folders[0]} is given twice; give each study once.")
    depth = 1
    while len({place.parts[-depth:] for place in places}) < len(places):
        depth += 1
    results, first = {}, ""
    for folder, place in zip(folders, places, strict=True):
        try:
            result = read_study(folder, faults)
            if len(folders) > 1:
                first = _same_version(folder, first)
        except InputError as error:
            faults.append(str(error))
        else:
            results[str(Path(*place.parts[-depth:]))] = result
    return results


def _same_version(folder: Path, first: str) -> str:
    """The version of the studies that are compared, which the first of them sets."""
    version = version_of(folder)
    if version != (first or version):
        raise InputError(
            f"The study in {folder} is by monosemy {version} and those before it by {first}, which are different "
            f"versions; run one of them again before comparing."
        )
    return version
