"""The review page of an audit: its keys, what it keeps, exports and reads again, its size; texts are texts."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import DESK, PHONE
from PIL import Image

from monosemy.report import audit, packing
from monosemy.report.audit import AuditPage, read_decisions, write_audit_page

HOSTILE = (
    "<script>alert(1)</script>",
    "</script><script>alert(2)</script>",
    '"><img src=x onerror=alert(3)>',
    "\u202ereversed\u202c and \u05e2\u05d1\u05e8\u05d9\u05ea",
    "=1+1",
    "'=1+1",
    "-1",
    "'-1",
    "-cmd",
    "+a, \"quoted\"; 'single'",
    "@SUM(A1)\ttab",
    "two\r\nlines\nand\rmore",
    "日本語 🙂 é",
    " spaces ",
    "'plain",
    "{{ 7 * 7 }} ${1} &amp;",
)
HEADER = "row,given,suggested,decision,label\n"


def made(
    kind: str = "texts", n: int = 6, classes: tuple[str, ...] = ("cat", "dog", "cow", "catfish"), **own: Any
) -> Any:
    """Row i of n is given class i and suggested class i + 1, wrong with a probability falling from 1."""
    given = np.arange(n) % len(classes)
    inputs: Any = None
    if kind == "texts":
        inputs = tuple(f"text {i} of {classes[label]}" for i, label in enumerate(given))
    elif kind == "images":
        shades = (np.arange(n) * 40 % 200 + 20).astype(np.uint8)
        inputs = np.ascontiguousarray(np.broadcast_to(shades[:, None, None, None], (n, 1, 8, 8)))
    values = {
        "title": "made",
        "about": ["About 8 % of the labels are wrong."],
        "row_names": [f"row {i}" for i in range(n)],
        "given": given,
        "suggested": (given + 1) % len(classes),
        "probability_wrong": np.linspace(1, 0.1, n),
        "reasons": [f"its neighbours are {classes[label]}" for label in (given + 1) % len(classes)],
        "class_names": classes,
        "inputs": inputs,
    } | own
    return AuditPage(**values)


@pytest.fixture
def opened(open_page, tmp_path: Path):
    """Write a page and open it, ready to be used."""

    def open_made(page: AuditPage, name: str = "audit.html", **window: Any) -> Any:
        write_audit_page(page, tmp_path / name)
        watched = open_page(tmp_path / name, **window)
        watched.page.wait_for_function("performance.getEntriesByName('rows are read').length")
        return watched

    return open_made


def counts(page: Any) -> dict[str, int]:
    names = ("done", "left", "accepted", "kept", "relabelled", "skipped", "shown")
    return {name: int(page.locator(f"#n-{name}").inner_text().replace(",", "")) for name in names}


def export(page: Any, kind: str, folder: Path) -> Path:
    with page.expect_download() as download:
        page.locator(f"#{kind}").click()
    assert download.value.suggested_filename == f"audit-decisions.{kind}"
    path = folder / f"decisions.{kind}"
    download.value.save_as(path)
    return path


def data_of(path: Path) -> dict[str, Any]:
    found = re.search(r'id="page">(.*?)</script>', path.read_text(encoding="utf-8"), re.S)
    assert found is not None
    return json.loads(found.group(1))


# --- the page in a browser --------------------------------------------------------------------------------------------


def test_rows_are_decided_by_keyboard(opened, tmp_path: Path) -> None:
    page = opened(made()).page
    focus = page.locator("#head h2")
    assert focus.inner_text() == "row 0"
    assert "text 0 of cat" in page.locator("#content").inner_text()
    assert "its neighbours are dog" in page.locator("#content").inner_text()
    assert "100.0\N{NO-BREAK SPACE}%" in page.locator("#head").inner_text()
    page.keyboard.press("a")
    page.keyboard.press("r")
    page.keyboard.press("s")
    assert focus.inner_text() == "row 3"
    page.keyboard.press("c")
    page.keyboard.type("CO")
    page.keyboard.press("Enter")
    page.keyboard.press("j")
    assert focus.inner_text() == "row 5"
    page.keyboard.press("ArrowUp")
    page.keyboard.press("k")
    assert focus.inner_text() == "row 3"
    assert counts(page) == {
        "done": 4, "left": 2, "accepted": 1, "kept": 1, "relabelled": 1, "skipped": 1, "shown": 6
    }  # fmt: skip
    assert json.loads(export(page, "json", tmp_path).read_text(encoding="utf-8")) == [
        {"row": "row 0", "given": "cat", "suggested": "dog", "decision": "accept", "label": "dog"},
        {"row": "row 1", "given": "dog", "suggested": "cow", "decision": "keep", "label": "dog"},
        {"row": "row 2", "given": "cow", "suggested": "catfish", "decision": "skip", "label": ""},
        {"row": "row 3", "given": "catfish", "suggested": "cat", "decision": "relabel", "label": "cow"},
    ]
    assert export(page, "csv", tmp_path).read_bytes().decode("utf-8-sig").splitlines()[:2] == [
        '"row","given","suggested","decision","label"',
        '"row 0","cat","dog","accept","dog"',
    ]
    for name in ("json", "csv"):
        assert read_decisions(tmp_path / f"decisions.{name}") == {"row 0": "dog", "row 1": "dog", "row 3": "cow"}


def test_decisions_are_undone_one_by_one(opened) -> None:
    page = opened(made()).page
    for key in "asru":
        page.keyboard.press(key)
    assert counts(page)["done"] == 2
    assert page.locator("#head h2").inner_text() == "row 2"
    page.keyboard.press("k")
    page.keyboard.press("r")  # another decision on a row that has one
    assert (counts(page)["skipped"], counts(page)["kept"]) == (0, 1)
    page.keyboard.press("u")
    assert (counts(page)["skipped"], counts(page)["kept"]) == (1, 0)
    page.keyboard.press("u")
    page.keyboard.press("u")
    assert counts(page)["left"] == 6
    page.keyboard.press("u")
    assert page.locator("#said").inner_text() == "There is nothing to undo."


def test_another_class_is_searched(opened) -> None:
    page = opened(made()).page
    page.keyboard.press("c")
    names = page.locator("#matches [data-label]")
    assert names.all_inner_texts() == ["cat", "dog", "cow", "catfish"]
    page.keyboard.type("cat")
    assert names.all_inner_texts() == ["cat", "catfish"]  # the exact name first
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert counts(page)["relabelled"] == 1
    page.keyboard.press("c")
    page.keyboard.type("fish")
    assert names.all_inner_texts() == ["catfish"]
    page.keyboard.press("Control+A")
    page.keyboard.type("ar")  # letters in the field decide nothing
    page.keyboard.press("Enter")  # nothing is found
    assert counts(page)["done"] == 1
    page.keyboard.press("Escape")
    assert page.locator("#picker").is_hidden()
    page.keyboard.press("c")
    page.keyboard.type("cow")  # row 1 is suggested cow: taking it is to accept
    page.locator("#matches [data-label]").click()
    assert counts(page)["accepted"] == 1


def test_letters_can_be_switched_off(opened) -> None:
    page = opened(made()).page
    page.locator("#keys").uncheck()
    page.keyboard.press("a")
    assert counts(page)["done"] == 0
    page.locator("#accept").focus()
    page.keyboard.press("Enter")
    assert counts(page)["accepted"] == 1


def test_rows_are_filtered(opened) -> None:
    page = opened(made(n=40)).page
    page.locator("#given").select_option(label="dog (10)")
    assert counts(page)["shown"] == 10
    assert page.locator("#head h2").inner_text() == "row 1"
    page.locator("#suggested").select_option(label="cat (10)")
    assert counts(page)["shown"] == 0
    assert page.locator("#rows .empty").is_visible()
    assert page.locator("#accept").is_disabled()
    page.locator("#given").select_option(label="all")
    page.locator("#least").fill("50")
    probability = np.linspace(1, 0.1, 40)
    assert counts(page)["shown"] == int((probability[3::4] >= 0.5).sum())
    page.locator("#least").fill("0")
    page.locator("#suggested").select_option(label="all")
    page.locator("#state").select_option(label="none yet")
    page.locator("#list").press("Home")
    first = page.locator("#head h2").inner_text()
    page.keyboard.press("a")
    assert counts(page)["shown"] == 39
    assert page.locator("#head h2").inner_text() != first
    page.locator("#state").select_option(label="accept")
    assert page.locator(".row").count() == 1
    page.keyboard.press("u")
    assert counts(page)["shown"] == 0


def test_a_probability_at_the_threshold_is_shown(opened) -> None:
    page = opened(made(n=3, probability_wrong=np.array([0.9, 0.7, 0.3]))).page
    for least, n in (("90", 1), ("70", 2), ("30", 3), ("90.1", 0)):
        page.locator("#least").fill(least)
        assert counts(page)["shown"] == n


def test_decisions_are_kept_for_this_page_alone(opened, tmp_path: Path) -> None:
    page = opened(made()).page
    page.keyboard.press("a")
    page.keyboard.press("s")
    page.reload()
    page.wait_for_function("performance.getEntriesByName('rows are read').length")
    assert (counts(page)["accepted"], counts(page)["skipped"]) == (1, 1)
    for other, n in ((made(reasons=["another reason"] * 6), 2), (made(suggested=np.arange(6) % 4), 0)):
        write_audit_page(other, tmp_path / "audit.html")
        page.reload()
        page.wait_for_function("performance.getEntriesByName('rows are read').length")
        assert counts(page)["done"] == n


def test_a_browser_without_storage_says_so(opened) -> None:
    page = opened(made()).page
    assert page.locator("#unkept").is_hidden()
    page.evaluate("() => { Storage.prototype.setItem = () => { throw new Error('full'); }; }")
    page.keyboard.press("a")
    assert page.locator("#unkept").is_visible()
    assert counts(page)["accepted"] == 1


@pytest.mark.slow
def test_damaged_storage_is_left_out(opened) -> None:
    page = opened(made()).page
    page.keyboard.press("a")
    for text, n in (('[[0,-1],[99,0],[1,44],[2,-9],[3,"x"],[4,2]]', 2), ("{", 0), ("7", 0), ("[7]", 0)):
        page.evaluate("text => localStorage.setItem(Object.keys(localStorage)[0], text)", text)
        page.reload()
        page.wait_for_function("performance.getEntriesByName('rows are read').length")
        assert counts(page)["done"] == n


def test_hostile_exports_are_read_again(opened, tmp_path: Path) -> None:
    """Every hostile text is a class and the end of a row's name; both survive both formats, here and in the page."""
    n = len(HOSTILE)
    hostile = made(n=n, classes=HOSTILE, row_names=[f"{text}{'' if i % 2 else i}" for i, text in enumerate(HOSTILE)])
    page = opened(hostile).page
    wanted = {}
    for row in range(n):
        page.keyboard.press("ar"[row % 2])
        wanted[hostile.row_names[row]] = HOSTILE[row if row % 2 else (row + 1) % n]
    assert counts(page)["done"] == n
    paths = [export(page, kind, tmp_path) for kind in ("csv", "json")]
    assert not re.search(r'(^|,)"[=+@\t\r]', paths[0].read_text(encoding="utf-8-sig"))
    for path in paths:
        assert read_decisions(path) == wanted
        fresh = opened(hostile, f"{path.suffix[1:]}.html").page
        fresh.locator("#chosen-file").set_input_files(path)
        fresh.locator("#said", has_text="imported").wait_for()
        assert fresh.locator("#said").inner_text() == f"{n} decisions imported."
        assert counts(fresh) == counts(page)
        again = export(fresh, path.suffix[1:], tmp_path / path.suffix)
        assert again.read_bytes() == path.read_bytes()


