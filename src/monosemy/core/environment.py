"""What a run was made with and on: versions, processor, threads, seeds.

One thread for a piece of work, whatever library does it.
"""

import json
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_info, threadpool_limits

from monosemy import __version__
from monosemy.core.files import write_text

ENVIRONMENT = "environment.json"
_PACKAGES = ("torch", "numpy", "scipy", "scikit-learn", "pandas")


def environment(more: Sequence[str] = ()) -> dict[str, Any]:
    """Versions and machine, for whoever wonders where a number comes from.

    Args:
        more: packages beside the usual ones.
    """
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "blas": [
            {name: pool.get(name) for name in ("internal_api", "version", "threading_layer", "architecture")}
            for pool in threadpool_info()
            if pool["user_api"] == "blas"
        ],
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "gpus": [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())],
        "packages": {"monosemy": __version__} | {name: version(name) for name in (*_PACKAGES, *more)},
    }


def write_environment(folder: Path, seeds: Mapping[str, Any], more: Sequence[str] = ()) -> None:
    """Write ``environment.json``.

    Args:
        seeds: that all random numbers of the run are derived from, by name.
        more: packages beside the usual ones.
    """
    values = environment(more) | {"seeds": dict(seeds)}
    write_text(folder / ENVIRONMENT, json.dumps(values, indent=2) + "\n")


def _cpu_model() -> str:
    """As the system names it; on Linux from /proc, where Python knows only the architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch, BLAS and OpenMP on one thread within the block; as before after it.

    Sums come out in an order that depends on the number of threads: with one, numbers repeat bit for bit on any number
    of cores, also where joblib runs a single task in the calling process.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)
