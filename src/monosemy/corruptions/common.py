"""The common corruptions of images by one call, with the published parameters of each kind at its five severities.

One table for images of side 32 (CIFAR-10-C and CIFAR-100-C), one for 64 (Tiny-ImageNet-C), one for 224 (ImageNet-C).

Source: Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations"
(ICLR 2019, arXiv 1903.12261), and the three scripts that made their data sets, hendrycks/robustness on GitHub.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from monosemy.corruptions import kinds
from monosemy.corruptions.kinds import Images
from monosemy.errors import InputError

Kind = Literal[
    "gaussian_noise", "shot_noise", "impulse_noise",
    "defocus_blur", "glass_blur", "motion_blur", "zoom_blur",
    "snow", "frost", "fog", "brightness",
    "contrast", "elastic_transform", "pixelate", "jpeg_compression",
]  # fmt: skip
KINDS: tuple[Kind, ...] = get_args(Kind)
"""In the order of the paper: noise, blur, weather, digital."""
SEVERITIES = (1, 2, 3, 4, 5)
SIDES = (32, 64, 224)
"""Sides of the images that the published tables were made for."""

SMALLEST_SIDE = 8
_VALUES_AT_ONCE = 2**20
"""Values of a chunk of images: as many as fit into a processor's cache, and enough to amortise Python's overhead."""
_IMAGES_AT_ONCE = 64
"""Least number of images of a chunk: glass blur takes its steps one by one for all images together."""

Parameters = tuple[float, ...]
_Table = dict[Kind, tuple[Parameters, ...]]


def _single(*values: float) -> tuple[Parameters, ...]:
    return tuple((value,) for value in values)


_CIFAR: _Table = {
    "gaussian_noise": _single(0.04, 0.06, 0.08, 0.09, 0.10),
    "shot_noise": _single(500, 250, 100, 75, 50),
    "impulse_noise": _single(0.01, 0.02, 0.03, 0.05, 0.07),
    "defocus_blur": ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    "glass_blur": ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    "motion_blur": ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
    "zoom_blur": ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
    "snow": (
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95), (0.1, 0.2, 1, 0.5, 10, 4, 0.9), (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85), (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ),
    "frost": ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
    "fog": ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
    "brightness": _single(0.05, 0.1, 0.15, 0.2, 0.3),
    "contrast": _single(0.75, 0.5, 0.4, 0.3, 0.15),
    "elastic_transform": ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)),
    "pixelate": _single(0.95, 0.9, 0.85, 0.75, 0.65),
    "jpeg_compression": _single(80, 65, 58, 50, 40),
}  # fmt: skip

_TINY_IMAGENET: _Table = {
    "gaussian_noise": _single(0.04, 0.08, 0.12, 0.15, 0.18),
    "shot_noise": _single(250, 100, 50, 30, 15),
    "impulse_noise": _single(0.01, 0.02, 0.05, 0.08, 0.14),
    "defocus_blur": ((0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1)),
    "glass_blur": ((0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2)),
    "motion_blur": ((10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3)),
    "zoom_blur": ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
    "snow": (
        (0.1, 0.2, 1, 0.6, 8, 3, 0.8), (0.1, 0.2, 1, 0.5, 10, 4, 0.8), (0.15, 0.3, 1.75, 0.55, 10, 4, 0.7),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.65), (0.3, 0.3, 1.25, 0.65, 14, 12, 0.6),
    ),
    "frost": ((1, 0.3), (0.9, 0.4), (0.8, 0.45), (0.75, 0.5), (0.7, 0.55)),
    "fog": ((0.4, 3), (0.7, 3), (1, 2.5), (1.5, 2), (2, 1.75)),
    "brightness": _single(0.1, 0.2, 0.3, 0.4, 0.5),
    "contrast": _single(0.4, 0.3, 0.2, 0.1, 0.05),
    "elastic_transform": ((0, 0, 0.08), (0.05, 0.3, 0.06), (0.1, 0.08, 0.06), (0.1, 0.03, 0.03), (0.16, 0.03, 0.02)),
    "pixelate": _single(0.9, 0.8, 0.7, 0.6, 0.5),
    "jpeg_compression": _single(65, 58, 50, 40, 25),
}  # fmt: skip

_SIDE = 244 / 224
"""ImageNet-C's elastic lengths are fractions of 244, a slip of its authors that every published number contains."""
_IMAGENET: _Table = {
    "gaussian_noise": _single(0.08, 0.12, 0.18, 0.26, 0.38),
    "shot_noise": _single(60, 25, 12, 5, 3),
    "impulse_noise": _single(0.03, 0.06, 0.09, 0.17, 0.27),
    "defocus_blur": ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
    "glass_blur": ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
    "motion_blur": ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
    "zoom_blur": ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
    "snow": (
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8), (0.2, 0.3, 2, 0.5, 12, 4, 0.7), (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65), (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    ),
    "frost": ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
    "fog": ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
    "brightness": _single(0.1, 0.2, 0.3, 0.4, 0.5),
    "contrast": _single(0.4, 0.3, 0.2, 0.1, 0.05),
    "elastic_transform": (
        (2 * _SIDE, 0.7 * _SIDE, 0.1 * _SIDE), (2 * _SIDE, 0.08 * _SIDE, 0.2 * _SIDE),
        (0.05 * _SIDE, 0.01 * _SIDE, 0.02 * _SIDE), (0.07 * _SIDE, 0.01 * _SIDE, 0.02 * _SIDE),
        (0.12 * _SIDE, 0.01 * _SIDE, 0.02 * _SIDE),
    ),
    "pixelate": _single(0.6, 0.5, 0.4, 0.3, 0.25),
    "jpeg_compression": _single(25, 18, 15, 10, 7),
}  # fmt: skip

