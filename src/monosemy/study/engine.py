"""The study engine: one way to run any kind of study into a folder, to resume it, and to report it.

A kind of study (:class:`StudyKind`) gives the plan, the jobs, the work of a job, and the verdict. The engine owns the
folder with its lock, resuming, the executor, progress, the tidy table, the summary, ``verdict.txt`` and the report.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import pandas as pd
import torch.distributed as dist

from monosemy.core import cache, config, console, environment, executors, files
from monosemy.core.distributed import SINGLE_PROCESS, Processes
from monosemy.data.dataset import LabelledData
from monosemy.data.findings import DataReport
from monosemy.errors import InputError, as_resource_error, as_unwritable
from monosemy.results.result import StudyResult, Verdict
from monosemy.results.statistics import TEST_ROWS, split_test_rows, summarise
from monosemy.study.folder import COSTS, Meter, PeakMemory, Row, Spent, StudyFolder, costs_table, data_fingerprint

RESULTS = "results.parquet"
MESSAGES = "messages.txt"


class Job(Protocol):
    """One piece of work of a study; what is finished when a study is killed is kept job by job."""

    @property
    def name(self) -> str:
        """The name of the job, and of its file."""

    @property
    def variant(self) -> str:
        """The variant that the job's costs count for."""

    @property
    def n_seeds(self) -> int:
        """The number of repetitions that the job computes."""


PlanT = TypeVar("PlanT", bound=config.Plan)
DataT = TypeVar("DataT")
JobT = TypeVar("JobT", bound=Job)


@dataclass(frozen=True)
class StudyContext(Generic[PlanT, DataT]):
    """Plan, data and whatever else the jobs of a study share; it travels to worker processes."""

    plan: PlanT
    data: DataT
    folder: Path
    """The folder of the study; a job may write files of its own below it."""
    device: str = "cpu"
    shared: Any = None
    """What :meth:`StudyKind.prepare` returned."""
    is_main: bool = True
    """Whether this process writes files; False for all but one of the processes of torchrun."""
    meter: Meter = field(default_factory=Meter)
    """Takes the costs of the parts of a job."""
    on_progress: console.Progress = console.no_progress
    """Takes the progress within a job, where it runs in this process."""


class StudyKind(ABC, Generic[PlanT, DataT, JobT]):
    """A kind of study. Instances hold no state, so they travel to worker processes by name."""

    plan_type: ClassVar[type[config.Plan]]
    """The model of the plan; its field ``kind`` names the kind of study."""
    title: ClassVar[str]
    """What the page of a study is headed with."""
    command: ClassVar[str]
    """The command that runs a plan of this kind."""
    jobs_title: ClassVar[str] = "Jobs"
    """What the progress bar calls the jobs."""
    packages: ClassVar[tuple[str, ...]] = ()
    """Libraries beside the usual ones whose versions must stay the same when a study is resumed."""
    baseline: ClassVar[str]
    """The variant that gains are measured against."""
    folder_prefix: ClassVar[str | None] = None
    """Beginning of the name of a default folder; by default the kind."""
    distributed: ClassVar[bool] = False
    """Whether several processes of torchrun can compute a job together."""

    @abstractmethod
    def load(self, plan: PlanT, on_progress: console.Progress) -> DataT:
        """Load the data that a plan names."""

    def resolve(self, plan: PlanT, data: DataT) -> PlanT:
        """Return the plan with everything filled in that depends on the data."""
        return plan

    def check(self, plan: PlanT, data: DataT, device: str) -> DataT:
        """Raise where the plan does not fit the data, before anything is written; return the data that the jobs use."""
        return data

    @abstractmethod
    def key(self, plan: PlanT, data: DataT) -> str:
        """Return a fingerprint of the data."""

    @abstractmethod
    def jobs(self, plan: PlanT, data: DataT) -> Sequence[JobT]:
        """Return all jobs, in the order of the results."""

    def prepare(self, context: StudyContext[PlanT, DataT], executor: executors.ExecutorConfig) -> Any:
        """Make what all jobs share; called once, where a job is missing."""
        return None

    @abstractmethod
    def run(self, job: JobT, context: StudyContext[PlanT, DataT]) -> Any:
        """Compute a job, on one thread and possibly in another process; by default its output are the rows."""

    def collect(self, job: JobT, output: Any, context: StudyContext[PlanT, DataT]) -> list[Row]:
        """Turn the output of a job into rows, in the main process."""
        rows: list[Row] = output
        return rows

    @abstractmethod
    def tabulate(self, rows: list[Row], plan: PlanT, data: DataT) -> dict[str, pd.DataFrame]:
        """Return the tidy tables of all rows by name, ``results`` among them."""

    def summarise(self, results: pd.DataFrame, test_rows: pd.DataFrame | None = None) -> pd.DataFrame:
        """Return means with intervals and judged differences to the baseline.

        Args:
            test_rows: the values of single test rows, where jobs gave them.
        """
        return summarise(results, self.baseline, test_rows)

    @abstractmethod
    def verdict(self, result: StudyResult) -> Verdict:
        """Return the answer of a study in words; ``result.verdict`` is still empty."""

    def messages(self, data: DataT) -> tuple[str, ...]:
        """Return the sizes of the data, and what was noticed in it."""
        found = data_report(data)
        return (*(() if found is None else (found.headline(),)), *getattr(data, "notices", ()))

    def finish(self, result: StudyResult, context: StudyContext[PlanT, DataT]) -> None:
        """Write further files into the folder, and remove what only jobs need."""

    def restore_files(self, result: StudyResult, out: Path, on_progress: console.Progress) -> str | None:
        """Write missing files of :meth:`finish` again, beside a page that is written again.

        Returns: why a file could not be written, as a sentence.
        """
        return None

    def folder_name(self, plan: PlanT, data: DataT) -> str:
        """Return the name of the default folder of a study."""
        prefix = f"{plan.kind}-" if self.folder_prefix is None else self.folder_prefix
        return prefix + Path(getattr(data, "name", "study")).stem

    def sections(self, result: StudyResult) -> Sequence[Any]:
        """Return what the report shows beside accuracies and gains (:class:`monosemy.report.tables.Section`)."""
        return ()