IMPORTS = (
    (
        "a.csv",
        HEADER + "row 1,dog,cow,accept,cow\nrow 77,cat,dog,keep,zebra\n",
        "1 decision imported. 1 record left out",
    ),
    ("a.csv", HEADER.replace(",", ";") + 'row 1;dog;cow;"keep";dog\r\n', "1 decision imported."),
    ("a.csv", HEADER, "0 decisions imported."),
    ("a.csv", HEADER + "row 1,dog,cow,maybe,cow\n", "“maybe” is no decision"),
    ("a.csv", HEADER + "row 1,dog,cow,relabel,zebra\n", "“zebra” is no class"),
    ("a.csv", HEADER + "row 1,dog,cow,keep,dog\nrow 1,dog,cow,skip,\n", "row 1 stands in it twice"),
    ("a.csv", "row,given,suggested,decision\nrow 1,dog,cow,keep\n", "record 1 has no label"),
    ("a.csv", HEADER + 'row 1,dog,cow,keep,"dog\n', "quotation marks do not pair"),
    ("a.json", "[{]", "Nothing was imported"),
    ("a.json", '{"row": "row 1"}', "it is no list"),
    ("a.json", "[7]", "record 1 has no row"),
)


def test_imports_say_what_is_wrong(opened, tmp_path: Path) -> None:
    page = opened(made()).page
    page.keyboard.press("a")
    for name, content, said in IMPORTS:
        page.evaluate("document.getElementById('said').textContent = ''")
        (tmp_path / name).write_text(content, encoding="utf-8")
        page.locator("#chosen-file").set_input_files(tmp_path / name)
        page.locator("#said", has_text="mported").wait_for()
        assert said in page.locator("#said").inner_text()
        imported = said.startswith("1 decision imported")
        assert counts(page)["done"] == 1 + imported
        if imported:
            page.keyboard.press("u")
            assert counts(page)["done"] == 1


