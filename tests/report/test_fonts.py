"""Names in any script in figures: a font of the system that has the letters, else one message."""

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.t2CharStringPen import T2CharStringPen
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from PIL import Image

from monosemy.errors import MonosemyWarning
from monosemy.report import figures, fonts, style

KANJI, KANA, THAI = "手書", "き", "ก"
Install = Callable[..., None]


def font_file(path: Path, family: str, letters: str, cff: bool = False) -> Path:
    """A font whose letters are black squares."""
    glyphs = [".notdef", *(f"uni{ord(letter):04X}" for letter in letters)]
    builder = FontBuilder(1000, isTTF=not cff)
    builder.setupGlyphOrder(glyphs)
    builder.setupCharacterMap({ord(letter): f"uni{ord(letter):04X}" for letter in letters})
    drawn = {}
    for name in glyphs:
        pen = T2CharStringPen(1000, {}) if cff else TTGlyphPen(None)
        pen.moveTo((0, 0)), pen.lineTo((0, 900)), pen.lineTo((900, 900)), pen.lineTo((900, 0)), pen.closePath()
        drawn[name] = pen.getCharString() if isinstance(pen, T2CharStringPen) else pen.glyph()
    if cff:
        builder.setupCFF(family, {}, drawn, {})
    else:
        builder.setupGlyf(drawn)
    builder.setupHorizontalMetrics(dict.fromkeys(glyphs, (1000, 0)))
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable({"familyName": family, "styleName": "Regular", "psName": family.replace(" ", "")})
    builder.setupOS2(usWeightClass=400)
    builder.setupPost()
    builder.save(path)
    return path


def forget() -> None:
    for cached in (fonts.families_for, fonts._house_has, fonts._say_boxes):
        cached.cache_clear()


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Adds a font to those of the system; without any, the system has Matplotlib's own."""
    own = [entry for entry in fontManager.ttflist if "mpl-data" in entry.fname]
    monkeypatch.setattr(fontManager, "ttflist", own)
    forget()

    def add(family: str, letters: str, cff: bool = False) -> None:
        fontManager.addfont(font_file(tmp_path / f"{family}.{'otf' if cff else 'ttf'}", family, letters, cff))
        forget()

    yield add
    forget()


def figure_of(name: str) -> Figure:
    figure = Figure(figsize=(2, 1))
    figure.text(0.1, 0.5, name)
    return figure


def families(figure: Figure) -> list[str]:
    fonts.fit_fonts(figure)
    return list(figure.texts[0].get_fontfamily())


def test_letters_of_the_house_s_font_change_nothing(install: Install) -> None:
    figure = figure_of("Größe, ошибка, ευρος, עברית, عربي, ± −")
    before = list(figure.texts[0].get_fontfamily())
    assert families(figure) == before


def test_a_font_that_has_the_letters_is_found(install: Install) -> None:
    install("Some Gothic", KANJI + KANA)
    install("Other Sans", THAI)
    assert families(figure_of(f"shift: {KANJI}{KANA}")) == [fonts.HOUSE_FONT, "Some Gothic"]
    assert families(figure_of(f"{THAI} {KANJI}")) == [fonts.HOUSE_FONT, "Some Gothic", "Other Sans"]


def test_as_few_fonts_as_possible_and_sans_serif_before_others(install: Install) -> None:
    install("A Script", KANJI + KANA)
    install("Z Sans", KANJI + KANA)
    install("Noto Sans Kana", KANA)
    assert families(figure_of(KANJI + KANA)) == [fonts.HOUSE_FONT, "Z Sans"]


@pytest.mark.parametrize("cff", [False, True])
@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_the_letters_are_drawn(install: Install, kind: figures.FigureKind, cff: bool, tmp_path: Path) -> None:
    install("Some Gothic", KANJI, cff)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        raw = figures.drawn(figure_of(KANJI), kind)
    if kind == "png":
        (tmp_path / "a.png").write_bytes(raw)
        dark = np.asarray(Image.open(tmp_path / "a.png").convert("L")) < 100
        rows, columns = np.flatnonzero(dark.any(axis=1)), np.flatnonzero(dark.any(axis=0))
        # Two black squares and a gap of a tenth; boxes of missing letters would be empty.
        assert dark[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].mean() > 0.85


def test_boxes_are_said_once_and_matplotlib_says_nothing(install: Install) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for name in (KANJI, KANJI + KANA, f"a {KANA}", THAI):
            figures.drawn(figure_of(name), "png")
    assert [warning.category for warning in caught] == [MonosemyWarning]
    assert "No font of this system has all letters" in str(caught[0].message)


def test_fonts_that_cannot_be_used_are_passed_over(install: Install, tmp_path: Path) -> None:
    install("Broken Sans", KANJI)
    (tmp_path / "Broken Sans.ttf").write_bytes(b"no font")
    assert fonts.families_for(frozenset(KANJI)) == ((), frozenset(KANJI))


def test_names_at_points_and_lines_are_fitted_before_they_are_measured(install: Install) -> None:
    install("Some Gothic", KANJI + KANA)
    name = KANJI + KANA

    @figures.HOUSE_STYLE
    def draw() -> Figure:
        figure = Figure(figsize=(4, 3))
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1])
        style.annotate(figure, axes, [style.Point(name, (0.5, 0.4, 0.6), (0.5, 0.4, 0.6))])
        style.label_ends(figure, axes, [(name, 1, 1)], 20)
        axes.set_xticks([0, 1], [name, "b"])
        return figure

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figures.drawn(draw(), "svg")
