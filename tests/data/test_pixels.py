"""Pixels: bytes become shares of one, and nothing else is taken for an image."""

from pathlib import Path

import numpy as np
import pytest

from monosemy.data.dataset import check_pixels, unit_pixels
from monosemy.data.in_memory import from_arrays


def test_bytes_are_divided_by_255_and_floats_kept() -> None:
    every = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    unit = unit_pixels(every)
    assert unit.dtype == np.float32
    np.testing.assert_array_equal(unit.ravel(), np.arange(256, dtype=np.float32) / np.float32(255))
    assert (unit.min(), unit.max()) == (0, 1)
    assert unit_pixels(unit) is unit


def test_a_memory_map_becomes_an_ordinary_array(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.full((2, 1, 2, 2), 51, dtype=np.uint8))
    unit = unit_pixels(np.load(tmp_path / "a.npy", mmap_mode="r"))
    np.testing.assert_allclose(unit, 0.2, rtol=1e-6)


@pytest.mark.parametrize(
    "images",
    [
        np.full((2, 1, 2, 2), 255, dtype=np.float32),
        np.full((2, 1, 2, 2), -0.1, dtype=np.float32),
        np.full((2, 1, 2, 2), np.nan, dtype=np.float32),
        np.full((2, 1, 2, 2), 0.5, dtype=np.float64),
        np.full((2, 1, 2, 2), 7, dtype=np.int64),
    ],
)
def test_other_pixels_are_refused(refuses, images: np.ndarray) -> None:
    with refuses("The test split of x", str(images.dtype), "uint8 from 0 to 255"):
        check_pixels(images, "test split of x")


def test_good_pixels_are_taken() -> None:
    for images in (np.zeros((2, 1, 2, 2), np.uint8), np.ones((2, 1, 2, 2), np.float32), np.empty((0, 1, 2, 2), "f4")):
        check_pixels(images, "x")


def test_images_of_a_data_set_are_checked(refuses) -> None:
    good, labels = np.full((4, 1, 2, 2), 0.5), [0, 1, 0, 1]
    with refuses("test split of arrays", "255"):
        from_arrays(good, labels, good * 510, labels)
    with refuses("int64", "uint8"):
        from_arrays(np.ones((4, 1, 2, 2), dtype=np.int64), labels, good, labels)