class LabelledStudy(StudyKind[PlanT, LabelledData, JobT]):
    """A kind of study over labelled data."""

    def key(self, plan: PlanT, data: LabelledData) -> str:
        """Return a fingerprint of the inputs and labels."""
        return data_fingerprint(data)


def data_report(data: Any) -> DataReport | None:
    """Return what was found in the data of a study; None for data that has no labels."""
    found = getattr(data, "report", None)
    return found if isinstance(found, DataReport) else None


def run_study(
    kind: StudyKind[PlanT, DataT, JobT],
    plan: PlanT,
    data: DataT,
    folder: Path | str | None = None,
    *,
    on_progress: console.Progress = console.no_progress,
    executor: executors.ExecutorConfig | None = None,
    device: str = "cpu",
    processes: Processes = SINGLE_PROCESS,
    report: bool = True,
) -> StudyResult:
    """Run every job that the folder does not hold yet; write tables, verdict, figures and page.

    Processes that torchrun started compute each job together, one job after another.

    Args:
        plan: completed by :meth:`StudyKind.resolve` where that depends on the data.
        folder: the study folder; None keeps nothing.
        executor: what computes the jobs; by default processes, one a core, and on a GPU one after another.
        report: whether figures and ``report.html`` are written too.

    Raises:
        InputError: the plan does not fit the data, or the folder holds another plan or other data, or is in use; or
            several processes run a kind of study that computes in one.
        ResourceError: not enough disk or memory, or a worker was lost; the folder can be resumed.
    """
    if processes.world_size > 1 and not kind.distributed:
        raise InputError(
            f"`{kind.command}` computes a job in one process, but torchrun started {processes.world_size}; start it "
            f"without torchrun."
        )
    folder = None if folder is None else Path(folder)
    plan = kind.resolve(plan, data)
    data = kind.check(plan, data, device)
    executor = (executor or executors.ExecutorConfig()).for_device(device)
    key = cache.fingerprint(kind.key(plan, data), *plan.files())
    with ExitStack() as stack:
        place = Path(stack.enter_context(TemporaryDirectory())) / "study" if folder is None else folder
        store: StudyFolder | None = None
        if processes.is_main:  # the one process that writes
            seeds = {"seed": plan.seed, "repetitions": plan.n_seeds}
            opened = StudyFolder(place, plan.to_yaml(), key, executor, kind.packages, seeds)
            store = stack.enter_context(opened)
        context = StudyContext(plan, data, place, device, is_main=processes.is_main, on_progress=on_progress)
        rows, costs = _run_all(kind, context, store, executor, processes)
        tables = kind.tabulate(rows, plan, data)
        results, test_rows = split_test_rows(tables.pop("results"))
        tables = {name: split_test_rows(table)[0] for name, table in tables.items()}
        if test_rows is not None:
            tables[TEST_ROWS] = test_rows
        summary, said = kind.summarise(results, test_rows), kind.messages(data)
        result = judged(kind, StudyResult(plan, results, summary, Verdict(()), said, costs, folder, tables))
        if store is not None and folder is not None:
            _write(result, folder)
            kind.finish(result, context)
            if report:
                write_pages(kind, result, folder)
    return result