@pytest.mark.parametrize(
    ("kind", "window", "dark"), [("texts", PHONE, True), pytest.param("images", DESK, False, marks=pytest.mark.slow)]
)
def test_hostile_texts_are_texts(kind: str, window: dict[str, int], dark: bool, opened) -> None:
    n = len(HOSTILE)
    own: dict[str, Any] = {} if kind == "images" else {"inputs": HOSTILE}
    hostile = made(
        kind,
        n,
        HOSTILE,
        title=HOSTILE[0],
        about=list(HOSTILE),
        row_names=HOSTILE,
        reasons=[*HOSTILE[1:], "x" * 5000],
        **own,
    )
    watched = opened(hostile, window=window, dark=dark)
    page = watched.page
    assert page.locator("h1").inner_text() == HOSTILE[0]
    assert page.locator("img, main script").count() == 0
    for row in range(n):
        assert page.locator("#head h2").text_content() == HOSTILE[row].replace("\u202e", "\\u202e").replace(
            "\u202c", "\\u202c"
        ).replace("\r", "\\u000d")
        page.keyboard.press("j")
    assert watched.overflow() == 0
    page.keyboard.press("c")
    assert page.locator("#matches [data-label]").count() == n
    assert page.locator("img, main script").count() == 0
    assert watched.overflow() == 0


