"""Kinds of corruption against feature sets, as a table of colours."""

import math
from collections.abc import Iterable

import numpy as np
import pandas as pd
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure

from monosemy.report import tables
from monosemy.report.style import short, style_of
from monosemy.report.tables import Cell
from monosemy.results.wording import SIGNIFICANT, kind_in_words

_SMALLEST_SPAN = 0.5
"""Points at the ends of the colours at least, so that nothing does not look like much."""
_PALER = 2.0
"""How much further than the largest gain the colours reach: black figures stay legible on them."""


def draw_kinds(summary: pd.DataFrame, mean: str, level: float) -> Figure:
    """Accuracy of the baseline and gain of every other feature set on each kind at a level; clear gains are bold."""
    found = _cells(summary, mean, level)
    rows = [mean, *tables.kinds(summary, mean)]
    baseline = tables.baseline(summary)
    names = [name for name in tables.feature_names(summary) if name != baseline]
    names = [name for name in names if any((kind, name) in found for kind in rows)]
    gains = np.array([[_gain(found.get((kind, name))) for name in names] for kind in rows])
    span = max(_SMALLEST_SPAN, float(np.nanmax(np.abs(gains)))) if np.isfinite(gains).any() else _SMALLEST_SPAN
    figure = Figure(figsize=(max(4.8, 2.9 + 0.95 * len(names)), 1.7 + 0.3 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    axes.grid(False)
    # PuOr tells gains from losses for the colour-blind too.
    axes.pcolormesh(
        np.ma.masked_invalid(gains), cmap="PuOr_r", norm=TwoSlopeNorm(0, -_PALER * span, _PALER * span), linewidth=1.5,
        edgecolor="white",
    )  # fmt: skip
    for y, kind in enumerate(rows):
        base = found.get((kind, baseline))
        axes.text(
            -0.5, y + 0.5, tables.NOTHING if base is None else tables.points(base.accuracy), ha="center", va="center"
        )
        for x, name in enumerate(names):
            cell = found.get((kind, name))
            if cell is not None:
                axes.text(
                    x + 0.5, y + 0.5, tables.points(cell.gain, signed=True).replace("-", "−"), ha="center",
                    va="center", fontweight="bold" if cell.p_holm < SIGNIFICANT else "normal",
                )  # fmt: skip
    axes.set_xlim(-1, len(names))
    axes.set_ylim(len(rows), 0)
    axes.axhline(1, color="#444444", linewidth=1)
    axes.set_yticks(np.arange(len(rows)) + 0.5, ["mean", *(short(kind_in_words(kind)) for kind in rows[1:])])
    axes.set_xticks(np.arange(-1, len(names)) + 0.5, [f"{baseline}, %", *(short(name, 13) for name in names)])
    for label, name in zip(axes.get_xticklabels()[1:], names, strict=True):
        label.set_color(style_of(name).text_colour)
    axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
    axes.spines[:].set_visible(False)
    title = f"{tables.scenario_title(mean)} and kind by kind".replace(", mean over kinds", ": mean")
    figure.suptitle(short(title, 44), x=0.01, ha="left", color="#111111", fontsize=11.5, fontweight="bold")
    said = f"{tables.level_text(mean, level)}: {baseline} in %, gains over it in points; bold: Holm p < 0.05"
    axes.set_xlabel(said, fontsize=9, color="#666666", loc="right")
    return figure


def kinds_alt(summary: pd.DataFrame, mean: str, level: float) -> str:
    """The same in words, for who cannot see it."""
    found = _cells(summary, mean, level)
    parts = []
    for kind in tables.kinds(summary, mean):
        values = _texts(cell for (other, _), cell in found.items() if other == kind)
        parts.append(f"{kind_in_words(kind)}: {values}")
    return f"Gain over {tables.baseline(summary)} in points, {tables.level_text(mean, level)}. {'; '.join(parts)}."


def _cells(summary: pd.DataFrame, mean: str, level: float) -> dict[tuple[str, str], Cell]:
    wanted = [mean, *tables.kinds(summary, mean)]
    rows = summary[summary["scenario"].isin(wanted) & (summary["level"] == level)]
    return {(cell.scenario, cell.features): cell for cell in tables.cells(rows)}


def _texts(cells: Iterable[Cell]) -> str:
    return ", ".join(
        f"{cell.features} {tables.points(cell.gain, signed=True)}" for cell in cells if not math.isnan(cell.gain)
    )


def _gain(cell: Cell | None) -> float:
    return np.nan if cell is None else 100 * cell.gain
