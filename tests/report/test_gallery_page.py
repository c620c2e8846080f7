"""The gallery in a browser: nothing goes wrong, it is searched by keyboard, and no text is more than text."""

import html
import re
from pathlib import Path

import numpy as np
import pytest
from browser import DESK, PHONE
from PIL import Image

from monosemy.metrics.explanations import describe_predictions, explain
from monosemy.metrics.names import LatentName, LatentNames, name_latents
from monosemy.report import gallery as gallery_module
from monosemy.report.gallery import Gallery, GallerySet, write_gallery

HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(2)</script>",
    '"><svg onload=alert(3)>',
    "\u202ereversed\u202c and \u05e2\u05d1\u05e8\u05d9\u05ea",
    "long" * 2000,
    "]]> &amp; {{ 7 * 7 }} ${1}",
    "plain",
)


def made(kind: str, n: int = 160, labelled: bool = True, names: tuple[str, ...] = HOSTILE) -> Gallery:
    """A class a dimension, one mixed dimension and one that never fires."""
    rng = np.random.default_rng(0)
    n_classes = len(names)
    labels = rng.integers(0, n_classes, n)
    codes = np.zeros((n, n_classes + 2), dtype=np.float32)
    codes[np.arange(n), labels] = rng.uniform(1, 2, n)
    codes[:, n_classes] = rng.uniform(0.1, 1, n)
    inputs: np.ndarray | tuple[str, ...] | None = None
    if kind == "images":
        inputs = (rng.random((n, 1, 6, 9)) * (labels[:, None, None, None] + 1) / n_classes).astype(np.float32)
    elif kind == "texts":
        inputs = tuple(f"{names[label]} number {i}" for i, label in enumerate(labels))
    weight = rng.normal(size=(codes.shape[1], n_classes))
    predicted = np.where(rng.random(n) < 0.7, labels, rng.integers(0, n_classes, n))
    predictions = describe_predictions(predicted, labels, weight, codes, codes, labels) if labelled else None
    named = None
    if isinstance(inputs, tuple):
        named = name_latents(codes, inputs)
    elif labelled:
        named = name_latents(codes, labels=labels, class_names=names)
    explained = explain(codes, labels if labelled else None, n_classes)
    item = GallerySet("made", names[0], explained, predictions, names[1], named)
    return Gallery(names[0], names[2], n, (item,), labels if labelled else None, names if labelled else (), inputs)


@pytest.mark.parametrize(
    ("kind", "window", "dark"),
    [
        ("images", DESK, False),
        ("texts", PHONE, True),
        pytest.param("images", PHONE, True, marks=pytest.mark.slow),
        pytest.param("texts", DESK, False, marks=pytest.mark.slow),
        pytest.param("none", PHONE, False, marks=pytest.mark.slow),
    ],
)
def test_hostile_texts_are_texts(kind: str, window, dark: bool, open_page, tmp_path: Path) -> None:
    assert write_gallery(made(kind), tmp_path / "gallery.html") == ()
    watched = open_page(tmp_path / "gallery.html", window=window, dark=dark)
    page = watched.page
    assert page.locator("h1").inner_text() == HOSTILE[0]
    assert page.locator("#all .card").count() == len(HOSTILE) + 2
    assert page.locator("img, #all script, #all svg[onload]").count() == 0
    assert HOSTILE[1] in page.locator("#condition").inner_text()
    assert watched.overflow() == 0
    if kind == "texts":
        assert any("<img src=x" in text for text in page.locator(".words").all_text_contents())


def test_searched_and_ordered_by_keyboard(open_page, tmp_path: Path) -> None:
    names = ("cat", "caterpillar", "dog", "7")
    write_gallery(made("images", names=names), tmp_path / "gallery.html")
    page = open_page(tmp_path / "gallery.html").page

    def found() -> list[str]:
        return page.locator("#all .card h4").all_text_contents()  # a card out of sight has no inner text

    assert len(found()) == 6
    page.keyboard.press("/")
    page.keyboard.type("CAT")
    assert set(found()) >= {"#0", "#1"}
    assert "#2" not in found()
    assert page.locator("#found").inner_text().endswith("found")
    page.keyboard.press("Control+A")
    page.keyboard.type("2")
    assert found() == ["#2"]
    page.keyboard.press("Control+A")
    page.keyboard.type("7")  # a class and no number of a dimension
    assert "#3" in found()
    page.keyboard.press("Control+A")
    page.keyboard.type("zebra")
    assert found() == []
    assert page.locator("#found").inner_text() == "No dimension of that number, name or class."
    page.keyboard.press("Control+A")
    page.keyboard.press("Delete")
    page.keyboard.press("Tab")
    page.keyboard.type("number")
    assert page.locator("#sort").input_value() == "number"
    assert found() == [f"#{i}" for i in range(6)]
    assert "never fires" in (page.locator("#all .card").nth(5).text_content() or "")


