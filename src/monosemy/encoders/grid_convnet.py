"""A small convolutional backbone for images from 8x8 pixels up."""

from torch import Tensor, nn


class GridConvNet(nn.Module):
    """Convolutions with stride 2, and a coarse grid of what they saw.

    The grid (2 rows, as many columns as keep the aspect ratio) keeps where things are; global pooling would forget
    it. Each convolution has twice as many channels as the one before, from ``width`` on.
    """

    def __init__(self, image_shape: tuple[int, int, int], width: int) -> None:
        super().__init__()
        channels, rows, columns = image_shape
        n_stages = min(max(min(rows, columns).bit_length() - 2, 2), 4)
        blocks: list[nn.Module] = []
        before = channels
        for stage in range(n_stages + 1):
            after = width * 2**stage
            stride = 1 if stage == 0 else 2
            blocks += [
                nn.Conv2d(before, after, 3, stride, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(inplace=True),
            ]
            before = after
        grid = (2, max(2, round(2 * columns / rows)))
        if _after_strides(rows, n_stages) != grid[0] or _after_strides(columns, n_stages) != grid[1]:
            blocks.append(nn.AdaptiveAvgPool2d(grid))
        self.layers = nn.Sequential(*blocks, nn.Flatten())
        self.n_outputs = before * grid[0] * grid[1]

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (N, C, H, W) to (N, n_outputs): the grid's cells of each channel side by side."""
        features: Tensor = self.layers(images)
        return features


def _after_strides(pixels: int, n_stages: int) -> int:
    """Side length after ``n_stages`` convolutions of size 3, stride 2 and padding 1: each halves, rounding up."""
    return -(-pixels // 2**n_stages)
