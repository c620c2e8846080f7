"""Pieces of work that processes import."""

import errno
import os
import resource
import signal
import time
from pathlib import Path

import numpy as np
import torch

from monosemy.core.cache import cache_folder
from monosemy.errors import InputError


def doubled(item: int, added: np.ndarray) -> float:
    return 2 * item + float(added.sum())


def circumstances(item: int) -> tuple[int, str, str, int]:
    """Threads, cache, place and process."""
    return torch.get_num_threads(), str(cache_folder()), os.getcwd(), os.getpid()


def failing(item: str) -> None:
    if item == "input":
        raise InputError("The item 'input' is bad; give another.")
    if item == "disk":
        raise OSError(errno.ENOSPC, "No space left on device", "/somewhere/file")
    if item == "memory":
        raise MemoryError("Unable to allocate 8 TiB")
    raise KeyError("a mistake of ours")


def killed(item: int) -> int:
    if item == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def greedy(item: int) -> float:
    """Takes more memory than its process is allowed."""
    resource.setrlimit(resource.RLIMIT_AS, (8 * 2**30, resource.RLIM_INFINITY))
    try:
        return float(torch.ones(16 * 2**30 // 4).sum())
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def killed_once(item: int, folder: Path) -> int:
    """Its worker is lost the first time."""
    mark = folder / "seen"
    if not mark.exists():
        mark.write_text("")
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def met(item: int, folder: Path, seconds: float) -> tuple[bool, str]:
    """Whether another such job runs at the same time, within so many seconds, and on which GPU."""
    mark = folder / str(item)
    mark.write_text("")
    deadline = time.monotonic() + seconds
    while len(list(folder.iterdir())) < 2:
        if time.monotonic() > deadline:
            mark.unlink()
            return False, os.environ.get("CUDA_VISIBLE_DEVICES", "")
        time.sleep(0.05)
    return True, os.environ.get("CUDA_VISIBLE_DEVICES", "")


def waiting(item: int, folder: Path) -> None:
    """Writes its process down, and goes on for a long time."""
    (folder / f"{os.getpid()}.pid").write_text("")
    time.sleep(120)
