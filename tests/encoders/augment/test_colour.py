"""Changes of colour: torchvision's recorded values, the textbook's HSV model, and properties."""

import colorsys

import pytest
import torch
from torch import Tensor

from monosemy.encoders import augmentation

OPERATIONS = ["adjust_brightness", "adjust_contrast", "adjust_saturation", "adjust_hue", "solarize"]


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("kind", ["rgb", "grey"])
def test_equals_torchvision(kind: str, name: str, torchvision: dict[str, Tensor]) -> None:
    x = torchvision[kind]
    before = x.clone()
    ours = getattr(augmentation, name)(x, torchvision[f"parameters/{name}"])
    torch.testing.assert_close(ours, torchvision[f"{kind}/{name}"], atol=2e-6, rtol=0)
    assert torch.equal(x, before), "the input is left alone"


@pytest.mark.parametrize("kind", ["rgb", "grey"])
def test_grey_equals_torchvision(kind: str, torchvision: dict[str, Tensor]) -> None:
    ours = augmentation.rgb_to_grayscale(torchvision[kind])
    torch.testing.assert_close(ours, torchvision[f"{kind}/rgb_to_grayscale"], atol=1e-6, rtol=0)


def test_hue_equals_the_standard_librarys_hsv_model() -> None:
    levels = torch.tensor([0.0, 0.2, 0.5, 0.9, 1.0], dtype=torch.float64)
    pixels = torch.cartesian_prod(levels, levels, levels)  # every order and every tie of the channels
    shifts = torch.tensor([-0.5, -1 / 3, -0.21, 0.0, 0.05, 1 / 6, 0.5], dtype=torch.float64)
    x = pixels.T.reshape(1, 3, 1, -1).expand(len(shifts), -1, -1, -1)
    ours = augmentation.adjust_hue(x, shifts)[:, :, 0].transpose(1, 2)
    for shift, row in zip(shifts.tolist(), ours, strict=True):
        hsv = [colorsys.rgb_to_hsv(*pixel) for pixel in pixels.tolist()]
        expected = [colorsys.hsv_to_rgb((h + shift) % 1, s, v) for h, s, v in hsv]
        torch.testing.assert_close(row, torch.tensor(expected, dtype=torch.float64), atol=1e-12, rtol=0)


def test_half_a_circle_twice_gives_the_colours_back() -> None:
    x = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    half = torch.full((5,), 0.5)
    torch.testing.assert_close(augmentation.adjust_hue(augmentation.adjust_hue(x, half), half), x, atol=2e-6, rtol=0)


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_image_has_its_own_parameter(name: str) -> None:
    operation = getattr(augmentation, name)
    x = torch.rand(4, 3, 6, 5, generator=torch.Generator().manual_seed(0))
    parameters = torch.tensor([0.1, 0.2, 0.35, 0.5])
    together = operation(x, parameters)
    alone = torch.cat([operation(x[k : k + 1], parameters[k : k + 1]) for k in range(4)])
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=0)
    assert not torch.allclose(together[0], operation(x, parameters.flip(0))[0], atol=1e-3)
