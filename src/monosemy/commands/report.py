"""`monosemy report`: finished studies in, pages, figures or a paper's tables out."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from monosemy.errors import InputError
from monosemy.study.reading import read_study, version_of
from monosemy.study.run import StudyResult

FORMATS = ("latex", "markdown", "csv")


def execute(folders: Sequence[Path], table: str | None, out: Path | None, console: Console) -> None:
    """Print tables where a format is given, else write figures and page.

    Args:
        folders: of finished studies.
        table: one of FORMATS.
        out: where figures and page go; the study's own folder, for several runs/comparison.

    Raises:
        InputError: a folder holds no finished study, or two were made by different versions.
    """
    runs = _read(folders)
    if table is not None:
        from monosemy.report import paper

        print({"latex": paper.as_latex, "markdown": paper.as_markdown, "csv": paper.as_csv}[table](runs), end="")
        return
    if len(runs) == 1:
        page = _one(next(iter(runs.values())), out or folders[0])
    else:
        from monosemy.report.comparison import write_comparison

        page = write_comparison(runs, out or Path("runs") / "comparison")
    console.print(Text(str(page)), soft_wrap=True)


def _one(result: StudyResult, folder: Path) -> Path:
    from monosemy.report import save_figures, write_report

    save_figures(result, folder)
    return write_report(result, folder)


def _read(folders: Sequence[Path]) -> dict[str, StudyResult]:
    """Studies by the shortest ends of their paths that tell them apart."""
    places = [folder.resolve() for folder in folders]
    if len(set(places)) < len(places):
        raise InputError(f"The folder {folders[0]} is given twice; give each study once.")
    results = [read_study(folder) for folder in folders]
    if len(folders) > 1:
        versions = {version_of(folder): folder for folder in folders}
        if len(versions) > 1:
            told = " and ".join(f"{folder} by monosemy {version}" for version, folder in sorted(versions.items()))
            raise InputError(f"{told} were made by different versions; run one of them again before comparing.")
    depth = 1
    while len({place.parts[-depth:] for place in places}) < len(places):
        depth += 1
    return {str(Path(*place.parts[-depth:])): result for place, result in zip(places, results, strict=True)}
