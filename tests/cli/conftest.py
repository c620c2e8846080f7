"""A folder of tiny photographs, and the command line in this process."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from monosemy import cli

Run = Callable[..., int]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """`class/image.png`: three colours, 24 images each, of 8x8 pixels."""
    rng = np.random.default_rng(0)
    for name, colour in (("blue", (40, 60, 200)), ("green", (50, 190, 60)), ("red", (210, 50, 40))):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for number in range(24):
            pixels = np.clip(np.array(colour) + rng.normal(0, 25, (8, 8, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{number:02d}.png")
    return tmp_path / "photos"


@pytest.fixture
def monosemy(monkeypatch: pytest.MonkeyPatch) -> Run:
    """The exit code of ``monosemy WORDS``."""

    def run(*words: object) -> int:
        monkeypatch.setattr(sys, "argv", ["monosemy", *map(str, words)])
        try:
            cli.main()
        except SystemExit as stop:
            return int(stop.code or 0)
        return 0

    return run
