"""Jobs of a Slurm cluster, by submitit."""

import os
import shutil
import uuid
from collections.abc import Generator, Sequence
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import Any

from joblib import cpu_count

from monosemy.cache import cache_folder
from monosemy.errors import InputError, ResourceError, reason
from monosemy.executors.config import ExecutorConfig
from monosemy.executors.jobs import Job, Outcome

_ASK_EVERY = {"slurm": 10.0, "local": 0.2}
"""Seconds between looks at whether a job has ended."""


JOBS = ".jobs"
"""The folder in the cache where jobs find what they share, and leave their logs."""


def outcomes(
    config: ExecutorConfig, job: Job, items: Sequence[Any], shared: tuple[Any, ...]
) -> Generator[Outcome, None, None]:
    """A job array on Slurm. What jobs share lies in one file of the cache folder, which all machines must see."""
    try:
        import cloudpickle
        import submitit
    except ImportError as error:
        raise InputError("The executor submitit needs the extra 'scale'; install monosemy[scale].") from error
    folder = cache_folder() / JOBS / uuid.uuid4().hex
    folder.mkdir(parents=True, mode=0o700)  # pickles of our own: nobody else may write here
    running: list[Any] = []
    named = False
    try:
        executor = _executor(config, folder)
        with (folder / "shared.pkl").open("wb") as file:
            cloudpickle.dump((job, shared), file)
        # An array is Slurm's to pace; on one machine submitit starts whatever it is given.
        at_once = len(items) if executor.cluster == "slurm" else config.workers or cpu_count()
        waiting = iter(enumerate(items))
        try:
            with executor.batch() if executor.cluster == "slurm" else nullcontext():
                running = [_submit(executor, folder, *numbered) for numbered in islice(waiting, at_once)]
        except submitit.core.utils.FailedJobError as error:
            raise InputError(f"Slurm did not take the jobs ({_last(error)}); correct --executor-config.") from error
        while running:
            ended = next(submitit.helpers.as_completed(running, poll_frequency=_ASK_EVERY[executor.cluster]))
            running.remove(ended)
            running += [_submit(executor, folder, *numbered) for numbered in islice(waiting, 1)]
            yield _outcome(ended)
    except (ResourceError, RuntimeError):
        named = True
        raise
    finally:
        _cancel(running)
        if named:  # the message names a job's log; what jobs shared is as large as the data
            (folder / "shared.pkl").unlink(missing_ok=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _submit(executor: Any, folder: Path, number: int, item: Any) -> Any:
    if executor.cluster == "slurm":
        return executor.submit(_call, folder, number, item)
    # The process that watches over a job of this machine says on our stderr that it was interrupted, with a traceback.
    with (folder / "watchers.log").open("ab") as log:
        own = os.dup(2)
        os.dup2(log.fileno(), 2)
        try:
            return executor.submit(_call, folder, number, item)
        finally:
            os.dup2(own, 2)
            os.close(own)


def _cancel(jobs: Sequence[Any]) -> None:
    from submitit.local.local import LocalJob

    for job in jobs:
        job.cancel()
    for job in jobs:
        if isinstance(job, LocalJob):  # it ends at once; Slurm may take its time
            job.wait()


def _executor(config: ExecutorConfig, folder: Path) -> Any:
    import submitit

    try:
        executor = submitit.AutoExecutor(folder / "%j", cluster=config.cluster)
        executor.update_parameters(
            name="monosemy",
            timeout_min=config.minutes,
            cpus_per_task=config.cpus,
            gpus_per_node=int(config.gpus),
            mem_gb=config.memory_gb,
            slurm_partition=config.partition,
            slurm_array_parallelism=config.workers,
            slurm_additional_parameters=config.slurm or None,
        )
    except (RuntimeError, ValueError, NameError) as error:
        raise InputError(
            f"submitit cannot use the cluster {config.cluster!r} ({reason(error)}); run it where sbatch is found, or "
            f"choose another --executor."
        ) from error
    return executor


def _call(folder: Path, number: int, item: Any) -> Outcome:
    import cloudpickle

    with (folder / "shared.pkl").open("rb") as file:
        job, shared = cloudpickle.load(file)
    outcome: Outcome = job(number, item, *shared)
    return outcome


def _last(error: BaseException) -> str:
    """The last line that sbatch said."""
    return str(error).strip().splitlines()[-1].removeprefix("sbatch: error: ").rstrip(".")


def _outcome(job: Any) -> Outcome:
    from submitit.core.utils import FailedJobError, UncompletedJobError

    try:
        outcome: Outcome = job.result()
    except FailedJobError as error:  # a mistake of ours; before the other, which it is a kind of
        raise RuntimeError(f"A job failed; its log: {job.paths.stderr}\n{error}") from error
    except UncompletedJobError as error:
        raise ResourceError(
            f"The job {job.job_id} was lost (killed, out of memory or out of time; its log: {job.paths.stderr}); what "
            f"was finished is kept, the same command goes on from there."
        ) from error
    return outcome
