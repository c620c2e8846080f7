"""Jobs as tasks of a Ray cluster."""

import os
import signal
import threading
from collections.abc import Generator, Sequence
from itertools import islice
from typing import Any

from monosemy.errors import InputError, ResourceError, reason
from monosemy.executors.config import ExecutorConfig
from monosemy.executors.jobs import Job, Outcome


def outcomes(
    config: ExecutorConfig, job: Job, items: Sequence[Any], shared: tuple[Any, ...]
) -> Generator[Outcome, None, None]:
    """One task a job; Ray starts it anew, up to three times, where its worker was lost."""
    ray = _connected(config)
    memory = {} if config.memory_gb is None else {"memory": int(config.memory_gb * 2**30)}
    task = ray.remote(_call).options(num_cpus=config.cpus, num_gpus=config.gpus, **memory)
    held = ray.put((job, shared))
    waiting = iter(enumerate(items))
    running = [task.remote(held, *numbered) for numbered in islice(waiting, config.workers or len(items))]
    try:
        while running:
            (ended,), running = ray.wait(running, num_returns=1)
            running += [task.remote(held, *numbered) for numbered in islice(waiting, 1)]
            yield _outcome(ray, ended)
    finally:
        for left in running:
            ray.cancel(left, force=True)


def _connected(config: ExecutorConfig) -> Any:
    """Ray, on the cluster that is named or on this machine; one that already runs in this process is used as it is."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anyone
    try:
        import ray
    except ImportError as error:
        raise InputError("The executor ray needs the extra 'scale'; install monosemy[scale].") from error
    if ray.is_initialized():
        return ray
    cores = None if config.address or config.workers is None else config.workers * config.cpus
    before = signal.getsignal(signal.SIGTERM)  # ray.init puts its own there
    try:
        ray.init(
            address=config.address or "local",
            num_cpus=cores,
            include_dashboard=None if config.address else False,
            log_to_driver=False,
            logging_level="ERROR",
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise InputError(
            f"The Ray cluster {config.address or 'of this machine'} cannot be reached ({reason(error)}); give the "
            f"address of a running one, or choose another --executor."
        ) from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)
    return ray


def _call(held: tuple[Job, tuple[Any, ...]], number: int, item: Any) -> Outcome:
    job, shared = held
    return job(number, item, *shared)


def _outcome(ray: Any, ended: Any) -> Outcome:
    try:
        outcome: Outcome = ray.get(ended)
    except ray.exceptions.RayTaskError:
        raise
    except ray.exceptions.RayError as error:
        raise ResourceError(
            f"A Ray task was lost ({reason(error)}); what was finished is kept, the same command goes on from there."
        ) from error
    return outcome
