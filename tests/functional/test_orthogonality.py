"""Orthogonality of dictionaries whose angles are known."""

import math

import numpy as np
import pytest

from monosemy.errors import InputError
from monosemy.functional.geometry import orthogonality_error


def test_right_angles_have_no_error_whatever_the_lengths() -> None:
    found = orthogonality_error(np.diag([1.0, 5.0, 0.1]))
    assert found == (0, 0, 0, 0)


def test_three_directions_in_a_plane_are_a_tight_frame() -> None:
    angles = np.array([0, 2 * np.pi / 3, 4 * np.pi / 3])
    found = orthogonality_error(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    assert found.mean == pytest.approx(0.5)
    assert found.rms == pytest.approx(0.5)
    assert found.largest == pytest.approx(0.5)
    assert found.least_rms == pytest.approx(0.5), "it cannot be better: (3 - 2) / (2 * 2)"


def test_by_hand_and_the_sign_does_not_matter() -> None:
    found = orthogonality_error(np.array([[1.0, 0], [-3, 0], [0, 2]]))
    assert found.mean == pytest.approx(2 / 6)
    assert found.rms == pytest.approx(math.sqrt(2 / 6))
    assert found.largest == 1


@pytest.mark.parametrize("m", [3, 1025, 2050])
def test_blocks_of_rows_equal_the_whole_matrix(m: int) -> None:
    rows = np.random.default_rng(0).standard_normal((m, 8)).astype(np.float32)
    unit = rows.astype(np.float64) / np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    off = np.abs(unit @ unit.T - np.eye(m))[~np.eye(m, dtype=bool)]
    found = orthogonality_error(rows)
    assert found[:3] == pytest.approx((off.mean(), math.sqrt((off**2).mean()), off.max()))
    assert found.rms >= found.least_rms


def test_one_direction_has_no_angle() -> None:
    assert all(math.isnan(value) for value in orthogonality_error(np.ones((1, 3))))


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        (np.array([[1.0, 0], [0, 0]]), "length 0 in row 1"),
        (np.array([[1.0, np.nan]]), "row 0"),
        (np.zeros((0, 3)), r"shape \(0, 3\)"),
        (np.ones(3), r"shape \(3,\)"),
    ],
)
def test_what_has_no_direction_is_refused(bad: np.ndarray, named: str) -> None:
    with pytest.raises(InputError, match=named):
        orthogonality_error(bad)
