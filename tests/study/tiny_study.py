"""A kind of study whose jobs only count, to test the engine: fractions of labels that noise left as they were."""

import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from monosemy.core.config import Config
from monosemy.core.console import Progress, no_progress
from monosemy.core.executors import ExecutorConfig
from monosemy.data.dataset import LabelledData, Split
from monosemy.errors import InputError
from monosemy.results.result import StudyResult, Verdict, register_family
from monosemy.seeding import numpy_rng
from monosemy.study.conditions import Cell, Conditions, conditions, make_cells, training_labels, with_levels
from monosemy.study.engine import StudyContext, StudyKind, run_study
from monosemy.study.folder import Row, data_fingerprint
from monosemy.study.scenarios import LabelPlan


@dataclass(frozen=True)
class Variant:
    title: str
    role: Literal["baseline", "monosemantic"]


register_family({"plain": Variant("counted plainly", "baseline"), "mono": Variant("counted again", "monosemantic")})


class TinySource(Config):
    n_rows: int = 60
    """Number of train rows."""


class TinyPlan(LabelPlan):
    kind: Literal["tiny"] = "tiny"
    data: TinySource = TinySource()
    variants: tuple[Literal["plain", "mono"], ...] = ("plain", "mono")
    """Variants to count."""
    bonus: Path | None = None
    """File with a number that is added to the accuracy of `mono`."""
    n_seeds: int = 3


def tiny_data(n_rows: int = 60, name: str = "numbers") -> LabelledData:
    def split(n: int) -> Split:
        return Split(np.arange(2 * n, dtype=np.float32).reshape(n, 2), np.arange(n, dtype=np.int64) % 3)

    parts = {"train": split(n_rows), "validation": split(12), "test": split(12)}
    return LabelledData(name, "embeddings", **parts, class_names=("a", "b", "c"), notices=("One row was left out.",))


@dataclass(frozen=True)
class TinyJob:
    variant: str
    cell: Cell
    seed: int
    n_seeds: int = 1

    @property
    def name(self) -> str:
        return f"{self.variant}-{self.cell.scenario}-{self.cell.level:g}-{self.seed}"


class TinyStudy(StudyKind[TinyPlan, LabelledData, TinyJob]):
    """Counts; the environment variables TINY_FAIL, TINY_KILL name a job that fails or kills its process."""

    plan_type = TinyPlan
    title = "counting"
    command = "monosemy tiny"
    baseline = "plain"

    def load(self, plan: TinyPlan, on_progress: Progress = no_progress) -> LabelledData:
        return tiny_data(plan.data.n_rows)

    def resolve(self, plan: TinyPlan, data: LabelledData) -> TinyPlan:
        return with_levels(plan, data)

    def check(self, plan: TinyPlan, data: LabelledData, device: str) -> LabelledData:
        if "plain" not in plan.variants:
            raise InputError("The variants lack 'plain', the baseline; add it.")
        conditions(plan, data)
        return data

    def key(self, plan: TinyPlan, data: LabelledData) -> str:
        return data_fingerprint(data)

    def prepare(
        self, context: StudyContext[TinyPlan, LabelledData], executor: ExecutorConfig
    ) -> tuple[Conditions, str | None]:
        note("prepare")
        return conditions(context.plan, context.data), os.environ.get("TINY_FAIL")

    def jobs(self, plan: TinyPlan, data: LabelledData) -> list[TinyJob]:
        return [
            TinyJob(name, cell, seed)
            for seed in range(plan.n_seeds)
            for cell in make_cells(plan, data)
            for name in plan.variants
        ]

    def run(self, job: TinyJob, context: StudyContext[TinyPlan, LabelledData]) -> list[Row]:
        given, failing = context.shared
        if job.name == failing:
            raise InputError(f"The job {job.name} fails; mend it.")
        if job.name == os.environ.get("TINY_KILL"):
            os.kill(os.getpid(), signal.SIGKILL)
        plan, data = context.plan, context.data
        with context.meter.timed("probe_seconds"):
            labels, _ = training_labels(job.cell.training, given, data, job.seed)
            kept = float((labels == data.train.labels).mean())
            noise = numpy_rng(plan.seed, "tiny", job.variant, job.seed).normal() / 7
            bonus = float(plan.bonus.read_text()) if job.variant == "mono" and plan.bonus is not None else 0.0
            draw = float(numpy_rng(plan.seed, "draw", job.seed).random())
            where = place(job, job.cell.scenario, job.cell.level)
            return [where | {"metric": "accuracy", "value": kept / 3 + noise + bonus},
                    where | {"metric": "draw", "value": draw}]  # fmt: skip

    def collect(self, job: TinyJob, output: Any, context: StudyContext[TinyPlan, LabelledData]) -> list[Row]:
        note(job.name)
        rows: list[Row] = output
        return rows

    def tabulate(self, rows: list[Row], plan: TinyPlan, data: LabelledData) -> dict[str, pd.DataFrame]:
        frame = pd.DataFrame(rows)
        frame.insert(0, "dataset", data.name)
        frame.insert(1, "encoder", "none")
        return {"results": frame, "draws": frame[frame["metric"] == "draw"].reset_index(drop=True)}

    def verdict(self, result: StudyResult) -> Verdict:
        names = ", ".join(dict.fromkeys(result.results["variant"]))
        return Verdict((f"Counted: {names}.", f"Draws: {len(result.tables['draws'])}."), ("It is only counting.",))

    def finish(self, result: StudyResult, context: StudyContext[TinyPlan, LabelledData]) -> None:
        (context.folder / "finished.txt").write_text(str(len(result.results)))


def place(job: TinyJob, scenario: str, level: float) -> Row:
    return {"variant": job.variant, "scenario": scenario, "level": level, "seed": job.seed}


def note(what: str) -> None:
    """Write down what was computed in the main process, where the environment names a file for it."""
    path = os.environ.get("TINY_NOTES")
    if path:
        with open(path, "a", encoding="utf-8") as file:
            file.write(f"{what}\n")


def main(words: Sequence[str]) -> None:
    run_study(TinyStudy(), TinyPlan(), tiny_data(), Path(words[0]), executor=ExecutorConfig(name="in-process"))


if __name__ == "__main__":
    from tiny_study import main as imported_main  # the classes by the name that the tests know

    imported_main(sys.argv[1:])
