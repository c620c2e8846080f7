"""Tasks of a study side by side, one process a core.

Each process computes on one thread. Small products gain little from a second one, threads that wait for each other on
a busy machine lose much, and the numbers do not depend on how many cores there are.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from joblib import Parallel, cpu_count, delayed

from monosemy.cache import cache_folder
from monosemy.data.labelled import LabelledData
from monosemy.encoders.bank import EncoderBank
from monosemy.study.block import Block, run_block
from monosemy.study.cells import Cell
from monosemy.study.costs import Meter, PeakMemory
from monosemy.study.denoising import run_cleanlab
from monosemy.study.folder import Row
from monosemy.study.plan import Plan
from monosemy.study.tested import TestedEmbeddings
from monosemy.threads import one_thread


@dataclass(frozen=True)
class BlockTask:
    """Compute one block."""

    block: Block
    embedded: TestedEmbeddings
    folder: Path | None
    """Of the study."""

    @property
    def name(self) -> str:
        return self.block.name

    def __call__(
        self, plan: Plan, data: LabelledData, cells: Sequence[Cell], bank: EncoderBank, meter: Meter
    ) -> list[Row]:
        return run_block(self.block, plan, data, cells, bank, self.embedded, meter, self.folder)


@dataclass(frozen=True)
class CleanlabTask:
    """Compute the cleanlab baseline of one seed."""

    seed: int
    dense_rows: tuple[Row, ...]
    name: str

    def __call__(
        self, plan: Plan, data: LabelledData, cells: Sequence[Cell], bank: EncoderBank, meter: Meter
    ) -> list[Row]:
        meter.spent["encoder_seconds"] = bank.training_seconds("dense", self.seed)
        return run_cleanlab(self.seed, plan, data, cells, bank, self.dense_rows)


Task = BlockTask | CleanlabTask


def run_tasks(
    tasks: Sequence[Task], plan: Plan, data: LabelledData, cells: Sequence[Cell]
) -> Iterator[tuple[str, list[Row], dict[str, float]]]:
    """Yield (name, rows, what it took, by ``costs.PARTS``) of each task as it ends; encoders must be cached already."""
    if not tasks:
        return
    workers = min(len(tasks), cpu_count())
    # The longest tasks are those of many seeds; started first, they do not keep one core busy at the end alone.
    ordered = sorted(tasks, key=_n_seeds, reverse=True)
    cache = str(cache_folder())
    jobs = (delayed(_run)(task, plan, data, cells, cache) for task in ordered)
    yield from Parallel(n_jobs=workers, return_as="generator_unordered", pre_dispatch="n_jobs")(jobs)


def _n_seeds(task: Task) -> int:
    return len(task.block.seeds) if isinstance(task, BlockTask) else 1


def _run(
    task: Task, plan: Plan, data: LabelledData, cells: Sequence[Cell], cache: str
) -> tuple[str, list[Row], dict[str, float]]:
    os.environ["MONOSEMY_CACHE"] = cache  # a worker process may be older than the caller's setting
    meter, memory = Meter(), PeakMemory()
    with meter.timed("seconds"), one_thread():
        rows = task(plan, data, cells, EncoderBank(plan.encoder, data), meter)
    return task.name, rows, meter.spent | {"peak_mib": memory.mib()}
