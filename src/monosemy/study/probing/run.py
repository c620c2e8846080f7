"""What a study computes at a time, and in which order.

Run a plan into a folder, block by block; a killed run goes on where it was.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from monosemy.core.console import Progress, no_progress
from monosemy.core.executors import Done, ExecutorConfig, run_jobs
from monosemy.core.files import atomic_path, write_text
from monosemy.data.dataset import LabelledData
from monosemy.features.registry import FEATURE_SETS
from monosemy.results.statistics import summarise, with_means
from monosemy.study.conditions import Cell, evaluation_inputs, make_cells
from monosemy.study.folder import COSTS, Meter, PeakMemory, Row, Spent, StudyFolder, costs_table
from monosemy.study.probing.blocks import Block, make_blocks, run_block
from monosemy.study.probing.cleanlab import NAME as CLEANLAB
from monosemy.study.probing.cleanlab import run_cleanlab
from monosemy.study.probing.encoders import EncoderBank
from monosemy.study.probing.eval_embeddings import TestedEmbeddings
from monosemy.study.probing.plan import Plan, check_plan
from monosemy.study.probing.verdict import Verdict, make_verdict


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


RESULTS = "results.parquet"
NOTICES = "notices.txt"


@dataclass(frozen=True)
class StudyResult:
    """What a finished study leaves."""

    plan: Plan
    results: pd.DataFrame
    """Tidy: dataset, encoder, features, scenario, level, seed, metric, value."""
    summary: pd.DataFrame
    """One row a feature set and cell: accuracy and paired gain with intervals and p-values."""
    verdict: Verdict
    notices: tuple[str, ...]
    folder: Path | None
    costs: pd.DataFrame
    """One row a block: seconds and memory; they do not repeat as the numbers do."""


def run_study(
    plan: Plan,
    data: LabelledData,
    folder: Path | None = None,
    on_progress: Progress = no_progress,
    executor: ExecutorConfig | None = None,
) -> StudyResult:
    """Run every block that the folder does not hold yet, and write the study folder.

    Args:
        folder: where to keep blocks, tables and the plan; None keeps all in memory.
        executor: what computes the blocks; by default processes, one a core.

    Raises:
        InputError: the plan does not fit the data, or the folder holds another plan or other data, or is in use.
        ResourceError: the disk is full, memory runs out or a worker is lost; the folder can be resumed.
    """
    executor = executor or ExecutorConfig()
    bank = EncoderBank(plan.encoder, data, on_progress)
    check_plan(plan, data, bank.bases)
    cells = make_cells(plan, data)
    opened = nullcontext() if folder is None else StudyFolder(
        folder, plan.to_yaml(), data, executor, plan.encoder.files, seeds={"seed": plan.seed, "repetitions": plan.seeds}
    )  # fmt: skip
    with opened as store:
        with _place_of_embeddings(folder) as embedded:
            blocks, costs = _run_blocks(plan, data, cells, bank, store, embedded, on_progress, executor)
        results = with_means(pd.concat([_table(rows, plan, data) for rows in blocks], ignore_index=True))
        summary = summarise(results)
        verdict = make_verdict(results, summary, plan)
        result = StudyResult(plan, results, summary, verdict, data.notices, folder, costs)
        if folder is not None:
            _write(result, folder)
    return result


def _write(result: StudyResult, folder: Path) -> None:
    with atomic_path(folder / RESULTS) as temporary:
        result.results.to_parquet(temporary, index=False)
    write_text(folder / "summary.csv", result.summary.to_csv(index=False))
    write_text(folder / COSTS, result.costs.to_csv(index=False))
    verdict_lines = [*result.verdict.sentences, *(f"Warning: {w}" for w in result.verdict.warnings)]
    write_text(folder / "verdict.txt", "\n".join(verdict_lines) + "\n")
    write_text(folder / NOTICES, "".join(f"{notice}\n" for notice in result.notices))


@contextmanager
def _place_of_embeddings(folder: Path | None) -> Iterator[TestedEmbeddings]:
    """In the study's folder, so that a killed study goes on with them; removed at the end, for they are large."""
    if folder is None:
        with TemporaryDirectory() as temporary:
            yield TestedEmbeddings(Path(temporary))
        return
    embedded = TestedEmbeddings(folder / "tested")
    yield embedded
    embedded.remove()


def _run_blocks(
    plan: Plan,
    data: LabelledData,
    cells: list[Cell],
    bank: EncoderBank,
    store: StudyFolder | None,
    embedded: TestedEmbeddings,
    on_progress: Progress,
    executor: ExecutorConfig,
) -> tuple[list[list[Row]], pd.DataFrame]:
    """The rows of each block, and what all of them took."""
    features = [FEATURE_SETS[name] for name in plan.features]
    blocks = make_blocks(plan, features, bank.seeded)
    cleanlab = {f"{CLEANLAB}-{seed}": seed for seed in range(plan.seeds) if plan.cleanlab}
    names = [*(block.name for block in blocks), *cleanlab]
    stored = {name: store.read(name) for name in names} if store is not None else {}
    finished = {name: rows for name, rows in stored.items() if rows is not None}
    spent = store.costs() if store is not None else {}
    missing = len(names) - len(finished)
    if missing:
        bases = list(dict.fromkeys(feature.base for feature in features))
        bank.prepare(bases, range(plan.seeds), executor)
        if data.kind == "texts":
            _embed_texts(bank, plan, data, cells)
        embedded.prepare(plan, data, cells, bases, bank, on_progress, executor)
    done = 0
    on_progress("Feature sets", done, missing)
    # cleanlab comes after the dense blocks, whose weight decays it takes over.
    for stage in ("blocks", "cleanlab"):
        tasks: list[Task] = (
            [BlockTask(block, embedded, None if store is None else store.path) for block in blocks]
            if stage == "blocks"
            else [CleanlabTask(seed, _dense_rows(finished, blocks, seed), name) for name, seed in cleanlab.items()]
        )
        left = [task for task in tasks if task.name not in finished]
        for ended in run_tasks(executor, left, plan, data, cells):
            name, (rows, took) = ended.item.name, ended.result
            finished[name], spent[name] = rows, took
            done += 1
            on_progress("Feature sets", done, missing)
            if store is not None:
                store.write(name, rows, **took)
    work = [(block.feature.name, len(block.seeds), spent.get(block.name, {})) for block in blocks]
    work += [(CLEANLAB, 1, spent.get(name, {})) for name in cleanlab]
    return [finished[name] for name in names], costs_table(work)


def _embed_texts(bank: EncoderBank, plan: Plan, data: LabelledData, cells: list[Cell]) -> None:
    """Embed all texts into the cache, which the tasks share."""
    for split in (data.train, data.validation):
        bank.encode("dense", 0, split.inputs)
    for evaluation in dict.fromkeys(cell.evaluation for cell in cells):
        for seed in range(plan.seeds if evaluation.seeded else 1):
            bank.encode("dense", seed, evaluation_inputs(evaluation, plan, data, seed, None)[0])


def _dense_rows(finished: dict[str, list[Row]], blocks: list[Block], seed: int) -> tuple[Row, ...]:
    owner = next(block.name for block in blocks if block.feature.name == "dense" and seed in block.seeds)
    return tuple(finished[owner])


def _table(rows: list[Row], plan: Plan, data: LabelledData) -> pd.DataFrame:
    frame = pd.DataFrame(rows)
    frame.insert(0, "dataset", data.name)
    frame.insert(1, "encoder", plan.encoder.name)
    return frame
