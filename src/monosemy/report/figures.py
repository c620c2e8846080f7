"""The figures of a study, from its tidy tables, without pyplot's hidden state."""

import io
import math
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator, NullLocator

from monosemy.core.files import atomic_path
from monosemy.errors import InputError
from monosemy.report import tables
from monosemy.report.fonts import HOUSE_FONT, fit_fonts
from monosemy.report.style import LABEL_SIZE, LONGEST_NAME, Point, annotate, label_ends, short, style_of
from monosemy.report.tables import Cell, Section, StudyFigure
from monosemy.results import statistics
from monosemy.results.result import StudyResult
from monosemy.results.wording import FEWER_IS_HARDER, kind_in_words

_RC: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#9a9a9a",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.labelcolor": "#333333",
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 12.5,
    "axes.titleweight": "bold",
    "axes.titlepad": 22,
    "figure.facecolor": "white",
    "font.family": HOUSE_FONT,
    "font.size": 10,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.8,
    "savefig.facecolor": "white",
    "pdf.fonttype": 42,  # journals refuse Type 3 fonts
    "svg.fonttype": "path",
    "svg.hashsalt": "monosemy",
    # Names of data and features may hold dollar signs.
    "text.parse_math": False,
    "text.usetex": False,
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "ytick.major.size": 0,
}
FigureKind = Literal["png", "svg", "pdf"]


@contextmanager
def _house_style() -> Iterator[None]:
    with matplotlib.rc_context(_RC), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # said once by monosemy.report.fonts
        yield


HOUSE_STYLE = _house_style()
"""Decorator of all functions that draw."""
PAGE, COLUMN = 5.5, 3.5
"""Widths in inches: the text of a page of NeurIPS or ICLR, and one of two columns, which also suits a phone."""
_AXIS_LABELS = {
    "label-noise": "Share of wrong train labels, %",
    "input-noise": "Level of noise in the test inputs",
    "few-labels": "Share of train labels used, %",
    "labels-per-class": "Train labels of each class",
    "imbalance": "Largest class over smallest, train rows",
}
ON_LOG_SCALE = (*FEWER_IS_HARDER, "imbalance")
"""Scenarios whose levels are ratios or amounts, so that equal factors are equal distances."""


@dataclass(frozen=True)
class Measure:
    """One quantity of a summary: mean and interval in per cent."""

    name: str
    title: str
    axis: str

    def of(self, cell: Cell) -> tuple[float, float, float]:
        mean, low, high = (getattr(cell, self.name + end) for end in ("", "_low", "_high"))
        return 100 * mean, 100 * low, 100 * high


ACCURACY = Measure("accuracy", "Accuracy", "Accuracy on test, %")


def gain_over(baseline: str) -> Measure:
    """Return the paired gain over a baseline as a measure."""
    return Measure("gain", f"Gain over {baseline}", f"Gain over {baseline}, points")


_SMALLEST_SPAN = 0.5
"""Smallest range of the colours in points, so that tiny gains do not look large."""
_PALER = 2.0
"""Ratio of the range of the colours to the largest gain, so that black numbers stay legible."""


@HOUSE_STYLE
def accuracy_figure(summary: pd.DataFrame, scenario: str, width: float = PAGE, chance: float | None = None) -> Figure:
    """Draw the accuracy of the variants in focus: curves over levels, or a dot plot for a scenario without levels.

    Args:
        width: in inches, of a page or a column.
        chance: the accuracy of a guess, drawn as a line.

    Raises:
        InputError: the summary holds no such scenario.
    """
    draw = _curves if tables.levelled(scenario) else _dots
    return draw(tables.in_focus(tables.scenario_table(summary, scenario)), scenario, ACCURACY, width, chance)


@HOUSE_STYLE
def gain_figure(summary: pd.DataFrame, scenario: str, width: float = PAGE) -> Figure:
    """Draw the paired gain of every feature set over the baseline, in points, as :func:`accuracy_figure` does.

    Raises:
        InputError: the summary holds no such scenario, or no feature set beside the baseline.
    """
    table = tables.in_focus(tables.scenario_table(summary, scenario))
    draw = _curves if tables.levelled(scenario) else _dots
    return draw(_challengers(table), scenario, gain_over(tables.baseline(summary)), width)


