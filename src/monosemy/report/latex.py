"""The tables of one study or several as LaTeX, Markdown or CSV, to be put into a paper.

Several studies on one page.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from monosemy.core.files import write_text
from monosemy.report import tables
from monosemy.report.figures import study_figures
from monosemy.report.html import image, rendered, row_head, unbroken
from monosemy.report.tables import StudyFigure
from monosemy.results import result
from monosemy.results.wording import FEWER_IS_HARDER

ABOVE, BELOW = "↑", "↓"
_LATEX = str.maketrans(
    {ABOVE: r"$\uparrow$", BELOW: r"$\downarrow$", "±": r"$\pm$", tables.NOTHING: "--", "<": "$<$", ">": "$>$"}
    | {sign: f"\\{sign}" for sign in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
)
CAPTION = (
    f"accuracy on test, %: mean ± half the 95 % interval; {ABOVE} above and {BELOW} below the baseline of the same "
    "study (paired over seeds and test rows, Holm-corrected, p < 0.05)"
)

Runs = Mapping[str, result.StudyResult]
"""Results by the name that stands for each."""


def scenarios(runs: Runs) -> list[str]:
    """The scenarios to show of any study, in their order."""
    return list(dict.fromkeys(name for run in runs.values() for name in tables.scenarios(run.summary)))


def paper_table(runs: Runs, scenario: str) -> pd.DataFrame:
    """Accuracies as texts: a row a feature set and study, a column a level.

    Args:
        scenario: one that some of the studies have.

    Returns: indexed by features, with several studies by features and study; a dash where nothing was run.
    """
    found = {
        name: tables.scenario_table(run.summary, scenario)
        for name, run in runs.items()
        if scenario in tables.scenarios(run.summary)
    }
    levels = sorted({level for table in found.values() for level in tables.levels(table)})
    if scenario in FEWER_IS_HARDER:
        levels.reverse()
    names = list(dict.fromkeys(name for table in found.values() for name in tables.variant_names(table)))
    rows, index = [], []
    for features in names:
        for run, table in found.items():
            cells = {cell.level: cell for cell in tables.cells(table[table["variant"] == features])}
            if cells:
                rows.append([_text(cells.get(level)) for level in levels])
                index.append((features, run))
    frame = pd.DataFrame(
        rows,
        index=pd.MultiIndex.from_tuples(index, names=["Features", "Study"]),
        columns=[tables.level_text(scenario, level) for level in levels],
    )
    return frame.droplevel("Study") if len(runs) == 1 else frame


def _text(cell: tables.Cell | None) -> str:
    if cell is None:
        return tables.NOTHING
    mark = ""
    if cell.clear:
        mark = f" {ABOVE}" if cell.gain > 0 else f" {BELOW}"
    return tables.accuracy_text(cell) + mark


def as_markdown(runs: Runs) -> str:
    """A Markdown table for each scenario."""
    parts = []
    for scenario in scenarios(runs):
        frame = paper_table(runs, scenario).reset_index()
        lines = [list(map(str, frame.columns)), ["---"] * len(frame.columns), *frame.to_numpy().tolist()]
        body = "\n".join("| " + " | ".join(str(text).replace("|", r"\|") for text in line) + " |" for line in lines)
        parts.append(f"{tables.scenario_title(scenario)}: {CAPTION}.\n\n{body}")
    return "\n\n".join(parts) + "\n"


def as_latex(runs: Runs) -> str:
    """A LaTeX table for each scenario; needs the packages booktabs and multirow."""
    parts = []
    for scenario in scenarios(runs):
        frame = paper_table(runs, scenario).map(lambda text: text.translate(_LATEX))
        frame.index.names = [None] * frame.index.nlevels  # their own line of heads says nothing
        styler = frame.style.format_index(escape="latex", axis=0).format_index(escape="latex", axis=1)
        caption = f"{tables.scenario_title(scenario)}: {CAPTION}.".translate(_LATEX)
        columns = "l" * frame.index.nlevels + "r" * len(frame.columns)
        parts.append(styler.to_latex(hrules=True, column_format=columns, caption=caption, position_float="centering"))
    return "\n".join(parts)


def as_csv(runs: Runs) -> str:
    """Every number of the summaries, a row a feature set and cell, with the study's name."""
    parts = [run.summary.assign(study=name) for name, run in runs.items()]
    table = pd.concat(parts, ignore_index=True)
    return str(table[["study", *(column for column in table.columns if column != "study")]].to_csv(index=False))


FILE_NAME = "comparison.html"


def write_comparison(runs: Runs, folder: Path) -> Path:
    """Write ``comparison.html``: what each study says, and accuracies scenario by scenario; it opens offline.

    Returns: its path.
    """
    figures = {name: study_figures(run.results, run.summary) for name, run in runs.items()}
    context = {
        "runs": [
            {
                "name": name,
                "dataset": str(run.results["dataset"].iloc[0]),
                "encoder": str(run.results["encoder"].iloc[0]),
                "seeds": run.plan.n_seeds,
                "headline": [unbroken(sentence) for sentence in run.verdict.headline],
                "verdict": [unbroken(sentence) for sentence in run.verdict.sentences],
                "warnings": run.verdict.warnings,
            }
            for name, run in runs.items()
        ],
        "scenarios": [_scenario(runs, figures, name, n) for n, name in enumerate(scenarios(runs), 1)],
    }
    path = folder / FILE_NAME
    write_text(path, rendered("comparison.html.j2", context))
    return path


def _scenario(runs: Runs, figures: dict[str, list[StudyFigure]], scenario: str, number: int) -> dict[str, Any]:
    table = paper_table(runs, scenario).reset_index()
    levels = [column for column in table.columns if column not in ("Features", "Study")]
    return {
        "anchor": f"scenario-{number}",
        "title": tables.scenario_title(scenario),
        "figures": [
            {"run": name, "image": image(item)}
            for name, items in figures.items()
            for item in items
            if item.scenario == scenario and item.kind == "accuracy"
        ],
        "levels": levels,
        "rows": [
            row_head(str(row["Features"])) | {"run": row["Study"], "cells": [row[level] for level in levels]}
            for _, row in table.iterrows()
        ],
    }
