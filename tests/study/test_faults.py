"""Kills, full disks, lost workers, a second run, a clock that jumps: one sentence, and a folder that can be resumed."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from made_runs import cells, end_of, same_results, started, words
from processes import through_kills

pytestmark = pytest.mark.slow
KILLS = 20
SCRIPT = """
import sys
import monosemy.cli.studies
import monosemy.study.probing.study
from monosemy.cli import main
print("ready", flush=True)
sys.argv = ["monosemy", *sys.argv[1:]]
main()
"""
_FAKETIME = (
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
)


@pytest.fixture(scope="module")
def data(digit_arrays, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "digits.npz"
    np.savez(path, **dict(zip(("X_train", "y_train", "X_test", "y_test"), digit_arrays, strict=True)))
    return path


@pytest.fixture(scope="module")
def calm(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an undisturbed run."""
    out = tmp_path_factory.mktemp("calm") / "run"
    assert end_of(started(data, out))[0] == 0
    return out


def until(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert process.poll() is None, end_of(process)
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.02)


def test_killed_again_and_again_at_random_points(data: Path, calm: Path, tmp_path: Path) -> None:
    killed, rounds = 0, 0
    while killed < KILLS:
        out = tmp_path / f"run{rounds}"
        killed += through_kills(SCRIPT, words(data, out), (0.0, 3.0), KILLS, [], seed=rounds)
        rounds += 1
        assert same_results(out, calm)
        left = [*out.glob(".*"), *out.glob("cells/.*")]
        assert left == [out / ".lock"], "what the killed runs left half-written is gone"


