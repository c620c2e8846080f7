"""Recipes: the fast path against a loop over images, presets, shapes, generators, refusals."""

import typing

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import Tensor

from monosemy.encoders import augmentation
from monosemy.encoders.augmentation import (
    AUGMENTATIONS,
    JITTER,
    PRESETS,
    Draws,
    _by_mask,
    _by_rows,
    apply,
    augment,
    draw,
    gaussian_blur,
    make_augmentation,
)
from monosemy.encoders.config import AugmentationName, AugmentConfig
from monosemy.errors import InputError

EVERYTHING = PRESETS["cifar"].model_copy(update={"solarize_probability": 0.3})
# A crop with no freedom and nothing else: each test adds the one thing it looks at.
NOTHING = AugmentConfig(
    crop_area=(1, 1), crop_ratio=(1, 1), flip_probability=0, brightness=0, contrast=0, saturation=0, grey_probability=0
)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(n: int = 6, channels: int = 3, height: int = 8, width: int = 12) -> Tensor:
    return torch.rand(n, channels, height, width, generator=rng(9))


def one_by_one(config: AugmentConfig, x: Tensor, draws: Draws, size: tuple[int, int], kernel: int) -> Tensor:
    """The recipe as one would write it for a single image."""
    views = []
    for k in range(len(x)):
        top, left, height, width = (int(side[k]) for side in draws[:4])
        view = x[k : k + 1, :, top : top + height, left : left + width]
        view = F.interpolate(view, size, mode="bilinear", antialias=True)
        if draws.flip[k]:
            view = view.flip(-1)
        if draws.jitter[k]:
            for turn in draws.order[k].tolist():
                name = list(JITTER)[turn]
                if getattr(config, name) > 0:
                    view = JITTER[name](view, draws.amount[k : k + 1, turn])
        if draws.grey[k]:
            view = augmentation.rgb_to_grayscale(view).expand_as(view)
        if draws.blur[k]:
            view = gaussian_blur(view, draws.sigma[k : k + 1], kernel)
        if draws.solarize[k]:
            view = torch.where(view >= 0.5, 1 - view, view)
        views.append(view)
    return torch.cat(views)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("config", "size", "kernel"),
    [
        (EVERYTHING, (20, 26), 3),
        (EVERYTHING.model_copy(update={"output_size": 60, "blur_kernel": None}), (60, 60), 7),
        (EVERYTHING.model_copy(update={"output_size": 9, "blur_kernel": 5, "hue": 0.0}), (9, 9), 5),
    ],
)
def test_a_batch_equals_a_loop_over_its_images(
    config: AugmentConfig, size: tuple[int, int], kernel: int, channels: int
) -> None:
    x = images(50, channels, 20, 26)
    draws = draw(config, 50, (20, 26), rng())
    slow = one_by_one(config, x, draws, size, kernel)
    fast = apply(config, x, draws)
    assert fast.shape == slow.shape
    # A pixel at solarize's threshold may fall on either side of it by rounding.
    wrong = ((fast - slow).abs() > 1e-5) & ~draws.solarize.view(-1, 1, 1, 1)
    assert not wrong.any()
    assert ((fast - slow).abs() > 1e-5).float().mean() < 1e-3


@pytest.mark.parametrize("chosen", [[0, 1, 0, 1, 1], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]])
def test_the_gpus_way_through_all_images_equals_the_processors_through_the_chosen(chosen: list[int]) -> None:
    x, factor = images(5), torch.linspace(0.2, 1.8, 5)
    mask = torch.tensor(chosen, dtype=torch.bool)
    by_mask = _by_mask(x.clone(), mask, augmentation.adjust_contrast, factor)
    by_rows = _by_rows(x.clone(), mask, augmentation.adjust_contrast, factor)
    torch.testing.assert_close(by_mask, by_rows, atol=1e-6, rtol=0)
    assert torch.equal(by_rows[~mask], x[~mask])


def test_the_batch_is_the_same_whether_or_not_it_fits_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    x = images(23, 3, 10, 10)
    whole = augment(EVERYTHING, x, rng())
    monkeypatch.setattr("monosemy.encoders.augmentation._CACHED", 7 * 300)
    torch.testing.assert_close(augment(EVERYTHING, x, rng()), whole, atol=1e-6, rtol=0)


def test_every_name_has_an_augmentation() -> None:
    assert set(AUGMENTATIONS) == set(typing.get_args(AugmentationName))


@pytest.mark.parametrize("name", sorted(AUGMENTATIONS))
@pytest.mark.parametrize("channels", [1, 3])
def test_every_image_gets_its_own_draw_and_the_generator_decides(name: AugmentationName, channels: int) -> None:
    augmentation = make_augmentation(name)
    same = images(1, channels, 24, 32).expand(64, -1, -1, -1)
    before = same.clone()
    views = augmentation(same, rng())
    assert torch.equal(same, before), "the input is left alone"
    assert views.shape == ((64, channels, 224, 224) if name == "imagenet" else same.shape)
    assert torch.isfinite(views).all()
    different = torch.pdist(views.reshape(64, -1)) > 1e-3
    assert different.float().mean() > (0.99 if name != "crop-flip" else 0.98), "crop-flip has 162 views of an image"
    assert torch.equal(views, augmentation(same, rng()))
    assert not torch.equal(views, augmentation(same, rng(1)))
    if name != "handwriting-pair":
        assert views.min() >= -1e-5
        assert views.max() <= 1 + 1e-5


