"""MLP-Mixer: alternately mixes the patches of an image and the channels of a patch."""

from torch import Tensor, nn

_TRUNCATED_STD = 0.87962566103423978
"""Standard deviation of a standard normal variable cut off at -2 and 2."""


class MixerBlock(nn.Module):
    """x = x + MLP_tokens(LayerNorm(x)^T)^T, then x = x + MLP_channels(LayerNorm(x)), for x (N, patches, channels).

    An MLP is Linear, GELU, Linear; its hidden layer has half as many units as channels over the patches, and four
    times as many over the channels.
    """

    def __init__(self, n_patches: int, width: int) -> None:
        super().__init__()
        self.token_norm = nn.LayerNorm(width, eps=1e-6)
        self.token_mlp = _mlp(n_patches, max(width // 2, 1))
        self.channel_norm = nn.LayerNorm(width, eps=1e-6)
        self.channel_mlp = _mlp(width, 4 * width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.token_mlp(self.token_norm(x).transpose(1, 2)).transpose(1, 2)
        return x + self.channel_mlp(self.channel_norm(x))


class Mixer(nn.Module):
    """Patches, linear embedding, mixer blocks, LayerNorm, and the mean over the patches.

    Weights are drawn from a truncated normal distribution with variance 1 / inputs, biases are 0, as in the authors'
    code.

    Source: Tolstikhin et al., "MLP-Mixer" (arXiv 2105.01601), figure 1 and equation 1.
    """

    def __init__(self, image_shape: tuple[int, int, int], width: int, depth: int, patch_size: int) -> None:
        super().__init__()
        channels, rows, columns = image_shape
        n_patches = (rows // patch_size) * (columns // patch_size)
        self.embedding = nn.Conv2d(channels, width, patch_size, stride=patch_size)
        self.blocks = nn.Sequential(*[MixerBlock(n_patches, width) for _ in range(depth)])
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.n_outputs = width
        self.apply(_initialise)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (N, C, H, W) to (N, n_outputs)."""
        patches = self.embedding(images).flatten(2).transpose(1, 2)
        features: Tensor = self.norm(self.blocks(patches)).mean(dim=1)
        return features


def _mlp(n: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(n, hidden), nn.GELU(), nn.Linear(hidden, n))


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Conv2d):
        std = module.weight[0].numel() ** -0.5 / _TRUNCATED_STD
        nn.init.trunc_normal_(module.weight, std=std, a=-2 * std, b=2 * std)
        assert module.bias is not None
        nn.init.zeros_(module.bias)
