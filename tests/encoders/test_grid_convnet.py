"""The small grid network: sizes by hand, and that it keeps where things are."""

import pytest
import torch

from monosemy.encoders.backbones import GridConvNet


@pytest.mark.parametrize(
    ("shape", "convolutions", "grid"),
    [
        ((3, 8, 8), 3, (2, 2)),
        ((1, 8, 16), 3, (2, 4)),
        ((3, 32, 32), 5, (2, 2)),
        ((1, 28, 28), 4, (2, 2)),
        ((1, 12, 9), 3, (2, 2)),
        ((3, 64, 48), 5, (2, 2)),
    ],
)
def test_sizes(shape: tuple[int, int, int], convolutions: int, grid: tuple[int, int]) -> None:
    net = GridConvNet(shape, 4).eval()
    widths = [m.out_channels for m in net.modules() if isinstance(m, torch.nn.Conv2d)]
    assert widths == [4 * 2**stage for stage in range(convolutions)]
    assert net.n_outputs == widths[-1] * grid[0] * grid[1]
    with torch.no_grad():
        assert net(torch.rand(2, *shape)).shape == (2, net.n_outputs)


def test_it_knows_left_from_right() -> None:
    torch.manual_seed(0)
    net = GridConvNet((1, 64, 64), 4).eval()
    image = torch.zeros(1, 1, 64, 64)
    image[:, :, :, 2:10] = 1
    with torch.no_grad():
        cells = (net(image) - net(torch.zeros(1, 1, 64, 64))).view(-1, 2, 2).abs().sum(0)
    assert float(cells[:, 0].min()) > 0
    assert float(cells[:, 1].max()) == 0


def test_channels_last_gives_the_same_order() -> None:
    torch.manual_seed(0)
    net, images = GridConvNet((3, 16, 16), 4).eval(), torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        wanted = net(images)
        net.to(memory_format=torch.channels_last)
        got = net(images.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-6)
