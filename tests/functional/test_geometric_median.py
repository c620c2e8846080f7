"""The geometric median by what defines it."""

import pytest
import torch
from hypothesis import given, strategies as st

from monosemy.functional.autoencoder import geometric_median


def total_distance(points: torch.Tensor, center: torch.Tensor) -> float:
    return float((points - center).norm(dim=1).sum())


@given(n=st.integers(3, 20), d=st.integers(2, 4), seed=st.integers(0, 99))
def test_no_centre_near_it_is_closer_to_all_points(n: int, d: int, seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    points = torch.randn(n, d, generator=rng, dtype=torch.float64) ** 3 + 50
    median = geometric_median(points, max_steps=5000, tolerance=1e-12)
    least = total_distance(points, median)
    assert least <= total_distance(points, points.mean(dim=0)) + 1e-9
    for _ in range(20):
        assert least <= total_distance(points, median + 0.01 * torch.randn(d, generator=rng)) + 1e-5


def test_of_three_corners_it_is_where_all_angles_are_equal() -> None:
    # Fermat's point of the triangle (0, 0), (1, 0), (1/2, sqrt(3)/2) is its centre of gravity; here one side is longer.
    points = torch.tensor([[-1.0, 0.0], [1.0, 0.0], [0.0, 3.0]], dtype=torch.float64)
    median = geometric_median(points)
    torch.testing.assert_close(median, torch.tensor([0.0, 3**-0.5], dtype=torch.float64), atol=1e-4, rtol=0)


def test_a_few_outliers_do_not_move_it() -> None:
    points = torch.cat([torch.randn(99, 3, generator=torch.Generator().manual_seed(0)), torch.full((1, 3), 1e4)])
    assert float(geometric_median(points).norm()) < 0.5
    assert float(points.mean(dim=0).norm()) > 100


def test_it_may_be_one_of_the_points() -> None:
    # The mean, where the iteration starts, is a point too, and not the median.
    points = torch.tensor([[0.0, 0.0]] * 4 + [[5.0, 0.0], [25.0, 0.0], [5.0, 0.0]])
    assert points.mean(dim=0).tolist() == [5.0, 0.0]
    assert geometric_median(points, max_steps=2000).norm() == pytest.approx(0, abs=1e-2)
    assert geometric_median(torch.tensor([[-1.0], [0.0], [1.0]])).tolist() == [0.0]


@pytest.mark.parametrize("n", [1, 4])
def test_of_equal_points_it_is_the_point(n: int) -> None:
    assert geometric_median(torch.full((n, 2), 3.0)).tolist() == [3.0, 3.0]


def test_digits_far_from_the_origin() -> None:
    points = torch.randn(50, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    near = geometric_median(points)
    far = geometric_median((points + 1000).float()).double() - 1000
    torch.testing.assert_close(far, near, atol=1e-3, rtol=0)
