"""Images as arrays: uint8 as files hold them, or float32 in [0, 1]."""

import numpy as np
from numpy.typing import NDArray

from monosemy.errors import InputError

Images = NDArray[np.uint8] | NDArray[np.float32]
"""(N, C, H, W): uint8 0 to 255, or float32 in [0, 1]."""


def unit_pixels(images: Images) -> NDArray[np.float32]:
    """float32 in [0, 1] of the same shape: uint8 pixels over 255, float32 pixels as they are."""
    if images.dtype == np.uint8:
        return np.divide(images, np.float32(255), dtype=np.float32)
    return images.astype(np.float32, copy=False)


def check_pixels(images: Images, where: str) -> None:
    """Raise for images that are neither uint8 nor float32 in [0, 1]."""
    if images.dtype == np.uint8 or images.size == 0:
        return
    low, high = images.min(), images.max()
    # One part in a million is what rounding of a weighted mean may leave; NaN fails the comparison.
    if images.dtype != np.float32 or not (low >= -1e-6 and high <= 1 + 1e-6):
        raise InputError(
            f"The {where} has pixels of type {images.dtype} from {low:g} to {high:g}; give uint8 from 0 to 255, or "
            f"float32 from 0 to 1."
        )
