"""Executors: one function that runs independent jobs in this process, in processes, on Slurm or on Ray.

joblib runs the processes and submitit the job arrays of Slurm. Every executor gives the same results bit for bit: a job
runs on one thread, and takes its random numbers from what it is, never from when or where it runs.
"""

import os
import shutil
import signal
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

from annotated_types import Gt
from joblib import Parallel, cpu_count, delayed
from joblib.externals.loky.process_executor import BrokenProcessPool
from pydantic import ConfigDict, Field, model_validator

from monosemy.core.cache import cache_folder
from monosemy.core.config import Config, read_yaml, validated
from monosemy.core.environment import one_thread
from monosemy.errors import InputError, ResourceError, as_resource_error, as_unwritable, needs_extra, reason

ExecutorName = Literal["in-process", "joblib", "submitit", "ray"]
JOBS = ".jobs"
"""The folder in the cache for what the jobs of submitit share, and for their logs."""
_PARENT_POLL = 0.5
"""Seconds between a worker's checks that its parent lives."""
_SUBMITIT_POLL = {"slurm": 10.0, "local": 0.2}
"""Seconds between checks for finished jobs."""
Item = TypeVar("Item")
Result = TypeVar("Result")


class ExecutorConfig(Config):
    """The executor of jobs and its settings; no part of a plan, since results do not depend on it."""

    model_config = ConfigDict(allow_inf_nan=False)

    name: ExecutorName = "joblib"
    """`in-process`: one after another; `joblib`: processes of this machine; `submitit`: Slurm; `ray`: a Ray cluster."""
    workers: Annotated[int, Field(ge=1)] | None = None
    """Jobs at a time; by default one a core of this machine, and on Slurm and Ray as many as the cluster takes."""
    cpus: Annotated[int, Field(ge=1)] = 1
    """Cores of a job, on submitit and Ray. A job computes on one thread; data loading may use more."""
    gpus: Annotated[float, Field(ge=0)] = 0.0
    """GPUs of a job, on submitit and Ray; on Ray also a fraction."""
    memory_gb: Annotated[float, Gt(0)] | None = None
    """Memory of a job, on submitit and Ray; default the cluster's."""
    minutes: Annotated[int, Field(ge=1)] = 240
    """Time limit of a job, on submitit."""
    cluster: Literal["slurm", "local"] = "slurm"
    """Kind of cluster, on submitit; `local` starts the jobs on this machine, to try settings out."""
    partition: str | None = None
    """Partition of Slurm."""
    slurm: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """Further parameters of sbatch, such as `account` or `constraint`."""
    address: str | None = None
    """Address of a running Ray cluster, such as `auto`; by default Ray is started on this machine."""

    @model_validator(mode="after")
    def _check_gpus(self) -> "ExecutorConfig":
        if self.gpus and self.name not in ("submitit", "ray"):
            raise ValueError("only the executors submitit and ray assign GPUs to jobs")
        if self.name == "submitit" and self.gpus != int(self.gpus):
            raise ValueError("Slurm assigns whole GPUs; fractions need Ray")
        return self

    def job_device(self, device: str) -> str:
        """Return the device of a job, given the device of this process."""
        return "cuda" if self.gpus else device

    def for_device(self, device: str) -> "ExecutorConfig":
        """Return this executor, or `in-process` if all jobs have to share the GPU of this process."""
        return self if device == "cpu" or self.gpus else self.model_copy(update={"name": "in-process"})


def executor_settings(name: str | None, workers: int | None) -> ExecutorConfig:
    """Return the settings of an executor by its name, or by that of a YAML file, for a number of workers.

    Raises:
        InputError: a setting is unknown or invalid.
    """
    options = {key: value for key, value in (("name", name), ("workers", workers)) if value is not None}
    if name is None or not name.endswith((".yaml", ".yml")):
        return validated(ExecutorConfig, options, "--executor")
    values = read_yaml(Path(name), "executor settings")
    del options["name"]
    return validated(ExecutorConfig, values | options if isinstance(values, dict) else values, str(Path(name)))


@dataclass(frozen=True)
class Done(Generic[Item, Result]):
    """A job that has succeeded."""

    item: Item
    result: Result
    seconds: float