def test_an_empty_batch_stays_empty() -> None:
    assert augment(EVERYTHING, torch.zeros(0, 3, 8, 8), rng()).shape == (0, 3, 8, 8)


def test_the_papers_recipe() -> None:
    cifar = PRESETS["cifar"]
    assert cifar.crop_area == (0.08, 1)
    assert (cifar.brightness, cifar.contrast, cifar.saturation, cifar.hue) == (0.8, 0.8, 0.8, 0.2)
    assert (cifar.jitter_probability, cifar.grey_probability) == (0.8, 0.2)
    assert (cifar.blur_probability, cifar.flip_probability) == (0.5, 0.5)
    assert PRESETS["imagenet"].model_dump() == cifar.model_dump() | {"output_size": 224}


def test_the_draws_have_the_recipes_shares_and_ranges() -> None:
    draws = draw(EVERYTHING, 20_000, (32, 32), rng())
    shares = [chosen.float().mean().item() for chosen in (draws.flip, draws.jitter, draws.grey, draws.blur)]
    assert shares == pytest.approx([0.5, 0.8, 0.2, 0.5], abs=0.02)
    assert draws.solarize.float().mean().item() == pytest.approx(0.3, abs=0.02)
    torch.testing.assert_close(draws.amount.amin(dim=0), torch.tensor([0.2, 0.2, 0.2, -0.2]), atol=1e-3, rtol=0)
    torch.testing.assert_close(draws.amount.amax(dim=0), torch.tensor([1.8, 1.8, 1.8, 0.2]), atol=1e-3, rtol=0)
    assert (draws.sigma.min().item(), draws.sigma.max().item()) == pytest.approx((0.1, 2.0), abs=1e-3)
    together = torch.stack([draws.flip, draws.jitter, draws.grey, draws.blur, draws.solarize]).float()
    others = torch.cat([together, draws.amount.T, draws.sigma[None], draws.top[None]])
    correlation = torch.corrcoef(others) - torch.eye(len(others))
    assert correlation.abs().max() < 0.04, "the draws are independent"


def test_a_strength_above_one_leaves_the_factor_above_zero() -> None:
    draws = draw(AugmentConfig(brightness=1.5), 5000, (8, 8), rng())
    assert 0 <= draws.amount[:, 0].min() < 0.01
    assert 2.49 < draws.amount[:, 0].max() < 2.5


@pytest.mark.parametrize(
    ("change", "share"),
    [
        ({"flip_probability": 0.3}, 0.3),
        ({"grey_probability": 0.6}, 0.6),
        ({"blur_probability": 0.7, "blur_sigma": (1, 1)}, 0.7),
        ({"solarize_probability": 0.4}, 0.4),
        ({"brightness": 0.5, "jitter_probability": 0.2}, 0.2),
        ({"hue": 0.5, "jitter_probability": 0.9}, 0.9),
        ({}, 0.0),
    ],
)
def test_a_probability_is_the_share_of_images_that_change(change: dict[str, object], share: float) -> None:
    x = images(1, 3, 8, 8).expand(4000, -1, -1, -1)
    views = augment(NOTHING.model_copy(update=change), x, rng())
    changed = ((views - x).abs().amax(dim=(1, 2, 3)) > 1e-5).float().mean().item()
    assert changed == pytest.approx(share, abs=0.03)


def test_crop_flip_shows_every_place_and_mirror_image_as_often() -> None:
    x = images(1, 3, 8, 8)
    padded = F.pad(x, (4, 4, 4, 4))
    crops = [padded[..., t : t + 8, s : s + 8] for t in range(9) for s in range(9)]
    possible = torch.cat([*crops, *(crop.flip(-1) for crop in crops)]).reshape(162, -1)
    views = make_augmentation("crop-flip")(x.expand(20_000, -1, -1, -1), rng()).reshape(20_000, -1)
    which = torch.cdist(views, possible).argmin(dim=1)
    torch.testing.assert_close(views, possible[which], atol=1e-6, rtol=0)
    counts = torch.bincount(which, minlength=162)
    assert counts.min() > 60, "20,000 / 162 = 123 expected"
    assert counts.max() < 190


@pytest.mark.parametrize(
    "change",
    [
        {"crop_area": (0.0, 1.0)},
        {"crop_area": (0.9, 0.5)},
        {"crop_ratio": (1.0, float("inf"))},
        {"blur_kernel": 4},
        {"blur_sigma": (0, 1)},
        {"hue": 0.6},
        {"grey_probability": 1.2},
        {"brightness": -0.1},
        {"output_size": 0},
        {"sharpness": 1},
    ],
)
def test_a_senseless_recipe_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(change))):
        AugmentConfig.model_validate(change)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(2, 4, 8, 8), "4 channels"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), "uint8"),
        (torch.zeros(3, 8, 8), r"\(3, 8, 8\)"),
        (torch.zeros(2, 3, 8, 1), "blur_kernel=3 exceeds views of 8 x 1"),
    ],
)
def test_wrong_images_are_refused_in_a_sentence(x: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_augmentation("cifar")(x, rng())


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match="augmentation='simclr' is unknown; choose one of natural, cifar"):
        make_augmentation("simclr")  # type: ignore[arg-type]
