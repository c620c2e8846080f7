"""The look of figures: colour and line of a variant, the same in every study, and names placed without overlap."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox
from sklearn.isotonic import isotonic_regression

from monosemy.report.fonts import fit_fonts
from monosemy.results.result import family_of_variant, pair_parts, role_of

# Okabe and Ito's palette, safe for the colour-blind.
_STRONG = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_GREYS = ("#6b6b6b", "#8c8c8c", "#7a7a7a", "#a0a0a0")
ON_DARK = {
    "#0072b2": "#4ba8e0", "#d55e00": "#f5823b", "#009e73": "#2fc79c", "#cc79a7": "#e0a3c4", "#e69f00": "#f0b43c",
    "#56b4e9": "#8fd0f5", "#6b6b6b": "#a9a9a9", "#8c8c8c": "#8f8f8f", "#7a7a7a": "#9c9c9c", "#a0a0a0": "#7f7f7f",
    "#000000": "#f2f2f2", "#111111": "#e8eaed", "#333333": "#c9ced6", "#444444": "#c9ced6", "#555555": "#a3abb5",
    "#5a5a5a": "#b4b4b4", "#666666": "#a3abb5", "#9a9a9a": "#6d7580", "#bbbbbb": "#5c636d", "#e4e4e4": "#343a42",
    "#ffffff": "#1c2026",
}  # fmt: skip
"""Replacement of each colour of a figure on a dark page: the same hue, lighter where it must be seen."""
_DASHES: tuple[tuple[float, ...], ...] = ((5, 2), (1.5, 1.5), (6, 1.5, 1.5, 1.5), (3, 1))
_MARKERS = ("o", "D", "s", "^", "v", "P")


@dataclass(frozen=True)
class Style:
    """Colour and line of a variant; dashes are in points, none for a solid line."""

    colour: str
    text_colour: str
    marker: str
    width: float
    dashes: tuple[float, ...] = ()

    @property
    def dark_colour(self) -> str:
        """The colour on a dark page."""
        return ON_DARK[self.colour.lower()]

    @property
    def strong(self) -> bool:
        """True for the sets that the study is about."""
        return self.colour in _STRONG and self.width > 2


def style_of(name: str) -> Style:
    """Return the style of a variant: monosemantic ones strong, the baseline black, controls grey, others dotted."""
    role, (features, classifier) = role_of(name), pair_parts(name)
    if classifier:
        return _of_pair(name, features)
    if role is None:
        return Style("#000000", "#000000", "X", 1.4, (1, 2))
    family = family_of_variant(name)
    number = [other for other, variant in family.items() if variant.role == role].index(name)
    number += role == "contender"  # beside the selected variant, which has the first colour
    if role == "baseline":
        return Style("#000000", "#000000", "o", 2.0)
    if role == "control":
        turn, place = divmod(number, len(_GREYS))
        marker = _MARKERS[1:][(place + turn) % (len(_MARKERS) - 1)]
        return Style(_GREYS[place], "#5a5a5a", marker, 1.4, _DASHES[place])
    colour = _STRONG[number % len(_STRONG)]
    # Beyond the palette colours come again, with the next marker.
    return Style(colour, colour, _MARKERS[(number + number // len(_STRONG)) % len(_MARKERS)], 2.4)


def _of_pair(name: str, features: str) -> Style:
    """Return the style of the features; thin, with dashes of its own, for any but the first classifier on them."""
    style = style_of(features)
    siblings = [other for other in family_of_variant(name) if pair_parts(other)[0] == features]
    number = siblings.index(name) if name in siblings else 0
    if number == 0:
        return style
    marker = _MARKERS[number % len(_MARKERS)]
    return Style(style.colour, style.text_colour, marker, 1.4, _DASHES[number % len(_DASHES)])


LABEL_SIZE = 9.5
LONGEST_NAME = 26
_LEADER = {"arrowstyle": "-", "color": "#bbbbbb", "linewidth": 0.7, "relpos": (0, 0.5), "shrinkA": 1, "shrinkB": 4}
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
    """Return a name on one line, shortened where it is too long for a figure."""
    name = "".join(letter for letter in " ".join(name.split()) if letter.isprintable())
    return name if len(name) <= longest else name[: longest - 1] + "…"


def label_ends(figure: Figure, axes: Axes, ends: Iterable[tuple[str, float, float]], longest: int) -> None:
    """Write names at the right end of their lines, shortened if too long and moved apart where they would overlap."""
    ends = sorted(ends, key=lambda end: end[2])
    fit_fonts(figure)
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
    """Return rising positions at least ``gap`` apart that are nearest to the given ones (least squares)."""
    steps = gap * np.arange(len(wanted))
    return list(isotonic_regression(np.asarray(wanted) - steps) + steps)


def annotate(figure: Figure, axes: Axes, points: Sequence[Point]) -> None:
    """Write names beside their points, each on the side where it covers least of points, error bars and other names."""
    fit_fonts(figure)
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
        fit_fonts(text)

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
