"""Crops, shifts, blur and turns of image batches (N, C, H, W); every image has its own parameters.

Cropping with resizing is linear and separable: an image X becomes R X S^T with a matrix of weights for its rows and
one for its columns. Two batched matrix products do it for a batch, without a gather.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def resized_crop(
    images: Tensor,
    top: Tensor,
    left: Tensor,
    height: Tensor,
    width: Tensor,
    size: tuple[int, int],
    flip: Tensor,
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
    """Weights (N, size_out, size_in) of PyTorch's antialiased bilinear resizing of pixels start ... start + length - 1.

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
    """Weights proportional to exp(-t^2 / (2 sigma^2)) along rows and columns, with the edges reflected.

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
    """Sum over t of kernel[n, t] times the images moved by t along an axis; a handful of adds beats a convolution."""
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
