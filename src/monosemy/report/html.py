"""The report of a study: one page that opens offline, with live charts of the same numbers as its pictures."""

import base64
import hashlib
import math
import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure

from monosemy import __version__
from monosemy.core.files import write_text
from monosemy.report import figures, tables
from monosemy.report.style import ON_DARK, short, style_of
from monosemy.report.tables import Cell, StudyFigure
from monosemy.results import statistics
from monosemy.results.intervals import p_text
from monosemy.results.result import StudyResult, title_of
from monosemy.results.wording import FEWER_IS_HARDER

_SYMBOLS = {
    "o": "circle", "D": "diamond", "s": "square", "^": "triangle-up", "v": "triangle-down", "P": "cross", "X": "x",
}  # fmt: skip
_MEASURES = (figures.ACCURACY, figures.gain_over("the baseline"))
_ACROSS = {"consistency": "Semantic consistency above chance, points", "mono_score": "MonoScore"}


def chart_data(results: pd.DataFrame, summary: pd.DataFrame) -> dict[str, Any]:
    """Return the data of the live charts: styles, curves of every scenario, and cells against monosemanticity."""
    names, baseline = tables.variant_names(summary), tables.baseline(summary)
    shown, focus = tables.scenarios(summary), set(tables.variant_names(tables.in_focus(summary)))
    measures = (figures.ACCURACY, figures.gain_over(baseline))
    return {
        "features": [_look(name, baseline) | {"focus": name in focus} for name in names],
        "baseline": baseline,
        "axes": {measure.name: measure.axis for measure in measures} | _ACROSS,
        "scenarios": [_curves(summary, scenario, names) for scenario in shown],
        "cells": [cell for scenario in shown for cell in _scattered(summary, scenario, names)],
        "across": _across(results, names),
    }


def _look(name: str, baseline: str) -> dict[str, Any]:
    style = style_of(name)
    return {
        "name": short(name),
        "light": style.colour,
        "dark": style.dark_colour,
        "width": style.width,
        "dash": ",".join(f"{style.width * dash:g}px" for dash in style.dashes) or "solid",
        "symbol": _SYMBOLS[style.marker],
        "strong": style.strong,
        "baseline": name == baseline,
    }


def _curves(summary: pd.DataFrame, scenario: str, names: list[str]) -> dict[str, Any]:
    table = tables.scenario_table(summary, scenario)
    levels = tables.levels(table)
    levelled = tables.levelled(scenario)
    series = []
    for name in tables.variant_names(table):
        cells = list(tables.cells(table[table["variant"] == name]))
        x = [figures.axis_value(scenario, cell.level) for cell in cells]
        series.append({"feature": names.index(name), "x": x} | _measured(cells))
    ticks = figures.level_ticks(scenario, levels) if levelled else {}
    return {
        "levelled": levelled,
        "falling": scenario in FEWER_IS_HARDER,
        "log": scenario in figures.ON_LOG_SCALE,
        "axis": figures.level_axis_title(scenario),
        "ticks": [[figures.axis_value(scenario, level), text] for level, text in ticks.items()],
        "series": series,
    }


def _scattered(summary: pd.DataFrame, scenario: str, names: list[str]) -> list[dict[str, Any]]:
    """Return the cells of a scenario, the hardest first: there feature sets differ most."""
    table = tables.scenario_table(summary, scenario)
    found = []
    for level in reversed(tables.levels(table)):
        cells = list(tables.cells(table[table["level"] == level]))
        numbers = [names.index(cell.variant) for cell in cells]
        found.append({"title": figures.place_in_words(scenario, level), "features": numbers} | _measured(cells))
    return found


def _across(results: pd.DataFrame, names: list[str]) -> dict[str, list[list[float | None]]]:
    """Return the monosemanticity of each feature set by each measure: mean and interval."""
    consistency = [[_known(100 * value) for value in tables.surplus_consistency(results, name)] for name in names]
    scores = [[_known(value) for value in tables.metric_interval(results, name, "mono_score")] for name in names]
    return {"consistency": consistency, "mono_score": scores}


