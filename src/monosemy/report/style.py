"""How a feature set looks, in every figure of every study the same."""

from collections.abc import Iterable
from dataclasses import dataclass

from monosemy.features.registry import FEATURE_SETS, Role
from monosemy.study.adapters.methods import METHODS
from monosemy.study.finetuning import VARIANTS

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
"""What stands for a colour of a figure on a dark page; the same hue, lighter where it must be seen."""
_DASHES: tuple[tuple[float, ...], ...] = ((5, 2), (1.5, 1.5), (6, 1.5, 1.5, 1.5), (3, 1))
_MARKERS = ("o", "D", "s", "^", "v", "P")


ROLES: dict[str, Role] = {name: feature.role for name, feature in FEATURE_SETS.items()} | {
    name: compared.role for name, compared in (VARIANTS | METHODS).items()
}
"""Of everything that is compared: feature sets of a study, variants and methods of finetuning."""


@dataclass(frozen=True)
class Style:
    """Colour and line of a feature set; dashes are in points, none for a solid line."""

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
        """Whether it is what the study is about."""
        return self.colour in _STRONG


def style_of(name: str) -> Style:
    """Monosemantic sets strong, the baseline black, controls grey and dashed, any other baseline black and dotted."""
    if name not in ROLES:
        return Style("#000000", "#000000", "X", 1.4, (1, 2))
    role = ROLES[name]
    family: Iterable[str] = next((group for group in (VARIANTS, METHODS) if name in group), FEATURE_SETS)
    number = [other for other in family if ROLES[other] == role].index(name)
    if role == "baseline":
        return Style("#000000", "#000000", "o", 2.0)
    if role == "control":
        turn, place = divmod(number, len(_GREYS))
        marker = _MARKERS[1:][(place + turn) % (len(_MARKERS) - 1)]
        return Style(_GREYS[place], "#5a5a5a", marker, 1.4, _DASHES[place])
    colour = _STRONG[number % len(_STRONG)]
    # Beyond the palette colours come again, with the next marker.
    return Style(colour, colour, _MARKERS[(number + number // len(_STRONG)) % len(_MARKERS)], 2.4)
