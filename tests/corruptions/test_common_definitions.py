"""The common corruptions against their definitions: values by hand, moments, and slow loops of the obvious code."""

import colorsys
import io

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter, map_coordinates

from monosemy.corruptions.common import KINDS, SEVERITIES, SIDES, parameters, table_side
from monosemy.corruptions.kinds import (
    brightness,
    contrast,
    defocus_blur,
    defocus_kernel,
    elastic_transform,
    fog,
    frost,
    frost_texture,
    gaussian_noise,
    glass_blur,
    impulse_noise,
    jpeg_compression,
    motion_blur,
    motion_path,
    pixelate,
    plasma,
    power_of_two,
    shot_noise,
    snow,
    zoom_blur,
)


def rngs(n: int, seed: int = 0) -> list[np.random.Generator]:
    return np.random.default_rng(seed).spawn(n)


def grey(value: float, n: int = 20, channels: int = 3, side: int = 32) -> np.ndarray:
    return np.full((n, channels, side, side), value, dtype=np.float32)


def pictures(n: int = 3, channels: int = 3, height: int = 18, width: int = 23) -> np.ndarray:
    return np.random.default_rng(7).random((n, channels, height, width), dtype=np.float32)


def test_gaussian_noise_has_its_standard_deviation() -> None:
    difference = gaussian_noise(grey(0.5), rngs(20), 0.1) - 0.5
    assert difference.mean() == pytest.approx(0, abs=0.002)
    assert difference.std() == pytest.approx(0.1, rel=0.02)


@pytest.mark.parametrize("value", [0.2, 0.6])
def test_shot_noise_has_the_mean_and_variance_of_counted_photons(value: float) -> None:
    noisy = shot_noise(grey(value), rngs(20), 60)
    assert noisy.mean() == pytest.approx(value, rel=0.01)
    assert noisy.var() == pytest.approx(value / 60, rel=0.03)
    counts = noisy * 60
    assert np.abs(counts - np.rint(counts)).max() < 1e-4, "whole photons"


def test_impulse_noise_makes_half_of_its_share_black_and_half_white() -> None:
    noisy = impulse_noise(grey(0.5, n=100), rngs(100), 0.1)
    assert (noisy == 0).mean() == pytest.approx(0.05, abs=0.002)
    assert (noisy == 1).mean() == pytest.approx(0.05, abs=0.002)
    assert (noisy == 0.5).mean() == pytest.approx(0.9, abs=0.002)
    assert (noisy[:, 0] != noisy[:, 1]).any(), "channel by channel"


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("severity", SEVERITIES)
def test_defocus_kernel_sums_to_one_and_is_as_wide_as_its_disk(side: int, severity: int) -> None:
    radius, alias_blur = parameters("defocus_blur", severity, side)
    kernel = defocus_kernel(radius, alias_blur)
    # From radius 8 on the disk touches the border of the published array, at which it is mirrored when smoothed.
    assert kernel.sum() == pytest.approx(1, abs=1e-6 if radius < 8 else 0.015)
    np.testing.assert_allclose(kernel, kernel.T)
    np.testing.assert_allclose(kernel, kernel[::-1])
    assert kernel.shape[0] // 2 <= int(radius) + 2
    steps = np.arange(kernel.shape[0]) - kernel.shape[0] // 2
    second = (kernel * (steps[:, None] ** 2 + steps**2)).sum()
    if radius >= 3:
        assert second == pytest.approx(radius**2 / 2, rel=0.1)  # mean squared distance in a disk


def test_defocus_of_a_point_is_the_kernel_and_the_border_is_mirrored() -> None:
    image = np.zeros((1, 1, 33, 33), dtype=np.float32)
    image[0, 0, 16, 16] = 1
    kernel = defocus_kernel(3, 0.1)
    reach = kernel.shape[0] // 2
    around = slice(16 - reach, 17 + reach)
    np.testing.assert_allclose(defocus_blur(image, 3, 0.1)[0, 0, around, around], kernel, atol=1e-7)
    np.testing.assert_allclose(defocus_blur(grey(0.5), 6, 0.5), 0.5, atol=1e-6)


