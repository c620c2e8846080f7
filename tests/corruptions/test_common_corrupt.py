"""What holds for every kind of common corruption."""

import numpy as np
import pytest
from sklearn.datasets import load_sample_image

from monosemy.corruptions.common import KINDS, SEVERITIES, corrupt
from monosemy.errors import InputError


@pytest.fixture(scope="module")
def photographs() -> np.ndarray:
    """60 crops (60, 3, 32, 32) of a real photograph, made smaller by 3."""
    photo = load_sample_image("china.jpg").astype(np.float32) / 255
    small = photo[:426, :639].reshape(142, 3, 213, 3, 3).mean(axis=(1, 3))
    rng = np.random.default_rng(0)
    corners = zip(rng.integers(0, 142 - 32, 60), rng.integers(0, 213 - 32, 60), strict=True)
    return np.stack([small[y : y + 32, x : x + 32].transpose(2, 0, 1) for y, x in corners])


def corrupted(images: np.ndarray, kind: str, severity: int = 3, seed: int = 0) -> np.ndarray:
    return corrupt(images, kind, severity, np.random.default_rng(seed))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
def test_it_gets_worse_with_severity(photographs, kind: str) -> None:
    worse = [corrupted(photographs, kind, severity) for severity in SEVERITIES]
    distances = [float(np.sqrt(((images - photographs) ** 2).mean())) for images in worse]
    if kind in ("elastic_transform", "glass_blur"):
        # Not so by the published numbers: the affine map of CIFAR's elastic transform shrinks from severity to
        # severity as the displacements grow, and glass blur has more Gaussian blur at 3 than at 4, and less shuffling.
        assert min(distances) > 0.02
    elif kind == "frost":
        # More ice and less image: a clipped bright pixel comes nearer again, but what is left of the image falls.
        kept = [np.polyfit(photographs.ravel(), images.ravel(), 1)[0] for images in worse]
        assert kept == sorted(kept, reverse=True)
    else:
        assert distances == sorted(distances)
        assert distances[4] > 1.2 * distances[0] > 0


@pytest.mark.parametrize("kind", KINDS)
def test_range_type_and_the_input_stays(photographs, kind: str) -> None:
    extreme = np.concatenate([photographs[:5], np.zeros((1, 3, 32, 32)), np.ones((1, 3, 32, 32))]).astype(np.float32)
    before = extreme.copy()
    for severity in (1, 5):
        worse = corrupted(extreme, kind, severity)
        assert worse.dtype == np.float32
        assert worse.shape == extreme.shape
        assert 0 <= worse.min() <= worse.max() <= 1
        assert not np.shares_memory(worse, extreme)
    np.testing.assert_array_equal(extreme, before)


@pytest.mark.parametrize("kind", KINDS)
def test_images_one_by_one_come_out_as_together(photographs, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from monosemy.corruptions import common

    together = corrupted(photographs[:7], kind)
    rng = np.random.default_rng(0)
    alone = [corrupt(photographs[i : i + 1], kind, 3, rng) for i in range(7)]  # type: ignore[arg-type]
    np.testing.assert_allclose(together, np.concatenate(alone), atol=1e-6)
    monkeypatch.setattr(common, "_IMAGES_AT_ONCE", 2)
    monkeypatch.setattr(common, "_VALUES_AT_ONCE", 1)
    np.testing.assert_allclose(together, corrupted(photographs[:7], kind), atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_bits(photographs, kind: str) -> None:
    np.testing.assert_array_equal(corrupted(photographs, kind), corrupted(photographs, kind))
    fixed = ("defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression")
    differs = (corrupted(photographs, kind) != corrupted(photographs, kind, seed=1)).any()
    assert differs == (kind not in fixed)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(1, 8, 16), (3, 20, 50), (1, 64, 64), (3, 96, 130)])
def test_grey_and_oblong_images_of_any_size(kind: str, shape: tuple[int, int, int]) -> None:
    images = np.random.default_rng(0).random((2, *shape), dtype=np.float32)
    worse = corrupted(images, kind)
    assert worse.shape == images.shape
    assert 0.005 < np.abs(worse - images).mean() < 0.9
    assert corrupted(images[:0], kind).shape == (0, *shape)


@pytest.mark.parametrize(
    ("shape", "kind", "severity", "named"),
    [
        ((2, 32, 32), "fog", 3, r"\(2, 32, 32\)"),
        ((3, 32), "fog", 3, r"\(3, 32\)"),
        ((3, 32, 7), "fog", 3, "32x7"),
        ((3, 32, 32), "rain", 3, "'rain'"),
        ((3, 32, 32), "fog", 0, "severity=0 is unknown"),
        ((3, 32, 32), "fog", 2.5, "severity=2.5 is unknown"),
    ],
)
def test_what_cannot_be_corrupted_is_refused(shape: tuple[int, ...], kind: str, severity: int, named: str) -> None:
    with pytest.raises(InputError, match=named):
        corrupted(np.zeros((1, *shape), dtype=np.float32), kind, severity)


def test_pixels_out_of_range_are_refused() -> None:
    for value in (255.0, -0.1, np.nan):
        with pytest.raises(InputError, match=r"\[0, 1\]"):
            corrupted(np.full((1, 3, 32, 32), value, dtype=np.float32), "fog")
