"""A small convolutional encoder with a projector, for images from 8x8 pixels up."""

import torch
from torch import Tensor, nn

from monosemy.functional import NON_NEGATIVE, NonNegative


class ConvEncoder(nn.Module):
    """Convolutions with stride 2, a coarse grid of what they saw, and a two-layer projector.

    The grid (2 rows, as many columns as keep the aspect ratio) keeps where things are; global pooling would forget
    it. The features are the projector's output z, or s+(BatchNorm(z)) with a non-negative map: without the BatchNorm
    NCL on small data collapses to zero.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        width: int,
        hidden: int,
        n_features: int,
        non_negative: NonNegative | None,
    ) -> None:
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
        self.backbone = nn.Sequential(*blocks, nn.Flatten())
        projector: list[nn.Module] = [
            nn.Linear(before * grid[0] * grid[1], hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, n_features),
        ]
        if non_negative is not None:
            projector.append(nn.BatchNorm1d(n_features))
        self.projector = nn.Sequential(*projector)
        self.non_negative = non_negative
        self.register_buffer("pixel_mean", torch.zeros(channels, 1, 1))
        self.register_buffer("pixel_std", torch.ones(channels, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) in [0, 1] to features (N, n_features), not L2-normalised."""
        z = self.projector(self.backbone((images - self.pixel_mean) / self.pixel_std))
        return z if self.non_negative is None else NON_NEGATIVE[self.non_negative](z)


def _after_strides(pixels: int, n_stages: int) -> int:
    """Side length after ``n_stages`` convolutions of size 3, stride 2 and padding 1: each halves, rounding up."""
    return -(-pixels // 2**n_stages)
