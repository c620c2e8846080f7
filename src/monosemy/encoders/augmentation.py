"""Augmentations: recipes for one view of an image, their presets, and views of handwritten pairs."""

import math
from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple, Self

import torch
from torch import Generator, Tensor

from monosemy.encoders import transforms
from monosemy.encoders.config import AugmentationName, AugmentConfig
from monosemy.encoders.transforms import (
    affine,
    chance,
    gaussian_blur,
    random_boxes,
    random_orders,
    resized_crop,
    uniform,
)
from monosemy.errors import InputError

Augmentation = Callable[[Tensor, Generator], Tensor]


_CACHED = 800_000
"""Numbers in the images that a processor treats at a time (256 of CIFAR's), so that they stay in its cache."""

JITTER = {
    "brightness": transforms.adjust_brightness,
    "contrast": transforms.adjust_contrast,
    "saturation": transforms.adjust_saturation,
    "hue": transforms.adjust_hue,
}


class Draws(NamedTuple):
    """Random draws for each of N images; every tensor has N rows."""

    top: Tensor
    """With the next three the cropped box, in whole pixels."""
    left: Tensor
    height: Tensor
    width: Tensor
    flip: Tensor
    """(N,) bool, as are the other decisions."""
    jitter: Tensor
    order: Tensor
    """(N, 4): the order of the operations of JITTER."""
    amount: Tensor
    """(N, 4): factors of brightness, contrast and saturation; the hue's shift."""
    grey: Tensor
    blur: Tensor
    sigma: Tensor
    """In pixels."""
    solarize: Tensor

    def part(self, rows: slice) -> Self:
        """Return the draws for some of the images."""
        return type(self)(*(values[rows] for values in self))


def draw(config: AugmentConfig, n: int, image_size: tuple[int, int], rng: Generator) -> Draws:
    """Draw for ``n`` images of the given height and width, on the generator's device."""
    factors = [
        uniform((n,), max(0.0, 1 - strength), 1 + strength, rng)
        for strength in (config.brightness, config.contrast, config.saturation)
    ]
    top, left, height, width = random_boxes(n, image_size, config.crop_area, config.crop_ratio, rng)
    return Draws(
        top=top,
        left=left,
        height=height,
        width=width,
        flip=chance(n, config.flip_probability, rng),
        jitter=chance(n, config.jitter_probability, rng),
        order=random_orders(n, len(JITTER), rng),
        amount=torch.stack([*factors, uniform((n,), -config.hue, config.hue, rng)], dim=1),
        grey=chance(n, config.grey_probability, rng),
        blur=chance(n, config.blur_probability, rng),
        sigma=uniform((n,), *config.blur_sigma, rng),
        solarize=chance(n, config.solarize_probability, rng),
    )


