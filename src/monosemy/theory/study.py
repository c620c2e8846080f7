"""The studies of `monosemy toy` and `monosemy theory`: their jobs, and the tables of their rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch

from monosemy.core.console import Progress
from monosemy.corruptions.labels import check_symmetric_rate, informative_limit
from monosemy.report.tables import Section
from monosemy.results.result import StudyResult, Verdict
from monosemy.results.statistics import mean_interval
from monosemy.seeding import numpy_rng, torch_rng
from monosemy.study import engine, folder
from monosemy.theory import codes, figures, simulation, toy, two_features, verdict
from monosemy.theory.plan import BASELINE, CODES, SeparabilityPlan, ToyPlan

Source = Literal["closed form", "simulation", "simulated check"]


def _seeds(plan: ToyPlan | SeparabilityPlan) -> tuple[int, ...]:
    return tuple(range(plan.seed, plan.seed + plan.n_seeds))


class _TheoryStudy(engine.StudyKind[engine.PlanT, None, engine.JobT]):
    """A study without data: the jobs draw their samples."""

    baseline = BASELINE

    def load(self, plan: engine.PlanT, on_progress: Progress) -> None:
        return None

    def key(self, plan: engine.PlanT, data: None) -> str:
        return plan.kind  # results depend on the plan alone

    def folder_name(self, plan: engine.PlanT, data: None) -> str:
        return plan.kind


@dataclass(frozen=True)
class ToyJob:
    """Toy models of a seed at the plan's sparsities, or of all seeds in a cell of the sweep; and their probes."""

    n_dimensions: int
    sparsity: float
    seeds: tuple[int, ...]
    sweep: bool = False

    @property
    def variant(self) -> str:
        """The codes that the job probes."""
        return "sweep" if self.sweep else "+".join(CODES)

    @property
    def n_seeds(self) -> int:
        """The number of repetitions."""
        return len(self.seeds)

    @property
    def name(self) -> str:
        """The name of the job, and of its file."""
        place = f"{self.n_dimensions}-{self.sparsity:g}"
        return f"sweep-{place}" if self.sweep else f"models-{place}-{self.seeds[0]}"


class ToyStudy(_TheoryStudy[ToyPlan, ToyJob]):
    """Compares codes of sparse features: one feature per dimension against learned superposition."""

    plan_type = ToyPlan
    title = "toy model of superposition"
    command = "monosemy toy"
    jobs_title = "Toy models"

    def check(self, plan: ToyPlan, data: None, device: str) -> None:
        """Raise where dimensions or noise do not fit the number of features."""
        toy.check_shape(plan.n_features, plan.n_dimensions)
        check_symmetric_rate(plan.label_noise, plan.n_features)
        for n_dimensions in plan.grid.dimensions if plan.sweep else ():
            toy.check_shape(plan.grid.n_features, n_dimensions)

    def jobs(self, plan: ToyPlan, data: None) -> list[ToyJob]:
        """Return a job for each seed, and one for each cell of the sweep."""
        jobs = [ToyJob(plan.n_dimensions, plan.sparsity, (seed,)) for seed in _seeds(plan)]
        if plan.sweep:
            jobs += [
                ToyJob(n_dimensions, sparsity, tuple(range(plan.seed, plan.seed + plan.grid.n_seeds)), sweep=True)
                for n_dimensions in plan.grid.dimensions
                for sparsity in plan.grid.sparsities
            ]
        return jobs

    def run(self, job: ToyJob, context: engine.StudyContext[ToyPlan, None]) -> list[folder.Row]:
        """Train the toy models of a job and probe their codes."""
        return _sweep_rows(job, context.plan) if job.sweep else _setting_rows(job, context.plan)

    def tabulate(self, rows: list[folder.Row], plan: ToyPlan, data: None) -> dict[str, pd.DataFrame]:
        """Return the even-handed task as results, and the tables kept, weights and sweep."""
        frame = pd.DataFrame(rows)
        frame.insert(1, "encoder", "toy model")
        parts = {str(name): part.drop(columns="table") for name, part in frame.groupby("table", sort=False)}
        left_out = {name: [] if name == "weights" else ["row", "column"] for name in parts}
        return {name: part.drop(columns=left_out[name]).reset_index(drop=True) for name, part in parts.items()}

    def verdict(self, result: StudyResult) -> Verdict:
        return verdict.toy_verdict(result)

    def sections(self, result: StudyResult) -> Sequence[Section]:
        return figures.toy_sections(result)