def run_jobs(
    config: ExecutorConfig, work: Callable[..., Result], items: Sequence[Item], *shared: Any
) -> Iterator[Done[Item, Result]]:
    """Yield each ``work(item, *shared)`` as it ends, in any order; jobs start in the order of ``items``.

    Args:
        work: a function of a module. It runs on one thread.
        shared: arguments of all jobs. Slurm and Ray get them once, not with every job; joblib maps large arrays.

    Raises:
        InputError: a job met invalid input, or the executor is not reachable.
        MissingExtraError: the executor is not installed.
        ResourceError: a worker was lost, or the disk or the memory is full.
    """
    if not items:
        return
    job = Job(work, str(cache_folder().absolute()), os.getcwd())
    with closing(_RUN[config.name](config, job, items, shared)) as outcomes:
        for outcome in outcomes:
            if outcome.error is not None:
                raise outcome.error
            yield Done(items[outcome.number], outcome.result, outcome.seconds)


@dataclass(frozen=True)
class Outcome:
    """The result of a job, or the error that ended it."""

    number: int
    result: Any = None
    seconds: float = 0.0
    error: InputError | ResourceError | None = None


Outcomes = Generator[Outcome, None, None]


@dataclass(frozen=True)
class Job:
    """A piece of work that runs on one thread, with the cache and the working folder of the caller."""

    work: Callable[..., Any]
    cache: str
    folder: str
    """The folder that relative paths refer to."""

    def __call__(self, number: int, item: Any, *shared: Any) -> Outcome:
        """Run one job.

        An error that a user can act on is part of the outcome: executors wrap exceptions differently, values alike.
        """
        # A worker may have been started before the caller's environment and folder changed.
        os.environ["MONOSEMY_CACHE"] = self.cache
        if os.getcwd() != self.folder:
            os.chdir(self.folder)
        started = time.monotonic()
        try:
            with one_thread():
                result = self.work(item, *shared)
        except InputError as error:
            return Outcome(number, error=InputError(str(error)))
        except Exception as error:
            known = as_unwritable(error) or as_resource_error(error)
            if known is None:
                raise
            return Outcome(number, error=known)
        return Outcome(number, result, time.monotonic() - started)


def _in_process(config: ExecutorConfig, job: Job, items: Sequence[Any], shared: tuple[Any, ...]) -> Outcomes:
    return (job(number, item, *shared) for number, item in enumerate(items))


def _on_joblib(config: ExecutorConfig, job: Job, items: Sequence[Any], shared: tuple[Any, ...]) -> Outcomes:
    """Run jobs in one process a core; large arrays are memory-mapped, not copied."""
    pool = Parallel(
        n_jobs=min(len(items), config.workers or cpu_count()),
        return_as="generator_unordered",
        pre_dispatch="n_jobs",
        initializer=_end_with_parent,
        initargs=(os.getpid(),),
    )
    outcomes = pool(delayed(job)(number, item, *shared) for number, item in enumerate(items))
    try:
        for outcome in outcomes:  # noqa: UP028  # `yield from` would close it, with joblib's warning on unfinished jobs
            yield outcome
    except BrokenProcessPool as error:
        raise ResourceError(
            "A worker process was killed, perhaps by the system because memory ran out; what was finished is kept, "
            "the same command goes on from there, with fewer --workers where memory is short."
        ) from error
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            outcomes.close()


