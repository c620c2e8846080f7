"""Records what other people's code makes of two small images, for test_common_reference.py.

    python -m venv venv && venv/bin/pip install imagecorruptions==1.1.2 "numpy<2" "setuptools<80"
    venv/bin/python tests/corruptions/record_common_reference.py

Run with imagecorruptions 1.1.2, opencv-python 4.11.0, scikit-image 0.26.0, SciPy 1.17.1, Pillow 13.0.0, NumPy 1.26.4.
"""

from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import skimage.filters
from imagecorruptions import corruptions as theirs
from PIL import Image

SIDE = 28
SEVERITIES = (1, 5)
ANGLES = (-45.0, -17.3, 0.0, 30.0, 45.0, -90.0, -123.4)
KERNELS = ((0.3, 0.4), (1, 0.2), (1.5, 0.1), (3, 0.1), (6, 0.5), (8, 0.5), (10, 0.5))
DECAYS = (3.0, 1.75)
FACTORS = (1.0, 1.01, 1.06, 1.25, 1.75, 2.25)


def pictures() -> np.ndarray:
    """Two images (2, H, W, 3) of bytes: slopes, edges and grain."""
    y, x = np.mgrid[:SIDE, :SIDE] / (SIDE - 1)
    rng = np.random.default_rng(0)
    made = []
    for turn in (0.3, 1.1):
        disk = ((x - 0.4) ** 2 + (y - 0.55) ** 2 < 0.08 * turn).astype(float)
        stripes = np.sin(12 * turn * x + 5 * y) > 0.6
        channels = [x * turn, 0.7 * y + 0.3 * disk, 0.5 * stripes + 0.3 * disk + 0.2 * x]
        made.append(np.stack(channels, axis=-1) * 0.8 + 0.15 * rng.random((SIDE, SIDE, 3)))
    return (np.clip(made, 0, 1) * 255).astype(np.uint8)


def plasma(decay: float, side: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Their fractal, and the draws in [-1, 1] that it was made from, each at its point."""
    rng = np.random.default_rng(seed)
    drawn = []

    def uniform(low: float, high: float, size: tuple[int, ...]) -> np.ndarray:
        drawn.append(rng.uniform(-1, 1, size))
        return high * drawn[-1]

    with mock.patch.object(theirs.np.random, "uniform", uniform):
        fractal = theirs.plasma_fractal(side, decay)
    draws, step, left = np.zeros((side, side)), side, iter(drawn)
    while step >= 2:
        half = step // 2
        for rows, columns in ((half, half), (0, half), (half, 0)):
            draws[rows::step, columns::step] = next(left)
        step = half
    return draws, fractal


def main() -> None:
    images = pictures()
    recorded: dict[str, np.ndarray] = {"images": images}
    settings = {"severities": SEVERITIES, "angles": ANGLES, "kernels": KERNELS, "decays": DECAYS, "factors": FACTORS}
    for kind in ("contrast", "brightness", "jpeg_compression", "defocus_blur", "zoom_blur"):
        function = getattr(theirs, kind)
        # JPEG comes back as a picture, which NumPy makes an array of.
        recorded[kind] = np.stack(
            [[np.asarray(function(Image.fromarray(i), s), dtype=np.float64) / 255 for i in images] for s in SEVERITIES]
        ).astype(np.float32)
    # Theirs enlarges by NEAREST where the published scripts enlarge by BOX: the first half is the same.
    small = (int(SIDE * 0.65), int(SIDE * 0.65))
    box = Image.Resampling.BOX
    recorded["pixelate"] = np.stack([Image.fromarray(i).resize(small, box).resize((SIDE, SIDE), box) for i in images])
    recorded["motion"] = np.stack([theirs._motion_blur(images[0] / 255, 9, 2.5, angle) for angle in ANGLES])
    for number, (radius, alias) in enumerate(KERNELS):
        recorded[f"kernel{number}"] = theirs.disk(radius, alias)
    for number, decay in enumerate(DECAYS):
        recorded[f"draws{number}"], recorded[f"plasma{number}"] = plasma(decay, 32, number)
    for number, factor in enumerate(FACTORS):
        zoomed = theirs.clipped_zoom(images[0].astype(np.float32) / 255, factor)
        # The published scripts keep the middle; the package leaves that to its callers, who keep the upper left.
        top, left = ((zoomed.shape[axis] - SIDE) // 2 for axis in (0, 1))
        recorded[f"zoom{number}"] = zoomed[top : top + SIDE, left : left + SIDE]
    recorded["glass_gaussian"] = skimage.filters.gaussian(images[0] / 255, sigma=0.7, channel_axis=-1)
    recorded["elastic_gaussian"] = skimage.filters.gaussian(
        images[0] / 255, 3, mode="reflect", truncate=3, channel_axis=-1
    )
    low, high = SIDE // 2 - SIDE // 3, SIDE // 2 + SIDE // 3
    corners = np.float32([[high, high], [high, low], [low, low]])
    recorded["jitters"] = np.float32([[[1.5, -2.0], [0.25, 3.0], [-2.5, 1.0]], [[-3, 0.5], [2, 2], [0, -1.75]]])
    recorded["affine"] = np.stack(
        [
            cv2.warpAffine(
                image.astype(np.float32) / 255,
                cv2.getAffineTransform(corners, corners + jitters),
                (SIDE, SIDE),
                borderMode=cv2.BORDER_REFLECT_101,
            )
            for image, jitters in zip(images, recorded["jitters"], strict=True)
        ]
    )
    # 16 bits hold a value in [0, 1] to 1e-5 in half the space.
    packed = {
        name: np.rint(values * 65535).astype(np.uint16) if name not in ("images", "jitters", "pixelate") else values
        for name, values in recorded.items()
        if not name.startswith("draws")
    }
    draws = {name: values for name, values in recorded.items() if name.startswith("draws")}
    np.savez_compressed(Path(__file__).with_name("common_reference.npz"), **packed, **draws, **settings)


if __name__ == "__main__":
    main()
