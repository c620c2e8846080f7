"""The environment of a run, as every run folder records it (versions, processor, threads, seeds), and one thread."""

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
    """Return the versions and the machine that results depend on.

    Args:
        more: further packages.
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
        seeds: by name, the seeds that all random numbers of the run derive from.
        more: further packages.
    """
    values = environment(more) | {"seeds": dict(seeds)}
    write_text(folder / ENVIRONMENT, json.dumps(values, indent=2) + "\n")


def _cpu_model() -> str:
    """Return the processor's name; on Linux from /proc, since Python knows only the architecture there."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit torch, BLAS and OpenMP to one thread within the block.

    The order of a sum depends on the number of threads: with one, numbers repeat bit for bit on any number of cores,
    also where joblib runs a single task in the calling process. Small operations are faster with one thread, too.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)
