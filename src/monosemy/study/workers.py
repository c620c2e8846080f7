"""What a study computes at a time, and in which order."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from monosemy.data.labelled import LabelledData
from monosemy.encoders.bank import EncoderBank
from monosemy.executors import Done, ExecutorConfig, run_jobs
from monosemy.study.block import Block, run_block
from monosemy.study.cells import Cell
from monosemy.study.costs import Meter, PeakMemory, Spent
from monosemy.study.denoising import run_cleanlab
from monosemy.study.folder import Row
from monosemy.study.plan import Plan
from monosemy.study.tested import TestedEmbeddings


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
    executor: ExecutorConfig, tasks: Sequence[Task], plan: Plan, data: LabelledData, cells: Sequence[Cell]
) -> Iterator[Done[Task, tuple[list[Row], Spent]]]:
    """Yield rows and what they took (by ``costs.PARTS``) of each task as it ends; encoders must be cached already."""
    # The longest tasks are those of many seeds; started first, they do not keep one core busy at the end alone.
    ordered = sorted(tasks, key=_n_seeds, reverse=True)
    yield from run_jobs(executor, _run, ordered, plan, data, cells)


def _n_seeds(task: Task) -> int:
    return len(task.block.seeds) if isinstance(task, BlockTask) else 1


def _run(task: Task, plan: Plan, data: LabelledData, cells: Sequence[Cell]) -> tuple[list[Row], Spent]:
    meter, memory = Meter(), PeakMemory()
    with meter.timed("seconds"):
        rows = task(plan, data, cells, EncoderBank(plan.encoder, data), meter)
    return rows, meter.spent | {"peak_mib": memory.mib()}
