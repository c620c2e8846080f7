"""Augmentations: without strength nothing happens, and every image gets its own draw."""

import pytest
import torch

from monosemy.encoders.augment import AUGMENTATIONS, affine, handwriting_pair, natural, random_resized_crop


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(n: int = 6, channels: int = 3, height: int = 8, width: int = 12) -> torch.Tensor:
    return torch.rand(n, channels, height, width, generator=rng(9))


def test_affine_without_strength_is_the_identity() -> None:
    x = images()
    torch.testing.assert_close(affine(x, rng(), degrees=0, shift_pixels=0, scale=0), x, atol=1e-5, rtol=0)


def test_affine_shifts_by_at_most_the_given_pixels_along_both_axes() -> None:
    x = torch.zeros(400, 1, 9, 15)
    x[:, :, 4, 7] = 1
    moved = affine(x, rng(), degrees=0, shift_pixels=2, scale=0)[:, 0]
    rows = (moved.sum(dim=2) * torch.arange(9)).sum(dim=1) - 4
    columns = (moved.sum(dim=1) * torch.arange(15)).sum(dim=1) - 7
    for shift in (rows, columns):
        assert shift.abs().max() <= 2 + 1e-4
        assert shift.max() > 1.8
        assert shift.min() < -1.8
        assert shift.mean().abs() < 0.2
    assert torch.corrcoef(torch.stack([rows, columns]))[0, 1].abs() < 0.2, "the axes are drawn apart"


def test_affine_rotates_in_pixels_not_in_the_grids_coordinates() -> None:
    # A point 5 pixels right of the centre stays 5 pixels from it, in an image twice as wide as high.
    x = torch.zeros(300, 1, 15, 31)
    x[:, :, 7, 20] = 1
    moved = affine(x, rng(), degrees=30, shift_pixels=0, scale=0)[:, 0]
    weight = moved.sum(dim=(1, 2))
    rows = (moved.sum(dim=2) * torch.arange(15)).sum(dim=1) / weight - 7
    columns = (moved.sum(dim=1) * torch.arange(31)).sum(dim=1) / weight - 15
    torch.testing.assert_close(torch.hypot(rows, columns), torch.full((300,), 5.0), atol=0.25, rtol=0)
    angle = torch.rad2deg(torch.atan2(rows, columns))
    assert angle.abs().max() < 32
    assert angle.max() > 25
    assert angle.min() < -25


def test_affine_zooms_both_ways() -> None:
    x = torch.zeros(300, 1, 17, 17)
    x[:, :, 6:11, 6:11] = 1
    area = affine(x, rng(), degrees=0, shift_pixels=0, scale=0.3).sum(dim=(1, 2, 3)) / 25
    # A zoom z samples z times as far out: the area becomes 1 / z^2.
    assert 0.5 < area.min() < 0.7
    assert 1.7 < area.max() < 2.2


def test_a_crop_of_everything_is_the_identity_up_to_its_aspect() -> None:
    x = torch.full((5, 3, 8, 8), 0.5) + 0.3 * torch.linspace(-1, 1, 8)
    cropped = random_resized_crop(x, rng(), smallest_area=1.0)
    # Aspect ratios of 3/4 to 4/3 at full area cut at most 1 - sqrt(3)/2 = 13 % of one side.
    assert (cropped - x).abs().max() < 0.3 * 2 * 0.14
    torch.testing.assert_close(cropped[:, :, 0], cropped[:, :, 7])


def test_crops_show_the_given_share_and_stay_inside() -> None:
    row, column = torch.meshgrid(torch.linspace(0, 1, 32), torch.linspace(0, 1, 32), indexing="ij")
    x = torch.stack([row, column]).expand(500, 2, 32, 32)
    cropped = random_resized_crop(x, rng(), smallest_area=0.2)
    height = cropped[:, 0].amax(dim=(1, 2)) - cropped[:, 0].amin(dim=(1, 2))
    width = cropped[:, 1].amax(dim=(1, 2)) - cropped[:, 1].amin(dim=(1, 2))
    area = height * width
    assert 0.17 < area.min() < 0.25
    assert area.max() > 0.85
    assert (width / height).min() > 0.72
    assert (width / height).max() < 1.4
    centre = cropped[:, :, 15:17, 15:17].mean(dim=(2, 3))
    assert (centre.std(dim=0) > 0.05).all()


@pytest.mark.parametrize("name", sorted(AUGMENTATIONS))
@pytest.mark.parametrize("channels", [1, 3])
def test_every_image_gets_its_own_draw(name: str, channels: int) -> None:
    augment = AUGMENTATIONS[name]
    same = images(1, channels, 8, 16).expand(64, -1, -1, -1)
    views = augment(same, rng())
    assert views.shape == same.shape
    assert torch.isfinite(views).all()
    different = torch.pdist(views.reshape(64, -1))
    assert (different > 1e-3).float().mean() > 0.99
    assert torch.equal(views, augment(same, rng())), "the generator decides"
    assert not torch.equal(views, augment(same, rng(1)))


@pytest.mark.parametrize("name", sorted(AUGMENTATIONS))
def test_inputs_are_not_modified(name: str) -> None:
    x = images()
    before = x.clone()
    AUGMENTATIONS[name](x, rng())
    assert torch.equal(x, before)


def test_natural_stays_in_the_pixel_range_flips_and_greys() -> None:
    ramp = torch.linspace(0.2, 0.6, 16).expand(400, 3, 16, 16) * torch.tensor([1.0, 0.7, 0.4]).view(3, 1, 1)
    views = natural(ramp, rng())
    assert views.min() >= 0
    assert views.max() <= 1
    falling = views[:, 0, 8, 0] > views[:, 0, 8, -1]
    assert 0.4 < falling.float().mean() < 0.6
    grey = (views - views[:, :1]).abs().amax(dim=(1, 2, 3)) < 1e-4
    assert 0.12 < grey.float().mean() < 0.28


def test_the_two_characters_of_a_pair_move_apart_from_each_other() -> None:
    x = torch.zeros(500, 1, 8, 16)
    x[:, :, 2:6, 2:6] = 1
    x[:, :, 2:6, 10:14] = 1
    views = handwriting_pair(x, rng()).clamp(0, 1)[:, 0]
    column = torch.arange(8.0)
    left, right = ((half.sum(dim=1) * column).sum(dim=1) / half.sum(dim=(1, 2)) for half in views.split(8, dim=2))
    assert left.std() > 0.2
    assert torch.corrcoef(torch.stack([left, right]))[0, 1].abs() < 0.3
