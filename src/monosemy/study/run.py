"""Run a plan into a folder, block by block; a killed run goes on where it was."""

import json
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import torch

from monosemy._version import __version__
from monosemy.cache import fingerprint
from monosemy.data.labelled import LabelledData
from monosemy.encoders.bank import EncoderBank
from monosemy.errors import InputError
from monosemy.features.registry import FEATURE_SETS, FeatureSet
from monosemy.files import atomic_path, write_text
from monosemy.study.block import BLOCK_COLUMNS, Block, Row, make_blocks
from monosemy.study.cells import Cell, evaluation_inputs, make_cells
from monosemy.study.denoising import NAME as CLEANLAB
from monosemy.study.plan import Plan, check_plan
from monosemy.study.statistics import summarise
from monosemy.study.verdict import Verdict, make_verdict
from monosemy.study.workers import BlockTask, CleanlabTask, Task, run_tasks

OnProgress = Callable[[str, int, int], None]


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


def ignore_progress(what: str, done: int, total: int) -> None:
    pass


def run_study(
    plan: Plan, data: LabelledData, folder: Path | None = None, on_progress: OnProgress = ignore_progress
) -> StudyResult:
    """Run every block that the folder does not hold yet, and write the study folder.

    Args:
        folder: where to keep blocks, tables and the plan; None keeps all in memory.

    Raises:
        InputError: the plan does not fit the data, or the folder holds another plan or other data.
    """
    check_plan(plan, data)
    cells = make_cells(plan, data)
    bank = EncoderBank(plan.encoder, data, on_progress)
    if folder is not None:
        _open_folder(folder, plan, data)
    frames = [_table(rows, plan, data) for rows in _run_blocks(plan, data, cells, bank, folder, on_progress)]
    results = pd.concat(frames, ignore_index=True)
    summary = summarise(results)
    verdict = make_verdict(results, summary, plan)
    if folder is not None:
        with atomic_path(folder / "results.parquet") as temporary:
            results.to_parquet(temporary, index=False)
        write_text(folder / "summary.csv", summary.to_csv(index=False))
        verdict_lines = [*verdict.sentences, *(f"Warning: {w}" for w in verdict.warnings)]
        write_text(folder / "verdict.txt", "\n".join(verdict_lines) + "\n")
    return StudyResult(plan, results, summary, verdict, data.notices, folder)


def _run_blocks(
    plan: Plan,
    data: LabelledData,
    cells: list[Cell],
    bank: EncoderBank,
    folder: Path | None,
    on_progress: OnProgress,
) -> list[list[Row]]:
    features = [FEATURE_SETS[name] for name in plan.features]
    blocks = make_blocks(plan, features, bank.seeded)
    cleanlab = {f"{CLEANLAB}-{seed}": seed for seed in range(plan.seeds) if plan.cleanlab}
    names = [*(block.name for block in blocks), *cleanlab]
    stored = {name: _read_block(folder, name) for name in names}
    finished = {name: rows for name, rows in stored.items() if rows is not None}
    missing = len(names) - len(finished)
    if missing:
        _prepare(bank, features, plan, data, cells)
    done = 0
    on_progress("Feature sets", done, missing)
    # cleanlab comes after the dense blocks, whose weight decays it takes over.
    for stage in ("blocks", "cleanlab"):
        tasks: list[Task] = (
            [BlockTask(block) for block in blocks]
            if stage == "blocks"
            else [CleanlabTask(seed, _dense_rows(finished, blocks, seed), name) for name, seed in cleanlab.items()]
        )
        for name, rows, seconds in run_tasks([t for t in tasks if t.name not in finished], plan, data, cells):
            finished[name] = rows
            done += 1
            on_progress("Feature sets", done, missing)
            if folder is not None:
                with atomic_path(_block_path(folder, name)) as temporary:
                    pd.DataFrame(rows).to_parquet(temporary, index=False)
                _log(folder, {"event": "block", "name": name, "seconds": round(seconds, 3)})
    return [finished[name] for name in names]


