"""A small real study as a command in a process of its own, to disturb it."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

WORDS = (
    "--features", "dense,sae", "--label-noise", "0.3,0.6", "--n-seeds", "4", "--set", "sae.n_latents=64", "--set",
    "sae.k=4",
)  # fmt: skip


def words(data: Path, out: Path, *more: str) -> list[str]:
    return ["study", "--data", str(data), "--out", str(out), *WORDS, *more]


def started(data: Path, out: Path, *more: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """The study, running in a group of processes of its own, as a terminal would start it."""
    return subprocess.Popen(
        [sys.executable, "-m", "monosemy", *words(data, out, *more)],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True, env=env,
    )  # fmt: skip


def end_of(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit code, and what was said on the error stream."""
    _, said = process.communicate(timeout=600)
    return process.returncode, said.strip()


def cells(out: Path) -> list[Path]:
    return sorted(out.glob("cells/[!.]*.parquet"))


def same_results(one: Path, two: Path) -> bool:
    return (one / "results.parquet").read_bytes() == (two / "results.parquet").read_bytes()
