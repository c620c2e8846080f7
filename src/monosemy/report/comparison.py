"""Several studies on one page."""

from pathlib import Path
from typing import Any

from monosemy.files import write_text
from monosemy.report import tables
from monosemy.report.figures import StudyFigure, study_figures
from monosemy.report.page import image, rendered, row_head, unbroken
from monosemy.report.paper import Runs, paper_table, scenarios

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
                "seeds": run.plan.seeds,
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
