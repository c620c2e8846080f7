"""Run a function in several processes that can talk to each other, as torchrun would, on CPU."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def in_processes(work: Callable[..., Any], *args: Any, n: int = 2) -> list[Any]:
    """What ``work(*args)``, a function of a module, returns in each of ``n`` processes of one group, by rank."""
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(_in_group, (Path(folder), n, work, args), nprocs=n)  # raises what a process raised
        return [torch.load(Path(folder) / f"{rank}.pt") for rank in range(n)]


def _in_group(rank: int, folder: Path, n: int, work: Callable[..., Any], args: tuple[Any, ...]) -> None:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/group", rank=rank, world_size=n)
    torch.save(work(*args), folder / f"{rank}.pt")
    dist.destroy_process_group()