@HOUSE_STYLE
def kinds_figure(summary: pd.DataFrame, scenario: str) -> Figure:
    """Draw the kinds behind a mean over kinds of corruption at the hardest severity.

    Accuracy of the baseline, and gain of the other sets on every kind; clear gains are bold.

    Raises:
        InputError: the summary holds no such mean, or no feature set beside the baseline.
    """
    _challengers(tables.scenario_table(summary, scenario))
    level, found = _cells(summary, scenario)
    rows = [scenario, *tables.kinds(summary, scenario)]
    baseline = tables.baseline(summary)
    names = [name for name in tables.variant_names(tables.in_focus(summary)) if name != baseline]
    names = [name for name in names if any((kind, name) in found for kind in rows)]
    places = [[found.get((kind, name)) for name in names] for kind in rows]
    gains = np.array([[np.nan if cell is None else 100 * cell.gain for cell in row] for row in places])
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
        for x, cell in enumerate(places[y]):
            if cell is not None:
                axes.text(
                    x + 0.5, y + 0.5, tables.points(cell.gain, signed=True).replace("-", "−"), ha="center",
                    va="center", fontweight="bold" if cell.clear else "normal",
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
    title = f"{tables.scenario_title(scenario)} and kind by kind".replace(", mean over kinds", ": mean")
    figure.suptitle(short(title, 44), x=0.01, ha="left", color="#111111", fontsize=11.5, fontweight="bold")
    said = f"{tables.level_text(scenario, level)}: {baseline} in %, gains over it in points; bold: better or worse"
    axes.set_xlabel(said, fontsize=9, color="#666666", loc="right")
    return figure


def _kinds_alt(summary: pd.DataFrame, mean: str) -> str:
    """Return the table of kinds in words, for readers who cannot see it."""
    level, found = _cells(summary, mean)
    parts = []
    for kind in tables.kinds(summary, mean):
        cells = [cell for (other, _), cell in found.items() if other == kind and not math.isnan(cell.gain)]
        values = ", ".join(f"{cell.variant} {tables.points(cell.gain, signed=True)}" for cell in cells)
        parts.append(f"{kind_in_words(kind)}: {values}")
    return f"Gain over {tables.baseline(summary)} in points, {tables.level_text(mean, level)}. {'; '.join(parts)}."


def _cells(summary: pd.DataFrame, mean: str) -> tuple[float, dict[tuple[str, str], Cell]]:
    """Return the hardest severity of a mean over kinds, and the cells there by kind, the mean among them, and name."""
    level = tables.levels(tables.scenario_table(summary, mean))[-1]
    wanted = [mean, *tables.kinds(summary, mean)]
    rows = summary[summary["scenario"].isin(wanted) & (summary["level"] == level)]
    return level, {(cell.scenario, cell.variant): cell for cell in tables.cells(rows)}


@HOUSE_STYLE
def gain_against_monosemanticity_figure(results: pd.DataFrame, summary: pd.DataFrame) -> Figure:
    """Draw the gain at the hardest level of label noise against semantic consistency above chance.

    A study without label noise is shown by its first other scenario.

    Raises:
        InputError: the study has no scenario beside clean data, or no feature set beside the baseline.
    """
    scenario = tables.main_scenario(summary)
    if scenario is None:
        raise InputError("The summary holds clean data alone, so there is no gain to show; add a scenario.")
    summary = tables.same_classifier(summary)
    last = tables.hardest(_challengers(tables.scenario_table(summary, scenario)))
    measure = gain_over(tables.baseline(summary))
    measured = {cell.variant: measure.of(cell) for cell in tables.cells(last)}
    measured |= {tables.baseline(summary): (0.0, 0.0, 0.0)}
    figure, axes = _canvas(PAGE, 3.6)
    axes.grid(True, axis="x")
    axes.axhline(0, color="#444444", linewidth=1)
    points = []
    for name, gain in measured.items():
        surplus = tuple(100 * value for value in tables.surplus_consistency(results, name))
        if math.isnan(surplus[0]) or math.isnan(gain[0]):
            continue
        point = Point(name, _bar(*surplus), _bar(*gain))
        style = style_of(name)
        axes.plot(point.x[1:], [point.y[0]] * 2, color=style.colour, linewidth=1.3)
        axes.plot([point.x[0]] * 2, point.y[1:], color=style.colour, linewidth=1.3)
        axes.plot(point.x[0], point.y[0], style.marker, color=style.colour, markersize=8, markeredgecolor="white")
        points.append(point)
    axes.margins(x=0.2, y=0.12)
    _title(figure, axes, "Does monosemanticity go with gain?", last)
    axes.set_xlabel("Semantic consistency above chance, points")
    axes.set_ylabel(f"{measure.axis}\n({place_in_words(scenario, tables.levels(last)[-1])})")
    annotate(figure, axes, points)
    return figure


def study_figures(results: pd.DataFrame, summary: pd.DataFrame) -> list[StudyFigure]:
    """Return every figure that a study has data for."""
    figures: list[StudyFigure] = []
    if "scenario" not in summary:
        return figures
    present = tables.scenarios(summary)
    compared = not tables.challengers(summary).empty
    for scenario, slug in zip(present, _slugs(present), strict=True):
        alt = _alt(summary, scenario, ACCURACY)
        figure = accuracy_figure(summary, scenario, chance=statistics.chance_level(results))
        figures.append(StudyFigure("accuracy", scenario, f"accuracy-{slug}", alt, figure))
        if compared:
            alt = _alt(summary, scenario, gain_over(tables.baseline(summary)))
            figures.append(StudyFigure("gain", scenario, f"gain-{slug}", alt, gain_figure(summary, scenario)))
        if compared and tables.kinds(summary, scenario):
            alt = _kinds_alt(summary, scenario)
            figures.append(StudyFigure("kinds", scenario, f"kinds-{slug}", alt, kinds_figure(summary, scenario)))
    main = tables.main_scenario(summary)
    alike = tables.same_classifier(summary)
    if main is not None and len(tables.feature_table(results)) and not tables.challengers(alike).empty:
        alt = "Gain at the hardest level against semantic consistency above chance, a point a feature set."
        figure = gain_against_monosemanticity_figure(results, summary)
        figures.append(StudyFigure("monosemanticity", main, "gain-against-monosemanticity", alt, figure))
    return figures


def save_figures(result: StudyResult, folder: Path, sections: Sequence[Section] = ()) -> list[Path]:
    """Write every figure as PNG, SVG and PDF into ``folder / "figures"``; the same result gives the same bytes.

    Args:
        sections: parts of the report that the kind of study adds; their figures are written too.

    Returns: the files.
    """
    items = [*study_figures(result.results, result.summary), *(item for part in sections for item in part.figures)]
    kinds: tuple[FigureKind, ...] = ("png", "svg", "pdf")
    paths = []
    for stem, figure in {item.stem: item.figure for item in items}.items():
        for kind in kinds:
            path = folder / "figures" / f"{stem}.{kind}"
            with atomic_path(path) as temporary:
                temporary.write_bytes(drawn(figure, kind))
            paths.append(path)
    return paths


@HOUSE_STYLE
def drawn(figure: Figure, kind: FigureKind, dpi: int = 150) -> bytes:
    """Return the file of a figure, without the date that formats of vectors would hold."""
    options: dict[FigureKind, Any] = {
        "png": {"dpi": dpi}, "svg": {"metadata": {"Date": None}}, "pdf": {"metadata": {"CreationDate": None}},
    }  # fmt: skip
    buffer = io.BytesIO()
    fit_fonts(figure)
    figure.savefig(buffer, format=kind, **options[kind])
    return buffer.getvalue()


def _challengers(table: pd.DataFrame) -> pd.DataFrame:
    rows = tables.challengers(table)
    if rows.empty:
        raise InputError("The summary holds nothing beside the baseline; add a feature set or variant.")
    return rows


def _canvas(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.08))
    return figure, figure.add_subplot()


