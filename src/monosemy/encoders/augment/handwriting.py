"""A view of two handwritten characters side by side."""

import math

import torch
from torch import Generator, Tensor

from monosemy.encoders.augment.draws import uniform
from monosemy.encoders.augment.geometry import affine


def handwriting_pair(images: Tensor, rng: Generator) -> Tensor:
    """Each half is turned by up to 10 degrees, zoomed by up to 30 % and moved by up to 1.5 pixels, by itself.

    Then contrast changes by up to 30 %, and noise of a tenth of the pixel range is added.
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
