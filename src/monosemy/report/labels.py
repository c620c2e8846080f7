"""Names in a figure, placed beside what they name and never on each other."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox
from sklearn.isotonic import isotonic_regression

from monosemy.report.style import style_of

LABEL_SIZE = 9.5
LONGEST_NAME = 26
_LEADER = {
    "arrowstyle": "-",
    "color": "#bbbbbb",
    "linewidth": 0.7,
    "relpos": (0, 0.5),
    "shrinkA": 1,
    "shrinkB": 4,
}
_SIDES = tuple((dx, dy) for dy in (5, -5, 16, -16, 28, -28) for dx in (6, -6))
_BESIDE = 10
"""Points of distance up to which a name needs no line to what it names."""
_OUTSIDE = 3
"""Leaving the axes is as bad as covering so many others: there the axis' own label is covered."""


class Point(NamedTuple):
    """A feature set in a scatter plot: mean, low and high end of the interval on both axes."""

    name: str
    x: tuple[float, float, float]
    y: tuple[float, float, float]


def short(name: str, longest: int = LONGEST_NAME) -> str:
    """On one line, cut where it is too long for a figure."""
    name = "".join(letter for letter in " ".join(name.split()) if letter.isprintable())
    return name if len(name) <= longest else name[: longest - 1] + "…"


def label_ends(figure: Figure, axes: Axes, ends: Iterable[tuple[str, float, float]], longest: int) -> None:
    """Names at the right end of their lines, cut where too long, moved apart where they would lie on each other."""
    ends = sorted(ends, key=lambda end: end[2])
    figure.draw_without_rendering()  # settles the height of the axes
    low, high = axes.get_ylim()
    height = axes.get_window_extent().height / figure.dpi * 72
    gap = 1.4 * LABEL_SIZE / height * (high - low)
    for (name, x, y), y_label in zip(ends, spread([y for _, _, y in ends], gap), strict=True):
        axes.annotate(
            short(name, longest), xy=(x, y), xytext=(1.045, y_label), textcoords=axes.get_yaxis_transform(),
            va="center", fontsize=LABEL_SIZE, color=style_of(name).text_colour,
            fontweight="bold" if style_of(name).strong else "normal", annotation_clip=False,
            arrowprops=_LEADER,
        )  # fmt: skip


def spread(wanted: Sequence[float], gap: float) -> list[float]:
    """Places at least ``gap`` apart and as near to the wanted ones, in rising order, as can be (least squares)."""
    steps = gap * np.arange(len(wanted))
    return list(isotonic_regression(np.asarray(wanted) - steps) + steps)


def annotate(figure: Figure, axes: Axes, points: Sequence[Point]) -> None:
    """Names beside their points, each at the side where it covers least of points, error bars and other names."""
    figure.draw_without_rendering()  # settles the axes
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [Bbox([(p.x[1], p.y[0]), (p.x[2], p.y[0])]) for p in points]
    boxes += [Bbox([(p.x[0], p.y[1]), (p.x[0], p.y[2])]) for p in points]
    taken = [axes.transData.transform_bbox(box).padded(4) for box in boxes]
    for point in points:
        style = style_of(point.name)
        text = axes.annotate(
            short(point.name), xy=(point.x[0], point.y[0]), xytext=_SIDES[0], textcoords="offset points",
            fontsize=LABEL_SIZE, color=style.text_colour, fontweight="bold" if style.strong else "normal",
            arrowprops=_LEADER,
        )  # fmt: skip

        def covered(side: tuple[int, int], text: Annotation = text) -> int:
            _move(text, side)
            box = text.get_window_extent(renderer)
            outside = box.x0 < axes.bbox.x0 or box.x1 > axes.bbox.x1
            return sum(box.overlaps(other) for other in taken) + _OUTSIDE * outside

        _move(text, min(_SIDES, key=covered))
        taken.append(text.get_window_extent(renderer))


def _move(text: Annotation, side: tuple[int, int]) -> None:
    dx, dy = side
    text.xyann = side
    text.set(ha="left" if dx > 0 else "right", va="bottom" if dy > 0 else "top")
    if text.arrow_patch is not None:
        text.arrow_patch.set_visible(abs(dy) > _BESIDE)