def _longest_name(figure: Figure) -> int:
    """Return the number of letters of a name that leave room for the axes."""
    return round(LONGEST_NAME * figure.get_figwidth() / PAGE)


def _curves(table: pd.DataFrame, scenario: str, measure: Measure, width: float, chance: float | None = None) -> Figure:
    figure, axes = _canvas(width, 3.6 if width > COLUMN else 2.9)
    levels = tables.levels(table)
    ends = []
    if measure is not ACCURACY:
        axes.axhline(0, color="#000000", linewidth=1.4)
        ends.append((measure.title.removeprefix("Gain over "), _position(scenario, levels[-1]), 0.0))
    for name in sorted(tables.variant_names(table), key=lambda name: style_of(name).width):  # the last is on top
        cells = list(tables.cells(table[table["variant"] == name]))
        x = [_position(scenario, cell.level) for cell in cells]
        mean, low, high = (list(column) for column in zip(*map(measure.of, cells), strict=True))
        style = style_of(name)
        axes.fill_between(x, low, high, color=style.colour, alpha=0.16 if style.strong else 0.09, linewidth=0)
        axes.plot(
            x, mean, color=style.colour, linewidth=style.width, marker=style.marker, markersize=5.5,
            markeredgecolor="white", markeredgewidth=0.8, dashes=style.dashes or (1, 0),
        )  # fmt: skip
        if not math.isnan(mean[-1]):
            ends.append((name, x[-1], mean[-1]))
    if chance is not None:
        axes.axhline(100 * chance, color="#5a5a5a", linewidth=1, linestyle=(0, (1, 3)))
        ends.append(("chance", _position(scenario, levels[-1]), 100 * chance))
    _level_axis(axes, scenario, levels)
    if measure is ACCURACY:
        bottom, top = axes.get_ylim()
        axes.set_ylim(max(bottom, -2), min(top, 102))
    axes.yaxis.set_major_locator(_ticks())
    axes.set_ylabel(measure.axis)
    _title(figure, axes, f"{measure.title} {tables.scenario_phrase(scenario)}", table)
    label_ends(figure, axes, ends, _longest_name(figure))
    return figure


