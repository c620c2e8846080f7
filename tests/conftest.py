"""What all rooms' tests share: the real data where it is there, a cache of one's own, one hypothesis profile,
and what every complaint about bad input must look like.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from browser import DESK, WatchedPage, chromium
from hypothesis import HealthCheck, settings

from monosemy.errors import InputError
from monosemy.functional import products

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # Triton looks at it when it is first imported
torch.set_num_threads(1)  # the tests' matrices are small: more threads only wait for each other

settings.register_profile(
    "monosemy",
    deadline=None,
    max_examples=30,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("monosemy")

Refuses = Callable[..., AbstractContextManager[None]]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with the real data sets; tests that use it are skipped where it is missing."""
    named = os.environ.get("MONOSEMY_SHARED_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the real data is not at {folder}; name its folder by MONOSEMY_SHARED_DATA")
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for every test, so that none finds what another left."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("MONOSEMY_CACHE", str(folder))
    return folder


@pytest.fixture
def triton_device(monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """Where Triton computes the products of sparse codes: on a GPU, else on the CPU in its interpreter."""
    pytest.importorskip("triton", minversion="3.7")  # earlier interpreters fail with NumPy 2.4
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    monkeypatch.setattr(products, "TRITON_DEVICES", (device.type,))
    products._triton_works.cache_clear()
    assert products.triton_runs(device)
    return device


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """One headless Chromium for all tests; they are skipped where it is missing."""
    with chromium() as running:
        yield running


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., WatchedPage]]:
    """Open a file as a page that nothing may go wrong in: errors and network requests fail the test at its end.

    ``open_page(path, window=PHONE, dark=True, javascript=False)`` returns a WatchedPage.
    """
    contexts, opened = [], []

    def open_file(
        path: Path, window: dict[str, int] = DESK, dark: bool = False, javascript: bool = True
    ) -> WatchedPage:
        context = browser.new_context(
            viewport=window, color_scheme="dark" if dark else "light", java_script_enabled=javascript, offline=True
        )
        context.set_default_timeout(30_000)
        contexts.append(context)
        opened.append(WatchedPage(context.new_page(), path))
        return opened[-1]

    yield open_file
    for context in contexts:
        context.close()
    for watched in opened:
        watched.assert_quiet()


@pytest.fixture
def refuses() -> Refuses:
    """``with refuses("value", ...)``: InputError in one sentence that names every given text."""

    @contextmanager
    def check(*named: object) -> Iterator[None]:
        with pytest.raises(InputError) as caught:
            yield
        message = str(caught.value)
        assert message.endswith("."), message
        assert "\n" not in message, message
        assert not re.search(r"[.!?]\s+\S", message), f"more than one sentence: {message}"
        for text in named:
            assert str(text) in message, f"{text!r} is not named in: {message}"

    return check
