"""The common corruptions against recorded results of imagecorruptions, OpenCV and scikit-image.

The fixture and how it was made: record_common_reference.py. Its severities are those of ImageNet-C.
"""

from pathlib import Path

import numpy as np
import pytest

from monosemy.corruptions.common import parameters
from monosemy.corruptions.kinds import (
    _affine,
    along_sides,
    brightness,
    clipped_zoom,
    contrast,
    defocus_blur,
    defocus_kernel,
    gaussian_operator,
    jpeg_compression,
    motion_blur_along,
    pixelate,
    plasma,
    zoom_blur,
)

with np.load(Path(__file__).with_name("common_reference.npz")) as _file:
    RECORDED = {name: v / 65535 if (v := _file[name]).dtype == np.uint16 else v for name in _file.files}


def planes(pixels: np.ndarray) -> np.ndarray:
    """(N, H, W, 3) or (H, W, 3), bytes or floats, as (N, 3, H, W) in [0, 1]."""
    pixels = pixels[None] if pixels.ndim == 3 else pixels
    scaled = pixels / 255 if pixels.dtype == np.uint8 else pixels
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2), dtype=np.float32)


@pytest.mark.parametrize(
    ("kind", "function", "tolerance"),
    [
        ("contrast", contrast, 2e-5),
        ("brightness", brightness, 2e-5),
        ("defocus_blur", defocus_blur, 2e-5),
        ("zoom_blur", zoom_blur, 2e-5),
        ("jpeg_compression", jpeg_compression, 2.5 / 255),  # builds of libjpeg differ by a level
    ],
)
@pytest.mark.parametrize("number", range(len(RECORDED["severities"])))
def test_fixed_kinds(kind: str, function, tolerance: float, number: int) -> None:
    ours = function(planes(RECORDED["images"]), *parameters(kind, int(RECORDED["severities"][number]), 224))
    assert np.abs(ours - planes(RECORDED[kind][number])).max() < tolerance


def test_pixelate_rounds_to_bytes_there_and_not_here() -> None:
    ours = pixelate(planes(RECORDED["images"]), 0.65)
    assert np.abs(ours - planes(RECORDED["pixelate"])).max() < 1.6 / 255


def test_motion_blur_by_the_angle() -> None:
    images = np.repeat(planes(RECORDED["images"][0]), len(RECORDED["angles"]), axis=0)
    ours = motion_blur_along(images, 9, 2.5, np.array(RECORDED["angles"]))
    assert np.abs(ours - planes(RECORDED["motion"])).max() < 2e-5


@pytest.mark.parametrize("number", range(len(RECORDED["kernels"])))
def test_defocus_kernel(number: int) -> None:
    theirs = RECORDED[f"kernel{number}"]
    kernel = defocus_kernel(*RECORDED["kernels"][number])
    cut = (theirs.shape[0] - kernel.shape[0]) // 2
    padded = np.pad(kernel, cut)
    assert np.abs(padded - theirs).max() < 2e-5


@pytest.mark.parametrize("number", range(len(RECORDED["decays"])))
def test_fractal(number: int) -> None:
    ours = plasma(RECORDED[f"draws{number}"][None], RECORDED["decays"][number])[0]
    assert np.abs(ours - RECORDED[f"plasma{number}"]).max() < 2e-5


@pytest.mark.parametrize("number", range(len(RECORDED["factors"])))
def test_zoom(number: int) -> None:
    ours = clipped_zoom(planes(RECORDED["images"][0]), RECORDED["factors"][number])
    assert np.abs(ours - planes(RECORDED[f"zoom{number}"])).max() < 2e-5


@pytest.mark.parametrize(
    ("name", "std", "border", "truncate"), [("glass", 0.7, "nearest", 4.0), ("elastic", 3.0, "reflect", 3.0)]
)
def test_gaussian(name: str, std: float, border: str, truncate: float) -> None:
    images = planes(RECORDED["images"][0])
    operator = gaussian_operator(images.shape[2], std, border, truncate)
    ours = along_sides(images, operator, operator)
    assert np.abs(ours - planes(RECORDED[f"{name}_gaussian"])).max() < 2e-5


def test_affine_map_of_elastic() -> None:
    # OpenCV rounds coordinates to 1/32 of a pixel: an edge of height 0.8 moves by at most 0.8 / 64 in each direction.
    ours = _affine(planes(RECORDED["images"]), RECORDED["jitters"].astype(np.float64))
    difference = np.abs(ours - planes(RECORDED["affine"]))
    assert difference.max() < 0.03
    assert difference.mean() < 0.003