def test_names_stand_on_the_cards_with_their_evidence(open_page, tmp_path: Path) -> None:
    texts = ("a small <b>cat</b>", "the cat sleeps", "a dog barks", "one more dog", "nothing here", "cat food")
    codes = np.array([[3, 0, 0], [2, 0, 1], [0, 4, 0], [0, 0, 0], [0, 1, 0], [0, 0, 0]], dtype=np.float32)
    names = LatentNames(
        "words",
        (
            LatentName(0, ("cat",), 1.0, 0.5, 0.667, 0.875, 0.6, 0.97, 5, False),
            LatentName(1, ("dog", "<i>bark</i>"), 0.5, 0.334, 0.5, 0.7, 0.52, 0.9, 4, True),
            None,
        ),
        3,
    )
    item = GallerySet("made", "", explain(codes), names=names)
    write_gallery(Gallery("pets", "", 6, (item,), inputs=texts), tmp_path / "gallery.html")
    page = open_page(tmp_path / "gallery.html").page
    page.locator("#sort").select_option(label="AUC of the name, highest first")
    cards = page.locator("#all .card")
    assert cards.locator("h4").all_text_contents() == ["#0", "#1", "#2"]
    cat, dog, unnamed = (cards.nth(i).text_content() or "" for i in range(3))
    assert "The name fits 100 % of the samples that activate it and 50 % of all; AUC 0.88 (0.60 to 0.97)." in cat
    assert "Counter-example: the name fits, it is silentcat food" in cat
    assert "dog, <i>bark</i>" in dog
    assert "Counter-example: fires, the name does not fitnothing here" in dog
    assert "fires for 1 sample" in unnamed
    assert "AUC" not in unnamed
    page.locator("#search").fill("DOG")
    assert page.locator("#all .card h4").all_text_contents() == ["#1"]


def test_thumbnails_are_the_images_they_stand_for(open_page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each class has a colour of its own; sheets hold few thumbnails, the last one fewer rows than the others."""
    monkeypatch.setattr("monosemy.report.packing._SHEET_SIDE", 40)
    made_gallery = made("images", names=("dark", "grey", "light"))
    assert made_gallery.labels is not None
    shades = (np.arange(3) * 100 + 30).astype(np.uint8)
    flat = np.broadcast_to(shades[made_gallery.labels][:, None, None, None], (160, 1, 8, 8))
    gallery = Gallery(
        "shades", "", 160, made_gallery.sets, made_gallery.labels, made_gallery.class_names, np.ascontiguousarray(flat)
    )
    write_gallery(gallery, tmp_path / "gallery.html")
    page = open_page(tmp_path / "gallery.html").page
    page.wait_for_function("() => document.readyState === 'complete'")
    thumbnails = page.locator("#most .thumbnail")
    assert thumbnails.count() > 0
    for i in range(0, thumbnails.count(), 5):
        box = thumbnails.nth(i)
        said = box.get_attribute("aria-label") or ""
        wanted = shades[gallery.class_names.index(re.search(r"class (\w+)", said).group(1))]  # type: ignore[union-attr]
        shot = tmp_path / "shot.png"
        box.screenshot(path=shot)
        with Image.open(shot) as image:
            middle = np.asarray(image.convert("L"))[4:-4, 4:-4]
        assert abs(middle.astype(int) - int(wanted)).max() <= 3, said


def test_without_labels_and_with_several_sets(open_page, tmp_path: Path) -> None:
    first = made("texts", labelled=False)
    second = GallerySet("other", "another set", first.sets[0].explanations)
    gallery = Gallery("two", "", first.n_samples, (*first.sets, second), None, (), first.inputs)
    write_gallery(gallery, tmp_path / "gallery.html")
    page = open_page(tmp_path / "gallery.html").page
    assert page.locator("#predictions").is_hidden()
    assert page.locator(".bar").count() == 0
    page.locator("#set").select_option(label="other: another set")
    assert page.locator("#all .card").count() == len(HOSTILE) + 2


@pytest.mark.slow
def test_more_dimensions_come_when_they_are_reached(open_page, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    codes = rng.random((40, 200)).astype(np.float32)
    gallery = Gallery("many", "", 40, (GallerySet("many", "", explain(codes)),))
    write_gallery(gallery, tmp_path / "gallery.html")
    page = open_page(tmp_path / "gallery.html").page
    page.locator("#search").focus()
    assert page.locator("#all .card").count() < 200
    for _ in range(60):
        page.mouse.wheel(0, 3000)
        page.wait_for_timeout(30)
        if page.locator("#all .card").count() == 200:
            break
    assert page.locator("#all .card").count() == 200
    assert page.locator("#more").is_hidden()


@pytest.mark.slow
def test_the_strongest_samples_stay_where_there_are_too_many(
    open_page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gallery_module, "MOST_SAMPLES", 20)
    rng = np.random.default_rng(0)
    codes = rng.random((500, 30)).astype(np.float32)
    found = explain(codes)
    gallery = Gallery("many", "", 500, (GallerySet("many", "", found),), inputs=tuple(map(str, range(500))))
    write_gallery(gallery, tmp_path / "gallery.html")
    page = open_page(tmp_path / "gallery.html").page
    assert 0 < len(set(page.locator(".words").all_text_contents())) <= 20


def test_the_same_gallery_is_the_same_file(tmp_path: Path) -> None:
    pages = [tmp_path / "a.html", tmp_path / "b.html"]
    for path in pages:
        write_gallery(made("images"), path)
    assert pages[0].read_bytes() == pages[1].read_bytes()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html.unescape(pages[0].read_text()))
    assert policy is not None
    assert "default-src 'none'" in policy.group(1)
    assert "script-src 'sha256-" in policy.group(1)
