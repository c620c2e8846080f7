"""Which executor runs the jobs, and with what; not part of a plan, for results do not depend on it.

A job, as every executor runs it.

Jobs in processes of this machine, by joblib.

Jobs of a Slurm cluster, by submitit.

Jobs as tasks of a Ray cluster.

One way to run jobs, whatever runs them.
"""

import os
import shutil
import signal
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

from annotated_types import Gt
from joblib import Parallel, cpu_count, delayed
from joblib.externals.loky.process_executor import BrokenProcessPool
from pydantic import BaseModel, ConfigDict, Field, model_validator

from monosemy.core.cache import cache_folder
from monosemy.core.config import read_yaml, validated
from monosemy.core.environment import one_thread
from monosemy.errors import InputError, ResourceError, as_resource_error, as_unwritable, needs_extra, reason

ExecutorName = Literal["in-process", "joblib", "submitit", "ray"]


class ExecutorConfig(BaseModel):
    """How jobs run."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: ExecutorName = "joblib"
    """`in-process`: one after another; `joblib`: processes of this machine; `submitit`: Slurm; `ray`: a Ray cluster."""
    workers: Annotated[int, Field(ge=1)] | None = None
    """Jobs at a time; by default one a core of this machine, and on Slurm and Ray as many as the cluster takes."""
    cpus: Annotated[int, Field(ge=1)] = 1
    """Cores of a job, on submitit and Ray. A job computes on one thread; data loading may use more."""
    gpus: Annotated[float, Field(ge=0)] = 0.0
    """Of a job, on submitit and Ray; on Ray also a fraction."""
    memory_gb: Annotated[float, Gt(0)] | None = None
    """Of a job, on submitit and Ray; default the cluster's."""
    minutes: Annotated[int, Field(ge=1)] = 240
    """Time limit of a job, on submitit."""
    cluster: Literal["slurm", "local"] = "slurm"
    """Of submitit; `local` starts the jobs on this machine, to try settings out."""
    partition: str | None = None
    """Of Slurm."""
    slurm: dict[str, str | int | float | bool] = {}
    """Further parameters of sbatch, such as `account` or `constraint`."""
    address: str | None = None
    """Of a running Ray cluster, such as `auto`; by default Ray is started on this machine."""

    @model_validator(mode="after")
    def _fitting(self) -> "ExecutorConfig":
        if self.gpus and self.name not in ("submitit", "ray"):
            raise ValueError("only the executors submitit and ray give jobs a share of the GPUs")
        if self.name == "submitit" and self.gpus != int(self.gpus):
            raise ValueError("Slurm gives out whole GPUs; fractions are Ray's")
        return self

    def job_device(self, device: str) -> str:
        """The device of a job, where this process would compute on ``device``."""
        return "cuda" if self.gpus else device

    def on(self, device: str) -> "ExecutorConfig":
        """One job after another in this process where jobs are for its GPU, and were given none of their own."""
        return self if device == "cpu" or self.gpus else self.model_copy(update={"name": "in-process"})


def executor_settings(name: str | None, workers: int | None, file: Path | None) -> ExecutorConfig:
    """Settings from a YAML file, with those given as options over them.

    Raises:
        InputError: a setting is unknown or does not fit.
    """
    values: Any = {} if file is None else read_yaml(file, "executor's settings")
    given = {key: value for key, value in (("name", name), ("workers", workers)) if value is not None}
    where = "The executor" if file is None else str(file)
    return validated(ExecutorConfig, values | given if isinstance(values, dict) else values, where)


Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Done(Generic[Item, Result]):
    """A job that has ended well."""

    item: Item
    result: Result
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """What comes back from a worker; what went wrong as plain text, which every executor carries alike."""

    number: int
    result: Any
    seconds: float
    input_error: str | None = None
    resource_error: str | None = None

    def raised(self) -> "Outcome":
        """Itself, unless the job failed.

        Raises:
            InputError, ResourceError: what the job said.
        """
        if self.input_error is not None:
            raise InputError(self.input_error)
        if self.resource_error is not None:
            raise ResourceError(self.resource_error)
        return self


@dataclass(frozen=True)
class Job:
    """Does a piece of work on one thread, with the caller's cache and where the caller is."""

    work: Callable[..., Any]
    cache: str
    here: str
    """The folder that relative paths are meant from."""

    def __call__(self, number: int, item: Any, *shared: Any) -> Outcome:
        # A worker may be older than the caller's setting and place.
        os.environ["MONOSEMY_CACHE"] = self.cache
        if os.getcwd() != self.here:
            os.chdir(self.here)
        started = time.monotonic()
        try:
            with one_thread():
                result = self.work(item, *shared)
        except InputError as error:
            return Outcome(number, None, 0.0, input_error=str(error))
        except Exception as error:
            refused, said = as_unwritable(error), as_resource_error(error)
            if refused is not None:
                return Outcome(number, None, 0.0, input_error=str(refused))
            if said is None:
                raise
            return Outcome(number, None, 0.0, resource_error=str(said))
        return Outcome(number, result, time.monotonic() - started)


