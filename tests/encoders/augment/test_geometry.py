"""Crops, blur and turns: torchvision's recorded values, and loops over images."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from torch import Tensor

from monosemy.encoders.augmentation import affine, gaussian_blur, resized_crop

Recorded = dict[str, Tensor]
SIZES = {"same": (12, 10), "larger": (16, 24), "smaller": (5, 4)}


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(n: int = 6, channels: int = 3, height: int = 8, width: int = 12) -> Tensor:
    return torch.rand(n, channels, height, width, generator=rng(9))


def recorded_boxes(torchvision: Recorded) -> list[Tensor]:
    return [torchvision[f"parameters/{side}"] for side in ("top", "left", "height", "width")]


@pytest.mark.parametrize("label", SIZES)
@pytest.mark.parametrize("kind", ["rgb", "grey"])
def test_resized_crop_equals_torchvision(kind: str, label: str, torchvision: Recorded) -> None:
    upright = torch.zeros(4, dtype=torch.bool)
    ours = resized_crop(torchvision[kind], *recorded_boxes(torchvision), SIZES[label], upright)
    torch.testing.assert_close(ours, torchvision[f"{kind}/resized_crop/{label}"], atol=2e-6, rtol=0)


def test_flipping_equals_torchvision(torchvision: Recorded) -> None:
    x = torchvision["rgb"]
    whole = [torch.full((4,), side) for side in (0, 0, 12, 10)]
    flip = torch.tensor([True, False, True, True])
    ours = resized_crop(x, *whole, (12, 10), flip)
    torch.testing.assert_close(ours[flip], torchvision["rgb/hflip"][flip], atol=1e-6, rtol=0)
    torch.testing.assert_close(ours[1], x[1], atol=1e-6, rtol=0)


@settings(max_examples=60)
@given(data=st.data())
def test_resized_crop_equals_slicing_and_interpolating_one_by_one(data: st.DataObject) -> None:
    rows, columns = data.draw(st.integers(1, 20)), data.draw(st.integers(1, 20))
    # Two columns at least: PyTorch 2.13 repeats the first row in results that are one pixel wide.
    size = (data.draw(st.integers(1, 20)), data.draw(st.integers(2, 20)))
    x = images(3, 2, rows, columns)
    height = [data.draw(st.integers(1, rows)) for _ in x]
    width = [data.draw(st.integers(1, columns)) for _ in x]
    top = [data.draw(st.integers(0, rows - h)) for h in height]
    left = [data.draw(st.integers(0, columns - w)) for w in width]
    flip = [data.draw(st.booleans()) for _ in x]
    slow = [
        F.interpolate(image[None, :, t : t + h, s : s + w], size, mode="bilinear", antialias=True)
        for image, t, s, h, w in zip(x, top, left, height, width, strict=True)
    ]
    expected = torch.cat([crop.flip(-1) if f else crop for crop, f in zip(slow, flip, strict=True)])
    boxes = [torch.tensor(side, dtype=torch.float32) for side in (top, left, height, width)]
    torch.testing.assert_close(resized_crop(x, *boxes, size, torch.tensor(flip)), expected, atol=1e-5, rtol=0)


def test_a_result_one_pixel_wide_keeps_its_rows() -> None:
    x = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 1, 4, 1).expand(1, 1, 4, 5)
    box = [torch.tensor([side]) for side in (1, 0, 3, 5)]
    ours = resized_crop(x, *box, (3, 1), torch.tensor([False]))
    torch.testing.assert_close(ours.flatten(), torch.tensor([2.0, 3.0, 4.0]))


def test_a_moved_box_shows_zeros_outside_the_image() -> None:
    x = images(2, 3, 6, 7)
    top, left = torch.tensor([-4, 3]), torch.tensor([2, -1])
    sides = torch.full((2,), 6), torch.full((2,), 7)
    padded = F.pad(x, (4, 4, 4, 4))
    expected = torch.stack([padded[0, :, 0:6, 6:13], padded[1, :, 7:13, 3:10]])
    ours = resized_crop(x, top, left, *sides, (6, 7), torch.zeros(2, dtype=torch.bool))
    torch.testing.assert_close(ours, expected, atol=1e-6, rtol=0)


def test_autocast_does_not_round_the_pixels() -> None:
    x = images(2, 3, 8, 12)
    whole = [torch.full((2,), side) for side in (0, 0, 8, 12)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = resized_crop(x, *whole, (8, 12), torch.zeros(2, dtype=torch.bool))
    torch.testing.assert_close(ours, x, atol=1e-6, rtol=0)


@pytest.mark.parametrize("kernel_size", [3, 9])
@pytest.mark.parametrize("kind", ["rgb", "grey"])
def test_blur_equals_torchvision(kind: str, kernel_size: int, torchvision: Recorded) -> None:
    ours = gaussian_blur(torchvision[kind], torchvision["parameters/gaussian_blur"], kernel_size)
    torch.testing.assert_close(ours, torchvision[f"{kind}/gaussian_blur/{kernel_size}"], atol=2e-6, rtol=0)


def test_blur_equals_a_convolution_per_image() -> None:
    x, sigma = images(5, 3, 11, 14), torch.tensor([0.1, 0.5, 1.0, 2.0, 8.0])
    t = torch.arange(-3.0, 4.0)
    slow = []
    for image, s in zip(x, sigma, strict=True):
        along = torch.exp(-(t**2) / (2 * s**2))
        kernel = torch.outer(along, along) / along.sum() ** 2
        slow.append(F.conv2d(F.pad(image[:, None], (3, 3, 3, 3), mode="reflect"), kernel[None, None])[:, 0])
    torch.testing.assert_close(gaussian_blur(x, sigma, 7), torch.stack(slow), atol=2e-6, rtol=0)


def test_affine_without_strength_is_the_identity() -> None:
    x, zeros = images(), torch.zeros(6)
    torch.testing.assert_close(affine(x, zeros, torch.ones(6), zeros, zeros), x, atol=1e-5, rtol=0)


def test_affine_shifts_in_pixels_along_each_axis() -> None:
    x = images(4, 1, 9, 15)
    zeros, ones = torch.zeros(4), torch.ones(4)
    moved = affine(x, zeros, ones, 2 * ones, -ones)
    torch.testing.assert_close(moved[:, :, 1:, :13], x[:, :, :8, 2:], atol=1e-5, rtol=0)
    assert not moved[:, :, 0].any(), "zeros come in from outside"
    assert not moved[:, :, :, 13:].any()


def test_affine_rotates_in_pixels_not_in_the_grids_coordinates() -> None:
    # A point 5 pixels right of the centre stays 5 pixels from it, in an image twice as wide as high.
    x = torch.zeros(7, 1, 15, 31)
    x[:, :, 7, 20] = 1
    angle = torch.deg2rad(torch.linspace(-30, 30, 7))
    zeros = torch.zeros(7)
    moved = affine(x, angle, torch.ones(7), zeros, zeros)[:, 0]
    weight = moved.sum(dim=(1, 2))
    rows = (moved.sum(dim=2) * torch.arange(15)).sum(dim=1) / weight - 7
    columns = (moved.sum(dim=1) * torch.arange(31)).sum(dim=1) / weight - 15
    torch.testing.assert_close(torch.hypot(rows, columns), torch.full((7,), 5.0), atol=0.25, rtol=0)
    torch.testing.assert_close(torch.atan2(rows, columns), -angle, atol=0.06, rtol=0)


def test_affine_zooms_by_the_factor() -> None:
    x = torch.zeros(3, 1, 17, 17)
    x[:, :, 6:11, 6:11] = 1
    zeros, zoom = torch.zeros(3), torch.tensor([0.7, 1.0, 1.3])
    area = affine(x, zeros, zoom, zeros, zeros).sum(dim=(1, 2, 3)) / 25
    torch.testing.assert_close(area, 1 / zoom**2, atol=0.1, rtol=0)
