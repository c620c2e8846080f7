"""Activations of sparse autoencoders that learn when a latent is active: JumpReLU and Gated.

TopK and BatchTopK select entries and stand in :mod:`monosemy.functional.codes`.
"""

from typing import Any

import torch
from torch import Tensor


def rectangle(u: Tensor) -> Tensor:
    """K(u) = 1 where |u| < 1/2, else 0: the kernel of the straight-through gradients below."""
    return (u.abs() < 0.5).to(u.dtype)


class _JumpReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pre: Tensor, threshold: Tensor, bandwidth: float) -> Tensor:
        ctx.save_for_backward(pre, threshold)
        ctx.bandwidth = bandwidth
        return pre * (pre > threshold)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        pre, threshold = ctx.saved_tensors
        near = rectangle((pre - threshold) / ctx.bandwidth)
        d_threshold = -(threshold / ctx.bandwidth) * (near * grads[0]).sum(dim=0)
        return grads[0] * (pre > threshold), d_threshold, None


class _Step(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pre: Tensor, threshold: Tensor, bandwidth: float) -> Tensor:
        ctx.save_for_backward(pre, threshold)
        ctx.bandwidth = bandwidth
        return (pre > threshold).to(pre.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor, None]:
        pre, threshold = ctx.saved_tensors
        near = rectangle((pre - threshold) / ctx.bandwidth)
        return None, -(near * grads[0]).sum(dim=0) / ctx.bandwidth, None


def jump_relu(pre_activations: Tensor, threshold: Tensor, bandwidth: float) -> Tensor:
    """a H(a - t): what exceeds its latent's threshold, unchanged; else 0.

    The gradient by a is the true one, H(a - t). The gradient by t, which is 0 almost everywhere, is replaced by the
    straight-through estimate -(t / e) K((a - t) / e), with e the bandwidth.

    Args:
        pre_activations: (N, M).
        threshold: (M,), positive.

    Source: Rajamanoharan et al., "Jumping ahead" (arXiv 2407.14435), sections 3 and 4.
    """
    code: Tensor = _JumpReLU.apply(pre_activations, threshold, bandwidth)
    return code


def step_count(pre_activations: Tensor, threshold: Tensor, bandwidth: float) -> Tensor:
    """L0 of a JumpReLU code: the number of entries above their threshold, summed over the batch; a scalar.

    The gradient by the threshold is the straight-through estimate -K((a - t) / e) / e; none goes to a.

    Args:
        pre_activations: (N, M).
        threshold: (M,).

    Source: Rajamanoharan et al. (arXiv 2407.14435), sections 3 and 4.
    """
    steps: Tensor = _Step.apply(pre_activations, threshold, bandwidth)
    return steps.sum()


def gated(pre_activations: Tensor, gate_bias: Tensor, log_scale: Tensor, magnitude_bias: Tensor) -> Tensor:
    """1[a > 0] ReLU(exp(r) (a - c) + m): one path says whether a latent is active, the other how strongly.

    Both paths share their directions; no gradient passes through the gate.

    Args:
        pre_activations: (N, M), a, of the gate, its bias c included.
        gate_bias: (M,), c.
        log_scale: (M,), r.
        magnitude_bias: (M,), m.

    Source: Rajamanoharan et al., "Improving dictionary learning with gated sparse autoencoders" (arXiv 2404.16014),
    section 3.
    """
    magnitude = torch.relu(log_scale.exp() * (pre_activations - gate_bias) + magnitude_bias)
    return torch.where(pre_activations > 0, magnitude, torch.zeros_like(magnitude))
