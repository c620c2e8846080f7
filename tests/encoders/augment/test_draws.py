"""The distributions of the draws are torchvision's."""

import math
from itertools import permutations

import pytest
import torch
from torch import Tensor

from monosemy.encoders.augmentation import chance, random_boxes, random_orders, uniform

N = 40_000
PAPER = {"area": (0.08, 1.0), "ratio": (3 / 4, 4 / 3)}


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("label", ["wide", "tall"])
def test_the_boxes_have_torchvisions_moments(label: str, torchvision: dict[str, Tensor]) -> None:
    rows, columns = torchvision[f"boxes/{label}/size"].tolist()
    ours = torch.stack(random_boxes(N, (rows, columns), **PAPER, rng=rng())).double()
    mean, std = torchvision[f"boxes/{label}/moments"]
    # Both sides average 40,000 draws: five standard errors of their difference.
    tolerance = 5 * std * math.sqrt(2 / N)
    assert ((ours.mean(dim=1) - mean).abs() < tolerance).all()
    assert ((ours.std(dim=1) - std).abs() < tolerance).all()


@pytest.mark.parametrize("size", [(32, 32), (20, 50), (7, 5), (1, 1)])
def test_boxes_are_whole_pixels_inside_the_image_within_area_and_aspect(size: tuple[int, int]) -> None:
    top, left, height, width = random_boxes(5000, size, **PAPER, rng=rng())
    for side in (top, left, height, width):
        assert torch.equal(side, side.round())
    assert (top.min(), left.min()) == (0, 0)
    assert min(height.min(), width.min()) >= 1
    assert (top + height).max() <= size[0]
    assert (left + width).max() <= size[1]
    if size == (32, 32):
        area = height * width / 1024
        assert 0.07 < area.min() < 0.1
        assert 0.95 < area.max() <= 1
        # Sides are rounded to whole pixels, at least 8 of them here.
        assert 0.66 < (width / height).min() < 0.76
        assert 1.31 < (width / height).max() < 1.51
        assert (top + height).max() == 32


@pytest.mark.parametrize(
    ("size", "expected"), [((10, 100), (0, 43, 10, 13)), ((100, 10), (43, 0, 13, 10)), ((1, 1), (0, 0, 1, 1))]
)
def test_where_no_attempt_fits_the_box_is_central(size: tuple[int, int], expected: tuple[int, ...]) -> None:
    # The whole area with an aspect of 3/4 to 4/3 does not fit into a long image.
    boxes = random_boxes(3, size, area=(1.0, 1.0), ratio=(3 / 4, 4 / 3), rng=rng())
    assert [tuple(int(v) for v in box) for box in zip(*boxes, strict=True)] == [expected] * 3


def test_a_box_may_lie_anywhere_with_equal_chance() -> None:
    top, *_ = random_boxes(N, (9, 9), area=(0.1975, 0.1976), ratio=(1.0, 1.0), rng=rng())  # 4 x 4 of 9 x 9
    shares = torch.bincount(top.long(), minlength=6) / N
    torch.testing.assert_close(shares, torch.full((6,), 1 / 6), atol=0.01, rtol=0)


def test_orders_are_permutations_each_as_likely() -> None:
    orders = random_orders(24_000, 4, rng())
    seen = dict.fromkeys(permutations(range(4)), 0)
    for order in orders.tolist():
        seen[tuple(order)] += 1
    assert all(850 < count < 1150 for count in seen.values()), seen


def test_uniform_and_chance() -> None:
    u = uniform((N,), -0.2, 1.8, rng())
    assert -0.2 <= u.min() < -0.199
    assert 1.799 < u.max() <= 1.8
    assert abs(u.mean() - 0.8) < 0.02
    assert abs(chance(N, 0.2, rng()).float().mean() - 0.2) < 0.01
    assert not chance(N, 0.0, rng()).any()
    assert chance(N, 1.0, rng()).all()