@pytest.mark.parametrize(("std", "distance", "rounds"), [(0.4, 1, 2), (0.7, 2, 3), (1.5, 4, 2)])
def test_glass_blur_is_the_published_loop(std: float, distance: int, rounds: int) -> None:
    images = pictures()
    for image, rng, ours in zip(images, rngs(3), glass_blur(images, rngs(3), std, distance, rounds), strict=True):
        _, height, width = image.shape
        pixels = gaussian_filter(image.astype(float), (0, std, std), mode="nearest").transpose(1, 2, 0).copy()
        shape = (rounds, height - 2 * distance, width - 2 * distance, 2)
        draws = rng.integers(-distance, distance, shape, dtype=np.int8)
        for turn in range(rounds):
            for y in range(height - distance, distance, -1):
                for x in range(width - distance, distance, -1):
                    dy, dx = draws[turn, y - distance - 1, x - distance - 1]
                    # Written as a swap; both sides are views, so that it copies. That is what was published.
                    pixels[y, x], pixels[y + dy, x + dx] = pixels[y + dy, x + dx], pixels[y, x]
        slow = gaussian_filter(pixels.transpose(2, 0, 1), (0, std, std), mode="nearest")
        np.testing.assert_allclose(ours, slow, atol=1e-6)


def test_motion_path_is_half_a_gaussian_along_the_angle() -> None:
    weights, offsets = motion_path(2, 1.0, 0)
    expected = np.exp(-(np.arange(5) ** 2) / 2)
    np.testing.assert_allclose(weights, expected / expected.sum())
    np.testing.assert_array_equal(offsets, [[0, 0], [0, 1], [0, 2], [0, 3], [0, 4]])
    np.testing.assert_array_equal(motion_path(1, 1.0, 90)[1], [[0, 0], [1, 0], [2, 0]])
    np.testing.assert_array_equal(motion_path(2, 1.0, 45)[1], [[0, 0], [1, 1], [1, 1], [2, 2], [3, 3]])


def test_motion_blur_draws_angles_of_at_most_45_degrees() -> None:
    images = np.zeros((40, 1, 41, 41), dtype=np.float32)
    images[:, :, 20, 30] = 1
    blurred = motion_blur(images, rngs(40), 6, 3)
    trails = {tuple(np.unique(np.nonzero(image[0])[0])) for image in blurred}
    assert len(trails) > 5
    for image in blurred:
        ys, xs = np.nonzero(image[0])
        assert xs.max() == 30, "a pixel looks forward, so its own light lands behind"
        assert np.abs(ys - 20).max() <= 30 - xs.min()
        assert image.sum() == pytest.approx(1, abs=1e-5)


def test_zoom_blur_averages_the_image_and_its_zooms() -> None:
    np.testing.assert_allclose(zoom_blur(grey(0.3), 1.26, 0.01), 0.3, atol=1e-6)
    slope = np.broadcast_to(np.arange(224, dtype=np.float32) / 224, (1, 1, 224, 224)).copy()
    factors = np.arange(1, 1.31, 0.03)  # a slope under zoom z is as steep by 1 / z
    steepness = np.diff(zoom_blur(slope, 1.31, 0.03)[0, 0, 112, 60:160]).mean() * 224
    assert steepness == pytest.approx((1 + (1 / factors).sum()) / (1 + len(factors)), rel=0.005)


@pytest.mark.parametrize(("end", "step", "count"), [(1.06, 0.01, 7), (1.26, 0.01, 26), (1.31, 0.03, 11)])
def test_zoom_factors_are_as_many_as_numpy_made_of_the_published_range(end: float, step: float, count: int) -> None:
    # A point in a corner is cut off by every zoom but that by 1: what is left of it is 2 / (count + 1).
    image = np.zeros((1, 1, 224, 224), dtype=np.float32)
    image[0, 0, 0, 0] = 1
    assert zoom_blur(image, end, step)[0, 0, 0, 0] == pytest.approx(2 / (count + 1), rel=1e-5)


def test_fog_is_scaled_by_the_largest_value() -> None:
    images = pictures(4) * np.array([1, 0.8, 0.5, 0.1], dtype=np.float32)[:, None, None, None]
    for image, rng, ours in zip(images, rngs(4), fog(images, rngs(4), 0.75, 2.5), strict=True):
        cloud = plasma(rng.uniform(-1, 1, (1, 32, 32)), 2.5)[0, :18, :23]
        largest = image.max()
        np.testing.assert_allclose(ours, (image + 0.75 * cloud) * largest / (largest + 0.75), atol=1e-6)
        assert ours.max() <= largest + 1e-6


