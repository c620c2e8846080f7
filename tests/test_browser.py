"""The watch over pages sees what it is there to see."""

from pathlib import Path

import pytest
from browser import PHONE, WatchedPage


def opened(browser, path: Path, body: str) -> WatchedPage:
    path.write_text(f"<!doctype html><meta charset=utf-8><title>x</title>{body}", encoding="utf-8")
    page = browser.new_page(viewport=PHONE)
    watched = WatchedPage(page, path)
    page.wait_for_timeout(100)
    page.close()
    return watched


@pytest.mark.parametrize(
    "body",
    [
        "<script>console.error('x')</script>",
        "<script>throw new Error('x')</script>",
        "<script>alert(1)</script>",
        "<img src=missing.png>",
        "<script>fetch('https://example.org/').catch(() => 0)</script>",
        "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'\"><script>0</script>",
    ],
)
def test_what_goes_wrong_is_seen(browser, tmp_path: Path, body: str) -> None:
    watched = opened(browser, tmp_path / "page.html", body)
    with pytest.raises(AssertionError):
        watched.assert_quiet()


def test_a_good_page_is_quiet(open_page, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("<!doctype html><title>x</title><a href='#a'>first</a><button id=b>second</button>")
    watched = open_page(path, window=PHONE)
    assert watched.tab_stops() == ["#a", "b"]
    assert watched.overflow() == 0
