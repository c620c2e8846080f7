"""The processes of distributed training, as torchrun starts them, or the single process where it did not."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch.autograd.function import once_differentiable

from monosemy.errors import InputError


@dataclass(frozen=True)
class Processes:
    """The rank of this process, the number of processes, and the device of this one."""

    rank: int
    world_size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """True in the one process that writes files and prints."""
        return self.rank == 0

    def any(self, condition: bool) -> bool:
        """Return, in every process, whether the condition holds in at least one."""
        if self.world_size == 1:
            return condition
        flag = torch.tensor(float(condition), device=self.device)
        dist.all_reduce(flag, op=dist.ReduceOp.MAX)
        return bool(flag)

    def all_equal(self, number: int) -> bool:
        """Return, in every process, whether all have the same number."""
        span = self._all_reduce(torch.tensor([number, -number], device=self.device), dist.ReduceOp.MAX)
        return int(span[0]) == -int(span[1])

    def sum(self, local: torch.Tensor) -> torch.Tensor:
        """Return the elementwise sum over all processes; ``local`` itself where there is one process."""
        return self._all_reduce(local, dist.ReduceOp.SUM)

    def min(self, local: torch.Tensor) -> torch.Tensor:
        """Return the elementwise minimum over all processes; ``local`` itself where there is one process."""
        return self._all_reduce(local, dist.ReduceOp.MIN)

    def _all_reduce(self, local: torch.Tensor, operation: dist.ReduceOp.RedOpType) -> torch.Tensor:
        if self.world_size == 1:
            return local
        reduced = local.clone()
        dist.all_reduce(reduced, op=operation)
        return reduced

    def barrier(self) -> None:
        """Block until every process has arrived here."""
        if self.world_size > 1:
            dist.barrier()


def single_process(device: str) -> Processes:
    """Return a single process on a device."""
    return Processes(0, 1, torch.device(device))


SINGLE_PROCESS = single_process("cpu")


def resolve_device(device: str | None) -> str:
    """Return `cpu` or `cuda`; for None CUDA if it is available.

    Raises:
        InputError: the device is unknown or not available.
    """
    kind = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if kind not in ("cpu", "cuda"):
        raise InputError(f"The device {kind!r} is unknown; choose cpu or cuda.")
    if kind == "cuda" and not torch.cuda.is_available():
        raise InputError("The device 'cuda' is not available on this machine; choose cpu.")
    return kind


@contextmanager
def joined_processes(device: str | None = None) -> Iterator[Processes]:
    """Join the process group that torchrun describes by environment variables, and leave it when the block ends.

    Args:
        device: `cpu` or `cuda`; None takes CUDA if it is available. With CUDA each process has a GPU of its own.

    Raises:
        InputError: the device is not available.
    """
    kind = resolve_device(device)
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    local_device = torch.device("cuda", local_rank) if kind == "cuda" else torch.device("cpu")
    if kind == "cuda":
        torch.cuda.set_device(local_device)
    if world_size == 1:
        yield Processes(0, 1, local_device)
        return
    dist.init_process_group("nccl" if kind == "cuda" else "gloo")
    try:
        yield Processes(dist.get_rank(), world_size, local_device)
    finally:
        dist.destroy_process_group()


class _AllGather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        gathered = x.new_empty((dist.get_world_size() * len(x), *x.shape[1:]))
        dist.all_gather(list(gathered.chunk(dist.get_world_size())), x.contiguous())
        return gathered

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: torch.Tensor) -> torch.Tensor:
        grad = grad_outputs[0].clone(memory_format=torch.contiguous_format)  # autograd's own tensor must stay
        dist.all_reduce(grad)
        n = len(grad) // dist.get_world_size()
        return grad[row_offset(n) : row_offset(n) + n]


def all_gather(x: torch.Tensor) -> torch.Tensor:
    """Return the rows of all W processes, concatenated in the order of their ranks; differentiable once.

    result[r n : (r + 1) n] = x of rank r. In the backward pass rank r receives sum_s dL_s / dx_r, over the losses L_s
    of all processes. If each process averages its part of the loss, and also if each computes the same whole loss, the
    mean of the parameters' gradients over the processes (as DistributedDataParallel takes it) is therefore the
    gradient that one process with all rows would compute.

    Args:
        x: (n, ...), of the same shape and type on every process; forward and backward must run on all of them.

    Returns: (W n, ...); x itself where there is one process or no process group.

    Source: the plain ``torch.distributed.all_gather`` drops the gradient; this is its adjoint.
    """
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return x
    result: torch.Tensor = _AllGather.apply(x)
    return result


def row_offset(n: int) -> int:
    """Return the first of this process' n rows in :func:`all_gather`'s result: rank times n; 0 without processes."""
    return dist.get_rank() * n if dist.is_initialized() else 0
