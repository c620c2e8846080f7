"""Backbones, the networks between normalised images and a projector: convolutional ones, ViT, MLP-Mixer."""

from typing import Any

from torch import Tensor, nn

from monosemy.encoders.config import BackboneConfig
from monosemy.errors import InputError, needs_extra


class GridConvNet(nn.Module):
    """Convolutions with stride 2 and a coarse grid, for images from 8 x 8 pixels up.

    The grid (2 rows, as many columns as keep the aspect ratio) retains positions, which global pooling would discard.
    Each convolution has twice as many channels as the one before, from ``width`` on.
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
        # Each convolution of size 3, stride 2 and padding 1 halves a side, rounding up.
        if grid != (-(-rows // 2**n_stages), -(-columns // 2**n_stages)):
            blocks.append(nn.AdaptiveAvgPool2d(grid))
        self.layers = nn.Sequential(*blocks, nn.Flatten())
        self.n_outputs = before * grid[0] * grid[1]

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images (N, C, H, W) to (N, n_outputs): the grid's cells of each channel side by side."""
        features: Tensor = self.layers(images)
        return features


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
    """MLP-Mixer: patches, linear embedding, mixer blocks, LayerNorm, and the mean over the patches.

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
        """Map normalised images (N, C, H, W) to (N, n_outputs)."""
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


ImageShape = tuple[int, int, int]
_BLOCKS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3), "resnet50": (3, 4, 6, 3)}
_MOST_PATCHES = 1024


class _Pooled(nn.Module):
    """A model of transformers as a map from images to one vector each."""

    def __init__(self, model: Any, n_outputs: int) -> None:
        super().__init__()
        self.model = model
        self.n_outputs = n_outputs

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images (N, C, H, W) to (N, n_outputs)."""
        output = self.model(images)
        # A ViT is made without the pooling layer of transformers, which no paper has: its class token is the output.
        pooled: Tensor = output.last_hidden_state[:, 0] if output.pooler_output is None else output.pooler_output
        return pooled.flatten(1)


def make_backbone(config: BackboneConfig, image_shape: ImageShape) -> nn.Module:
    """Return a backbone with random weights, drawn from torch's global generator; ``n_outputs`` is the width of its
    output.

    ResNets (He et al., arXiv 1512.03385), ViT (Dosovitskiy et al., arXiv 2010.11929) and ConvNeXt (Liu et al., arXiv
    2201.03545) are those of transformers.

    Args:
        image_shape: (C, H, W).

    Raises:
        InputError: the settings do not fit the images' size, or transformers is missing.
    """
    small = min(image_shape[1:]) < 64
    if config.name == "conv":
        return GridConvNet(image_shape, config.width or 16)
    if config.name == "mixer":
        return Mixer(
            image_shape, config.width or (256 if small else 512), config.depth or 8, _patch(config, image_shape)
        )
    if config.name == "vit":
        return _vit(config, image_shape, config.width or (192 if small else 384))
    if config.name == "convnext":
        return _convnext(config, image_shape, small)
    return _resnet(config, image_shape)


def _transformers() -> Any:
    with needs_extra("vision", "A ResNet, ViT or ConvNeXt", alternative="use the backbone conv or mixer"):
        import transformers
    return transformers


def _resnet(config: BackboneConfig, image_shape: ImageShape) -> nn.Module:
    lib = _transformers()
    width, bottleneck = config.width or 64, config.name == "resnet50"
    widths = [width * 2**stage * (4 if bottleneck else 1) for stage in range(4)]
    settings = lib.ResNetConfig(
        num_channels=image_shape[0],
        embedding_size=width,
        hidden_sizes=widths,
        depths=list(_BLOCKS[config.name]),
        layer_type="bottleneck" if bottleneck else "basic",
    )
    model = lib.ResNetModel(settings)
    side = min(image_shape[1:])
    stem = config.stem or ("cifar" if side < 64 else "stride2" if side < 128 else "imagenet")
    if stem != "imagenet":
        first = nn.Conv2d(image_shape[0], width, 3, 2 if stem == "stride2" else 1, padding=1, bias=False)
        nn.init.kaiming_normal_(first.weight, mode="fan_out", nonlinearity="relu")
        model.embedder.embedder.convolution = first
        model.embedder.pooler = nn.Identity()
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = True  # one map of activations less to write at each: 5 % of the time in evaluation
    return _Pooled(model, widths[-1])


def _vit(config: BackboneConfig, image_shape: ImageShape, width: int) -> nn.Module:
    channels, rows, columns = image_shape
    heads = max(1, width // 64)
    if width % heads:
        raise InputError(f"width={width} of the ViT is not divisible by its {heads} heads; choose a multiple of 64.")
    patch = _patch(config, image_shape)
    lib = _transformers()
    settings = lib.ViTConfig(
        hidden_size=width,
        num_hidden_layers=config.depth or 12,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        layer_norm_eps=1e-6,
        image_size=[rows, columns],
        patch_size=patch,
        num_channels=channels,
    )
    return _Pooled(lib.ViTModel(settings, add_pooling_layer=False), width)


def _convnext(config: BackboneConfig, image_shape: ImageShape, small: bool) -> nn.Module:
    side = min(image_shape[1:])
    patch = config.patch_size or (4 if not small else 2 if side >= 16 else 1)
    if side // patch < 8:
        raise InputError(
            f"Images of {image_shape[1]}x{image_shape[2]} pixels are too small for ConvNeXt with patch_size {patch}: "
            f"it needs 8 patches a side; choose a smaller patch_size or another backbone."
        )
    width, depth = config.width or (48 if small else 96), config.depth or (2 if small else 3)
    lib = _transformers()
    settings = lib.ConvNextConfig(
        num_channels=image_shape[0],
        patch_size=patch,
        hidden_sizes=[width, 2 * width, 4 * width, 8 * width],
        depths=[depth, depth, 3 * depth, depth],
        layer_norm_eps=1e-6,
    )
    return _Pooled(lib.ConvNextModel(settings), 8 * width)


def _patch(config: BackboneConfig, image_shape: ImageShape) -> int:
    """Return the side of a patch, which divides both sides of the image."""
    _, rows, columns = image_shape
    if config.patch_size is not None:
        if rows % config.patch_size or columns % config.patch_size:
            raise InputError(
                f"Images of {rows}x{columns} pixels cannot be cut into patches of patch_size {config.patch_size}; "
                f"choose a patch_size that divides both sides."
            )
        return config.patch_size
    fitting = [p for p in range(1, 17) if rows % p == columns % p == 0 and min(rows, columns) >= 7 * p]
    patch = max(fitting, default=1)
    if rows * columns > _MOST_PATCHES * patch**2:
        raise InputError(
            f"No patch_size suits images of {rows}x{columns} pixels; resize them to multiples of 16, or set it."
        )
    return patch
