"""What the live charts of a page draw: the numbers of the figures as plain data, for what runs in the browser."""

import math
from typing import Any

import pandas as pd

from monosemy.report import tables
from monosemy.report.figures import (
    ACCURACY,
    Measure,
    axis_value,
    gain_over,
    level_axis_title,
    level_ticks,
    place_in_words,
)
from monosemy.report.style import short, style_of
from monosemy.report.tables import Cell

_SYMBOLS = {
    "o": "circle", "D": "diamond", "s": "square", "^": "triangle-up", "v": "triangle-down", "P": "cross", "X": "x",
}  # fmt: skip
_MEASURES = (ACCURACY, gain_over("the baseline"))
_ACROSS = {
    "consistency": "Semantic consistency above chance, points",
    "mono_score": "MonoScore",
}


def chart_data(results: pd.DataFrame, summary: pd.DataFrame) -> dict[str, Any]:
    """Feature sets with their looks, curves of every scenario, and every cell beside monosemanticity."""
    names = tables.feature_names(summary)
    shown = tables.scenarios(summary)
    return {
        "features": [_look(name, tables.baseline(summary)) for name in names],
        "baseline": tables.baseline(summary),
        "axes": {measure.name: measure.axis for measure in (ACCURACY, gain_over(tables.baseline(summary)))} | _ACROSS,
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
    levelled = tables.clean_level(scenario) is not None
    series = []
    for name in tables.feature_names(table):
        cells = list(tables.cells(table[table["features"] == name]))
        series.append(
            {"feature": names.index(name), "x": [axis_value(scenario, cell.level) for cell in cells]}
            | {measure.name: [_numbers(measure, cell) for cell in cells] for measure in _MEASURES}
            | {f"{measure.name}_said": [_said(measure, cell) for cell in cells] for measure in _MEASURES}
        )
    ticks = level_ticks(scenario, levels) if levelled else {}
    return {
        "levelled": levelled,
        "falling": scenario == "few-labels",
        "axis": level_axis_title(scenario),
        "ticks": [[axis_value(scenario, level), text] for level, text in ticks.items()],
        "series": series,
    }


def _scattered(summary: pd.DataFrame, scenario: str, names: list[str]) -> list[dict[str, Any]]:
    """The cells of a scenario, the hardest first: that is where feature sets differ most."""
    table = tables.scenario_table(summary, scenario)
    found = []
    for level in reversed(tables.levels(table)):
        cells = list(tables.cells(table[table["level"] == level]))
        found.append(
            {"title": place_in_words(scenario, level), "features": [names.index(cell.features) for cell in cells]}
            | {measure.name: [_numbers(measure, cell) for cell in cells] for measure in _MEASURES}
            | {f"{measure.name}_said": [_said(measure, cell) for cell in cells] for measure in _MEASURES}
        )
    return found


def _across(results: pd.DataFrame, names: list[str]) -> dict[str, list[list[float | None]]]:
    """How monosemantic each feature set is, by each measure: mean and interval."""
    consistency = [[_known(100 * value) for value in tables.surplus_consistency(results, name)] for name in names]
    scores = [[_known(value) for value in tables.metric_interval(results, name, "mono_score")] for name in names]
    return {"consistency": consistency, "mono_score": scores}


def _numbers(measure: Measure, cell: Cell) -> list[float | None]:
    if measure.name == "gain" and math.isnan(cell.gain):
        return [0.0, None, None]
    return [_known(value) for value in measure.of(cell)]


def _said(measure: Measure, cell: Cell) -> str:
    if measure.name == "accuracy":
        return tables.accuracy_text(cell)
    if math.isnan(cell.gain):
        return "0 by definition"
    return (
        f"{tables.points(cell.gain, signed=True)} ({tables.gain_interval_text(cell)}), p {tables.p_text(cell.p_holm)}"
    )


def _known(value: float) -> float | None:
    """Rounded far below what can be seen: a page must not carry sixteen digits of each number."""
    return None if math.isnan(value) else round(value, 4)