def _dots(table: pd.DataFrame, scenario: str, measure: Measure, width: float, chance: float | None = None) -> Figure:
    cells = list(tables.cells(table))
    figure, axes = _canvas(width, 1.35 + 0.34 * len(cells))
    axes.grid(False)
    axes.grid(True, axis="x")
    baseline = next((100 * cell.accuracy for cell in cells if math.isnan(cell.gain)), math.nan)
    axes.axvline(baseline if measure is ACCURACY else 0.0, color="#444444", linewidth=1)
    rows = range(len(cells) - 1, -1, -1)
    for row, cell in zip(rows, cells, strict=True):
        mean, low, high = measure.of(cell)
        style = style_of(cell.variant)
        axes.plot([low, high], [row, row], color=style.colour, linewidth=style.width, solid_capstyle="round")
        axes.plot(mean, row, style.marker, color=style.colour, markersize=8, markeredgecolor="white")
        if measure is ACCURACY:
            text = tables.accuracy_text(cell)
        else:
            text = tables.points(cell.gain, signed=True).replace("-", "−")
        axes.text(
            1.02, row, text, transform=axes.get_yaxis_transform(), va="center", fontsize=LABEL_SIZE,
            color=style.text_colour,
        )  # fmt: skip
    names = [short(cell.variant, _longest_name(figure)) for cell in cells]
    axes.set_yticks(list(rows), names)
    for label, cell in zip(axes.get_yticklabels(), cells, strict=True):
        label.set_color(style_of(cell.variant).text_colour)
    axes.set_ylim(-0.6, len(cells) - 0.4)
    axes.margins(x=0.08)
    axes.xaxis.set_major_locator(_ticks())
    axes.set_xlabel(measure.axis)
    _title(
        figure, axes, f"{measure.title} {tables.scenario_phrase(scenario)}", table, 0.3 + 0.075 * max(map(len, names))
    )
    return figure


