"""Jobs on a Ray cluster of this machine: lost workers, fractions of a GPU."""

import os
from collections.abc import Iterator
from pathlib import Path

import made_jobs
import numpy as np
import pytest

from monosemy.core.executors import ExecutorConfig, run_jobs
from monosemy.errors import InputError, ResourceError

pytestmark = pytest.mark.slow
ray = pytest.importorskip("ray", reason="ray of the extra 'scale' is not installed")
HERE = Path(__file__).parent


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """Two cores and one GPU, as far as Ray is told."""
    path = os.pathsep.join([str(HERE), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    ray.init(num_cpus=2, num_gpus=1, include_dashboard=False, log_to_driver=False,
             runtime_env={"env_vars": {"PYTHONPATH": path}})  # fmt: skip
    yield
    ray.shutdown()


def test_every_item_comes_back_once_with_its_result() -> None:
    added = np.arange(300_000, dtype=np.float32)
    for workers in (None, 1):
        config = ExecutorConfig(name="ray", workers=workers)
        found = {done.item: done.result for done in run_jobs(config, made_jobs.doubled, [5, 3, 4], added)}
        assert found == {n: 2 * n + float(added.sum()) for n in (3, 4, 5)}


@pytest.mark.parametrize(("item", "kind"), [("input", InputError), ("disk", ResourceError)])
def test_what_a_job_says_is_said_by_the_call(item: str, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=r"^The (item 'input' is bad|disk is full)"):
        list(run_jobs(ExecutorConfig(name="ray"), made_jobs.failing, [item]))


def test_a_lost_worker_is_replaced(tmp_path: Path) -> None:
    (done,) = run_jobs(ExecutorConfig(name="ray"), made_jobs.killed_once, [7], tmp_path)
    assert done.result == 7
    assert (tmp_path / "seen").exists()


def test_a_worker_that_is_lost_every_time_is_said() -> None:
    with pytest.raises(ResourceError, match=r"^A Ray task was lost .*what was finished is kept"):
        list(run_jobs(ExecutorConfig(name="ray"), made_jobs.killed, [1]))


@pytest.mark.parametrize(("share", "together", "seconds"), [(0.5, True, 120.0), (1.0, False, 3.0)])
def test_jobs_share_a_gpu_by_fractions(tmp_path: Path, share: float, together: bool, seconds: float) -> None:
    ended = run_jobs(ExecutorConfig(name="ray", gpus=share), made_jobs.met, [0, 1], tmp_path, seconds)
    assert [done.result for done in ended] == [(together, "0")] * 2