def test_a_fractal_spans_0_to_1_and_is_smoother_with_more_decay() -> None:
    draws = np.random.default_rng(0).uniform(-1, 1, (5, 64, 64))
    roughness = []
    for decay in (1.5, 2.0, 3.0):
        made = plasma(draws, decay)
        np.testing.assert_array_equal(made.min(axis=(1, 2)), 0)
        np.testing.assert_array_equal(made.max(axis=(1, 2)), 1)
        roughness.append(np.abs(np.diff(made, axis=1)).mean())
    assert roughness == sorted(roughness, reverse=True)
    assert [power_of_two(n) for n in (1, 2, 3, 32, 33, 224)] == [1, 2, 4, 32, 64, 256]


def test_brightness_raises_v_of_hsv() -> None:
    images = pictures(1, height=8, width=8)
    images[0, :, 0, 0] = 0
    ours = brightness(images, 0.3)
    for y, x in np.ndindex(8, 8):
        hue, saturation, value = colorsys.rgb_to_hsv(*map(float, images[0, :, y, x]))
        np.testing.assert_allclose(
            ours[0, :, y, x], colorsys.hsv_to_rgb(hue, saturation, min(value + 0.3, 1)), atol=1e-6
        )
    np.testing.assert_allclose(brightness(grey(0.5, channels=1), 0.3), 0.8, atol=1e-6)
    np.testing.assert_allclose(ours[0, :, 0, 0], 0.3, atol=1e-6)


def test_contrast_by_hand() -> None:
    image = np.zeros((1, 1, 8, 8), dtype=np.float32)
    image[..., :4] = 0.8  # mean 0.4
    ours = contrast(image, 0.25)
    np.testing.assert_allclose(ours[..., :4], 0.5, atol=1e-6)
    np.testing.assert_allclose(ours[..., 4:], 0.3, atol=1e-6)


