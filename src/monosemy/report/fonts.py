"""Fonts of figures: the house's, and for letters that it lacks one of the system's that has them."""

import warnings
from collections.abc import Iterator
from functools import cache

from matplotlib.artist import Artist
from matplotlib.font_manager import FontEntry, fontManager
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

from monosemy.errors import MonosemyWarning

HOUSE_FONT = "DejaVu Sans"
"""Comes with Matplotlib; has Latin, Greek, Cyrillic, Arabic and Hebrew letters and many signs."""
_BOXES = "last resort"
"""Family whose letters are all boxes."""
_PLAIN_FACES = ("noto sans", "source han sans", "gothic", "hei", "sans")
"""Words in the names of families that go with the house's font, the best first."""


def fit_fonts(artist: Artist) -> None:
    """Give every text of a figure, or one text, fonts that have its letters; say once where there is none."""
    for found in artist.findobj(Text):
        assert isinstance(found, Text)
        missing = frozenset(letter for letter in found.get_text() if not _house_has(letter))
        if missing:
            families, boxes = families_for(missing)
            found.set_fontfamily([HOUSE_FONT, *families])
            if boxes:
                _say_boxes()


@cache
def _house_has(letter: str) -> bool:
    entry = next(entry for entry in fontManager.ttflist if entry.name == HOUSE_FONT and entry.style == "normal")
    return letter.isspace() or bool(FT2Font(entry.fname).get_char_index(ord(letter)))


@cache
def families_for(letters: frozenset[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    """Return families of the system that have letters, as few as possible, and the letters that none has."""
    having = {name: found for name, path in _families() if (found := _present(path, letters))}
    chosen: list[str] = []
    left = letters
    while having:
        best = max(having, key=lambda name: len(having[name] & left))  # the first of equal ones
        if not having[best] & left:
            break
        chosen.append(best)
        left -= having.pop(best)
    return tuple(chosen), left


def _families() -> Iterator[tuple[str, str]]:
    """Yield families with the file of their plainest face, those first that go with the house's font."""
    plainest: dict[str, FontEntry] = {}
    for entry in sorted(fontManager.ttflist, key=lambda entry: (entry.style != "normal", _boldness(entry))):
        if _BOXES not in entry.name.lower():
            plainest.setdefault(entry.name, entry)
    for name in sorted(plainest, key=lambda name: (_rank(name), name)):
        yield name, plainest[name].fname


def _boldness(entry: FontEntry) -> int:
    return abs(entry.weight - 400) if isinstance(entry.weight, int) else 100


def _rank(name: str) -> int:
    words = name.lower()
    return next((rank for rank, word in enumerate(_PLAIN_FACES) if word in words), len(_PLAIN_FACES))


def _present(path: str, letters: frozenset[str]) -> frozenset[str]:
    try:
        font = FT2Font(path)
    except (OSError, RuntimeError, ValueError):  # a damaged font of the system
        return frozenset()
    if not font.scalable:  # colour emoji are pictures of one size, which Matplotlib does not draw
        return frozenset()
    return frozenset(letter for letter in letters if font.get_char_index(ord(letter)))


@cache
def _say_boxes() -> None:
    warnings.warn(
        "No font of this system has all letters of the names in the figures, which show boxes instead; install one, "
        "such as Noto Sans CJK, and run `monosemy report` on the folder.",
        MonosemyWarning,
        stacklevel=2,
    )