def _setting_rows(job: ToyJob, plan: ToyPlan) -> list[folder.Row]:
    """Train the models of one seed, the plan's own sparsity first; probe the first, and keep the weights of all."""
    (seed,) = job.seeds
    n, m, sparsities = plan.n_features, job.n_dimensions, plan.pictured_sparsities
    importance = np.power(plan.importance_decay, np.arange(n, dtype=np.float64))
    seeds = np.full(len(sparsities), seed)
    models = toy.train_toy_models(np.array(sparsities), seeds, n, m, importance, plan.training)
    weight = models.weight[0].numpy()
    rows: list[folder.Row] = []
    for task in codes.TASKS:
        n_classes = codes.task_classes(task, n, m)
        if n_classes < 2:
            continue
        limit = informative_limit(n_classes)
        levels = [level for level in plan.label_noise if 0 < level < limit - 1e-9]
        probed = codes.evaluate_codes(weight, plan.sparsity, task, seed, plan.task, levels, plan.input_noise)
        rows += _placed(probed, "results" if task == "all" else task, n, m, plan.sparsity)
    samples = toy.draw_features(torch.tensor([plan.sparsity]), 10_000, n, torch_rng("toy-variance", plan.sparsity))
    superposition = toy.measure_superposition(models.weight[:1])
    measured = {
        "variance_explained": toy.variance_explained(toy.ToyModels(models.weight[:1], models.bias[:1]), samples)[0],
        "features_per_dimension": superposition.features_per_dimension[0],
        "interference": np.nanmean(superposition.interference[0]),
        "dimensionality": superposition.dimensionality[0].mean(),
    }
    place = {"variant": "poly", "task": "-", "scenario": "clean", "level": 0.0, "seed": seed}
    about_model = [place | {"metric": metric, "value": float(value)} for metric, value in measured.items()]
    rows += _placed(about_model, "results", n, m, plan.sparsity)
    for sparsity, matrix in zip(sparsities, models.weight.numpy(), strict=True):
        entries = [
            place | {"metric": "weight", "value": float(value), "row": i, "column": j}
            for (i, j), value in np.ndenumerate(matrix)
        ]
        rows += _placed(entries, "weights", n, m, sparsity)
    return rows


def _sweep_rows(job: ToyJob, plan: ToyPlan) -> list[folder.Row]:
    """Train the models of a cell of the sweep, and probe mono and poly on both tasks."""
    n, m, grid = plan.grid.n_features, job.n_dimensions, plan.grid
    sparsities = np.full(job.n_seeds, job.sparsity)
    models = toy.train_toy_models(sparsities, np.array(job.seeds), n, m, config=plan.training)
    rows: list[folder.Row] = []
    for task in codes.TASKS:
        n_classes = codes.task_classes(task, n, m)
        if n_classes < 2:
            continue
        levels = (grid.label_noise * informative_limit(n_classes),)
        for seed, weight in zip(job.seeds, models.weight.numpy(), strict=True):
            probed = codes.evaluate_codes(
                weight, job.sparsity, task, seed, grid.task, levels, (grid.input_noise,), ("mono", "poly")
            )
            rows += _placed(probed, "sweep", n, m, job.sparsity)
    return rows


def _placed(
    rows: list[folder.Row], table: str, n_features: int, n_dimensions: int, sparsity: float
) -> list[folder.Row]:
    """Return the rows with their table and setting; only weights have a row and a column."""
    names = {"kept": f"largest of {n_dimensions} kept features"}
    setting = {"table": table, "n_features": n_features, "dimensions": n_dimensions, "sparsity": sparsity}
    return [
        {"dataset": names.get(row["task"], f"largest of {n_features} features"), "row": -1, "column": -1}
        | row
        | setting
        for row in rows
    ]


@dataclass(frozen=True)
class SeparabilityJob:
    """Closed forms, simulations of C classes, or the simulated check of the closed forms; for one sparsity."""

    source: Source
    n_classes: int
    sparsity: float
    n_seeds: int = 1

    @property
    def variant(self) -> str:
        """The scores that the job computes."""
        return "+".join(simulation.SCORES if self.source == "simulation" else simulation.SCORES[:2])

    @property
    def name(self) -> str:
        """The name of the job, and of its file."""
        return f"{self.source.replace(' ', '-')}-{self.n_classes}-{self.sparsity:g}"