def test_long_texts_are_cut_and_can_be_seen_whole(opened) -> None:
    texts = ("long " * 2000, "🙂" * 3000, "short", "endless" * 20_000, "", "x" * 650)
    page = opened(made(inputs=texts)).page
    sample = page.locator("#content .sample")
    assert len(sample.inner_text()) < 700
    page.locator("#whole").click()
    assert sample.text_content() == texts[0]
    page.locator("#whole").click()
    assert len(sample.inner_text()) < 700
    page.keyboard.press("j")
    assert set(sample.inner_text()) == {"🙂", "…"}  # no half of one
    page.keyboard.press("j")
    assert page.locator("#whole").count() == 0
    page.keyboard.press("j")
    page.locator("#whole").click()
    assert (sample.text_content() or "").endswith("(40,000 more characters are not on this page)")


def test_only_visible_rows_are_in_the_document(opened) -> None:
    page = opened(made(n=3000)).page
    assert 5 < page.locator(".row").count() < 50
    page.locator("#list").press("End")
    page.locator("#head h2", has_text="row 2999").wait_for()
    assert page.locator(".row").count() < 50
    assert page.locator(".row[aria-selected=true]").get_attribute("aria-posinset") == "3000"
    page.locator("#list").evaluate("list => { list.scrollTop = 0; }")
    page.locator("#row-0").wait_for()
    selected = page.locator("#list").get_attribute("aria-activedescendant")
    assert page.locator(f"#{selected}").count() == 1  # the row in focus stays, though out of sight
    page.locator("#row-2").click()
    assert page.locator("#head h2").inner_text() == "row 2"


def test_thumbnails_are_the_images_they_stand_for(opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "_SHEET_SIDE", 16)  # four to a sheet
    audited = made("images", n=11)
    page = opened(audited).page
    page.wait_for_function("document.readyState === 'complete'")
    for row in range(11):
        page.locator("#content .thumbnail").screenshot(path=tmp_path / "shot.png")
        with Image.open(tmp_path / "shot.png") as image:
            middle = np.asarray(image.convert("L"))[4:-4, 4:-4]
        assert np.abs(middle.astype(int) - int(audited.inputs[row, 0, 0, 0])).max() <= 3, row
        page.keyboard.press("j")


