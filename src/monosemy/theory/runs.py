"""The runs behind `monosemy toy`: one setting in depth, and the sweep over sparsity and dimensions."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from monosemy.classifiers.engine import ProbeConfig
from monosemy.core.console import Progress
from monosemy.core.environment import one_thread
from monosemy.corruptions.labels import check_symmetric_rate, informative_limit
from monosemy.errors import InputError
from monosemy.seeding import torch_rng
from monosemy.theory.toy import (
    Superposition,
    ToyConfig,
    ToyModels,
    check_shape,
    draw_features,
    measure_superposition,
    train_toy_models,
    variance_explained,
)
from monosemy.theory.toy_study import CODES, TASKS, Row, Task, TaskConfig, evaluate_codes, task_classes
from monosemy.theory.two_features import check_input_noise, check_sparsity

_WORKERS = 2
"""Probes are trained on as many threads, each with single-threaded operations; the numbers do not depend on it."""


@dataclass(frozen=True)
class ToySetting:
    """One setting, looked at in depth."""

    features: int = 40
    dimensions: int = 20
    sparsity: float = 0.2
    seeds: int = 5
    importance_decay: float = 1.0
    """Importance of feature i is this to the power i, i from 0; 1 for equal importance."""
    pictured: tuple[float, ...] = (0.2, 0.5, 0.8, 0.95)
    """Sparsities of the pictures of W^T W, beside the setting's own."""
    task: TaskConfig = field(default_factory=TaskConfig)
    training: ToyConfig = field(default_factory=ToyConfig)

    def check(self) -> None:
        """Raise InputError for a setting that makes no sense."""
        if self.features < 2:
            raise InputError(f"features is {self.features}; give n of at least 2, or there is nothing to tell apart.")
        check_shape(self.features, self.dimensions)
        check_sparsity(self.sparsity)
        if self.seeds < 1:
            raise InputError(f"seeds is {self.seeds}; give at least 1, and 5 for intervals that mean something.")
        if self.training.steps < 1:
            raise InputError(f"steps is {self.training.steps}; give at least 1.")
        if not 0 < self.importance_decay <= 1:
            raise InputError(f"importance_decay is {self.importance_decay:g}; give a number above 0 and at most 1.")
        check_symmetric_rate(self.task.label_noise, self.features)
        check_input_noise(np.array(self.task.input_noise))

    @property
    def importance(self) -> NDArray[np.float64]:
        return np.power(self.importance_decay, np.arange(self.features, dtype=np.float64))


@dataclass(frozen=True)
class SweepSetting:
    """A grid of sparsities and dimensions; noise is relative, so that all cells are equally hard."""

    features: int = 20
    dimensions: tuple[int, ...] = (2, 5, 8, 10, 14, 18)
    sparsity: tuple[float, ...] = (0.0, 0.2, 0.4, 0.6, 0.8, 0.95)
    seeds: int = 5
    label_noise: float = 0.9
    """In units of (C - 1) / C, where labels carry no information."""
    input_noise: float = 0.3
    training: ToyConfig = field(default_factory=ToyConfig)
    task: TaskConfig = field(
        default_factory=lambda: TaskConfig(
            train=1500, validation=500, test=2000, weight_decays=(0.0, 1e-2), probe=ProbeConfig(epochs=10)
        )
    )


@dataclass(frozen=True)
class ToyRun:
    """What one setting gave."""

    setting: ToySetting
    results: pd.DataFrame
    """Tidy: code, task, scenario, level, seed, metric, value."""
    pictured: tuple[float, ...]
    """Sparsities of the models below."""
    models: ToyModels
    """len(pictured) * seeds models, the setting's own sparsity first, seeds fastest."""
    superposition: Superposition
    """Of these models."""


def _usable(task: Task, features: int, dimensions: int) -> bool:
    return task_classes(task, features, dimensions) >= 2


