"""One call for every kind of corruption."""

from collections.abc import Callable, Sequence

import numpy as np

from monosemy.corruptions.common import blur, digital, noise, weather
from monosemy.corruptions.common.noise import Images
from monosemy.corruptions.common.severity import KINDS, SEVERITIES, Kind, parameters, table_side
from monosemy.errors import InputError

SMALLEST_SIDE = 8
_VALUES_AT_ONCE = 2**20
"""Of a chunk of images: what fits into a processor's cache, and enough to make the steps of Python cheap."""
_IMAGES_AT_ONCE = 64
"""At least, however large they are: glass blur makes its steps one by one for all images together."""

_FIXED: dict[Kind, Callable[..., Images]] = {
    "defocus_blur": blur.defocus_blur,
    "zoom_blur": blur.zoom_blur,
    "brightness": weather.brightness,
    "contrast": digital.contrast,
    "pixelate": digital.pixelate,
    "jpeg_compression": digital.jpeg_compression,
}
_RANDOM: dict[Kind, Callable[..., Images]] = {
    "gaussian_noise": noise.gaussian_noise,
    "shot_noise": noise.shot_noise,
    "impulse_noise": noise.impulse_noise,
    "glass_blur": blur.glass_blur,
    "motion_blur": blur.motion_blur,
    "snow": weather.snow,
    "frost": weather.frost,
    "fog": weather.fog,
    "elastic_transform": digital.elastic_transform,
}


def corrupt(images: Images, kind: Kind, severity: int, rng: np.random.Generator) -> Images:
    """The images under one of the common corruptions, with the parameters published for the nearest image size.

    Each image gets a generator of its own, spawned from ``rng``: the result does not depend on what else is in the
    batch, and images given one after the other with the same ``rng`` come out as if given together.

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
        raise InputError(f"The severity {severity!r} is none of {', '.join(map(str, SEVERITIES))}; choose one.")
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
        if kind in _FIXED:
            corrupted[chunk] = _FIXED[kind](part, *settings)
        else:
            corrupted[chunk] = _RANDOM[kind](part, rngs[chunk], *settings)
    return corrupted


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