def tidy(rows: list[Row], dataset: str, encoder: str, order: Sequence[str] = ()) -> pd.DataFrame:
    """Return rows as a table with data set and encoder in front, and variants in an order where one is given."""
    frame = pd.DataFrame(rows)
    frame.insert(0, "dataset", dataset)
    frame.insert(1, "encoder", encoder)
    if not order:
        return frame
    return frame.sort_values("variant", key=lambda names: names.map(order.index), kind="stable", ignore_index=True)


def judged(kind: StudyKind[Any, Any, Any], result: StudyResult) -> StudyResult:
    """Return a result with its verdict."""
    return replace(result, verdict=kind.verdict(result))


def write_pages(kind: StudyKind[Any, Any, Any], result: StudyResult, folder: Path) -> Path:
    """Write the figures and the page of a result; return the path of the page."""
    from monosemy.report.figures import save_figures  # Matplotlib takes a while, and workers need none
    from monosemy.report.html import write_report

    sections = kind.sections(result)
    save_figures(result, folder, sections)
    return write_report(result, folder, kind.title, kind.command, sections)


def _run_all(
    kind: StudyKind[PlanT, DataT, JobT],
    context: StudyContext[PlanT, DataT],
    store: StudyFolder | None,
    executor: executors.ExecutorConfig,
    processes: Processes,
) -> tuple[list[Row], pd.DataFrame]:
    """Run all missing jobs; return the rows of all, and their costs."""
    finished: dict[str, list[Row]] = {}
    spent = dict(store.costs()) if store is not None else {}
    plan, data = context.plan, context.data
    jobs = list(kind.jobs(plan, data))
    stored = [] if store is None else [(job.name, store.read(job.name)) for job in jobs]
    message = [{name: rows for name, rows in stored if rows is not None}]
    if processes.world_size > 1:  # told by the one process that writes: others do not read while it may write
        dist.broadcast_object_list(message, src=0)
    finished |= message[0]
    missing = [job for job in jobs if job.name not in finished]
    if missing:
        context = replace(context, shared=kind.prepare(context, executor))
    if jobs:
        context.on_progress(kind.jobs_title, 0, len(missing))
    # Jobs of many repetitions take longest; started first, they do not keep one core busy at the end alone.
    ordered = sorted(missing, key=lambda job: job.n_seeds, reverse=True)
    for done, (job, output, costs) in enumerate(_outputs(kind, ordered, context, executor, processes), start=1):
        finished[job.name], spent[job.name] = kind.collect(job, output, context), costs
        if store is not None:
            store.write(job.name, finished[job.name], **costs)
        context.on_progress(kind.jobs_title, done, len(missing))
    table = costs_table((job.variant, job.n_seeds, spent.get(job.name, {})) for job in jobs)
    return [row for job in jobs for row in finished[job.name]], table


def _outputs(
    kind: StudyKind[PlanT, DataT, JobT],
    jobs: Sequence[JobT],
    context: StudyContext[PlanT, DataT],
    executor: executors.ExecutorConfig,
    processes: Processes,
) -> Iterator[tuple[JobT, Any, Spent]]:
    """Yield each job with its output and costs as it ends."""
    if executor.name == "in-process" or processes.world_size > 1:
        alone = context.device == "cpu" and processes.world_size == 1
        for job in jobs:
            try:
                with environment.one_thread() if alone else nullcontext():
                    output, costs = _run_job(job, kind, context)
            except Exception as error:
                known = as_unwritable(error) or as_resource_error(error)
                if known is None:
                    raise
                raise known from error
            yield job, output, costs
        return
    sent = replace(context, on_progress=console.no_progress, device=executor.job_device(context.device))
    for ended in executors.run_jobs(executor, _run_job, jobs, kind, sent):
        output, costs = ended.result
        yield ended.item, output, costs


def _run_job(
    job: JobT, kind: StudyKind[PlanT, DataT, JobT], context: StudyContext[PlanT, DataT]
) -> tuple[Any, dict[str, float]]:
    meter, memory, started = Meter(), PeakMemory(), time.monotonic()
    output = kind.run(job, replace(context, meter=meter))
    return output, dict(meter.spent) | {"seconds": time.monotonic() - started, "peak_mib": memory.mib()}


def _write(result: StudyResult, folder: Path) -> None:
    for name, table in {"results": result.results, **result.tables}.items():
        with files.atomic_path(folder / f"{name}.parquet") as temporary:
            table.to_parquet(temporary, index=False)
    files.write_text(folder / "summary.csv", result.summary.to_csv(index=False))
    files.write_text(folder / COSTS, result.costs.to_csv(index=False))
    files.write_text(folder / "verdict.txt", f"{result.verdict}\n")
    files.write_text(folder / MESSAGES, "".join(f"{message}\n" for message in result.messages))
