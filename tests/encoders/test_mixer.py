"""MLP-Mixer against loops over single numbers, and published parameter counts."""

import math

import pytest
import torch
from torch import Tensor

from monosemy.encoders.backbones import Mixer, MixerBlock


def normalised(row: list[float], norm: torch.nn.LayerNorm) -> list[float]:
    mean = sum(row) / len(row)
    var = sum((v - mean) ** 2 for v in row) / len(row)
    scaled = [(v - mean) / math.sqrt(var + 1e-6) for v in row]
    return [s * w + b for s, w, b in zip(scaled, norm.weight.tolist(), norm.bias.tolist(), strict=True)]


def mlp(row: list[float], layers: torch.nn.Sequential) -> list[float]:
    for place in (0, 2):
        weight, bias = layers[place].weight.tolist(), layers[place].bias.tolist()
        row = [sum(w * v for w, v in zip(ws, row, strict=True)) + b for ws, b in zip(weight, bias, strict=True)]
        if place == 0:
            row = [v * 0.5 * (1 + math.erf(v / math.sqrt(2))) for v in row]
    return row


def slow_mixer(net: Mixer, image: Tensor, patch: int) -> list[float]:
    """Cut patches out, mix over the patches of a channel, then over the channels of a patch, as the paper says."""
    _, rows, columns = image.shape
    weight, bias = net.embedding.weight, net.embedding.bias
    x = []
    for top in range(0, rows, patch):
        for left in range(0, columns, patch):
            cut = image[:, top : top + patch, left : left + patch]
            x.append([float((w * cut).sum() + b) for w, b in zip(weight, bias, strict=True)])
    for block in net.blocks:
        seen = [normalised(row, block.token_norm) for row in x]
        for channel in range(len(x[0])):
            mixed = mlp([row[channel] for row in seen], block.token_mlp)
            for row, value in zip(x, mixed, strict=True):
                row[channel] += value
        x = [
            [a + b for a, b in zip(row, mlp(normalised(row, block.channel_norm), block.channel_mlp), strict=True)]
            for row in x
        ]
    x = [normalised(row, net.norm) for row in x]
    return [sum(row[channel] for row in x) / len(x) for channel in range(len(x[0]))]


@pytest.mark.parametrize(("shape", "patch"), [((3, 4, 6), 2), ((1, 4, 4), 2), ((2, 3, 3), 3)])
def test_equals_the_loops(shape: tuple[int, int, int], patch: int) -> None:
    torch.manual_seed(0)
    net = Mixer(shape, width=5, depth=2, patch_size=patch).double()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    images = torch.randn(2, *shape, dtype=torch.float64)
    with torch.no_grad():
        wanted = torch.tensor([slow_mixer(net, image, patch) for image in images], dtype=torch.float64)
        torch.testing.assert_close(net(images), wanted, rtol=1e-9, atol=1e-9)


def test_parameters_by_the_formula() -> None:
    width, depth, patch, patches = 12, 3, 2, 8
    net = Mixer((3, 4, 8), width, depth, patch)
    over_patches = 2 * patches * (width // 2) + width // 2 + patches
    over_channels = 2 * width * 4 * width + 4 * width + width
    wanted = (3 * patch**2 + 1) * width + depth * (4 * width + over_patches + over_channels) + 2 * width
    assert sum(p.numel() for p in net.parameters()) == wanted


@pytest.mark.parametrize(
    ("width", "depth", "patch", "millions"),
    [(512, 8, 32, 19), (512, 8, 16, 18), (768, 12, 32, 60), (768, 12, 16, 59), (1024, 24, 16, 207)],
)
def test_published_sizes(width: int, depth: int, patch: int, millions: int) -> None:
    # Table 1 of the paper, in millions, with no classifier counted.
    with torch.device("meta"):
        net = Mixer((3, 224, 224), width, depth, patch)
    assert round(sum(p.numel() for p in net.parameters()) / 1e6) == millions


def test_initial_weights() -> None:
    torch.manual_seed(0)
    block = Mixer((3, 32, 32), 256, 1, 4).blocks[0]
    assert isinstance(block, MixerBlock)
    weight = block.channel_mlp[0].weight.detach()
    assert float(weight.std()) == pytest.approx(256**-0.5, rel=0.01)
    assert float(weight.abs().max()) <= 2 * 256**-0.5 / 0.8796 + 1e-6
    assert not block.channel_mlp[0].bias.any()
