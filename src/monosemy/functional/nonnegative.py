"""Non-negative maps s+ that stand between a network and its features."""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

NonNegative = Literal["relu", "rep_relu"]


def relu(x: Tensor) -> Tensor:
    """s+(x) = max(x, 0), elementwise, with derivative 1 at x = 0.

    The derivative at zero is the reason not to call ``torch.relu``, whose derivative there is 0: a map whose input
    starts at exactly zero (an adapter with B = 0) would never leave it.

    Source: Wang et al., "Non-negative Contrastive Learning" (arXiv 2403.12459), section 4.
    """
    return x.clamp(min=0)


class _RepReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return torch.ops.aten.gelu_backward(grad_outputs[0], x)


def rep_relu(x: Tensor) -> Tensor:
    """Forward max(x, 0), backward the derivative of GELU: d/dx [x Phi(x)] = Phi(x) + x phi(x).

    Units with slightly negative input keep a gradient, so fewer of them die.

    Source: Wang et al., "Non-negative Contrastive Learning" (arXiv 2403.12459), section 4 (reparameterised ReLU).
    """
    result: Tensor = _RepReLU.apply(x)
    return result


NON_NEGATIVE: dict[NonNegative, Callable[[Tensor], Tensor]] = {"relu": relu, "rep_relu": rep_relu}
