"""What is random in an augmentation: one draw for each image, in torchvision's distributions."""

import math
from typing import NamedTuple

import torch
from torch import Generator, Tensor

_ATTEMPTS = 10


class Boxes(NamedTuple):
    """Where to cut each image: (N,) whole pixels."""

    top: Tensor
    left: Tensor
    height: Tensor
    width: Tensor


def uniform(shape: tuple[int, ...], low: float, high: float, rng: Generator) -> Tensor:
    """U[low, high) on the generator's device."""
    return torch.rand(shape, generator=rng, device=rng.device).mul_(high - low).add_(low)


def chance(n: int, probability: float, rng: Generator) -> Tensor:
    """(N,) bool, each True with the given probability."""
    return torch.rand(n, generator=rng, device=rng.device) < probability


def random_boxes(
    n: int,
    image_size: tuple[int, int],
    area: tuple[float, float],
    ratio: tuple[float, float],
    rng: Generator,
) -> Boxes:
    """The boxes of torchvision's ``RandomResizedCrop``.

    The share of the image's area is drawn from U[area], width / height from exp U[log ratio]. Of ten attempts the first
    that fits into the image counts; if none does, the largest central box whose aspect lies in ``ratio``.
    """
    rows, columns = image_size
    share = uniform((n, _ATTEMPTS), *area, rng) * (rows * columns)
    aspect = uniform((n, _ATTEMPTS), math.log(ratio[0]), math.log(ratio[1]), rng).exp_()
    widths, heights = (share * aspect).sqrt_().round_(), (share / aspect).sqrt_().round_()
    fits = (widths > 0) & (widths <= columns) & (heights > 0) & (heights <= rows)
    first = fits.int().argmax(dim=1, keepdim=True)  # of equal values, the first
    central_width = min(columns, max(1, round(rows * ratio[1])))
    central_height = min(rows, max(1, round(columns / ratio[0])))
    found = fits.any(dim=1)
    width = widths.gather(1, first).squeeze(1).where(found, central_width)
    height = heights.gather(1, first).squeeze(1).where(found, central_height)
    top = _place(rows - height, rng).where(found, (rows - central_height) // 2)
    left = _place(columns - width, rng).where(found, (columns - central_width) // 2)
    return Boxes(top, left, height, width)


def _place(room: Tensor, rng: Generator) -> Tensor:
    """A whole number from 0 to ``room``, each as likely."""
    u = torch.rand(room.shape, generator=rng, device=rng.device)
    return torch.minimum((u * (room + 1)).floor_(), room)  # u (room + 1) may round up to room + 1


def random_orders(n: int, things: int, rng: Generator) -> Tensor:
    """(N, things): for each image a permutation, each as likely."""
    return torch.rand((n, things), generator=rng, device=rng.device).argsort(dim=1)
