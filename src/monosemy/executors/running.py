"""One way to run jobs, whatever runs them."""

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from typing import Any

from monosemy.cache import cache_folder
from monosemy.executors.config import ExecutorConfig
from monosemy.executors.jobs import Done, Item, Job, Outcome, Result


def run_jobs(
    config: ExecutorConfig, work: Callable[..., Result], items: Sequence[Item], *shared: Any
) -> Iterator[Done[Item, Result]]:
    """Yield each ``work(item, *shared)`` as it ends, in any order; those started first come first in ``items``.

    Args:
        work: a function of a module. It runs on one thread.
        shared: what all jobs take. Slurm and Ray get it once, not with every job; joblib maps its large arrays.

    Raises:
        InputError: a job met bad input, or the executor is not installed or not to be reached.
        ResourceError: a worker was lost, or the disk or the memory does not suffice.
    """
    if not items:
        return
    with closing(_outcomes(config, Job(work, str(cache_folder().absolute()), os.getcwd()), items, shared)) as outcomes:
        for outcome in outcomes:
            outcome.raised()
            yield Done(items[outcome.number], outcome.result, outcome.seconds)


def _outcomes(
    config: ExecutorConfig, job: Job, items: Sequence[Any], shared: tuple[Any, ...]
) -> Generator[Outcome, None, None]:
    if config.name == "in-process":
        return (job(number, item, *shared) for number, item in enumerate(items))
    if config.name == "joblib":
        from monosemy.executors.joblib_processes import outcomes
    elif config.name == "submitit":
        from monosemy.executors.submitit_jobs import outcomes
    else:
        from monosemy.executors.ray_tasks import outcomes
    return outcomes(config, job, items, shared)
