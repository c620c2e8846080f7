"""Run a function in several processes that can talk to each other, as torchrun would, on CPU."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def in_processes(work: Callable[..., Any], *args: Any, n: int = 2) -> list[Any]:
    """What ``work(*args)``, a function of a module, returns in each of ``n`` processes of one group, by rank."""
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(_in_group, (Path(folder), n, work, args), nprocs=n)  # raises what a process raised
        return [torch.load(Path(folder) / f"{rank}.pt") for rank in range(n)]


def through_kills(
    script: str,
    arguments: Sequence[str | Path],
    seconds: tuple[float, float],
    kills: int,
    rooms: Sequence[Path],
    seed: int = 0,
) -> int:
    """Run a script again and again until it ends by itself; the first ``kills`` runs at most are killed by SIGKILL.

    Returns how many were.

    Args:
        script: prints a line when it is ready; the clock runs from there.
        seconds: between which a run is killed, drawn for each.
        rooms: folders that the script imports tests from.
        seed: of the draws.
    """
    rng, killed = np.random.default_rng(seed), 0
    command = [sys.executable, "-c", script, *map(str, arguments)]
    path = os.pathsep.join([str(Path(__file__).parent), *map(str, rooms), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    while True:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        try:
            process.wait(timeout=float(rng.uniform(*seconds)) if killed < kills else None)
            break
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            killed += 1
    assert process.returncode == 0
    assert killed >= 1, "it ended before it could be killed"
    return killed


def _in_group(rank: int, folder: Path, n: int, work: Callable[..., Any], args: tuple[Any, ...]) -> None:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/group", rank=rank, world_size=n)
    torch.save(work(*args), folder / f"{rank}.pt")
    dist.destroy_process_group()
