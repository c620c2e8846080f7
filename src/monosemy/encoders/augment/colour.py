"""Changes of colour of image batches (N, C, H, W) in [0, 1], C = 1 or 3; every image has its own parameter (N,).

Each equals torchvision's function of the same name on float tensors. Images with one channel have no colour:
saturation and hue leave them as they are.
"""

import torch
from torch import Tensor


def _per_image(parameter: Tensor, images: Tensor) -> Tensor:
    return parameter.to(images.dtype).view(-1, 1, 1, 1)


def rgb_to_grayscale(images: Tensor) -> Tensor:
    """0.2989 R + 0.587 G + 0.114 B, shape (N, 1, H, W)."""
    if images.shape[1] == 1:
        return images
    red, green, blue = images.split(1, dim=1)
    return (red * 0.2989).add_(green, alpha=0.587).add_(blue, alpha=0.114)


def adjust_brightness(images: Tensor, factor: Tensor) -> Tensor:
    """factor x, clipped to [0, 1]."""
    return (images * _per_image(factor, images)).clamp_(0, 1)


def adjust_contrast(images: Tensor, factor: Tensor) -> Tensor:
    """factor x + (1 - factor) (mean grey of the image), clipped to [0, 1]."""
    mean = rgb_to_grayscale(images).mean(dim=(1, 2, 3), keepdim=True)
    return torch.lerp(mean, images, _per_image(factor, images)).clamp_(0, 1)


def adjust_saturation(images: Tensor, factor: Tensor) -> Tensor:
    """factor x + (1 - factor) grey(x), clipped to [0, 1]."""
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
    """1 - x where x >= threshold, else x."""
    return torch.where(images >= _per_image(threshold, images), 1 - images, images)
