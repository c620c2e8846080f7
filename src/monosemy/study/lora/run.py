"""Run a comparison of adapters into a folder, cell by cell; a killed run goes on where it was."""

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch.distributed as dist

from monosemy.core.cache import fingerprint
from monosemy.core.console import Progress
from monosemy.core.distributed import SINGLE_PROCESS, Processes
from monosemy.core.environment import one_thread
from monosemy.core.executors import Done, ExecutorConfig, run_jobs
from monosemy.core.files import atomic_path, write_text
from monosemy.lm.adapter_training import insert_adapter
from monosemy.lm.dpo_evaluation import sample_texts
from monosemy.lm.instructions import held_out_texts
from monosemy.lm.judge import make_judge
from monosemy.lm.models import model_fingerprint
from monosemy.results.statistics import summarise
from monosemy.study.conditions import Cell, Evaluation, Training, make_cells
from monosemy.study.folder import Row, StudyFolder
from monosemy.study.lora.adapter import AdapterRun, load_base, run_cell
from monosemy.study.lora.data import AdapterData, fitted
from monosemy.study.lora.plan import BASELINE, AdapterPlan, check_plan

_PACKAGES = ("transformers", "peft", "trl")


@dataclass(frozen=True)
class AdapterResult:
    """What a finished comparison leaves."""

    plan: AdapterPlan
    data: AdapterData
    results: pd.DataFrame
    """Tidy: dataset, encoder (the model), features (the method), scenario, level, seed, metric, value."""
    summary: pd.DataFrame
    folder: Path


def run_adapters(
    plan: AdapterPlan,
    data: AdapterData,
    folder: Path,
    on_progress: Progress,
    device: str = "cpu",
    processes: Processes = SINGLE_PROCESS,
    executor: ExecutorConfig | None = None,
) -> AdapterResult:
    """Finetune every model that the folder does not hold yet, and write tables, adapters and their units.

    Processes that torchrun started train each adapter together, one adapter after another.

    Args:
        executor: what trains them otherwise; by default processes, one a core, and on a GPU one after another.

    Raises:
        InputError: the plan does not fit the data or the model, or the folder holds another plan or other data, or is
            in use.
        ResourceError: the disk is full, memory runs out or a worker is lost; the folder can be resumed.
    """
    check_plan(plan, data)
    if plan.judge is not None:
        make_judge(plan.judge)  # faults show before the first training
    data, held_out = _prepared(plan, data, device)
    runs = make_runs(plan, data)
    executor = (executor or ExecutorConfig()).for_device(device)
    with _opened(plan, data, held_out, folder, processes, executor) as store:
        found = {} if store is None else {run: rows for run in runs if (rows := store.read(run.name)) is not None}
        finished = _told(found, processes)
        missing = [run for run in runs if run not in finished]
        on_progress("Adapters", 0, len(missing))
        ended = _run_all(missing, plan, data, held_out, folder, device, on_progress, processes, executor)
        for done, job in enumerate(ended, start=1):
            finished[job.item] = job.result
            if store is not None:
                store.write(job.item.name, job.result, seconds=job.seconds)
            on_progress("Adapters", done, len(missing))
        results = _table([row for run in runs for row in finished[run]], plan, data)
        summary = summarise(results, BASELINE)
        if store is not None:
            with atomic_path(folder / "results.parquet") as temporary:
                results.to_parquet(temporary, index=False)
            write_text(folder / "summary.csv", summary.to_csv(index=False))
            shutil.rmtree(folder / "training", ignore_errors=True)
    return AdapterResult(plan, data, results, summary, folder)


def _opened(
    plan: AdapterPlan,
    data: AdapterData,
    held_out: tuple[str, ...],
    folder: Path,
    processes: Processes,
    executor: ExecutorConfig,
) -> AbstractContextManager[StudyFolder | None]:
    """The folder, for the one process that writes."""
    if not processes.is_main:
        return nullcontext()
    prompts = [] if plan.judge_prompts is None else [plan.judge_prompts]
    key = fingerprint(data.key(), held_out, model_fingerprint(plan.model))
    seeds = {"seed": plan.seed, "repetitions": plan.seeds}
    return StudyFolder(folder, plan.to_yaml(), key, executor, prompts, _PACKAGES, seeds)


def make_runs(plan: AdapterPlan, data: AdapterData) -> list[AdapterRun]:
    """Every model to train; levels that train on the same labels share one, and an untrained model is there once."""
    clean = Cell("clean", 0.0, Training(), Evaluation())
    by_training: dict[Training, Cell] = {}
    for cell in [clean] if data.labelled is None else make_cells(plan, data.labelled):
        by_training.setdefault(cell.training, cell)
    runs = [
        AdapterRun(method, cell, seed)
        for seed in range(plan.seeds)
        for cell in by_training.values()
        for method in plan.methods
    ]
    untrained = data.task == "generation"
    return [run for run in runs if not (untrained and run.method == "base" and (run.cell != clean or run.seed))]


def _prepared(plan: AdapterPlan, data: AdapterData, device: str) -> tuple[AdapterData, tuple[str, ...]]:
    """The data that fits the model, and held-out texts; faults of the model show before anything is written."""
    texts = [] if plan.held_out is None else held_out_texts(plan.held_out)
    loaded = load_base(plan, data, device, seed=0)
    n_tokens = min(plan.training.max_tokens or loaded.context, loaded.context)
    found = fitted(data, loaded.tokenizer, n_tokens, plan.data.on_long)
    if data.task == "generation" and plan.held_out is None:
        with one_thread():  # the draws, and with them the folder's key, are the same on any number of cores
            texts = sample_texts(loaded, seed=plan.seed)
    insert_adapter(loaded, plan.training_of(BASELINE, plan.learning_rates[0], 0), data.task)
    return found, tuple(texts)


def _told(finished: dict[AdapterRun, list[Row]], processes: Processes) -> dict[AdapterRun, list[Row]]:
    """What the writing process found in the folder; the others do not read while it may write."""
    if processes.world_size == 1:
        return finished
    told = [finished]
    dist.broadcast_object_list(told, src=0)
    return told[0]


def _run_all(
    runs: Sequence[AdapterRun],
    plan: AdapterPlan,
    data: AdapterData,
    held_out: tuple[str, ...],
    folder: Path,
    device: str,
    on_progress: Progress,
    processes: Processes,
    executor: ExecutorConfig,
) -> Iterator[Done[AdapterRun, list[Row]]]:
    """Each run as it ends."""
    if executor.name == "in-process" or processes.world_size > 1:
        for run in runs:
            started = time.monotonic()
            with one_thread() if device == "cpu" and processes.world_size == 1 else nullcontext():
                rows = run_cell(run, plan, data, held_out, folder, device, is_main=processes.is_main,
                    on_step=lambda done, total: on_progress("Steps", done, total),
                )  # fmt: skip
            yield Done(run, rows, time.monotonic() - started)
        return
    yield from run_jobs(executor, run_cell, runs, plan, data, held_out, folder, executor.job_device(device))


def _table(rows: list[Row], plan: AdapterPlan, data: AdapterData) -> pd.DataFrame:
    frame = pd.DataFrame(rows)
    frame.insert(0, "dataset", data.name)
    frame.insert(1, "encoder", Path(plan.model).name)
    order = {name: place for place, name in enumerate(plan.methods)}
    return frame.sort_values("features", key=lambda names: names.map(order), kind="stable", ignore_index=True)
