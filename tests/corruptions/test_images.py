"""Noise on images: ours is centred and clipped, the paper's is neither."""

import numpy as np
import pytest

from monosemy.corruptions.inputs import corrupt_images

GREY = np.full((200, 3, 8, 8), 0.5, dtype=np.float32)
PIXEL_STD = np.array([0.1, 0.2, 0.4], dtype=np.float32).reshape(3, 1, 1)


def noisy(kind: str, level: float, protocol: str, images: np.ndarray = GREY, seed: int = 0) -> np.ndarray:
    return corrupt_images(images, kind, level, protocol, np.random.default_rng(seed), PIXEL_STD)


def test_default_gaussian_has_mean_zero_and_the_given_deviation() -> None:
    difference = noisy("gaussian", 0.1, "default") - GREY
    assert difference.mean() == pytest.approx(0, abs=0.003)
    assert difference.std() == pytest.approx(0.1, rel=0.03)
    assert np.abs(difference).max() > 0.3, "it is not uniform"


def test_default_uniform_is_centred_with_the_given_width() -> None:
    difference = noisy("uniform", 0.6, "default") - GREY
    assert difference.mean() == pytest.approx(0, abs=0.005)
    assert -0.3 <= difference.min() < -0.29
    assert 0.29 < difference.max() <= 0.3
    assert difference.std() == pytest.approx(0.6 / np.sqrt(12), rel=0.03)


@pytest.mark.parametrize("kind", ["gaussian", "uniform"])
def test_default_is_clipped_to_the_pixel_range(kind: str) -> None:
    result = noisy(kind, 5.0, "default")
    assert result.min() == 0
    assert result.max() == 1


def test_paper_gaussian_is_scaled_by_channel_and_not_clipped() -> None:
    difference = noisy("gaussian", 2.0, "paper") - GREY
    for channel, std in enumerate(PIXEL_STD.ravel()):
        assert difference[:, channel].std() == pytest.approx(2 * std, rel=0.03)
        assert difference[:, channel].mean() == pytest.approx(0, abs=0.05)
    assert (difference + GREY).min() < 0
    assert (difference + GREY).max() > 1


def test_paper_uniform_is_scaled_by_channel_and_not_centred() -> None:
    difference = noisy("uniform", 3.0, "paper") - GREY
    for channel, std in enumerate(PIXEL_STD.ravel()):
        assert difference[:, channel].min() >= 0
        assert difference[:, channel].mean() == pytest.approx(1.5 * std, rel=0.03)
        assert difference[:, channel].max() == pytest.approx(3 * std, rel=0.01)
    assert (difference + GREY).max() > 1


@pytest.mark.parametrize("kind", ["gaussian", "uniform"])
@pytest.mark.parametrize("protocol", ["default", "paper"])
def test_level_zero_changes_nothing_and_the_input_stays(kind: str, protocol: str) -> None:
    images = np.random.default_rng(1).random((3, 3, 4, 4), dtype=np.float32)
    before = images.copy()
    np.testing.assert_array_equal(noisy(kind, 0.0, protocol, images), images)
    changed = noisy(kind, 0.5, protocol, images)
    assert changed.dtype == np.float32
    assert changed.shape == images.shape
    np.testing.assert_array_equal(images, before)


@pytest.mark.parametrize("kind", ["gaussian", "uniform"])
@pytest.mark.parametrize("protocol", ["default", "paper"])
def test_every_pixel_gets_its_own_draw_from_the_generator(kind: str, protocol: str) -> None:
    result = noisy(kind, 0.1, protocol)
    assert len(np.unique(result[0, 0])) > 50
    assert not np.array_equal(result[0], result[1])
    np.testing.assert_array_equal(result, noisy(kind, 0.1, protocol))
    assert not np.array_equal(result, noisy(kind, 0.1, protocol, seed=1))
