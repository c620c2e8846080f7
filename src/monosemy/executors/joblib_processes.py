"""Jobs in processes of this machine, by joblib."""

import os
import threading
import time
import warnings
from collections.abc import Generator, Sequence
from typing import Any

from joblib import Parallel, cpu_count, delayed
from joblib.externals.loky.process_executor import BrokenProcessPool

from monosemy.errors import ResourceError
from monosemy.executors.config import ExecutorConfig
from monosemy.executors.jobs import Job, Outcome

_LOOK_EVERY = 0.5
"""Seconds between a worker's looks at whether its caller lives."""
_watched: set[int] = set()


def outcomes(
    config: ExecutorConfig, job: Job, items: Sequence[Any], shared: tuple[Any, ...]
) -> Generator[Outcome, None, None]:
    """One process a core; large arrays are memory-mapped, not copied."""
    workers = min(len(items), config.workers or cpu_count())
    calls = (delayed(_call)(os.getpid(), job, number, item, *shared) for number, item in enumerate(items))
    pool = Parallel(n_jobs=workers, return_as="generator_unordered", pre_dispatch="n_jobs")
    ended = pool(calls)
    try:
        for outcome in ended:  # noqa: UP028  # `yield from` would close it, with joblib's warning that jobs were left
            yield outcome
    except BrokenProcessPool as error:
        raise ResourceError(
            "A worker process was killed, perhaps by the system because memory ran out; what was finished is kept, "
            "the same command goes on from there, with fewer --workers where memory is short."
        ) from error
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            ended.close()


def _call(caller: int, job: Job, number: int, item: Any, *shared: Any) -> Outcome:
    """The job, in a process that ends with its caller."""
    if caller != os.getpid() and caller not in _watched:
        _watched.add(caller)
        threading.Thread(target=_end_with, args=(caller,), daemon=True).start()
    return job(number, item, *shared)


def _end_with(caller: int) -> None:
    # A caller that was killed cannot stop its workers: they would go on beside those of the call that resumes.
    while os.getppid() == caller:
        time.sleep(_LOOK_EVERY)
    os._exit(1)
