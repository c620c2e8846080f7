"""Batched augmentations of images: the operations (colour, crops, blur, affine) and the recipes made of them."""

import math
from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from monosemy.encoders.config import AugmentationName, AugmentConfig
from monosemy.errors import InputError


def _per_image(parameter: Tensor, images: Tensor) -> Tensor:
    return parameter.to(images.dtype).view(-1, 1, 1, 1)


def rgb_to_grayscale(images: Tensor) -> Tensor:
    """Return 0.2989 R + 0.587 G + 0.114 B, shape (N, 1, H, W)."""
    if images.shape[1] == 1:
        return images
    red, green, blue = images.split(1, dim=1)
    return (red * 0.2989).add_(green, alpha=0.587).add_(blue, alpha=0.114)


def adjust_brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Return factor x, clipped to [0, 1]."""
    return (images * _per_image(factor, images)).clamp_(0, 1)


def adjust_contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Return factor x + (1 - factor) (mean grey of the image), clipped to [0, 1]."""
    mean = rgb_to_grayscale(images).mean(dim=(1, 2, 3), keepdim=True)
    return torch.lerp(mean, images, _per_image(factor, images)).clamp_(0, 1)


def adjust_saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Return factor x + (1 - factor) grey(x), clipped to [0, 1]."""
    if images.shape[1] == 1:
        return images
    return torch.lerp(rgb_to_grayscale(images), images, _per_image(factor, images)).clamp_(0, 1)


def adjust_hue(images: Tensor, shift: Tensor) -> Tensor:
    """Turn the hue of the HSV model by ``shift`` of a full circle, in [-0.5, 0.5].

    With M and m the largest and the smallest channel and C = M - m, the hue in sixths of the circle is +-q with
    q = 1 + (G + B - R - m) / C and the sign of G - B: q grows from 0 at red over 1 at yellow and 2 at green to 3 at
    cyan, and in the same way through magenta and blue. After the turn, at h in [0, 6), the channels are
    R = M - C w(h - 3), G = m + C w(h - 2), B = m + C w(h - 4), with w(d) = clip(2 - |d|, 0, 1).
    Equal to going to HSV and back, with a fraction of the passes over memory.
    """
    if images.shape[1] == 1:
        return images
    red, green, blue = images.unbind(dim=1)
    low, high = images.amin(dim=1), images.amax(dim=1)
    chroma = high - low
    # Where chroma is 0 the numerator is 0 as well, and the hue does not matter.
    tiny = torch.finfo(images.dtype).tiny
    hue = (green + blue).sub_(red).sub_(low).div_(chroma.clamp(min=tiny)).add_(1).copysign_(green - blue)
    hue.add_(6 * shift.to(images.dtype).view(-1, 1, 1))
    hue.sub_((hue / 6).floor_(), alpha=6)
    turned = torch.empty_like(images)
    # 2 - w, which is clip(|d|, 1, 2), saves a pass.
    torch.addcmul(high.sub_(chroma, alpha=2), (hue - 3).abs_().clamp_(1, 2), chroma, out=turned[:, 0])
    low.add_(chroma, alpha=2)
    torch.addcmul(low, (hue - 2).abs_().clamp_(1, 2), chroma, value=-1, out=turned[:, 1])
    torch.addcmul(low, (hue - 4).abs_().clamp_(1, 2), chroma, value=-1, out=turned[:, 2])
    return turned


def solarize(images: Tensor, threshold: Tensor) -> Tensor:
    """Return 1 - x where x >= threshold, else x."""
    return torch.where(images >= _per_image(threshold, images), 1 - images, images)


_ATTEMPTS = 10


def uniform(shape: tuple[int, ...], low: float, high: float, rng: torch.Generator) -> Tensor:
    """Return U[low, high) on the generator's device."""
    return torch.rand(shape, generator=rng, device=rng.device).mul_(high - low).add_(low)


