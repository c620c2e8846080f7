"""What every benchmark shares: interleaved medians, and a record with versions."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path

import torch

RESULTS = Path(__file__).parent / "results"


def interleaved_medians(runs: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each run; the runs take turns, so that a noisy machine disturbs all alike."""
    for run in runs.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


def write_record(name: str, title: str, command: str, body: str, packages: tuple[str, ...] = ()) -> Path:
    """Write ``results/NAME.md``: title, command, machine, versions, body."""
    versions = ", ".join(f"{p} {version(p)}" for p in ("torch", "numpy", "scipy", *packages))
    machine = f"{os.cpu_count()} cores ({platform.machine()}), {torch.get_num_threads()} threads, no GPU"
    if torch.cuda.is_available():
        machine = f"{torch.cuda.get_device_name()}, {os.cpu_count()} cores"
    text = (
        f"# {title}\n\n"
        f"- Command: `{command}`\n"
        f"- Date: {time.strftime('%Y-%m-%d', time.gmtime())}\n"
        f"- Machine: {machine}; shared, so only ratios within this run mean anything\n"
        f"- Versions: Python {platform.python_version()}, {versions}\n\n"
        f"{body.strip()}\n"
    )
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.md"
    path.write_text(text, encoding="utf-8")
    print(text)
    return path