@pytest.mark.slow
def test_paper_has_the_rows_that_the_filters_show(opened) -> None:
    page = opened(made(n=300)).page
    page.keyboard.press("a")
    page.emulate_media(media="print")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.locator("#printed tbody tr").count() == 100
    assert "first 100 of 300 rows" in page.locator("#printed").inner_text()
    assert "accept: dog" in page.locator("#printed tr").nth(1).inner_text()
    assert page.locator("#list").is_hidden()
    assert page.pdf()[:4] == b"%PDF"


CONTRASTS = """() => {
  const parse = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const below = (e) => {
    for (; e; e = e.parentElement) {
      const colour = parse(getComputedStyle(e).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
  };
  const own = (e) => [...e.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  return [...document.querySelectorAll("body *:not(script):not(noscript):not(option)")]
    .filter((e) => own(e) && e.getClientRects().length && !e.disabled)
    .map((e) => {
      const [one, two] = [light(parse(getComputedStyle(e).color)), light(below(e))].sort((a, b) => b - a);
      return [(one + 0.05) / (two + 0.05), e.outerHTML.slice(0, 80)];
    });
}"""


@pytest.mark.parametrize("dark", [False, True])
def test_contrast_names_and_focus(dark: bool, opened) -> None:
    """WCAG AA: 4.5 between text and ground; each control has a name; each stop of the Tab key shows that it is one."""
    watched = opened(made("images", n=30), window=PHONE if dark else DESK, dark=dark)
    page = watched.page
    for key in "arsc":
        page.keyboard.press(key)
    found = page.evaluate(CONTRASTS)
    assert len(found) > 30
    assert min(found)[0] >= 4.5, min(found)
    for control in page.locator("button:visible, input:visible, select:visible").all():
        named = control.evaluate("e => e.innerText || e.labels?.[0]?.innerText || e.ariaLabel")
        assert named, control.evaluate("e => e.outerHTML")
    page.reload()
    page.wait_for_function("performance.getEntriesByName('rows are read').length")
    stops = watched.tab_stops()
    assert {"list", "content", "accept", "given", "least", "csv", "import", "keys"} <= set(stops)
    page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_without_samples_or_rows(opened) -> None:
    page = opened(made("none")).page
    page.keyboard.press("a")
    assert counts(page)["accepted"] == 1
    empty = opened(made(n=0), "empty.html").page
    assert empty.locator("#rows .empty").is_visible()
    empty.keyboard.press("a")
    assert counts(empty)["done"] == 0


@pytest.mark.slow
def test_50000_texts_are_small_and_soon_there(opened, tmp_path: Path) -> None:
    """Random words, which compress worse than language does, about 25 of them a text."""
    n = 50_000
    rng = np.random.default_rng(0)
    words = np.array(
        ["".join(rng.choice(list("etaoinshrdlucmfwyp"), length)) for length in rng.integers(2, 10, 20_000)]
    )
    chosen = words[(20_000 * rng.random((n, 25)) ** 3).astype(int)]
    texts = tuple(map(" ".join, chosen.tolist()))
    reasons = [
        f"Latent {rng.integers(4096)} (“{a}, {b}”) speaks against it; 7 of 10 neighbours." for a, b, *_ in chosen
    ]
    probability = np.sort(rng.random(n))[::-1]
    watched = opened(made(n=n, inputs=texts, reasons=reasons, probability_wrong=probability))
    page = watched.page
    assert (tmp_path / "audit.html").stat().st_size < 30_000_000
    assert counts(page)["shown"] == n
    paints = page.evaluate("performance.getEntriesByType('paint').map(p => [p.name, p.startTime])")
    rows_read = page.evaluate("performance.getEntriesByName('rows are read')[0].startTime")
    print(f"{(tmp_path / 'audit.html').stat().st_size:,} bytes, {paints}, rows after {rows_read:.0f} ms")
    assert dict(paints)["first-contentful-paint"] < 2000
    assert rows_read < 2000
    page.locator("#list").press("End")
    page.locator("#head h2", has_text=f"row {n - 1}").wait_for()
    assert texts[-1] in page.locator("#content").inner_text()
    assert page.locator(".row").count() < 50


