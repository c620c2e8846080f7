"""Rows of all processes, with their gradient."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable


class _AllGather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        gathered = x.new_empty((dist.get_world_size() * len(x), *x.shape[1:]))
        dist.all_gather(list(gathered.chunk(dist.get_world_size())), x.contiguous())
        return gathered

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        slope = grad_outputs[0].clone(memory_format=torch.contiguous_format)  # autograd's own tensor must stay
        dist.all_reduce(slope)
        n = len(slope) // dist.get_world_size()
        return slope[own_rows(n) : own_rows(n) + n]


def all_gather(x: Tensor) -> Tensor:
    """The rows of all W processes below each other, in the order of their ranks; differentiable once.

    result[r n : (r + 1) n] = x of rank r. Backwards, rank r receives sum_s dL_s / dx_r, over the losses L_s of all
    processes. Where each process averages its own share of the loss, and where each computes the same whole loss,
    the mean of the parameters' gradients over the processes (as DistributedDataParallel takes it) is therefore the
    gradient that one process with all rows would find.

    Args:
        x: (n, ...), of the same shape and type on every process; forward and backward must run on all of them.

    Returns: (W n, ...); x itself where there is one process or none was initialised.

    Source: the plain ``torch.distributed.all_gather`` drops the gradient; this is its adjoint.
    """
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return x
    result: Tensor = _AllGather.apply(x)
    return result


def own_rows(n: int) -> int:
    """Where this process' n rows start in :func:`all_gather`'s result: rank times n; 0 without processes."""
    return dist.get_rank() * n if dist.is_initialized() else 0
