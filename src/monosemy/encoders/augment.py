"""Augmentations of image batches (N, C, H, W) in [0, 1]; every image gets its own draw."""

import math
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

AugmentationName = Literal["handwriting-pair", "natural"]


def _uniform(n: int, low: float, high: float, rng: Generator) -> Tensor:
    return low + (high - low) * torch.rand(n, generator=rng)


def affine(images: Tensor, rng: Generator, *, degrees: float, shift_pixels: float, scale: float) -> Tensor:
    """Rotate by U[-degrees, degrees], zoom by U[1 - scale, 1 + scale], shift by U[-shift, shift] pixels per axis.

    Bilinear, zeros outside.
    """
    n, _, height, width = images.shape
    angle = _uniform(n, -math.radians(degrees), math.radians(degrees), rng)
    zoom = _uniform(n, 1 - scale, 1 + scale, rng)
    shift_x = _uniform(n, -2 * shift_pixels / width, 2 * shift_pixels / width, rng)
    shift_y = _uniform(n, -2 * shift_pixels / height, 2 * shift_pixels / height, rng)
    cos, sin = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    # Rotation in pixels, written in the grid's coordinates, in which both sides have length 2.
    x_row = torch.stack([cos, -sin * height / width, shift_x], dim=1)
    y_row = torch.stack([sin * width / height, cos, shift_y], dim=1)
    grid = F.affine_grid(torch.stack([x_row, y_row], dim=1), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def random_resized_crop(images: Tensor, rng: Generator, *, smallest_area: float) -> Tensor:
    """Crop an area share of U[smallest_area, 1] with aspect ratio in [3/4, 4/3] and resize back, bilinear."""
    n = len(images)
    area = _uniform(n, smallest_area, 1, rng)
    ratio = torch.exp(_uniform(n, math.log(3 / 4), math.log(4 / 3), rng))
    width = (area * ratio).sqrt().clamp(max=1)
    height = (area / ratio).sqrt().clamp(max=1)
    center_x = (1 - width) * _uniform(n, -1, 1, rng)
    center_y = (1 - height) * _uniform(n, -1, 1, rng)
    zero = torch.zeros(n)
    theta = torch.stack(
        [torch.stack([width, zero, center_x], dim=1), torch.stack([zero, height, center_y], dim=1)], dim=1
    )
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False, padding_mode="reflection")


def _blend(images: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    weight = factor.view(-1, 1, 1, 1)
    return (weight * images + (1 - weight) * other).clamp(0, 1)


def _grey(images: Tensor) -> Tensor:
    if images.shape[1] == 1:
        return images
    return (images * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)


def handwriting_pair(images: Tensor, rng: Generator) -> Tensor:
    """Two characters side by side: each half is turned, zoomed and shifted by itself; then contrast and noise."""
    width = images.shape[-1] // 2
    halves = torch.cat([images[..., :width], images[..., width:]])
    moved = affine(halves, rng, degrees=10, shift_pixels=1.5, scale=0.3)
    joined = torch.cat(moved.chunk(2), dim=-1)
    contrast = _uniform(len(images), 0.7, 1.3, rng).view(-1, 1, 1, 1)
    return joined * contrast + 0.1 * torch.randn(joined.shape, generator=rng)


def natural(images: Tensor, rng: Generator) -> Tensor:
    """Photographs: crop, flip, brightness, contrast, saturation, grey.

    SimCLR's recipe at a strength of 0.4, without hue and blur.
    """
    n = len(images)
    x = random_resized_crop(images, rng, smallest_area=0.2)
    flipped = torch.rand(n, generator=rng) < 0.5
    x = torch.where(flipped.view(-1, 1, 1, 1), x.flip(-1), x)
    x = _blend(x, torch.zeros_like(x), _uniform(n, 0.6, 1.4, rng))
    x = _blend(x, _grey(x).mean(dim=(1, 2, 3), keepdim=True), _uniform(n, 0.6, 1.4, rng))
    x = _blend(x, _grey(x), _uniform(n, 0.6, 1.4, rng))
    to_grey = torch.rand(n, generator=rng) < 0.2
    return torch.where(to_grey.view(-1, 1, 1, 1), _grey(x).expand_as(x), x)


AUGMENTATIONS: dict[AugmentationName, Callable[[Tensor, Generator], Tensor]] = {
    "handwriting-pair": handwriting_pair,
    "natural": natural,
}