class SeparabilityStudy(_TheoryStudy[SeparabilityPlan, SeparabilityJob]):
    """Compares scores by their separability J under label noise."""

    plan_type = SeparabilityPlan
    title = "separability under label noise"
    command = "monosemy theory"
    jobs_title = "Simulations"

    def check(self, plan: SeparabilityPlan, data: None, device: str) -> None:
        """Raise where the weights make no score."""
        two_features.check_weights(plan.weights)

    def jobs(self, plan: SeparabilityPlan, data: None) -> list[SeparabilityJob]:
        """Return the closed forms, the simulations of each number of classes, and the check, for each sparsity."""
        sources: list[tuple[Source, int, int]] = [("closed form", 2, 1)]
        sources += [("simulation", n_classes, plan.n_seeds) for n_classes in plan.classes]
        sources.append(("simulated check", 2, plan.n_seeds))
        return [
            SeparabilityJob(source, n_classes, sparsity, n_seeds)
            for source, n_classes, n_seeds in sources
            for sparsity in plan.sparsities
        ]

    def run(self, job: SeparabilityJob, context: engine.StudyContext[SeparabilityPlan, None]) -> list[folder.Row]:
        """Compute the rows of a job."""
        plan = context.plan
        if job.source == "simulation":
            rows = _simulation_rows(job.n_classes, job.sparsity, plan)
        else:
            rows = (_closed_form_rows if job.source == "closed form" else _check_rows)(job.sparsity, plan)
        input_noise = 0.0 if job.source == "simulation" else plan.input_noise
        place = {"classes": job.n_classes, "sparsity": job.sparsity, "input_noise": input_noise}
        return [{"source": job.source} | place | row for row in rows]

    def tabulate(self, rows: list[folder.Row], plan: SeparabilityPlan, data: None) -> dict[str, pd.DataFrame]:
        """Return all rows as results."""
        frame = pd.DataFrame(rows)
        frame.insert(0, "dataset", "sparse features")
        frame.insert(1, "encoder", "closed forms and simulations")
        return {"results": frame}

    def summarise(self, results: pd.DataFrame, test_rows: pd.DataFrame | None = None) -> pd.DataFrame:
        """Return means with intervals over seeds: a row for each source, classes, sparsity, score, noise and metric."""
        keys = ["source", "classes", "sparsity", "variant", "metric", "level"]
        rows = [
            [*place, len(cell), *mean_interval(cell["value"].to_numpy())]
            for place, cell in results.groupby(keys, sort=False)
        ]
        return pd.DataFrame(rows, columns=[*keys, "seeds", "mean", "low", "high"]).rename(
            columns={"level": "label_noise"}
        )

    def verdict(self, result: StudyResult) -> Verdict:
        return verdict.separability_verdict(result)

    def sections(self, result: StudyResult) -> Sequence[Section]:
        return figures.separability_sections(result)


def _row(score: str, noise: float, seed: int, metric: str, value: Any) -> folder.Row:
    """Return a row; the value of a threshold is itself a label noise, so its level is 0."""
    scenario = "threshold" if metric == "threshold" else "label-noise" if noise > 0 else "clean"
    return {
        "variant": score, "scenario": scenario, "level": float(noise), "seed": seed,
        "metric": metric, "value": float(value),
    }  # fmt: skip


def _closed_form_rows(sparsity: float, plan: SeparabilityPlan) -> list[folder.Row]:
    """Return J and d of both scores against label noise, and the threshold noise; seed -1, for nothing is drawn."""
    eta: np.typing.NDArray[np.float64] = np.linspace(0, 0.49, 50)
    mono, poly = (
        two_features.two_feature_moments(sparsity, w, plan.input_noise) for w in (two_features.MONO, plan.weights)
    )
    rows = [
        _row(score, noise, -1, metric, value)
        for score, moments in (("mono", mono), ("poly", poly))
        for metric, form in (("J", two_features.score_separability), ("d", two_features.scale_free_separability))
        for noise, value in zip(eta, form(moments, eta), strict=True)
    ]
    return [*rows, _row("poly", 0, -1, "threshold", two_features.overtaking(mono, poly).threshold)]


def _simulation_rows(n_classes: int, sparsity: float, plan: SeparabilityPlan) -> list[folder.Row]:
    """Return J of all scores against label noise, and the threshold noise of mono against each of the others."""
    grid = np.linspace(0, 0.98 * (n_classes - 1) / n_classes, 50)
    seeds = _seeds(plan)
    simulated = simulation.simulate_classes(n_classes, sparsity, grid, seeds, plan.n_samples)
    rows = [
        _row(simulation.SCORES[k], float(grid[e]), seeds[number], "J", float(value))
        for (number, k, e), value in np.ndenumerate(simulated.separability)
    ]
    return rows + [
        _row(simulation.SCORES[k + 1], 0, seeds[number], "threshold", float(value))
        for (number, k), value in np.ndenumerate(simulated.threshold)
    ]


def _check_rows(sparsity: float, plan: SeparabilityPlan) -> list[folder.Row]:
    """Return clean J of both scores, measured on drawn samples."""
    rows = []
    for score, weights in (("mono", two_features.MONO), ("poly", plan.weights)):
        for seed in _seeds(plan):
            rng = numpy_rng("theory-check", sparsity, seed)
            moments = simulation.simulate_two_features(
                sparsity, weights, plan.n_samples, rng, input_noise=plan.input_noise
            )
            rows.append(_row(score, 0, seed, "J", two_features.score_separability(moments)))
    return rows
