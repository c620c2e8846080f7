"""Jobs on every executor: the same results, and faults as one sentence."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import made_jobs
import numpy as np
import pytest

from monosemy.core.executors import ExecutorConfig, executor_settings, run_jobs
from monosemy.errors import InputError, ResourceError

HERE = Path(__file__).parent
IN_PROCESS = ExecutorConfig(name="in-process")
JOBLIB = ExecutorConfig(workers=2)
SUBMITIT = ExecutorConfig(name="submitit", cluster="local", workers=2, minutes=5)
ADDED = np.arange(300_000, dtype=np.float32)  # large enough to be handed over as a memory map


@pytest.fixture(autouse=True)
def found_by_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]))


@pytest.fixture(params=["in-process", "joblib", pytest.param("submitit", marks=pytest.mark.slow)])
def executor(request: pytest.FixtureRequest) -> ExecutorConfig:
    if request.param == "submitit":
        pytest.importorskip("submitit", reason="submitit of the extra 'scale' is not installed")
    return {"in-process": IN_PROCESS, "joblib": JOBLIB, "submitit": SUBMITIT}[request.param]


def test_every_item_comes_back_once_with_its_result(executor: ExecutorConfig) -> None:
    ended = list(run_jobs(executor, made_jobs.doubled, [5, 3, 4], ADDED))
    assert {done.item: done.result for done in ended} == {n: 2 * n + float(ADDED.sum()) for n in (3, 4, 5)}
    assert all(done.seconds >= 0 for done in ended)
    assert list(run_jobs(executor, made_jobs.doubled, [], ADDED)) == []


def test_jobs_run_on_one_thread_with_the_callers_cache_and_place(
    executor: ExecutorConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("a", "b"):  # a worker may live on from an earlier call
        (tmp_path / folder).mkdir()
        monkeypatch.setenv("MONOSEMY_CACHE", str(tmp_path / folder))
        monkeypatch.chdir(tmp_path / folder)
        found = [done.result for done in run_jobs(executor, made_jobs.circumstances, [0, 1])]
        assert [place[:3] for place in found] == [(1, str(tmp_path / folder), str(tmp_path / folder))] * 2
        assert all((place[3] == os.getpid()) == (executor is IN_PROCESS) for place in found)


@pytest.mark.parametrize(
    ("item", "kind", "words"),
    [
        ("input", InputError, "^The item 'input' is bad; give another.$"),
        ("disk", ResourceError, "^The disk is full, so /somewhere/file could not be written; free some space"),
        ("memory", ResourceError, r"^Not enough memory \("),
    ],
)
def test_what_a_job_says_is_said_by_the_call(
    executor: ExecutorConfig, item: str, kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        list(run_jobs(executor, made_jobs.failing, [item]))


def test_mistakes_of_ours_are_not_dressed_up(executor: ExecutorConfig) -> None:
    with pytest.raises((KeyError, RuntimeError), match="a mistake of ours"):
        list(run_jobs(executor, made_jobs.failing, ["other"]))


@pytest.mark.parametrize("config", [JOBLIB, pytest.param(SUBMITIT, marks=pytest.mark.slow)])
def test_a_killed_worker_is_said_and_the_next_call_works(config: ExecutorConfig) -> None:
    if config is SUBMITIT:
        pytest.importorskip("submitit", reason="submitit of the extra 'scale' is not installed")
    with pytest.raises(ResourceError, match=r"(killed|lost).*what was finished is kept"):
        list(run_jobs(config, made_jobs.killed, [1, 0]))
    assert {done.result for done in run_jobs(config, made_jobs.killed, [2, 3])} == {2, 3}


def test_a_worker_without_memory_is_said_and_goes_on() -> None:
    with pytest.raises(ResourceError, match=r"^Not enough memory .*fewer --workers"):
        list(run_jobs(JOBLIB, made_jobs.greedy, [0, 1]))
    assert {done.result for done in run_jobs(JOBLIB, made_jobs.killed, [2, 3])} == {2, 3}


@pytest.mark.slow
def test_workers_end_with_their_caller(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; import made_jobs\n"
        "from monosemy.core.executors import ExecutorConfig, run_jobs\n"
        "list(run_jobs(ExecutorConfig(workers=2), made_jobs.waiting, [0, 1], Path(sys.argv[1])))"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)])
    deadline = time.monotonic() + 120
    while len(workers := [int(path.stem) for path in tmp_path.glob("*.pid")]) < 2:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    while alive := [pid for pid in workers if Path(f"/proc/{pid}").exists()]:
        assert time.monotonic() < deadline, f"{alive} went on without their caller"
        time.sleep(0.1)


def test_settings_come_from_a_file_and_from_options_over_it(tmp_path: Path) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text("name: submitit\npartition: gpu\ngpus: 1\nminutes: 90\nslurm: {account: lab}\nworkers: 4\n")
    config = executor_settings(str(file), 8)
    assert (config.name, config.partition, config.gpus, config.workers) == ("submitit", "gpu", 1, 8)
    assert config.slurm == {"account": "lab"}
    assert executor_settings(None, None) == ExecutorConfig(name="joblib")
    assert executor_settings("ray", None).name == "ray"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: submitit\ngpus: 0.5", "Slurm assigns whole GPUs"),
        ("name: submitit\ngpus: .inf", "gpus is inf, but"),
        ("gpus: 1", "only the executors submitit and ray"),
        ("name: fork", "'fork'"),
        ("threads: 3", "threads"),
        ("workers: 0", "workers is 0, but"),
        ("- 1", "the whole"),
    ],
)
def test_settings_that_do_not_fit_are_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "cluster.yaml").write_text(text)
    with pytest.raises(InputError, match=words):
        executor_settings(str(tmp_path / "cluster.yaml"), None)


def test_where_a_gpu_is_shared_jobs_queue_in_this_process() -> None:
    assert JOBLIB.for_device("cuda").name == "in-process"
    assert JOBLIB.for_device("cpu") is JOBLIB
    shared = ExecutorConfig(name="ray", gpus=0.25)
    assert shared.for_device("cuda") is shared
    assert shared.job_device("cpu") == "cuda"


def test_a_cluster_that_is_not_there_is_refused_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit", reason="submitit of the extra 'scale' is not installed")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(InputError, match=r"^submitit cannot use the cluster 'slurm'.*choose another --executor\.$"):
        list(run_jobs(ExecutorConfig(name="submitit"), made_jobs.doubled, [1], ADDED))