def _position(scenario: str, level: float) -> float:
    """Return the position of a level on the x axis: harder is further right."""
    place = math.log10(level) if scenario in ON_LOG_SCALE else level
    return -place if scenario in FEWER_IS_HARDER else place


def _level_axis(axes: Axes, scenario: str, levels: Sequence[float]) -> None:
    ticks = level_ticks(scenario, levels)
    axes.set_xticks([_position(scenario, level) for level in ticks], list(ticks.values()))
    axes.xaxis.set_minor_locator(NullLocator())
    first, last = (_position(scenario, level) for level in (levels[0], levels[-1]))
    span = last - first or 1.0
    axes.set_xlim(first - 0.02 * span, last + 0.02 * span)
    axes.set_xlabel(level_axis_title(scenario))


def level_ticks(scenario: str, levels: Sequence[float]) -> dict[float, str]:
    """Return the levels that are labelled on the x axis, with their texts, which do not overlap."""
    places = [_position(scenario, level) for level in levels]
    span = places[-1] - places[0] or 1.0
    shown: list[int] = []
    for number in range(len(places)):
        if not shown or places[number] - places[shown[-1]] >= 0.055 * span:
            shown.append(number)
    return {levels[n]: f"{axis_value(scenario, levels[n]):.3g}" for n in shown}


def axis_value(scenario: str, level: float) -> float:
    """Return a level in the unit of the x axis."""
    return 100 * level if scenario in ("label-noise", "few-labels") else level


def level_axis_title(scenario: str) -> str:
    """Return the title of the x axis of a scenario with levels."""
    return _AXIS_LABELS.get(scenario, "Severity")


def _ticks() -> MaxNLocator:
    return MaxNLocator(8, steps=[1, 2, 5, 10])


def _title(figure: Figure, axes: Axes, title: str, table: pd.DataFrame, left: float = 0.6) -> None:
    """Add the title and a note on the intervals; ``left`` is the distance of the axes from the edge in inches."""
    width = figure.get_figwidth()
    size, letters_an_inch = (12.5, 10) if width > COLUMN else (10.5, 12)
    axes.set_title(short(title, round(letters_an_inch * (width - left))), color="#111111", fontsize=size)
    seeds = int(table["seeds"].max())
    text = f"mean of {seeds} seeds with 95 % interval" if seeds > 1 else "one seed, no interval"
    axes.text(0, 1.03, text, transform=axes.transAxes, fontsize=9, color="#666666")


def _bar(mean: float, low: float, high: float) -> tuple[float, float, float]:
    """Return mean and interval; an unknown interval has no length."""
    return (mean, mean, mean) if math.isnan(low) else (mean, low, high)


def place_in_words(scenario: str, level: float) -> str:
    phrase = short(tables.scenario_phrase(scenario), 48)
    return f"{phrase}, {tables.level_text(scenario, level)}" if tables.levelled(scenario) else phrase


def _alt(summary: pd.DataFrame, scenario: str, measure: Measure) -> str:
    """Return a description of a figure at its hardest level, for readers who cannot see it."""
    last = tables.hardest(tables.in_focus(tables.scenario_table(summary, scenario)))
    if measure is not ACCURACY:
        last = tables.challengers(last)
    values = "; ".join(f"{cell.variant} {measure.of(cell)[0]:.1f}" for cell in tables.cells(last))
    return f"{measure.axis}, {place_in_words(scenario, tables.levels(last)[-1])}: {values}."


def _slugs(scenarios: Sequence[str]) -> list[str]:
    """Return distinct file names of scenarios in plain letters."""
    slugs: list[str] = []
    for scenario in scenarios:
        slug = re.sub(r"[^a-z0-9]+", "-", scenario.lower()).strip("-")
        slugs.append(slug if slug not in slugs else f"{slug}-{len(slugs) + 1}")
    return slugs
