"""Sheets of thumbnails: every image at its place, and small."""

import io

import numpy as np
import pytest
from PIL import Image

from monosemy.report import packing
from monosemy.report.packing import sprite_sheets, thumbnail_size, thumbnails


@pytest.mark.parametrize("n", [1, 5, 37])
def test_every_image_lies_at_its_place(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "_SHEET_SIDE", 24)
    images = np.random.default_rng(0).integers(0, 256, (n, 3, 8, 6), dtype=np.uint8)
    sheets = sprite_sheets(images, 10**6)
    pixels = [np.asarray(Image.open(io.BytesIO(file)).convert("RGB")) for file in sheets.files]
    assert pixels[-1].shape[0] == 8 * sheets.last_rows
    for number, image in enumerate(images):
        sheet, within = divmod(number, sheets.columns * sheets.rows)
        row, column = divmod(within, sheets.columns)
        found = pixels[sheet][8 * row : 8 * row + 8, 6 * column : 6 * column + 6]
        np.testing.assert_array_equal(found.transpose(2, 0, 1), image)


def test_quality_gives_way_to_size() -> None:
    images = np.random.default_rng(0).integers(0, 256, (400, 3, 16, 16), dtype=np.uint8)
    free = sum(map(len, sprite_sheets(images, 10**7).files))
    tight = sum(map(len, sprite_sheets(images, free // 2).files))
    assert tight <= free // 2


def test_sizes_of_thumbnails() -> None:
    assert thumbnail_size((8, 16), 100) == (8, 16)
    assert thumbnail_size((224, 448), 100) == (48, 96)
    assert thumbnail_size(None, 50_000) == (32, 32)


def test_images_of_all_forms_become_colour() -> None:
    grey = np.linspace(0, 1, 2 * 4 * 4, dtype=np.float32).reshape(2, 1, 4, 4)
    found = thumbnails(grey, np.array([1]), (4, 4))
    np.testing.assert_array_equal(found[0, 0], np.round(255 * grey[1, 0]))
    np.testing.assert_array_equal(found[0, 0], found[0, 2])
    colour = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 4), dtype=np.uint8)
    np.testing.assert_array_equal(thumbnails(colour, np.array([1, 0]), (4, 4)), colour[::-1])
    assert thumbnails(np.zeros((1, 5, 40, 80), np.float32), np.array([0]), (10, 20)).shape == (1, 3, 10, 20)
