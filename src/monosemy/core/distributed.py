"""The processes that train together, as torchrun started them; one where nobody did.

Rows of all processes, with their gradient.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

from monosemy.errors import InputError


@dataclass(frozen=True)
class Processes:
    """This process among all, and the device it works on."""

    rank: int
    world: int
    device: torch.device

    @property
    def writes(self) -> bool:
        """Whether this is the one process that writes files and prints."""
        return self.rank == 0

    def agree(self, wish: bool) -> bool:
        """Whether any process wishes it; the answer is the same in all."""
        if self.world == 1:
            return wish
        flag = torch.tensor(float(wish), device=self.device)
        dist.all_reduce(flag, op=dist.ReduceOp.MAX)
        return bool(flag)

    def all_equal(self, number: int) -> bool:
        """Whether all processes name the same number."""
        if self.world == 1:
            return True
        span = torch.tensor([number, -number], device=self.device)
        dist.all_reduce(span, op=dist.ReduceOp.MAX)
        return int(span[0]) == -int(span[1])

    def total(self, own: Tensor) -> Tensor:
        """The sum of all processes' numbers, the same in all; ``own`` itself where there is one process."""
        return self._reduced(own, dist.ReduceOp.SUM)

    def least(self, own: Tensor) -> Tensor:
        """The smallest of all processes' numbers, place by place."""
        return self._reduced(own, dist.ReduceOp.MIN)

    def _reduced(self, own: Tensor, how: dist.ReduceOp.RedOpType) -> Tensor:
        if self.world == 1:
            return own
        reduced = own.clone()
        dist.all_reduce(reduced, op=how)
        return reduced

    def wait(self) -> None:
        """Until every process is here."""
        if self.world > 1:
            dist.barrier()


def alone(device: str) -> Processes:
    """One process on a device, nobody else."""
    return Processes(0, 1, torch.device(device))


ALONE = alone("cpu")


def chosen_device(device: str | None) -> str:
    """`cpu` or `cuda`; for None CUDA where there is one.

    Raises:
        InputError: the device is unknown, or not to be had.
    """
    kind = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if kind not in ("cpu", "cuda"):
        raise InputError(f"The device {kind!r} is unknown; choose cpu or cuda.")
    if kind == "cuda" and not torch.cuda.is_available():
        raise InputError("The device 'cuda' is not to be had on this machine; choose cpu.")
    return kind


@contextmanager
def joined_processes(device: str | None = None) -> Iterator[Processes]:
    """Join the others that torchrun started, by its environment variables, and leave them at the end.

    Args:
        device: `cpu` or `cuda`; None takes CUDA where there is one. With CUDA each process has a GPU of its own.

    Raises:
        InputError: the device is not to be had.
    """
    kind = chosen_device(device)
    world = int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    where = torch.device("cuda", local) if kind == "cuda" else torch.device("cpu")
    if kind == "cuda":
        torch.cuda.set_device(where)
    if world == 1:
        yield Processes(0, 1, where)
        return
    dist.init_process_group("nccl" if kind == "cuda" else "gloo")
    try:
        yield Processes(dist.get_rank(), world, where)
    finally:
        dist.destroy_process_group()


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
