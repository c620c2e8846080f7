"""Record what torchvision's operations give, for the tests beside this file.

Run in an environment of its own (torch 2.13, torchvision 0.28):
``python tests/encoders/augment/record_torchvision.py``.
"""

from pathlib import Path

import numpy as np
import torch

# torchvision's wheel expects CUDA operators; without them its import stops. Declaring the two is enough.
_library = torch.library.Library("torchvision", "FRAGMENT")
for operator in ("nms", "qnms"):
    _library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from torchvision.transforms import v2  # noqa: E402
from torchvision.transforms.v2 import functional as tv  # noqa: E402

HERE = Path(__file__).parent
BOXES = {"top": [0, 3, 7, 2], "left": [0, 1, 4, 5], "height": [12, 5, 1, 10], "width": [10, 8, 3, 2]}
SIZES = {"same": (12, 10), "larger": (16, 24), "smaller": (5, 4)}
PARAMETERS = {
    "adjust_brightness": [0.2, 0.9, 1.0, 1.8],
    "adjust_contrast": [0.0, 0.7, 1.3, 1.8],
    "adjust_saturation": [0.2, 1.0, 1.4, 1.8],
    "adjust_hue": [-0.5, -0.13, 0.07, 0.31],
    "solarize": [0.0, 0.25, 0.5, 0.9],
    "gaussian_blur": [0.1, 0.6, 1.3, 2.0],
}
KERNELS = (3, 9)
DRAWS = {"wide": (20, 50), "tall": (40, 8)}


def images(channels: int) -> torch.Tensor:
    """Four random images; the first rows hold what is special to the HSV model: greys, primaries, ties."""
    x = torch.rand(4, channels, 12, 10, generator=torch.Generator().manual_seed(channels))
    x[:, :, 0] = torch.linspace(0, 1, 10)
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3).T
    if channels == 3:
        x[:, :, 1, :8] = corners
        x[:, :, 2, :8] = 0.25 + 0.5 * corners
        x[:, :, 3, :8] = 1e-4 * corners
    return x


def one_by_one(operation, x: torch.Tensor, *parameters) -> np.ndarray:
    return torch.stack([operation(image, *p) for image, *p in zip(x, *parameters, strict=True)]).numpy()


def box_moments(size: tuple[int, int], n: int = 40_000) -> np.ndarray:
    """Mean and standard deviation, (2, 4), of top, left, height and width over RandomResizedCrop's draws."""
    torch.manual_seed(0)
    crop = v2.RandomResizedCrop(32, scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3))
    image = torch.zeros(3, *size)
    drawn = [crop.make_params([image]) for _ in range(n)]
    values = np.array([[d["top"], d["left"], d["height"], d["width"]] for d in drawn], dtype=np.float64)
    return np.stack([values.mean(axis=0), values.std(axis=0)])


def main() -> None:
    recorded: dict[str, np.ndarray] = {}
    for name, channels in (("rgb", 3), ("grey", 1)):
        x = images(channels)
        recorded[name] = x.numpy()
        for label, size in SIZES.items():
            recorded[f"{name}/resized_crop/{label}"] = one_by_one(
                lambda image, *box, size=size: tv.resized_crop(image, *box, size=list(size), antialias=True),
                x,
                *BOXES.values(),
            )
        recorded[f"{name}/hflip"] = tv.horizontal_flip(x).numpy()
        recorded[f"{name}/rgb_to_grayscale"] = tv.rgb_to_grayscale(x, num_output_channels=1).numpy()
        for operation in ("adjust_brightness", "adjust_contrast", "adjust_saturation", "adjust_hue", "solarize"):
            recorded[f"{name}/{operation}"] = one_by_one(getattr(tv, operation), x, PARAMETERS[operation])
        for kernel in KERNELS:
            recorded[f"{name}/gaussian_blur/{kernel}"] = one_by_one(
                lambda image, sigma, kernel=kernel: tv.gaussian_blur(image, [kernel, kernel], [sigma, sigma]),
                x,
                PARAMETERS["gaussian_blur"],
            )
    for key, values in {**BOXES, **PARAMETERS}.items():
        recorded[f"parameters/{key}"] = np.array(values, dtype=np.float32)
    for label, size in DRAWS.items():
        recorded[f"boxes/{label}/size"] = np.array(size)
        recorded[f"boxes/{label}/moments"] = box_moments(size)
    np.savez_compressed(HERE / "golden_torchvision.npz", **recorded)


if __name__ == "__main__":
    main()