def _measured(cells: list[Cell]) -> dict[str, Any]:
    return {measure.name: [_numbers(measure, cell) for cell in cells] for measure in _MEASURES} | {
        f"{measure.name}_said": [_said(measure, cell) for cell in cells] for measure in _MEASURES
    }


def _numbers(measure: figures.Measure, cell: Cell) -> list[float | None]:
    if measure.name == "gain" and math.isnan(cell.gain):
        return [0.0, None, None]
    return [_known(value) for value in measure.of(cell)]


def _said(measure: figures.Measure, cell: Cell) -> str:
    if measure.name == "accuracy":
        return tables.accuracy_text(cell)
    if math.isnan(cell.gain):
        return "0 by definition"
    return (
        f"{tables.points(cell.gain, signed=True)} ({tables.gain_interval_text(cell)}), {cell.outcome}, "
        f"p {p_text(cell.p_holm)}"
    )


def _known(value: float) -> float | None:
    """Return a number rounded far below what can be seen, for small pages; None for NaN."""
    return None if math.isnan(value) else round(value, 4)


FILE_NAME = "report.html"
GALLERY = "gallery.html"
"""The page of a study's features, which the report points to where it lies beside it."""
PLOTLY = "vendor/plotly-basic.min.js"
_METRIC_HEADS = {
    "n_dimensions": "Dimensions",
    "l0": "Active a sample (L0)",
    "dead": "Dead",
    "explained_variance": "Explained variance",
    "semantic_consistency": "Semantic consistency",
    "consistency_chance": "Chance level",
    "mono_score": "MonoScore",
}
_COST_HEADS = {
    "encoder_seconds": "Training an encoder",
    "fit_seconds": "Fitting the features",
    "probe_seconds": "Classifiers of a seed",
    "seconds": "In all, without encoders",
    "peak_mib": "Peak memory of the process",
}
_WIDE = 9.0
"""Inches from which a figure takes the whole width of a section, for its texts would be too small otherwise."""
HIDDEN = re.compile("[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069\\ufeff]")
"""Control characters, and marks that turn the direction of all that follows."""


def write_report(
    result: StudyResult,
    folder: Path,
    title: str = "robustness study",
    command: str = "monosemy study",
    sections: Sequence[tables.Section] = (),
) -> Path:
    """Write ``report.html`` into the folder: verdict, figures, tables, warnings, plan; it opens offline.

    Args:
        title: kind of study, as the page's heading says it.
        command: the command that runs the plan again.
        sections: parts that the kind of study adds.

    Returns: its path.
    """
    path = folder / FILE_NAME
    context = _context(result, title, command, sections) | {
        "gallery": GALLERY if (folder / GALLERY).is_file() else None
    }
    write_text(path, rendered("study.html.j2", context, (PLOTLY, "study.js")))
    return path


