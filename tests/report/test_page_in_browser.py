"""The report of a study in a real browser: silent, without network, by keyboard, narrow, dark, printed, hostile."""

import re
from pathlib import Path

import pytest
from browser import PHONE, WatchedPage
from made_study import HOSTILE, make_result

from monosemy.report.html import write_report
from monosemy.report.latex import write_comparison
from monosemy.results.result import Verdict

NOT_SHOWN = '() => [...document.querySelectorAll("[data-feature]:not(:checked)")].map(box => box.dataset.feature)'
LINES = "chart => document.querySelectorAll('.chart')[chart].data.filter(t => t.mode !== 'lines').length"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(make_result(extra=("ncl",)), tmp_path_factory.mktemp("report"))


def reach(page: WatchedPage, selector: str, most: int = 80) -> None:
    """By the Tab key alone."""
    for _ in range(most):
        page.page.keyboard.press("Tab")
        if page.page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"{selector} is not reached; the focus is on {page.focused()}")


def test_charts_are_drawn_and_stand_for_the_pictures(report: Path, open_page) -> None:
    page = open_page(report).page
    charts = page.locator(".chart")
    assert charts.count() == 2 * 5 + 1  # accuracy and gain of five scenarios, and monosemanticity
    for number in range(charts.count()):
        assert charts.nth(number).locator(".main-svg").first.is_visible()
        assert page.evaluate(LINES, number) > 0
    assert not page.locator(".still").first.is_visible()
    assert page.locator(".first img").is_visible()


def test_the_charts_draw_the_numbers_of_the_study(report: Path, open_page) -> None:
    page = open_page(report).page
    summary = make_result(extra=("ncl",)).summary
    rows = summary[(summary["variant"] == "sae") & (summary["scenario"] == "label-noise")].sort_values("level")
    drawn = page.evaluate(
        "() => document.querySelectorAll('.chart')[0].data.find(t => t.hovertemplate?.[0].startsWith('sae:'))"
    )
    assert drawn["x"] == [0, 30, 60]
    assert drawn["y"][1:] == pytest.approx(list(100 * rows["accuracy"]), abs=1e-3)
    bands = page.evaluate(
        "() => document.querySelectorAll('.chart')[0].data.filter(t => t.fill).map(t => Math.max(...t.y))"
    )
    reach_of_axis = page.evaluate("() => document.querySelectorAll('.chart')[0].layout.yaxis.range")
    assert -2 <= reach_of_axis[0] < reach_of_axis[1] <= 102
    assert max(bands) == pytest.approx(100 * summary["accuracy_high"][summary["scenario"] == "clean"].max(), abs=1e-3)


def test_every_control_works_by_keyboard(report: Path, open_page) -> None:
    watched = open_page(report)
    page = watched.page
    before = page.evaluate(LINES, 0)
    reach(watched, "[data-feature='1']")
    page.keyboard.press("Space")
    assert set(page.evaluate(NOT_SHOWN)) == {"1"}
    assert len(page.evaluate(NOT_SHOWN)) == 6  # the switches above every chart say the same
    assert page.evaluate(LINES, 0) == before - 1
    reach(watched, "[data-show=all]")
    page.keyboard.press("Enter")
    assert page.evaluate(LINES, 0) == before
    reach(watched, "[data-show=strong]")
    page.keyboard.press("Enter")
    assert page.evaluate(LINES, 0) == 3  # dense, sae, ncl
    reach(watched, "[data-bands]")
    page.keyboard.press("Space")
    assert page.evaluate("() => document.querySelectorAll('.chart')[0].data.filter(t => t.fill).length") == 0
    reach(watched, "#scatter-up")
    drawn = "() => JSON.stringify([...document.querySelectorAll('.chart')].at(-1).data.map(t => [t.x, t.y]))"
    seen = {page.evaluate(drawn)}
    for selector in ("#scatter-up", "#scatter-where", "#scatter-across"):
        assert page.evaluate("selector => document.activeElement.matches(selector)", selector)
        page.keyboard.press("ArrowDown")
        seen.add(page.evaluate(drawn))
        page.keyboard.press("Tab")
    assert len(seen) == 4


def test_the_command_is_copied_by_keyboard(report: Path, open_page) -> None:
    watched = open_page(report)
    watched.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    reach(watched, "[data-copy=command]", most=120)
    watched.page.keyboard.press("Enter")
    # A function: a bare expression that is not true at once is evaluated as a text, which the page's policy forbids.
    watched.page.wait_for_function("() => document.activeElement.textContent === 'Copied'")
    assert watched.page.evaluate("navigator.clipboard.readText()") == "monosemy study --plan plan.yaml --out NEW"