_LOOK_EVERY = 0.5
"""Seconds between a worker's looks at whether its caller lives."""
_watched: set[int] = set()


def outcomes_in_processes(
    config: ExecutorConfig, job: Job, items: Sequence[Any], shared: tuple[Any, ...]
) -> Generator[Outcome, None, None]:
    """One process a core; large arrays are memory-mapped, not copied."""
    workers = min(len(items), config.workers or cpu_count())
    calls = (delayed(_call_in_process)(os.getpid(), job, number, item, *shared) for number, item in enumerate(items))
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


def _call_in_process(caller: int, job: Job, number: int, item: Any, *shared: Any) -> Outcome:
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


_ASK_EVERY = {"slurm": 10.0, "local": 0.2}
"""Seconds between looks at whether a job has ended."""


JOBS = ".jobs"
"""The folder in the cache where jobs find what they share, and leave their logs."""


def outcomes_on_slurm(
    config: ExecutorConfig, job: Job, items: Sequence[Any], shared: tuple[Any, ...]
) -> Generator[Outcome, None, None]:
    """A job array on Slurm. What jobs share lies in one file of the cache folder, which all machines must see."""
    with needs_extra("scale", "The executor submitit"):
        import cloudpickle
        import submitit
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
            yield _submitit_outcome(ended)
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
        return executor.submit(_call_on_slurm, folder, number, item)
    # The process that watches over a job of this machine says on our stderr that it was interrupted, with a traceback.
    with (folder / "watchers.log").open("ab") as log:
        own = os.dup(2)
        os.dup2(log.fileno(), 2)
        try:
            return executor.submit(_call_on_slurm, folder, number, item)
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


def _call_on_slurm(folder: Path, number: int, item: Any) -> Outcome:
    import cloudpickle

    with (folder / "shared.pkl").open("rb") as file:
        job, shared = cloudpickle.load(file)
    outcome: Outcome = job(number, item, *shared)
    return outcome


def _last(error: BaseException) -> str:
    """The last line that sbatch said."""
    return str(error).strip().splitlines()[-1].removeprefix("sbatch: error: ").rstrip(".")


def _submitit_outcome(job: Any) -> Outcome:
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


def outcomes_on_ray(
    config: ExecutorConfig, job: Job, items: Sequence[Any], shared: tuple[Any, ...]
) -> Generator[Outcome, None, None]:
    """One task a job; Ray starts it anew, up to three times, where its worker was lost."""
    ray = _connected(config)
    memory = {} if config.memory_gb is None else {"memory": int(config.memory_gb * 2**30)}
    task = ray.remote(_call_on_ray).options(num_cpus=config.cpus, num_gpus=config.gpus, **memory)
    held = ray.put((job, shared))
    waiting = iter(enumerate(items))
    running = [task.remote(held, *numbered) for numbered in islice(waiting, config.workers or len(items))]
    try:
        while running:
            (ended,), running = ray.wait(running, num_returns=1)
            running += [task.remote(held, *numbered) for numbered in islice(waiting, 1)]
            yield _ray_outcome(ray, ended)
    finally:
        for left in running:
            ray.cancel(left, force=True)


def _connected(config: ExecutorConfig) -> Any:
    """Ray, on the cluster that is named or on this machine; one that already runs in this process is used as it is."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anyone
    with needs_extra("scale", "The executor ray"):
        import ray
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


def _call_on_ray(held: tuple[Job, tuple[Any, ...]], number: int, item: Any) -> Outcome:
    job, shared = held
    return job(number, item, *shared)


def _ray_outcome(ray: Any, ended: Any) -> Outcome:
    try:
        outcome: Outcome = ray.get(ended)
    except ray.exceptions.RayTaskError:
        raise
    except ray.exceptions.RayError as error:
        raise ResourceError(
            f"A Ray task was lost ({reason(error)}); what was finished is kept, the same command goes on from there."
        ) from error
    return outcome


def run_jobs(
    config: ExecutorConfig, work: Callable[..., Result], items: Sequence[Item], *shared: Any
) -> Iterator[Done[Item, Result]]:
    """Yield each ``work(item, *shared)`` as it ends, in any order; those started first come first in ``items``.

    Args:
        work: a function of a module. It runs on one thread.
        shared: what all jobs take. Slurm and Ray get it once, not with every job; joblib maps its large arrays.

    Raises:
        InputError: a job met bad input, or the executor is not installed or not to be reached.
        ResourceError: a worker was lost, or the disk is full or memory runs out.
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
    outcomes = {"joblib": outcomes_in_processes, "submitit": outcomes_on_slurm, "ray": outcomes_on_ray}[config.name]
    return outcomes(config, job, items, shared)