def rendered(template: str, context: dict[str, Any], scripts: Sequence[str] = ()) -> str:
    """Return a page from a template of this package; every text is escaped.

    Args:
        scripts: files of this package that the page contains; its content security policy allows no other script and
            no network request.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("monosemy", "report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        finalize=lambda value: visible(value) if type(value) is str else value,
    )
    texts = [(files("monosemy.report") / name).read_text(encoding="utf-8").strip() for name in scripts]
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii") for text in texts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests) or "'none'"
    policy = (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )
    own = {"version": __version__, "policy": policy, "scripts": [Markup(text) for text in texts]}
    return environment.get_template(template).render(context | own)


def visible(text: str) -> str:
    """Return a text with invisible characters, which could reverse the text around them, written as escapes."""
    return HIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _context(result: StudyResult, title: str, command: str, sections: Sequence[tables.Section]) -> dict[str, Any]:
    """Return everything that the template shows, as plain texts."""
    summary = result.summary
    pictures = figures.study_figures(result.results, summary)
    cells = "scenario" in summary
    first = (tables.main_scenario(summary) or "clean") if cells else ""
    extra = [item for section in sections for item in section.figures]
    hero = next((item for item in pictures if item.kind == "accuracy" and item.scenario == first), None)
    hero = hero or next(iter(extra), None)
    narrow = (
        _source(figures.accuracy_figure(summary, first, figures.COLUMN, statistics.chance_level(result.results)), True)
        if cells
        else None
    )
    beside = next((image(item) for item in pictures if item.kind == "monosemanticity"), None)
    return {
        "dataset": str(result.results["dataset"].iloc[0]),
        "encoders": " and ".join(f"“{name}”" for name in dict.fromkeys(map(str, result.results["encoder"]))),
        "title": title,
        "n_variants": summary["variant"].nunique() if cells else result.results["variant"].nunique(),
        "seeds": result.plan.n_seeds,
        "headline": [unbroken(text) for text in result.verdict.headline or result.verdict.sentences[:2]],
        "verdict": [unbroken(sentence) for sentence in result.verdict.sentences],
        "warnings": [unbroken(sentence) for sentence in result.verdict.warnings],
        "messages": result.messages,
        "hero": None if hero is None else image(hero) | {"narrow": narrow},
        "scenarios": [
            _scenario(summary, name, number, [item for item in pictures if item is not hero])
            for number, name in enumerate(tables.scenarios(summary) if cells else ())
        ],
        "baseline": tables.baseline(summary) if cells else "",
        "sections": [_section(section, hero) for section in sections],
        "switches_of": [row_head(name) for name in tables.variant_names(summary)] if cells else [],
        "beside": beside,
        "charts": _all_visible(chart_data(result.results, summary)) if cells else None,
        **_costs(result),
        "metric_heads": list(_METRIC_HEADS.values()),
        "features": [
            row_head(name) | {"cells": list(map(_minus, texts))}
            for name, texts in tables.feature_texts(result.results, _METRIC_HEADS)
        ],
        "plan": result.plan.to_yaml(),
        "in_memory": str(getattr(getattr(result.plan, "data", None), "source", "")).startswith("arrays:"),
        "command": f"{command} --plan plan.yaml --out NEW",
    }


def _section(section: tables.Section, hero: StudyFigure | None) -> dict[str, Any]:
    return {
        "title": section.title,
        "tables": [
            {
                "title": table.title,
                "heads": table.heads,
                "rows": [
                    _head(name, table.of_variants) | {"cells": [_signed(cell) for cell in row]}
                    for name, row in table.rows
                ],
            }
            for table in section.tables
        ],
        "figures": [image(item) for item in section.figures if item is not hero],
        "note": section.note,
        "links": section.links,
    }


def image(item: StudyFigure) -> dict[str, Any]:
    """Return a figure as a picture inside a page; it follows a dark page unless its own colours carry values."""
    paper = item.kind in ("kinds", "heatmap")
    classes = [name for name, chosen in (("paper", paper), ("wide", item.figure.get_figwidth() > _WIDE)) if chosen]
    source = _source(item.figure, not paper)
    return {"source": source, "narrow": None, "alt": item.alt, "paper": paper, "classes": " ".join(classes)}


def _source(figure: Figure, both_schemes: bool) -> str:
    svg = figures.drawn(figure, "svg")
    content = base64.b64encode(_for_both_schemes(svg) if both_schemes else svg).decode("ascii")
    return f"data:image/svg+xml;base64,{content}"


def _for_both_schemes(svg: bytes) -> bytes:
    """Return a picture that has a lighter colour for each of its colours on dark screens."""
    rules = "".join(
        f'[style*="{what}: {light}"]{{{what}:{dark} !important}}'
        for light, dark in ON_DARK.items()
        for what in ("fill", "stroke")
    )
    style = f"<style>@media screen and (prefers-color-scheme: dark){{svg{{fill:{ON_DARK['#000000']}}}{rules}}}</style>"
    return svg.replace(b"<defs>", style.encode() + b"<defs>", 1)


def _scenario(summary: pd.DataFrame, scenario: str, number: int, pictures: list[StudyFigure]) -> dict[str, Any]:
    table = tables.scenario_table(summary, scenario)
    levels = tables.levels(table)
    cells = {(cell.variant, cell.level): cell for cell in tables.cells(table)}
    accuracies, gains = [], []
    for name in tables.variant_names(table):
        present = [cells.get((name, level)) for level in levels]
        values = [tables.NOTHING if cell is None else tables.accuracy_text(cell) for cell in present]
        accuracies.append(row_head(name) | {"cells": values})
        if name != tables.baseline(summary):
            gains.append(row_head(name) | {"cells": [_gain(cell) for cell in present]})
    return {
        "anchor": f"scenario-{number}",
        "number": number,
        "title": tables.scenario_title(scenario),
        "test_rows": tables.test_rows_text(table),
        "figures": [image(item) for item in pictures if item.scenario == scenario and item.kind != "monosemanticity"],
        "levels": [tables.level_text(scenario, level) for level in levels],
        "accuracies": accuracies,
        "gains": gains,
    }


def _gain(cell: tables.Cell | None) -> dict[str, Any]:
    if cell is None:
        return {"gain": tables.NOTHING, "interval": "", "p": "", "outcome": "", "significant": False}
    interval = tables.gain_interval_text(cell)
    return {
        "gain": _minus(tables.points(cell.gain, signed=True)),
        "interval": "" if interval == tables.NOTHING else _minus(interval),
        "p": p_text(cell.p_holm),
        "outcome": cell.outcome,
        "significant": cell.clear,
    }


def _costs(result: StudyResult) -> dict[str, Any]:
    """Return the table of costs, without columns that a kind of study does not measure."""
    sizes = tables.feature_table(result.results)
    heads = {"n_dimensions": "Dimensions", "l0": "Active a sample", **_COST_HEADS}
    rows: dict[str, list[str]] = {}
    for name, values in () if result.costs.empty else tables.cost_table(result.costs).iterrows():
        size = [tables.metric_text(part, float(sizes[part].get(name, math.nan))) for part in ("n_dimensions", "l0")]
        rows[str(name)] = size + [tables.cost_text(part, float(values[part])) for part in _COST_HEADS]
    used = [number for number in range(len(heads)) if any(row[number] != tables.NOTHING for row in rows.values())]
    return {
        "cost_heads": [list(heads.values())[number] for number in used],
        "costs": [row_head(name) | {"cells": [row[number] for number in used]} for name, row in rows.items()],
    }


def _all_visible(value: Any) -> Any:
    """Return plain data with all texts made visible."""
    if isinstance(value, dict):
        return {key: _all_visible(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_all_visible(item) for item in value]
    return visible(value) if isinstance(value, str) else value


def row_head(name: str) -> dict[str, str]:
    """Return the first column of a row: the line as in the figures, name and title."""
    style = style_of(name)
    return {
        "name": name,
        "title": title_of(name),
        "colour": style.colour,
        "dark": style.dark_colour,
        "width": f"{style.width:g}",
        "dashes": " ".join(f"{style.width * dash:g}" for dash in style.dashes),
    }


def _head(name: str, of_variants: bool) -> dict[str, str]:
    return row_head(name) if of_variants else {"name": name, "title": "", "colour": ""}


def _signed(text: str) -> str:
    """Return a text with a minus sign before its negative numbers; exponents and names stay as they are."""
    return re.sub(r"(?<![\w.\-])-(?=[\d.])", "−", text)


def _minus(text: str) -> str:
    return text.replace("-", "−")


def unbroken(sentence: str) -> str:
    """Return a sentence that keeps "95 %" on one line."""
    return sentence.replace(" %", "\N{NO-BREAK SPACE}%")
