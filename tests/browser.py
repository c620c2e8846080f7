"""A page in a real browser, watched: what it says on its console and what it asks the network for.

The fixtures are in ``conftest.py``: ``open_page`` opens a file, and for any error or request fails the test at its end.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

_FLAGS = (
    "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
_INSIDE = ("data:", "blob:", "about:")
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 900}


@contextmanager
def chromium() -> Iterator["Browser"]:
    """A headless Chromium with a profile of its own; a test that needs it is skipped where it is missing."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra dev)")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium on this machine; install the package chromium")
    with playwright.sync_playwright() as driver:
        as_root = os.name == "posix" and os.geteuid() == 0
        browser = driver.chromium.launch(executable_path=program, args=[*_FLAGS, *(["--no-sandbox"] * as_root)])
        yield browser
        browser.close()


class WatchedPage:
    """An open page with everything that went wrong in it."""

    def __init__(self, page: "Page", path: Path) -> None:
        self.page = page
        self.errors: list[str] = []
        self.requests: list[str] = []
        own = path.resolve().as_uri()
        page.on("console", lambda message: self._note(message.type, message.text))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("dialog", lambda dialog: (self.errors.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: self._asked(request.url, own))
        page.goto(own)

    def _note(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.errors.append(f"{kind}: {text}")

    def _asked(self, url: str, own: str) -> None:
        if url.split("#")[0] != own and not url.startswith(_INSIDE):
            self.requests.append(url)

    def assert_quiet(self) -> None:
        """No error or warning on the console, none thrown, no dialog, nothing asked for beside the page itself."""
        assert self.errors == []
        assert self.requests == []

    def focused(self) -> str:
        """The outer HTML of what has the keyboard, cut after 200 letters."""
        return str(self.page.evaluate("document.activeElement.outerHTML.slice(0, 200)"))

    def tab_stops(self, most: int = 400) -> list[Any]:
        """What the Tab key goes to from the top of the page, each named by its id, name, link or text."""
        stops: list[Any] = []
        for _ in range(most):
            self.page.keyboard.press("Tab")
            stop = self.page.evaluate(
                "(e => e === document.body ? null : e.id || e.getAttribute('href') || e.name || e.innerText.trim())"
                "(document.activeElement)"
            )
            if stop is None:
                break
            stops.append(stop)
        return stops

    def overflow(self) -> int:
        """Pixels by which the page is wider than the window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))