def run_toy(setting: ToySetting, on_progress: Progress | None = None) -> ToyRun:
    """Train the models at once, then probe every code on every task.

    Label-noise levels at which a task's classes carry no information are left out of that task.
    """
    setting.check()
    pictured = tuple(dict.fromkeys((setting.sparsity, *setting.pictured)))
    seeds = np.arange(setting.seeds)
    tell = on_progress or (lambda *_: None)
    sparsity = np.repeat(pictured, setting.seeds)
    models = train_toy_models(
        sparsity, np.tile(seeds, len(pictured)), setting.features, setting.dimensions, setting.importance,
        setting.training, lambda done, total: tell("toy models", done, total),
    )  # fmt: skip
    superposition = measure_superposition(models.weight)
    jobs = [
        _Job(models.weight[seed].numpy(), setting.sparsity, task, int(seed), _informative(setting, task), CODES)
        for task in TASKS
        for seed in seeds
        if _usable(task, setting.features, setting.dimensions)
    ]
    rows = [row for job_rows in _run_jobs(jobs, tell) for row in job_rows]
    rows += _model_rows(setting, models, superposition)
    return ToyRun(setting, pd.DataFrame(rows), pictured, models, superposition)


def _informative(setting: ToySetting, task: Task) -> TaskConfig:
    limit = informative_limit(task_classes(task, setting.features, setting.dimensions))
    levels = tuple(level for level in setting.task.label_noise if 0 < level < limit - 1e-9)
    return TaskConfig(**{**vars(setting.task), "label_noise": levels})


def _model_rows(setting: ToySetting, models: ToyModels, superposition: Superposition) -> list[Row]:
    own = ToyModels(models.weight[: setting.seeds], models.bias[: setting.seeds])
    samples = draw_features(
        torch.tensor([setting.sparsity]), 10_000, setting.features, torch_rng("toy-variance", setting.sparsity)
    )
    explained = variance_explained(own, samples.expand(setting.seeds, -1, -1))
    rows = []
    for seed in range(setting.seeds):
        measured = {
            "variance_explained": explained[seed],
            "features_per_dimension": superposition.features_per_dimension[seed],
            "interference": np.nanmean(superposition.interference[seed]),
            "dimensionality": superposition.dimensionality[seed].mean(),
        }
        place = {"code": "poly", "task": "-", "scenario": "clean", "level": 0.0, "seed": seed}
        rows += [place | {"metric": metric, "value": float(value)} for metric, value in measured.items()]
    return rows


def run_sweep(setting: SweepSetting, on_progress: Progress | None = None) -> pd.DataFrame:
    """Mono against poly over the grid: tidy rows as of :func:`run_toy`, with features, dimensions and sparsity."""
    tell = on_progress or (lambda *_: None)
    seeds = np.arange(setting.seeds)
    places: list[Row] = []
    jobs: list[_Job] = []
    for number, m in enumerate(setting.dimensions):
        models = train_toy_models(
            np.repeat(setting.sparsity, setting.seeds), np.tile(seeds, len(setting.sparsity)),
            setting.features, m, config=setting.training,
        )  # fmt: skip
        tell("sweep: toy models", number + 1, len(setting.dimensions))
        for task in TASKS:
            if not _usable(task, setting.features, m):
                continue
            limit = informative_limit(task_classes(task, setting.features, m))
            config = TaskConfig(
                **{
                    **vars(setting.task),
                    "label_noise": (setting.label_noise * limit,),
                    "input_noise": (setting.input_noise,),
                }
            )
            for k, weight in enumerate(models.weight):
                s, seed = setting.sparsity[k // setting.seeds], k % setting.seeds
                places.append({"features": setting.features, "dimensions": m, "sparsity": s})
                jobs.append(_Job(weight.numpy(), s, task, seed, config, CODES[:2]))
    done = _run_jobs(jobs, tell, "sweep: probes")
    return pd.DataFrame([place | row for place, rows in zip(places, done, strict=True) for row in rows])


@dataclass(frozen=True)
class _Job:
    weight: NDArray[np.float32]
    sparsity: float
    task: Task
    seed: int
    config: TaskConfig
    codes: Sequence[str]

    def run(self) -> list[Row]:
        return evaluate_codes(self.weight, self.sparsity, self.task, self.seed, self.config, self.codes)


def _run_jobs(jobs: Sequence[_Job], tell: Callable[..., Any], name: str = "probes") -> list[list[Row]]:
    """Rows of each job, in the order of the jobs."""
    with one_thread(), ThreadPoolExecutor(_WORKERS) as pool:
        futures = [pool.submit(job.run) for job in jobs]
        try:
            for done, future in enumerate(as_completed(futures), start=1):
                future.result()
                tell(name, done, len(jobs))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
        return [future.result() for future in futures]
