"""Low-rank updates of a layer whose factors or activations pass a non-negative map s+."""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from monosemy.functional.losses import NON_NEGATIVE, NonNegative

Placement = Literal["output", "hidden", "both", "weights"]
PLACEMENTS: tuple[Placement, ...] = ("output", "hidden", "both", "weights")


def low_rank_update(x: Tensor, down: Tensor, up: Tensor, placement: Placement, non_negative: NonNegative) -> Tensor:
    """Return the update that an adapter adds to the output of a linear layer, before its scaling.

    ``output``: s+(B A x). ``hidden``: B s+(A x). ``both``: s+(B s+(A x)). ``weights``: s+(B) s+(A) x.

    Args:
        x: (..., D_in).
        down: A, (r, D_in).
        up: B, (D_out, r).

    Returns: (..., D_out).

    Source: MonoLoRA of Zhang et al., "Beyond Interpretability: The Gains of Feature Monosemanticity on Model
    Robustness" (arXiv 2410.21331), section 3.3, which does not specify the placement of s+; LoRA (B A x) of Hu et al.
    (arXiv 2106.09685).
    """
    s = NON_NEGATIVE[non_negative]
    if placement == "weights":
        return F.linear(F.linear(x, s(down)), s(up))
    hidden = F.linear(x, down)
    return up_projection(hidden_units(hidden, placement, non_negative), up, placement, non_negative)


def hidden_units(hidden: Tensor, placement: Placement, non_negative: NonNegative) -> Tensor:
    """Return the r units of an adapter: s+(A x) for ``hidden`` and ``both``, else the input unchanged.

    Args:
        hidden: A x, or s+(A) x for ``weights``; (..., r).
    """
    return NON_NEGATIVE[non_negative](hidden) if placement in ("hidden", "both") else hidden


def up_projection(units: Tensor, up: Tensor, placement: Placement, non_negative: NonNegative) -> Tensor:
    """Map the r units to the update: B u, or s+(B u) for ``output`` and ``both``.

    Args:
        units: (..., r), from :func:`hidden_units`.
        up: B, (D_out, r); s+(B) for ``weights``.
    """
    update = F.linear(units, up)
    return NON_NEGATIVE[non_negative](update) if placement in ("output", "both") else update


def add_update(
    result: Tensor, hidden: Tensor, up: Tensor, scaling: float, placement: Placement, non_negative: NonNegative
) -> Tensor:
    """Return result + scaling * :func:`up_projection` of :func:`hidden_units`, saving only A x and B for the backward.

    Autograd would keep the input of every s+ as well, for ``output`` a tensor as large as the layer's output. Here it
    is computed again from A x, a product of rank r: the memory is LoRA's.

    Args:
        result: output of the frozen layer, (..., D_out); not changed.
        hidden: A x, (..., r).
        up: B, (D_out, r), of the type of ``hidden``.

    Returns: (..., D_out), of the wider type of ``result`` and ``hidden``.
    """
    added: Tensor = _AddUpdate.apply(result, hidden, up, scaling, placement, non_negative)
    return added


class _AddUpdate(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        result: Tensor,
        hidden: Tensor,
        up: Tensor,
        scaling: float,
        placement: Placement,
        non_negative: NonNegative,
    ) -> Tensor:
        ctx.save_for_backward(hidden, up)
        ctx.scaling, ctx.placement, ctx.non_negative = scaling, placement, non_negative
        update = F.linear(hidden_units(hidden, placement, "relu"), up)
        if placement in ("output", "both"):
            update.clamp_(min=0)
        if update.dtype == result.dtype:
            return torch.add(result, update, alpha=scaling, out=update)  # reuse memory: allocating is slow
        return torch.add(result, update, alpha=scaling)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = grad_outputs
        hidden, up = ctx.saved_tensors
        inside, outside = ctx.placement in ("hidden", "both"), ctx.placement in ("output", "both")
        rows = hidden.flatten(0, -2)
        units = rows.clamp(min=0) if inside else rows
        d_update = gradient.to(hidden.dtype).flatten(0, -2)
        if outside:
            d_update = _through(F.linear(units, up), d_update, ctx.non_negative)
        d_hidden = d_up = None
        if ctx.needs_input_grad[1]:
            d_hidden = (d_update @ up).mul_(ctx.scaling)
            if inside:
                d_hidden = _through(rows.clone(), d_hidden, ctx.non_negative)
            d_hidden = d_hidden.view_as(hidden)
        if ctx.needs_input_grad[2]:
            d_up = (d_update.T @ units).mul_(ctx.scaling)
        return gradient, d_hidden, d_up, None, None, None


def _through(x: Tensor, gradient: Tensor, non_negative: NonNegative) -> Tensor:
    """Return the gradient by the input of s+ from that by its output, as in :mod:`monosemy.functional.losses`.
    Overwrites x."""
    if non_negative == "rep_relu":
        return torch.ops.aten.gelu_backward.grad_input(gradient, x, approximate="none", grad_input=x)
    return x.ge_(0).mul_(gradient)