def _end_with_parent(parent: int) -> None:
    """Let a worker end when its parent was killed: loky's would finish its job beside those of a resumed run."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_PARENT_POLL)
        os._exit(1)

    if os.getpid() != parent:
        threading.Thread(target=watch, daemon=True).start()


def _on_submitit(config: ExecutorConfig, job: Job, items: Sequence[Any], shared: tuple[Any, ...]) -> Outcomes:
    """Run a job array on Slurm. Shared arguments are one file in the cache folder, which all machines must see."""
    with needs_extra("scale", "The executor submitit"):
        import cloudpickle
        import submitit
    folder = cache_folder() / JOBS / uuid.uuid4().hex
    folder.mkdir(parents=True, mode=0o700)  # jobs unpickle what lies here: nobody else may write into it
    running: list[Any] = []
    log_named = False
    try:
        executor = _submitit_executor(config, folder)
        local = executor.cluster != "slurm"
        with (folder / "shared.pkl").open("wb") as file:
            cloudpickle.dump((job, shared), file)

        def submit(numbered: Sequence[tuple[int, Any]]) -> list[Any]:
            with _stderr_to(folder / "controllers.log") if local else nullcontext():
                jobs: list[Any] = executor.map_array(partial(_call_on_submitit, folder), *zip(*numbered, strict=True))
                return jobs

        # Slurm paces an array itself; on one machine submitit starts all jobs at once, so they are submitted by and by.
        waiting = iter(enumerate(items))
        try:
            running = submit(list(islice(waiting, (config.workers or cpu_count()) if local else len(items))))
        except submitit.core.utils.FailedJobError as error:
            last_line = str(error).strip().splitlines()[-1].removeprefix("sbatch: error: ").rstrip(".")
            raise InputError(f"Slurm rejected the jobs ({last_line}); correct the executor settings.") from error
        poll = _SUBMITIT_POLL[executor.cluster]
        while running:
            ended = next(submitit.helpers.as_completed(running, poll_frequency=poll))
            running.remove(ended)
            running += [job for numbered in islice(waiting, 1) for job in submit([numbered])]
            try:
                yield ended.result()
            except submitit.core.utils.FailedJobError as error:  # a bug; a subclass of the next, so it comes first
                raise RuntimeError(f"A job failed; its log: {ended.paths.stderr}\n{error}") from error
            except submitit.core.utils.UncompletedJobError as error:
                raise ResourceError(
                    f"The job {ended.job_id} was lost (killed, out of memory or out of time; its log: "
                    f"{ended.paths.stderr}); what was finished is kept, the same command goes on from there."
                ) from error
    except (ResourceError, RuntimeError):
        log_named = True
        raise
    finally:
        for left in running:
            left.cancel()
        for left in running:
            if isinstance(left, submitit.LocalJob):  # it ends at once; Slurm may take its time
                left.wait()
        if log_named:  # the message names a job's log; the shared arguments are as large as the data
            (folder / "shared.pkl").unlink(missing_ok=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _submitit_executor(config: ExecutorConfig, folder: Path) -> Any:
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


@contextmanager
def _stderr_to(path: Path) -> Iterator[None]:
    """Start processes with a file as their error stream: submitit's local controllers print tracebacks when stopped."""
    with path.open("ab") as log:
        stderr = os.dup(2)
        os.dup2(log.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def _call_on_submitit(folder: Path, number: int, item: Any) -> Outcome:
    import cloudpickle

    with (folder / "shared.pkl").open("rb") as file:
        job, shared = cloudpickle.load(file)
    outcome: Outcome = job(number, item, *shared)
    return outcome


def _on_ray(config: ExecutorConfig, job: Job, items: Sequence[Any], shared: tuple[Any, ...]) -> Outcomes:
    """Run each job as a Ray task, which Ray starts again, up to three times, when its worker was lost.

    Tasks and not joblib's Ray backend: its pool of actors neither restarts jobs nor stores shared arguments once.
    """
    ray = _connected_ray(config)
    memory = {} if config.memory_gb is None else {"memory": int(config.memory_gb * 2**30)}
    task = ray.remote(_call_on_ray).options(num_cpus=config.cpus, num_gpus=config.gpus, **memory)
    stored = ray.put((job, shared))
    waiting = iter(enumerate(items))
    running = [task.remote(stored, *numbered) for numbered in islice(waiting, config.workers or len(items))]
    try:
        while running:
            (ended,), running = ray.wait(running, num_returns=1)
            running += [task.remote(stored, *numbered) for numbered in islice(waiting, 1)]
            try:
                yield ray.get(ended)
            except ray.exceptions.RayTaskError:  # a bug; a subclass of the next, so it comes first
                raise
            except ray.exceptions.RayError as error:
                raise ResourceError(
                    f"A Ray task was lost ({reason(error)}); what was finished is kept, the same command goes on from "
                    f"there."
                ) from error
    finally:
        for left in running:
            ray.cancel(left, force=True)


def _connected_ray(config: ExecutorConfig) -> Any:
    """Return Ray, connected to a cluster or started on this machine; an existing connection is used as it is."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no telemetry
    with needs_extra("scale", "The executor ray"):
        import ray
    if ray.is_initialized():
        return ray
    cores = None if config.address or config.workers is None else config.workers * config.cpus
    handler = signal.getsignal(signal.SIGTERM)  # ray.init installs its own
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
            signal.signal(signal.SIGTERM, handler)
    return ray


def _call_on_ray(stored: tuple[Job, tuple[Any, ...]], number: int, item: Any) -> Outcome:
    job, shared = stored
    return job(number, item, *shared)


_RUN = {"in-process": _in_process, "joblib": _on_joblib, "submitit": _on_submitit, "ray": _on_ray}