class SmallDisk:
    """A file system of its own, of any size, that can be made read-only."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def change(self, options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", str(self.path)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(path)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here ({mounted.stderr.strip()})")
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.mark.parametrize("size", ["16k", "64k", "512k"])
def test_a_full_disk_ends_in_one_sentence_and_can_be_resumed(
    data: Path, calm: Path, disk: SmallDisk, size: str
) -> None:
    disk.change(f"size={size}")
    out = disk.path / "run"
    code, said = end_of(started(data, out))
    assert (code, said.count("\n")) == (1, 0), said
    assert said.startswith("Error: The disk is full, so ")
    assert "finished work is kept" in said
    kept = {path.name: path.read_bytes() for path in cells(out)}
    disk.change("size=64m")
    assert end_of(started(data, out)) == (0, "")
    assert same_results(out, calm)
    assert {path.name: path.read_bytes() for path in cells(out) if path.name in kept} == kept


def test_a_full_cache_ends_in_one_sentence_and_can_be_resumed(disk: SmallDisk, tmp_path: Path) -> None:
    """Encoders that are trained in workers, and do not fit."""
    disk.change("size=40k")
    env = os.environ | {"MONOSEMY_CACHE": str(disk.path / "cache")}
    more = ["--data", "digit-pairs", "--features", "dense", "--label-noise", "0.3", "--n-seeds", "1"]
    code, said = end_of(started(Path("digit-pairs"), tmp_path / "run", *more, env=env))
    assert (code, said.count("\n")) == (1, 0), said
    assert said.startswith(f"Error: The disk is full, so {disk.path / 'cache' / 'encoders'}")
    assert not list(disk.path.glob("cache/encoders/*"))
    disk.change("size=64m")
    assert end_of(started(Path("digit-pairs"), tmp_path / "run", *more, env=env)) == (0, "")


def test_a_read_only_folder_is_refused_in_one_sentence_and_can_be_resumed(
    data: Path, calm: Path, disk: SmallDisk
) -> None:
    out = disk.path / "run"
    disk.change("ro")
    assert_refused(end_of(started(data, out)), out)
    disk.change("rw")
    process = started(data, out)
    until(lambda: cells(out), process)
    os.killpg(process.pid, signal.SIGKILL)
    end_of(process)
    disk.change("ro")
    assert_refused(end_of(started(data, out)), out)
    disk.change("rw")
    assert end_of(started(data, out)) == (0, "")
    assert same_results(out, calm)


def assert_refused(end: tuple[int, str], out: Path) -> None:
    code, said = end
    assert (code, said.count("\n")) == (2, 0), said
    assert str(out) in said
    assert "Read-only" in said


def test_two_runs_in_one_folder_do_not_meet(data: Path, calm: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    first = started(data, out)
    until(lambda: (out / "log.jsonl").exists(), first)
    code, said = end_of(started(data, out))
    assert first.poll() is None, "the first was over before the second came"
    assert code == 2
    assert said == f"Error: Another run is writing into {out}; wait until it has ended, or choose another --out."
    assert end_of(first) == (0, "")
    assert same_results(out, calm)


@pytest.mark.parametrize(
    ("number", "whole_group", "code"),
    [(signal.SIGINT, True, 130), (signal.SIGINT, False, 130), (signal.SIGTERM, False, 143)],
)
def test_interrupt_keys_end_it_in_one_sentence(
    data: Path, calm: Path, tmp_path: Path, number: int, whole_group: bool, code: int
) -> None:
    out = tmp_path / "run"
    process = started(data, out)
    until(lambda: cells(out), process)
    workers = psutil.Process(process.pid).children(recursive=True)
    assert workers
    (os.killpg if whole_group else os.kill)(process.pid, number)
    assert end_of(process) == (code, "Interrupted. Finished work is kept: run the same command again to resume.")
    psutil.wait_procs(workers, timeout=60)
    assert not [worker for worker in workers if worker.is_running()], "nothing goes on in the background"
    kept = len(cells(out))
    assert end_of(started(data, out)) == (0, "")
    assert kept >= 1
    assert same_results(out, calm)


def test_interrupt_keys_end_jobs_of_submitit_too(data: Path, calm: Path, tmp_path: Path) -> None:
    out, config = tmp_path / "run", tmp_path / "local.yaml"
    config.write_text("name: submitit\ncluster: local\nworkers: 2\n")
    env = os.environ | {"MONOSEMY_CACHE": str(tmp_path / "cache")}
    process = started(data, out, "--executor", str(config), env=env)
    until(lambda: cells(out), process)
    workers = psutil.Process(process.pid).children(recursive=True)
    assert workers
    os.killpg(process.pid, signal.SIGINT)
    assert end_of(process) == (130, "Interrupted. Finished work is kept: run the same command again to resume.")
    psutil.wait_procs(workers, timeout=60)
    assert not [worker for worker in workers if worker.is_running()], "nothing goes on in the background"
    assert not list((tmp_path / "cache" / ".jobs").iterdir()), "nor is anything left of it"
    assert end_of(started(data, out, "--executor", str(config), env=env)) == (0, "")
    assert same_results(out, calm)


def test_a_killed_worker_ends_it_in_one_sentence(data: Path, calm: Path, tmp_path: Path) -> None:
    """As the system does when memory runs out."""
    out = tmp_path / "run"
    process = started(data, out)
    until(lambda: cells(out), process)
    workers = [p for p in psutil.Process(process.pid).children() if "popen_loky" in " ".join(p.cmdline())]
    workers[0].kill()
    code, said = end_of(process)
    assert code == 1
    assert said.splitlines()[-1].startswith("Error: A worker process was killed, perhaps by the system because memory")
    assert "Traceback" not in said
    assert end_of(started(data, out)) == (0, "")
    assert same_results(out, calm)


def test_a_clock_that_jumps_changes_nothing(data: Path, calm: Path, tmp_path: Path) -> None:
    library = next((name for name in _FAKETIME if Path(name).exists()), None)
    if library is None:
        pytest.skip("libfaketime, which lets a process see another clock, is not installed")
    out, clock = tmp_path / "run", tmp_path / "clock"
    clock.write_text("@2031-05-01 12:00:00\n")
    env = os.environ | {
        "LD_PRELOAD": library, "FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }  # fmt: skip
    process = started(data, out, "--executor", "in-process", env=env)
    until(lambda: cells(out), process)
    clock.write_text("@1999-12-31 23:59:59\n")
    assert end_of(process)[0] == 0
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    years = [entry["time"][:4] for entry in log]
    assert years[0] == "2031", years
    assert years[-1] < "2031", "the clock did jump"
    elapsed = [entry["elapsed"] for entry in log]
    assert elapsed == sorted(elapsed)
    assert all(0 <= entry["seconds"] < 600 for entry in log if entry["event"] == "block")
    assert same_results(out, calm)