def apply(config: AugmentConfig, images: Tensor, draws: Draws) -> Tensor:
    """Return one view of each image, as drawn."""
    size = (config.output_size or int(images.shape[2]), config.output_size or int(images.shape[3]))
    views = resized_crop(images, draws.top, draws.left, draws.height, draws.width, size, draws.flip)
    for turn in draws.order.unbind(dim=1):
        for k, (name, adjust) in enumerate(JITTER.items()):
            if config.jitter_probability > 0 and getattr(config, name) > 0:
                views = _on_chosen(views, draws.jitter & (turn == k), adjust, draws.amount[:, k])
    if config.grey_probability > 0:
        views = _on_chosen(views, draws.grey, lambda x: transforms.rgb_to_grayscale(x).expand_as(x))
    if config.blur_probability > 0:
        kernel_size = config.blur_kernel or max(3, 2 * (min(size) // 20) + 1)
        if kernel_size // 2 >= min(size):
            raise InputError(
                f"blur_kernel={kernel_size} exceeds views of {size[0]} x {size[1]} pixels; choose a smaller one."
            )
        views = _on_chosen(views, draws.blur, lambda x, sigma: gaussian_blur(x, sigma, kernel_size), draws.sigma)
    if config.solarize_probability > 0:
        views = _on_chosen(views, draws.solarize, lambda x: transforms.solarize(x, x.new_full((len(x),), 0.5)))
    return views


def _on_chosen(images: Tensor, chosen: Tensor, operation: Callable[..., Tensor], *parameters: Tensor) -> Tensor:
    """Apply the operation to the chosen images; may write into ``images``.

    A CPU transforms the chosen ones alone. On a GPU that would make the host wait for their number, which costs more
    than transforming all of them.
    """
    apply_to = _by_mask if images.is_cuda else _by_rows
    return apply_to(images, chosen, operation, *parameters)


def _by_rows(images: Tensor, chosen: Tensor, operation: Callable[..., Tensor], *parameters: Tensor) -> Tensor:
    rows = chosen.nonzero().squeeze(1)
    if len(rows) == 0:
        return images
    changed = operation(images.index_select(0, rows), *(p.index_select(0, rows) for p in parameters))
    return images.index_copy_(0, rows, changed)


def _by_mask(images: Tensor, chosen: Tensor, operation: Callable[..., Tensor], *parameters: Tensor) -> Tensor:
    return torch.where(chosen.view(-1, 1, 1, 1), operation(images, *parameters), images)


def make_augmentation(recipe: AugmentationName | AugmentConfig) -> Augmentation:
    """Return a function that makes one view of each image, from a preset's name or a configuration.

    The function takes images (N, C, H, W) in [0, 1], C = 1 or 3, and a generator on their device.

    Raises:
        InputError: the name is not that of a preset.
    """
    if isinstance(recipe, AugmentConfig):
        return partial(augment, recipe)
    if recipe not in AUGMENTATIONS:
        raise InputError(f"augmentation={recipe!r} is unknown; choose one of {', '.join(AUGMENTATIONS)}.")
    return AUGMENTATIONS[recipe]


def augment(config: AugmentConfig, images: Tensor, rng: Generator) -> Tensor:
    """Return one view of each image by a recipe; see :func:`make_augmentation`."""
    _check_images(images)
    draws = draw(config, len(images), (images.shape[2], images.shape[3]), rng)
    if images.is_cuda:
        return apply(config, images, draws)
    step = max(1, _CACHED // images.shape[1:].numel())
    parts = [slice(first, first + step) for first in range(0, max(1, len(images)), step)]
    return torch.cat([apply(config, images[part], draws.part(part)) for part in parts])


def crop_flip(images: Tensor, rng: Generator) -> Tensor:
    """Move images by up to 4 pixels a side and mirror them, as usual in supervised training on small images.

    Equals padding with 4 zeros on each side, a random crop of the old size, and a flip for one image in two.
    """
    n, _, height, width = images.shape
    top, left = (torch.randint(-4, 5, (n,), generator=rng, device=rng.device) for _ in range(2))
    heights, widths = torch.full_like(top, height), torch.full_like(left, width)
    return resized_crop(images, top, left, heights, widths, (height, width), chance(n, 0.5, rng))


def handwriting_pair(images: Tensor, rng: Generator) -> Tensor:
    """Turn each half by up to 10 degrees, zoom it by up to 30 % and move it by up to 1.5 pixels, independently.

    Then change the contrast by up to 30 %, and add noise of a tenth of the pixel range.
    """
    n, width = len(images), images.shape[-1] // 2
    halves = torch.cat([images[..., :width], images[..., width:]])
    angle = uniform((2 * n,), -math.radians(10), math.radians(10), rng)
    zoom = uniform((2 * n,), 0.7, 1.3, rng)
    shift_x, shift_y = (uniform((2 * n,), -1.5, 1.5, rng) for _ in range(2))
    joined = torch.cat(affine(halves, angle, zoom, shift_x, shift_y).chunk(2), dim=-1)
    contrast = uniform((n, 1, 1, 1), 0.7, 1.3, rng).to(images.dtype)
    noise = torch.randn(joined.shape, generator=rng, device=rng.device, dtype=images.dtype)
    return joined * contrast + 0.1 * noise


_PAPER = AugmentConfig(
    crop_area=(0.08, 1.0),
    brightness=0.8,
    contrast=0.8,
    saturation=0.8,
    hue=0.2,
    jitter_probability=0.8,
    blur_probability=0.5,
)
PRESETS: dict[Literal["natural", "cifar", "imagenet"], AugmentConfig] = {
    "natural": AugmentConfig(),
    "cifar": _PAPER,
    "imagenet": _PAPER.model_copy(update={"output_size": 224}),
}
"""``cifar`` and ``imagenet``: Chen et al. (arXiv 2002.05709), appendix A, as used by Wang et al. (arXiv 2403.12459)."""

AUGMENTATIONS: dict[AugmentationName, Augmentation] = {
    **{name: partial(augment, config) for name, config in PRESETS.items()},
    "crop-flip": crop_flip,
    "handwriting-pair": handwriting_pair,
}


def _check_images(images: Tensor) -> None:
    if images.ndim != 4 or not images.is_floating_point():
        raise InputError(
            f"images is {images.dtype} of shape {tuple(images.shape)}; give floats in [0, 1] of shape (N, C, H, W)."
        )
    if images.shape[1] not in (1, 3):
        raise InputError(f"images has {images.shape[1]} channels; give 1 (grey) or 3 (red, green, blue).")
