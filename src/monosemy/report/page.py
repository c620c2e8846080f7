"""The report of a study: one page that needs nothing beside itself."""

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import pandas as pd

from monosemy import __version__
from monosemy.files import write_text
from monosemy.report import tables
from monosemy.report.figures import StudyFigure, study_figures, svg_bytes
from monosemy.report.style import style_of

if TYPE_CHECKING:
    from monosemy.study.run import StudyResult

RERUN = "monosemy study --plan plan.yaml --out NEW"
FILE_NAME = "report.html"
_METRIC_HEADS = {
    "n_dimensions": "Dimensions",
    "l0": "Active a sample (L0)",
    "dead": "Dead",
    "explained_variance": "Explained variance",
    "semantic_consistency": "Semantic consistency",
    "consistency_chance": "Chance level",
    "mono_score": "MonoScore",
}


def write_report(result: "StudyResult", folder: Path) -> Path:
    """Write ``report.html`` into the folder: verdict, figures, tables, warnings, plan; it opens offline.

    Returns: its path.
    """
    path = folder / FILE_NAME
    write_text(path, rendered("study.html.j2", _context(result)))
    return path


def rendered(template: str, context: dict[str, Any]) -> str:
    """A page from a template of this package; every text is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("monosemy", "report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    return environment.get_template(template).render(context | {"version": __version__})


def _context(result: "StudyResult") -> dict[str, Any]:
    """Everything that the template shows, as plain texts."""
    summary = result.summary
    figures = study_figures(result.results, summary)
    first = tables.main_scenario(summary) or "clean"
    hero = next(item for item in figures if item.kind == "accuracy" and item.scenario == first)
    return {
        "dataset": str(result.results["dataset"].iloc[0]),
        "encoder": str(result.results["encoder"].iloc[0]),
        "n_features": len(tables.feature_names(summary)),
        "seeds": result.plan.seeds,
        "verdict": [unbroken(sentence) for sentence in result.verdict.sentences],
        "warnings": [unbroken(sentence) for sentence in result.verdict.warnings],
        "notices": result.notices,
        "hero": image(hero),
        "scenarios": [
            _scenario(summary, name, number, [item for item in figures if item is not hero])
            for number, name in enumerate(tables.scenarios(summary), 1)
        ],
        "metric_heads": list(_METRIC_HEADS.values()),
        "features": _feature_rows(result.results),
        "plan": result.plan.to_yaml(),
        "in_memory": result.plan.data.source.startswith("arrays:"),
        "command": RERUN,
    }


def image(item: StudyFigure) -> dict[str, str]:
    content = base64.b64encode(svg_bytes(item.figure)).decode("ascii")
    return {"source": f"data:image/svg+xml;base64,{content}", "alt": item.alt}


def _scenario(summary: pd.DataFrame, scenario: str, number: int, figures: list[StudyFigure]) -> dict[str, Any]:
    table = tables.scenario_table(summary, scenario)
    levels = tables.levels(table)
    cells = {(cell.features, cell.level): cell for cell in tables.cells(table)}
    accuracies, gains = [], []
    for name in tables.feature_names(table):
        present = [cells.get((name, level)) for level in levels]
        values = [tables.NOTHING if cell is None else tables.accuracy_text(cell) for cell in present]
        accuracies.append(row_head(name) | {"cells": values})
        if name != tables.BASELINE:
            gains.append(row_head(name) | {"cells": [_gain(cell) for cell in present]})
    return {
        "anchor": f"scenario-{number}",
        "title": tables.scenario_title(scenario),
        "figures": [image(item) for item in figures if item.scenario == scenario],
        "levels": [tables.level_text(scenario, level) for level in levels],
        "accuracies": accuracies,
        "gains": gains,
    }


def _gain(cell: tables.Cell | None) -> dict[str, Any]:
    if cell is None:
        return {"gain": tables.NOTHING, "interval": "", "p": "", "significant": False}
    interval = tables.gain_interval_text(cell)
    return {
        "gain": _minus(tables.points(cell.gain, signed=True)),
        "interval": "" if interval == tables.NOTHING else _minus(interval),
        "p": tables.p_text(cell.p_holm),
        "significant": cell.p_holm < tables.SIGNIFICANT,
    }


def _feature_rows(results: pd.DataFrame) -> list[dict[str, Any]]:
    measured = tables.feature_table(results)
    return [
        row_head(str(name))
        | {"cells": [_minus(tables.metric_text(metric, float(values[metric]))) for metric in _METRIC_HEADS]}
        for name, values in measured.iterrows()
    ]


def row_head(name: str) -> dict[str, str]:
    """The first column of a row: the line as in the figures, name and title."""
    style = style_of(name)
    return {
        "name": name,
        "title": tables.feature_title(name),
        "colour": "currentColor" if style.colour == "#000000" else style.colour,
        "width": f"{style.width:g}",
        "dashes": " ".join(f"{style.width * dash:g}" for dash in style.dashes),
    }


def _minus(text: str) -> str:
    return text.replace("-", "−")


def unbroken(sentence: str) -> str:
    """Keeps "95 %" on one line."""
    return sentence.replace(" %", "\N{NO-BREAK SPACE}%")