def test_pixelate_is_the_mean_of_boxes() -> None:
    for images, share, box in ((pictures(2, height=16, width=16), 0.5, 2), (pictures(1, 1, 32, 32), 0.25, 4)):
        n, channels, height, width = images.shape
        means = images.reshape(n, channels, height // box, box, width // box, box).mean(axis=(3, 5))
        # Values in [0, 1]: two float32 sums of at most 32 terms differ from the mean by some 6e-8 each, and which bits
        # the pixels of one box end in depends on the processor.
        wanted = means.repeat(box, axis=2).repeat(box, axis=3)
        np.testing.assert_allclose(pixelate(images, share), wanted, rtol=0, atol=1e-6)


def test_jpeg_is_what_pillow_writes_at_the_quality() -> None:
    images = pictures(2, height=16, width=24)
    ours = jpeg_compression(images, 40)
    for image, compressed in zip(images, ours, strict=True):
        buffer = io.BytesIO()
        Image.fromarray(np.rint(255 * image.transpose(1, 2, 0)).astype(np.uint8)).save(buffer, "JPEG", quality=40)
        read = np.asarray(Image.open(buffer)) / 255
        np.testing.assert_allclose(compressed.transpose(1, 2, 0), read, atol=1e-6)
    np.testing.assert_allclose(jpeg_compression(grey(0.2, channels=1), 80), 0.2, atol=1e-6)


def test_elastic_is_scipys_interpolation_after_an_affine_map() -> None:
    images = pictures()
    height, width = images.shape[2:]
    size, smoothness, jitter = 0.1, 0.04, 0.05
    ours = elastic_transform(images, rngs(3), size, smoothness, jitter)
    y, x = np.mgrid[:height, :width].astype(float)
    side = min(height, width)
    for image, rng, result in zip(images, rngs(3), ours, strict=True):
        jitters = rng.uniform(-jitter * side, jitter * side, (3, 2))
        corners = np.array([[11 + 6, 9 + 6], [11 + 6, 9 - 6], [11 - 6, 9 - 6]], dtype=float)  # 18 // 3 about (11, 9)
        edges = np.linalg.solve(
            np.array([[*(corners[k] + jitters[k] - corners[2] - jitters[2])] for k in (0, 1)]), corners[:2] - corners[2]
        )
        places = (np.stack([x, y], axis=-1) - corners[2] - jitters[2]) @ edges + corners[2]
        moved = [
            map_coordinates(plane, places[..., ::-1].transpose(2, 0, 1), order=1, mode="mirror") for plane in image
        ]
        drawn = rng.uniform(-1, 1, (2, height, width))
        dx, dy = (gaussian_filter(part, smoothness * side, mode="reflect", truncate=3) * size * side for part in drawn)
        for plane, channel in zip(moved, result, strict=True):
            expected = map_coordinates(plane, [y + dy, x + dx], order=1, mode="reflect")
            np.testing.assert_allclose(channel, expected, atol=1e-4)


def test_elastic_moves_by_its_size() -> None:
    # On a slope of 1 / side a pixel, a change of value is a displacement in shares of the side.
    side, size, smoothness = 64, 0.05, 0.02
    slope = np.broadcast_to(np.arange(side) / side, (30, 1, side, side)).astype(np.float32)
    moved = (elastic_transform(slope, rngs(30), size, smoothness, 0.0) - slope)[..., 16:48]
    # U[-1, 1] has std 1 / sqrt 3; a Gaussian of std s pixels keeps 1 / (2 s sqrt pi) of it in two dimensions.
    expected = size / np.sqrt(3) / (2 * smoothness * side * np.sqrt(np.pi))
    assert moved.std() == pytest.approx(expected, rel=0.05)
    only_affine = elastic_transform(slope, rngs(30), 0.0, 0.0, 0.0)
    np.testing.assert_allclose(only_affine, slope, atol=1e-5)


def test_snow_whitens_and_adds_flakes_from_both_sides() -> None:
    dark = grey(0.2, n=5)
    # A threshold that no flake reaches leaves the whitening: 0.8 x 0.2 + 0.2 max(0.2, 1.5 x 0.2 + 0.5).
    np.testing.assert_allclose(snow(dark, rngs(5), 0.1, 0.2, 1, 9.0, 8, 3, 0.8), 0.8 * 0.2 + 0.2 * 0.8, atol=1e-6)
    flakes = snow(dark, rngs(5), 0.1, 0.2, 1, 0.5, 8, 3, 1.0) - dark
    assert flakes.min() >= -1e-6
    assert flakes.max() > 0.05
    np.testing.assert_allclose(flakes, flakes[:, :, ::-1, ::-1], atol=1e-6)
    np.testing.assert_allclose(flakes[:, 0], flakes[:, 2], atol=1e-6)


def test_frost_adds_a_crop_of_a_texture() -> None:
    black = frost(grey(0.0, n=40), rngs(40), 0.85, 0.4)
    crops = black / np.float32(0.4)
    assert len({round(float(crop.mean()), 2) for crop in crops}) > 3
    windows = np.lib.stride_tricks.sliding_window_view(frost_texture(3, 64, 3), (32, 32), axis=(1, 2))
    best = min(np.abs(windows - crop[:, None, None]).max(axis=(0, 3, 4)).min() for crop in crops)
    assert best < 1e-6, "one of forty images has the fourth texture"
    half = frost(grey(0.5, n=40), rngs(40), 0.85, 0.4)
    np.testing.assert_allclose(half, np.clip(black + 0.85 * 0.5, 0, 1), atol=1e-6)


def test_frost_textures_have_the_colours_of_the_published_photographs() -> None:
    texture = frost_texture(0, 512, 3)
    np.testing.assert_allclose(texture.mean(axis=(1, 2)), [0.30, 0.58, 0.65], atol=0.02)
    np.testing.assert_allclose(texture.std(axis=(1, 2)), 0.08, atol=0.01)
    luma = np.tensordot([0.299, 0.587, 0.114], texture, 1)
    assert np.abs(frost_texture(0, 512, 1)[0] - luma).mean() < 0.001  # clipped before or after


@pytest.mark.parametrize(
    ("height", "width", "side"),
    [
        (8, 16, 32), (32, 32, 32), (45, 45, 32), (46, 90, 64), (64, 64, 64), (119, 300, 64), (120, 120, 224),
        (512, 512, 224),
    ],
)  # fmt: skip
def test_the_table_is_that_of_the_nearest_side(height: int, width: int, side: int) -> None:
    assert table_side(height, width) == table_side(width, height) == side


def test_some_published_parameters() -> None:
    assert [parameters("gaussian_noise", s, 224)[0] for s in SEVERITIES] == [0.08, 0.12, 0.18, 0.26, 0.38]
    assert [parameters("jpeg_compression", s, 32)[0] for s in SEVERITIES] == [80, 65, 58, 50, 40]
    assert parameters("fog", 5, 64) == (2, 1.75)
    assert parameters("elastic_transform", 3, 224)[0] * 224 == pytest.approx(244 * 0.05)
    for side in SIDES:
        for kind in KINDS:
            assert len({len(parameters(kind, s, side)) for s in SEVERITIES}) == 1