# --- the file ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["texts", "images", "none"])
def test_the_same_audit_is_the_same_file(kind: str, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_audit_page(made(kind), tmp_path / f"{name}.html")
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert text == (tmp_path / "b.html").read_text(encoding="utf-8")
    assert "default-src &#39;none&#39;; script-src &#39;sha256-" in text
    assert 'id="left-out"' not in text


def test_texts_beyond_the_largest_size_are_left_out(opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "MOST_BYTES", 60_000)
    monkeypatch.setattr(audit, "_BLOCK_ROWS", 50)
    rng = np.random.default_rng(0)
    texts = tuple(rng.bytes(100).hex() for _ in range(3000))  # 3,000 x 100 random bytes: no compression gets below
    page = opened(made(n=3000, inputs=texts)).page
    n = data_of(tmp_path / "audit.html")["n"]
    assert 100 < n < 450
    assert n % 50 == 0
    least = 100 * np.linspace(1, 0.1, 3000)[n - 1]
    said = page.locator("#left-out").inner_text()
    assert f"The {n:,} most suspicious of 3,000 rows" in said
    assert f"at least {least:.1f} %" in said
    assert (tmp_path / "audit.html").stat().st_size < 60_000 + 80_000  # beside its script and style
    assert counts(page)["left"] == n


def test_images_beyond_the_largest_size_are_left_out(opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise, which no quality makes small: only the first sheets fit."""
    monkeypatch.setattr(audit, "MOST_BYTES", 60_000)
    monkeypatch.setattr(packing, "_SHEET_SIDE", 128)
    images = np.random.default_rng(0).integers(0, 256, (400, 3, 32, 32), dtype=np.uint8)
    page = opened(made(n=400, inputs=images)).page
    n = data_of(tmp_path / "audit.html")["n"]
    assert 0 < n < 400
    assert n % 16 == 0  # whole sheets
    assert (tmp_path / "audit.html").stat().st_size < 60_000 + 80_000
    assert f"The {n:,} most suspicious of 400 rows" in page.locator("#left-out").inner_text()
    page.locator("#list").press("End")
    assert page.locator("#head h2").inner_text() == f"row {n - 1}"


def test_images_keep_a_size_that_can_be_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pixels in all are bounded: many large images have fewer rows, few are as large as they are up to 256."""
    large = np.zeros((30, 3, 300, 150), dtype=np.uint8)
    write_audit_page(made(n=30, inputs=large), tmp_path / "few.html")
    sheets = data_of(tmp_path / "few.html")["sheets"]
    assert (sheets["height"], sheets["width"]) == (256, 128)
    monkeypatch.setattr(packing, "MOST_PIXELS", 0)
    monkeypatch.setattr(audit, "_MOST_PIXELS", 10 * 64 * 32)
    write_audit_page(made(n=30, inputs=large), tmp_path / "many.html")
    values = data_of(tmp_path / "many.html")
    assert (values["sheets"]["height"], values["sheets"]["width"], values["n"]) == (64, 32, 10)


@pytest.mark.parametrize(
    ("own", "named"),
    [
        ({"reasons": ["one"]}, ("reasons", "1", "6")),
        ({"inputs": ("one",)}, ("inputs", "1", "6")),
        ({"given": np.full(6, 4)}, ("given", "4 to 4", "4 class_names")),
        ({"suggested": np.full(6, -1)}, ("suggested", "-1")),
        ({"probability_wrong": np.linspace(0, 1, 6)}, ("probability_wrong", "falling")),
        ({"probability_wrong": np.full(6, np.nan)}, ("probability_wrong",)),
        ({"probability_wrong": np.full(6, 1.5)}, ("probability_wrong", "[0, 1]")),
        ({"row_names": ["a", "b", "c", "b", "d", "e"]}, ("row_names", "'b'")),
        ({"class_names": ("cat", "dog", "cow", "cow")}, ("class_names", "'cow'")),
    ],
)
def test_parts_that_do_not_fit_are_refused(own, named, refuses, tmp_path: Path) -> None:
    with refuses(*named):
        write_audit_page(made(**own), tmp_path / "audit.html")
    assert not (tmp_path / "audit.html").exists()


def test_hostile_texts_are_all_different() -> None:
    """Else names would not be unique, and tests above would test less than they say."""
    assert max(Counter(HOSTILE).values()) == 1