_TABLES = {32: _CIFAR, 64: _TINY_IMAGENET, 224: _IMAGENET}
_WITHOUT_DRAWS = ("defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression")


def corrupt(images: Images, kind: Kind, severity: int, rng: np.random.Generator) -> Images:
    """Corrupt images by one of the common corruptions, with the parameters published for the nearest image size.

    Each image has its own generator, spawned from ``rng``: its result does not depend on the rest of the batch, and
    images passed one after the other with the same ``rng`` have the same results as together.

    Args:
        images: (N, C, H, W), float32 in [0, 1], C = 1 or 3, sides of at least 8.
        kind: one of ``KINDS``.
        severity: 1 to 5.

    Returns: a new array of the same shape, in [0, 1].

    Raises:
        InputError: unknown kind or severity, or images of another shape or range.
    """
    if kind not in KINDS:
        raise InputError(f"The corruption {kind!r} is unknown; choose among {', '.join(KINDS)}.")
    if severity not in SEVERITIES:
        raise InputError(f"severity={severity!r} is unknown; choose among {', '.join(map(str, SEVERITIES))}.")
    check_images(images.shape[1:])
    # One part in a million is what rounding may leave; NaN fails the comparison.
    if len(images) and not (images.min() >= -1e-6 and images.max() <= 1 + 1e-6):
        raise InputError(f"The images span {images.min():g} to {images.max():g}, not [0, 1]; scale them.")
    settings = parameters(kind, severity, table_side(*images.shape[2:]))
    rngs = rng.spawn(len(images))
    corrupted = np.empty(images.shape, dtype=np.float32)
    at_once = max(_IMAGES_AT_ONCE, _VALUES_AT_ONCE // max(images[0].size, 1)) if len(images) else 1
    for start in range(0, len(images), at_once):
        chunk = slice(start, start + at_once)
        part = np.ascontiguousarray(np.clip(images[chunk], 0, 1), dtype=np.float32)
        draws = () if kind in _WITHOUT_DRAWS else (rngs[chunk],)
        corrupted[chunk] = getattr(kinds, kind)(part, *draws, *settings)
    return corrupted


def table_side(height: int, width: int) -> int:
    """Return the side of the published table nearest, by ratio, to the shorter side: 32 to 45 px, 64 to 119, 224."""
    shorter = min(height, width)
    return min(SIDES, key=lambda side: max(side / shorter, shorter / side))


def parameters(kind: Kind, severity: int, side: int) -> Parameters:
    """Return the parameters of a kind at a severity, from the table of a side of :data:`SIDES`."""
    return _TABLES[side][kind][severity - 1]


def check_images(shape: Sequence[int]) -> None:
    """Raise where images of a shape (C, H, W) cannot be corrupted."""
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise InputError(
            f"Images of shape {tuple(shape)} are neither grey (1, H, W) nor colour (3, H, W); convert them."
        )
    if min(shape[1:]) < SMALLEST_SIDE:
        raise InputError(
            f"Images of {shape[1]}x{shape[2]} pixels are too small for the common corruptions, which need sides of at "
            f"least {SMALLEST_SIDE}; enlarge them."
        )