def test_charts_follow_a_change_between_dark_and_light(report: Path, open_page) -> None:
    page = open_page(report, dark=True).page
    ink = "() => document.querySelector('.chart').layout.font.color"
    find = "data.find(t => t.hovertemplate?.[0].startsWith('dense:'))"
    line = f"() => document.querySelector('.chart').{find}.line.color"
    assert (page.evaluate(ink), page.evaluate(line)) == ("#e8eaed", "#f2f2f2")
    page.emulate_media(color_scheme="light")
    page.wait_for_function("() => document.querySelector('.chart').layout.font.color === '#1a1d21'")
    assert page.evaluate(line) == "#000000"


@pytest.mark.parametrize("javascript", [True, False])
def test_a_phone_shows_verdict_and_picture_first_and_nothing_sticks_out(report: Path, open_page, javascript) -> None:
    watched = open_page(report, window=PHONE, javascript=javascript)
    picture = watched.page.locator(".first img").bounding_box()
    assert picture["y"] + picture["height"] <= PHONE["height"]
    if javascript:
        assert watched.overflow() == 0


def test_without_scripts_and_on_paper_there_are_pictures(report: Path, open_page) -> None:
    page = open_page(report, javascript=False).page
    assert page.locator(".still").first.is_visible()
    assert not page.locator(".chart, [data-feature], [data-copy]").first.is_visible()
    printed = open_page(report).page
    printed.emulate_media(media="print")
    assert printed.locator(".still").first.is_visible()
    assert not printed.locator(".chart, [data-feature], [data-copy]").first.is_visible()


def test_only_the_scripts_of_the_page_may_run(report: Path, open_page) -> None:
    watched = open_page(report)
    policy = watched.page.locator("meta[http-equiv=Content-Security-Policy]").get_attribute("content")
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "eval" not in policy
    watched.page.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), {text: 'window.ran = 1'}))"
    )
    assert watched.page.evaluate("window.ran ?? 0") == 0
    assert any("Content Security Policy" in error for error in watched.errors)
    watched.errors.clear()


TEXTS = (
    HOSTILE,
    '"><img src=x onerror=alert(2)>',
    "</script><script>alert(3)</script>",
    "<b>bold</b> &lt;i&gt; [bold]",
    "\u202edesrever\u202c \u2066isolated\u2069 \u200fmark",
    "\u0645\u062c\u0645\u0648\u0639\u0629",
    "{{ 7 * 7 }} %{x} $x$",
    "very-long-" * 200,
)


def test_hostile_texts_are_shown_as_texts(tmp_path: Path, open_page) -> None:
    everything = " ".join(TEXTS)
    said = Verdict(TEXTS, TEXTS, (f"First {everything}", "Second."))
    result = make_result(extra=TEXTS, dataset=everything, source=everything, verdict=said, scenarios=("shift:sketch",))
    result.summary["scenario"] = result.summary["scenario"].replace({"shift:sketch": f"shift:{everything}"})
    watched = open_page(write_report(result, tmp_path), window=PHONE)
    assert watched.overflow() == 0
    page = watched.page
    assert page.locator(".chart .main-svg").first.is_visible()
    body = page.locator("body").inner_text()
    for text in TEXTS:
        shown = re.sub("[\u200f\u202a-\u202e\u2066-\u2069]", lambda found: f"\\u{ord(found[0]):04x}", text)
        assert body.count(shown) >= 4, shown
    assert not re.search("[\u200e\u200f\u202a-\u202e\u2066-\u2069]", page.content())
    assert page.locator("body b, body i, body img[onerror]").count() == 0
    assert page.locator("script").count() == 3  # the data, the library and the page's own


def test_several_studies_on_one_page(tmp_path: Path, open_page) -> None:
    runs = {
        HOSTILE: make_result(scenarios=("label-noise",)),
        TEXTS[4]: make_result(seeds=2, scenarios=("label-noise",)),
    }
    for dark in (False, True):
        watched = open_page(write_comparison(runs, tmp_path), window=PHONE, dark=dark)
        assert watched.overflow() == 0
        assert watched.page.locator("figure img").count() == 2
        assert HOSTILE in watched.page.locator("h1").inner_text()


def test_a_gallery_beside_the_page_is_linked(tmp_path: Path) -> None:
    assert "gallery.html" not in write_report(make_result(scenarios=()), tmp_path).read_text()
    (tmp_path / "gallery.html").write_text("<!doctype html>")
    assert write_report(make_result(scenarios=()), tmp_path).read_text().count('href="gallery.html"') == 2