def _prepare(bank: EncoderBank, features: list[FeatureSet], plan: Plan, data: LabelledData, cells: list[Cell]) -> None:
    """Do what the tasks share before they start: train encoders, embed all texts into the cache."""
    bank.prepare(list(dict.fromkeys(feature.base for feature in features)), range(plan.seeds))
    if data.kind != "texts":
        return
    for split in (data.train, data.validation):
        bank.encode("dense", 0, split.inputs)
    for evaluation in dict.fromkeys(cell.evaluation for cell in cells):
        fixed = evaluation.kind == "clean" or evaluation.kind.startswith("shift:")
        for seed in range(1 if fixed else plan.seeds):
            bank.encode("dense", seed, evaluation_inputs(evaluation, plan, data, seed, None)[0])


def _dense_rows(finished: dict[str, list[Row]], blocks: list[Block], seed: int) -> tuple[Row, ...]:
    owner = next(block.name for block in blocks if block.feature.name == "dense" and seed in block.seeds)
    return tuple(finished[owner])


def _block_path(folder: Path, name: str) -> Path:
    return folder / "cells" / f"{name}.parquet"


def _read_block(folder: Path | None, name: str) -> list[Row] | None:
    if folder is None:
        return None
    try:
        frame = pd.read_parquet(_block_path(folder, name), columns=list(BLOCK_COLUMNS))
        return [{str(k): v for k, v in row.items()} for row in frame.to_dict("records")]
    except (OSError, KeyError, ValueError, pa.ArrowInvalid):  # not there yet, or damaged: computed again
        return None


def _table(rows: list[Row], plan: Plan, data: LabelledData) -> pd.DataFrame:
    frame = pd.DataFrame(rows)
    frame.insert(0, "dataset", data.name)
    frame.insert(1, "encoder", plan.encoder.name)
    return frame


def _open_folder(folder: Path, plan: Plan, data: LabelledData) -> None:
    plan_path, environment_path = folder / "plan.yaml", folder / "environment.json"
    text = plan.to_yaml()
    key = data_fingerprint(data)
    if plan_path.is_file():
        if plan_path.read_bytes() != text.encode():
            raise InputError(f"The folder {folder} holds another plan (plan.yaml differs); choose another --out.")
        known = _read_environment(environment_path)
        if known.get("data") != key:
            raise InputError(f"The folder {folder} was made from other data of the same name; choose another --out.")
        if known.get("packages") != _environment()["packages"]:
            raise InputError(
                f"The folder {folder} was made with other versions (environment.json); choose another --out, so that "
                f"no results of two versions mix."
            )
        _log(folder, {"event": "resume"})
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"The folder {folder} cannot be made ({error.strerror}); choose another --out.") from error
    # A start that was killed between its first two files leaves environment.json, which is written anew.
    if any(path.name != environment_path.name and not path.name.startswith(".") for path in folder.iterdir()):
        raise InputError(f"The folder {folder} is not empty and holds no study; choose another --out.")
    write_text(environment_path, json.dumps(_environment() | {"data": key}, indent=2) + "\n")
    write_text(plan_path, text)
    _log(folder, {"event": "start"})


def _read_environment(path: Path) -> dict[str, Any]:
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read, so nothing tells what made this folder; choose another --out."
        ) from error
    return known if isinstance(known, dict) else {}


def data_fingerprint(data: LabelledData) -> str:
    """Of all splits' inputs and labels."""
    given = data.given_labels or ()
    parts = [part for split in data.splits().values() for part in (split.inputs, split.labels)]
    return fingerprint(*parts, *given, data.class_names)


def _environment() -> dict[str, Any]:
    packages = ("torch", "numpy", "scipy", "scikit-learn", "pandas")
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "packages": {"monosemy": __version__} | {name: version(name) for name in packages},
    }


def _log(folder: Path, entry: dict[str, Any]) -> None:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    with (folder / "log.jsonl").open("a", encoding="utf-8") as log:
        log.write(json.dumps({"time": stamp} | entry) + "\n")