def chance(n: int, probability: float, rng: torch.Generator) -> Tensor:
    """Return (N,) bool, each True with the given probability."""
    return torch.rand(n, generator=rng, device=rng.device) < probability


def random_boxes(
    n: int, image_size: tuple[int, int], area: tuple[float, float], ratio: tuple[float, float], rng: torch.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the boxes of torchvision's ``RandomResizedCrop``: top, left, height and width, (N,) whole pixels each.

    The fraction of the image's area is drawn from U[area], width / height from exp U[log ratio]. Of ten attempts the
    first that fits into the image counts; if none does, the largest central box whose aspect lies in ``ratio``.
    """
    rows, columns = image_size
    pixels = uniform((n, _ATTEMPTS), *area, rng) * (rows * columns)
    aspect = uniform((n, _ATTEMPTS), math.log(ratio[0]), math.log(ratio[1]), rng).exp_()
    widths, heights = (pixels * aspect).sqrt_().round_(), (pixels / aspect).sqrt_().round_()
    fits = (widths > 0) & (widths <= columns) & (heights > 0) & (heights <= rows)
    first = fits.int().argmax(dim=1, keepdim=True)  # of equal values, the first
    central_width = min(columns, max(1, round(rows * ratio[1])))
    central_height = min(rows, max(1, round(columns / ratio[0])))
    any_fits = fits.any(dim=1)
    width = widths.gather(1, first).squeeze(1).where(any_fits, central_width)
    height = heights.gather(1, first).squeeze(1).where(any_fits, central_height)
    top = _place(rows - height, rng).where(any_fits, (rows - central_height) // 2)
    left = _place(columns - width, rng).where(any_fits, (columns - central_width) // 2)
    return top, left, height, width


def _place(room: Tensor, rng: torch.Generator) -> Tensor:
    """Return whole numbers from 0 to ``room``, uniformly distributed."""
    u = torch.rand(room.shape, generator=rng, device=rng.device)
    return torch.minimum((u * (room + 1)).floor_(), room)  # u (room + 1) may round up to room + 1


def random_orders(n: int, things: int, rng: torch.Generator) -> Tensor:
    """Return (N, things), a uniformly distributed permutation for each image."""
    return torch.rand((n, things), generator=rng, device=rng.device).argsort(dim=1)


def resized_crop(
    images: Tensor, top: Tensor, left: Tensor, height: Tensor, width: Tensor, size: tuple[int, int], flip: Tensor
) -> Tensor:
    """Cut a box out of each image, resize it (bilinear, antialiased), and mirror it left to right where asked.

    Equals torchvision's ``resized_crop(..., antialias=True)`` and then ``hflip``. A box as large as ``size`` is only
    moved; it may reach over the edge, where zeros are.

    Args:
        images: (N, C, H, W).
        top, left, height, width: (N,), the boxes, whole pixels.
        size: height and width of the result.
        flip: (N,) bool.

    Returns:
        (N, C, *size).
    """
    n, channels, rows, columns = images.shape
    upright = torch.zeros_like(flip)
    row_weights = _resize_weights(top, height, rows, size[0], upright).to(images.dtype)
    column_weights = _resize_weights(left, width, columns, size[1], flip).to(images.dtype)
    with torch.autocast(images.device.type, enabled=False):  # it would round the pixels to bfloat16
        narrow = torch.bmm(images.reshape(n, channels * rows, columns), column_weights.transpose(1, 2))
        return torch.matmul(row_weights.unsqueeze(1), narrow.view(n, channels, rows, size[1]))


def _resize_weights(start: Tensor, length: Tensor, size_in: int, size_out: int, flip: Tensor) -> Tensor:
    """Return weights (N, size_out, size_in) of PyTorch's antialiased bilinear resizing of pixels start ... start +
    length - 1.

    With s = length / size_out, pixel i of the result lies at c_i = start + s (i + 1/2), and the weight of pixel j is
    proportional to max(0, 1 - |j + 1/2 - c_i| / max(s, 1)) inside the box.

    Source: ``aten/src/ATen/native/cpu/UpSampleKernel.cpp`` (``_upsample_bilinear2d_aa``).
    """
    i = torch.arange(size_out, device=start.device)
    i = torch.where(flip.unsqueeze(1), size_out - 1 - i, i)
    scale = (length / size_out).unsqueeze(1)
    centre = start.unsqueeze(1) + scale * (i + 0.5)
    j = torch.arange(size_in, device=start.device)
    distance = (j + 0.5 - centre.unsqueeze(2)).abs_().div_(scale.clamp(min=1).unsqueeze(2))
    inside = (j >= start.unsqueeze(1)) & (j < (start + length).unsqueeze(1))
    weight = distance.neg_().add_(1).clamp_(min=0).mul_(inside.unsqueeze(1))
    return weight.div_(weight.sum(dim=2, keepdim=True).clamp_(min=1e-6))


def gaussian_blur(images: Tensor, sigma: Tensor, kernel_size: int) -> Tensor:
    """Filter by weights proportional to exp(-t^2 / (2 sigma^2)) along rows and columns, with the edges reflected.

    Equals torchvision's ``gaussian_blur`` with one sigma for both axes.

    Args:
        images: (N, C, H, W), with sides above kernel_size / 2.
        sigma: (N,) in pixels, above 0.
        kernel_size: odd.
    """
    half = kernel_size // 2
    t = torch.arange(-half, half + 1, device=images.device)
    kernel = torch.softmax(-((t / sigma.unsqueeze(1)) ** 2) / 2, dim=1).to(images.dtype)
    along_rows = _filter(F.pad(images, (half, half, 0, 0), mode="reflect"), kernel, dim=3)
    return _filter(F.pad(along_rows, (0, 0, half, half), mode="reflect"), kernel, dim=2)


def _filter(padded: Tensor, kernel: Tensor, dim: int) -> Tensor:
    """Return the sum over t of kernel[n, t] times the images moved by t along an axis; a handful of adds beats a
    convolution."""
    size = padded.shape[dim] - kernel.shape[1] + 1
    first, *others = kernel.view(*kernel.shape, 1, 1, 1).unbind(dim=1)
    result = padded.narrow(dim, 0, size) * first
    for t, weight in enumerate(others, start=1):
        result.addcmul_(padded.narrow(dim, t, size), weight)
    return result


def affine(images: Tensor, angle: Tensor, zoom: Tensor, shift_x: Tensor, shift_y: Tensor) -> Tensor:
    """Turn, shrink and move each image about its centre; bilinear, zeros outside.

    Args:
        images: (N, C, H, W).
        angle: (N,) in radians.
        zoom: (N,); the result shows zoom times as much of the plane along each side.
        shift_x, shift_y: (N,) in pixels.
    """
    height, width = images.shape[2:]
    cos, sin = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    # Rotation in pixels, written in the grid's coordinates, in which both sides have length 2.
    x_row = torch.stack([cos, -sin * height / width, 2 * shift_x / width], dim=1)
    y_row = torch.stack([sin * width / height, cos, 2 * shift_y / height], dim=1)
    theta = torch.stack([x_row, y_row], dim=1).to(images.dtype)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


Augmentation = Callable[[Tensor, torch.Generator], Tensor]


_CACHED = 800_000
"""Numbers in the images that a processor treats at a time (256 of CIFAR's), so that they stay in its cache."""

JITTER = {
    "brightness": adjust_brightness,
    "contrast": adjust_contrast,
    "saturation": adjust_saturation,
    "hue": adjust_hue,
}


class Draws(NamedTuple):
    """Random draws for each of N images; every tensor has N rows."""

    top: Tensor
    """With the next three the cropped box, in whole pixels."""
    left: Tensor
    height: Tensor
    width: Tensor
    flip: Tensor
    """(N,) bool, as are the other decisions."""
    jitter: Tensor
    order: Tensor
    """(N, 4): the order of the operations of JITTER."""
    amount: Tensor
    """(N, 4): factors of brightness, contrast and saturation; the hue's shift."""
    grey: Tensor
    blur: Tensor
    sigma: Tensor
    """In pixels."""
    solarize: Tensor

    def part(self, rows: slice) -> Self:
        """Return the draws for some of the images."""
        return type(self)(*(values[rows] for values in self))


def draw(config: AugmentConfig, n: int, image_size: tuple[int, int], rng: torch.Generator) -> Draws:
    """Draw for ``n`` images of the given height and width, on the generator's device."""
    factors = [
        uniform((n,), max(0.0, 1 - strength), 1 + strength, rng)
        for strength in (config.brightness, config.contrast, config.saturation)
    ]
    return Draws(
        *random_boxes(n, image_size, config.crop_area, config.crop_ratio, rng),
        flip=chance(n, config.flip_probability, rng),
        jitter=chance(n, config.jitter_probability, rng),
        order=random_orders(n, len(JITTER), rng),
        amount=torch.stack([*factors, uniform((n,), -config.hue, config.hue, rng)], dim=1),
        grey=chance(n, config.grey_probability, rng),
        blur=chance(n, config.blur_probability, rng),
        sigma=uniform((n,), *config.blur_sigma, rng),
        solarize=chance(n, config.solarize_probability, rng),
    )


def apply(config: AugmentConfig, images: Tensor, draws: Draws) -> Tensor:
    """Return one view of each image, as drawn."""
    # A CPU transforms the chosen images alone. On a GPU that would make the host wait for their number, which costs
    # more than transforming all of them.
    on_chosen = _by_mask if images.is_cuda else _by_rows
    size = (config.output_size or int(images.shape[2]), config.output_size or int(images.shape[3]))
    views = resized_crop(images, draws.top, draws.left, draws.height, draws.width, size, draws.flip)
    for turn in draws.order.unbind(dim=1):
        for k, (name, adjust) in enumerate(JITTER.items()):
            if config.jitter_probability > 0 and getattr(config, name) > 0:
                views = on_chosen(views, draws.jitter & (turn == k), adjust, draws.amount[:, k])
    if config.grey_probability > 0:
        views = on_chosen(views, draws.grey, lambda x: rgb_to_grayscale(x).expand_as(x))
    if config.blur_probability > 0:
        kernel_size = config.blur_kernel or max(3, 2 * (min(size) // 20) + 1)
        if kernel_size // 2 >= min(size):
            raise InputError(
                f"blur_kernel={kernel_size} exceeds views of {size[0]} x {size[1]} pixels; choose a smaller one."
            )
        views = on_chosen(views, draws.blur, lambda x, sigma: gaussian_blur(x, sigma, kernel_size), draws.sigma)
    if config.solarize_probability > 0:
        views = on_chosen(views, draws.solarize, lambda x: solarize(x, x.new_full((len(x),), 0.5)))
    return views


def _by_rows(images: Tensor, chosen: Tensor, operation: Callable[..., Tensor], *parameters: Tensor) -> Tensor:
    """Apply the operation to the chosen images; may write into ``images``."""
    rows = chosen.nonzero().squeeze(1)
    if len(rows) == 0:
        return images
    changed = operation(images.index_select(0, rows), *(p.index_select(0, rows) for p in parameters))
    return images.index_copy_(0, rows, changed)


def _by_mask(images: Tensor, chosen: Tensor, operation: Callable[..., Tensor], *parameters: Tensor) -> Tensor:
    return torch.where(chosen.view(-1, 1, 1, 1), operation(images, *parameters), images)


def make_augmentation(recipe: AugmentationName | AugmentConfig) -> Augmentation:
    """Return a function that makes one view of each image, from a preset's name or a configuration.

    The function takes images (N, C, H, W) in [0, 1], C = 1 or 3, and a generator on their device.

    Raises:
        InputError: the name is not that of a preset.
    """
    if isinstance(recipe, AugmentConfig):
        return partial(augment, recipe)
    if recipe not in AUGMENTATIONS:
        raise InputError(f"augmentation={recipe!r} is unknown; choose one of {', '.join(AUGMENTATIONS)}.")
    return AUGMENTATIONS[recipe]


def augment(config: AugmentConfig, images: Tensor, rng: torch.Generator) -> Tensor:
    """Return one view of each image by a recipe; see :func:`make_augmentation`."""
    _check_images(images)
    draws = draw(config, len(images), (images.shape[2], images.shape[3]), rng)
    if images.is_cuda:
        return apply(config, images, draws)
    step = max(1, _CACHED // images.shape[1:].numel())
    parts = [slice(first, first + step) for first in range(0, max(1, len(images)), step)]
    return torch.cat([apply(config, images[part], draws.part(part)) for part in parts])


def crop_flip(images: Tensor, rng: torch.Generator) -> Tensor:
    """Move images by up to 4 pixels a side and mirror them, as usual in supervised training on small images.

    Equals padding with 4 zeros on each side, a random crop of the old size, and a flip for one image in two.
    """
    n, _, height, width = images.shape
    top, left = (torch.randint(-4, 5, (n,), generator=rng, device=rng.device) for _ in range(2))
    heights, widths = torch.full_like(top, height), torch.full_like(left, width)
    return resized_crop(images, top, left, heights, widths, (height, width), chance(n, 0.5, rng))


def handwriting_pair(images: Tensor, rng: torch.Generator) -> Tensor:
    """Turn each half by up to 10 degrees, zoom it by up to 30 % and move it by up to 1.5 pixels, independently.

    Then change the contrast by up to 30 %, and add noise of a tenth of the pixel range.
    """
    n, width = len(images), images.shape[-1] // 2
    halves = torch.cat([images[..., :width], images[..., width:]])
    angle = uniform((2 * n,), -math.radians(10), math.radians(10), rng)
    zoom = uniform((2 * n,), 0.7, 1.3, rng)
    shift_x, shift_y = (uniform((2 * n,), -1.5, 1.5, rng) for _ in range(2))
    joined = torch.cat(affine(halves, angle, zoom, shift_x, shift_y).chunk(2), dim=-1)
    contrast = uniform((n, 1, 1, 1), 0.7, 1.3, rng).to(images.dtype)
    noise = torch.randn(joined.shape, generator=rng, device=rng.device, dtype=images.dtype)
    return joined * contrast + 0.1 * noise


_PAPER = AugmentConfig(
    crop_area=(0.08, 1.0),
    brightness=0.8,
    contrast=0.8,
    saturation=0.8,
    hue=0.2,
    jitter_probability=0.8,
    blur_probability=0.5,
)
PRESETS: dict[Literal["natural", "cifar", "imagenet"], AugmentConfig] = {
    "natural": AugmentConfig(),
    "cifar": _PAPER,
    "imagenet": _PAPER.model_copy(update={"output_size": 224}),
}
"""``cifar`` and ``imagenet``: Chen et al. (arXiv 2002.05709), appendix A, as used by Wang et al. (arXiv 2403.12459)."""

AUGMENTATIONS: dict[AugmentationName, Augmentation] = {
    **{name: partial(augment, config) for name, config in PRESETS.items()},
    "crop-flip": crop_flip,
    "handwriting-pair": handwriting_pair,
}


def _check_images(images: Tensor) -> None:
    if images.ndim != 4 or not images.is_floating_point():
        raise InputError(
            f"images is {images.dtype} of shape {tuple(images.shape)}; give floats in [0, 1] of shape (N, C, H, W)."
        )
    if images.shape[1] not in (1, 3):
        raise InputError(f"images has {images.shape[1]} channels; give 1 (grey) or 3 (red, green, blue).")
