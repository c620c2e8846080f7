"""Linear classifiers with their hyper-parameters chosen on held-out rows whose labels are as noisy as those of train.

Every classifier gets the same treatment: its loss's hyper-parameter, then its weight decay, are chosen by short
trainings of all candidates side by side; the choice is then trained in full and stops early. Seeds of one condition
share the choice, which is made on the first few of them: their labels differ by the draw of the noise alone.

Losses with weights near 0 for labels that are not believed learn slowly from zeros, where nothing is believed. They
start from a short training by cross-entropy, which ranks their hyper-parameters after few steps as after many.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from monosemy.classifiers.engine import (
    Fitted,
    ProbeConfig,
    Probes,
    Validation,
    fit_probes,
    joined,
    only,
    probes_at_once,
    train_probes,
)  # fmt: skip
from monosemy.classifiers.losses import Loss, LossName
from monosemy.functional.consistency import Codes

WEIGHT_DECAYS = (1e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3)
"""First grid of weight decays; it widens by factors of 10 while an end of it is the best."""
LEAST_DECAY, GREATEST_DECAY = 1e-7, 10.0
"""Ends of every grid: a lower decay has no effect within a training, with a higher one nothing is learned."""
_WARM = ("gce", "sce", "forward")
"""Losses that start from cross-entropy."""
_MIDDLE = 1e-5
"""Weight decay under which the hyper-parameters of losses are compared."""
_SHORT = 0.25
"""Steps of a training of candidates, as a fraction of those of a full one."""


@dataclass(frozen=True)
class Recipe:
    """A linear classifier: a loss, and the values of its hyper-parameter to choose from."""

    name: str
    loss: LossName = "ce"
    parameters: tuple[float, ...] = (0.0,)
    transitions: np.typing.NDArray[np.float64] | None = None
    """(J, C, C), P(given | true) of each job, for forward correction by a full matrix."""

    def loss_of(self, parameter: float, job: int) -> Loss:
        """Return the loss of a job."""
        return Loss(self.loss, parameter, None if self.transitions is None else self.transitions[job])


@dataclass(frozen=True)
class Problem:
    """Features of train and validation rows, and the noisy labels of J jobs."""

    train: Codes
    labels: np.typing.NDArray[np.integer]
    """(N, J); -1 leaves a row out."""
    validation: Codes
    validation_labels: np.typing.NDArray[np.integer]
    n_classes: int
    config: ProbeConfig
    seed: int
    sample_weight: np.typing.NDArray[np.floating] | None = None
    n_screened: int = 2
    """Jobs of a group on which hyper-parameters are chosen."""
    groups: np.typing.NDArray[np.integer] | None = None
    """(J,); jobs of equal number share hyper-parameters. None: all do."""

    def jobs_of_groups(self) -> list[np.typing.NDArray[np.int64]]:
        """Return the jobs of each group."""
        groups = np.zeros(self.labels.shape[1], dtype=np.int64) if self.groups is None else np.asarray(self.groups)
        return [np.flatnonzero(groups == number) for number in dict.fromkeys(groups.tolist())]


@dataclass(frozen=True)
class Tuned:
    """A recipe with its chosen hyper-parameters, trained for each job."""

    recipe: Recipe
    parameter: np.typing.NDArray[np.float64]
    """(J,)."""
    weight_decay: np.typing.NDArray[np.float64]
    """(J,)."""
    fitted: Fitted
    """J probes."""


@dataclass(frozen=True)
class _Candidate:
    recipe: int
    group: int
    parameter: float
    weight_decay: float


@dataclass(frozen=True)
class _Run:
    """One training: a candidate on the labels of a job."""

    candidate: _Candidate
    job: int


def fit_tuned(
    recipes: Sequence[Recipe], problem: Problem, weight_decays: Sequence[float] = WEIGHT_DECAYS
) -> list[Tuned]:
    """Choose hyper-parameters for each recipe and group of jobs, and train all jobs with them.

    Forward correction is judged by the likelihood of the noisy validation labels under its own model of the noise,
    which is what tells the noise rate; other losses by accuracy. Of equally good weight decays the largest is taken.

    Raises:
        ValueError: a job has no labelled row.
    """
    tuning = _Tuning(recipes, problem)
    parameters = tuning.best_parameters()
    decays = tuning.best_decays(parameters, weight_decays)
    n_jobs = problem.labels.shape[1]
    runs = []
    for number in range(len(recipes)):
        chosen = {
            int(job): _Candidate(number, group, parameters[number, group], decays[number, group])
            for group, jobs in enumerate(tuning.groups)
            for job in jobs
        }
        runs += [_Run(chosen[job], job) for job in range(n_jobs)]
    fitted = tuning.of_best_length(runs)
    found = []
    for number, recipe in enumerate(recipes):
        mine = np.arange(number * n_jobs, (number + 1) * n_jobs)
        candidates = [runs[i].candidate for i in mine]
        found.append(
            Tuned(
                recipe,
                np.array([candidate.parameter for candidate in candidates]),
                np.array([candidate.weight_decay for candidate in candidates]),
                fitted.select(mine),
            )
        )
    return found


class _Tuning:
    """The trainings of all candidates of a problem."""

    def __init__(self, recipes: Sequence[Recipe], problem: Problem) -> None:
        self.recipes, self.problem = recipes, problem
        self.groups = problem.jobs_of_groups()
        full = problem.config
        self.short = replace(
            full, epochs=max(1, math.ceil(full.epochs * _SHORT)), min_steps=math.ceil(full.min_steps * _SHORT)
        )
        self.start: Probes | None = None
        if any(recipe.loss in _WARM for recipe in recipes):
            n_jobs = problem.labels.shape[1]
            of_jobs = []
            for jobs in np.array_split(np.arange(n_jobs), -(-n_jobs // self._at_once())):
                decay = np.full(len(jobs), _MIDDLE)
                labels = problem.labels[:, jobs]
                of_jobs.append(train_probes(problem.train, labels, problem.n_classes, decay, self.short, problem.seed))
            self.start = joined(of_jobs)

    def best_parameters(self) -> dict[tuple[int, int], float]:
        """Return the best hyper-parameter of each recipe in each group."""
        best = {
            (i, group): recipe.parameters[0] for i, recipe in enumerate(self.recipes) for group in range(self._n_groups)
        }
        candidates = [
            _Candidate(i, group, parameter, _MIDDLE)
            for (i, group) in best
            for parameter in self.recipes[i].parameters
            if len(self.recipes[i].parameters) > 1
        ]
        leading: dict[tuple[int, int], float] = {}
        for candidate, score in zip(candidates, self._screen(candidates), strict=True):
            place = (candidate.recipe, candidate.group)
            if score >= leading.get(place, -math.inf):
                leading[place], best[place] = score, candidate.parameter
        return best

    def best_decays(
        self, parameters: Mapping[tuple[int, int], float], weight_decays: Sequence[float]
    ) -> dict[tuple[int, int], float]:
        """Return the best weight decay of each recipe in each group; a grid widens while an end of it is the best."""
        scores: dict[tuple[int, int], dict[float, float]] = {place: {} for place in parameters}
        asked = {place: list(weight_decays) for place in parameters}
        while any(asked.values()):
            candidates = [
                _Candidate(*place, parameters[place], decay) for place, wanted in asked.items() for decay in wanted
            ]
            for candidate, score in zip(candidates, self._screen(candidates), strict=True):
                scores[candidate.recipe, candidate.group][candidate.weight_decay] = score
            asked = {place: _beyond(of) if len(weight_decays) > 1 else [] for place, of in scores.items()}
        return {place: max(zip(of.values(), of, strict=True))[1] for place, of in scores.items()}

    def of_best_length(self, runs: Sequence[_Run]) -> Fitted:
        """Return each run after the short or the full training, whichever is better in its recipe and group.

        Under much noise a full training learns the wrong labels too; its own checks come at larger steps, and see less
        well how good the classifier was.
        """
        of_length = [self.train(runs, self.short, checks=2), self.train(runs, self.problem.config, checks=10)]
        scores = [self._scores(runs, fitted) for fitted in of_length]
        numbers: dict[_Candidate, list[int]] = {}
        for number, run in enumerate(runs):
            numbers.setdefault(run.candidate, []).append(number)
        full = np.zeros(len(runs), dtype=bool)
        for mine in numbers.values():
            full[mine] = scores[1][mine].mean() >= scores[0][mine].mean()
        short_numbers, full_numbers = np.flatnonzero(~full), np.flatnonzero(full)
        order = np.argsort(np.concatenate([short_numbers, full_numbers]))
        kept = [fitted.select(mine) for fitted, mine in zip(of_length, (short_numbers, full_numbers), strict=True)]
        return Fitted(
            joined([part.probes for part in kept]).select(order),
            np.concatenate([part.accuracy for part in kept])[order],
            np.concatenate([part.log_likelihood for part in kept])[order],
        )

    def _scores(self, runs: Sequence[_Run], fitted: Fitted) -> np.typing.NDArray[np.float64]:
        """Return the score of each run by which candidates are compared."""
        by_likelihood = np.array([self.recipes[run.candidate.recipe].loss == "forward" for run in runs])
        return np.where(by_likelihood, fitted.log_likelihood, fitted.accuracy)

    def train(self, runs: Sequence[_Run], config: ProbeConfig, checks: int) -> Fitted:
        """Train all runs, as many at a time as fit into the memory budget."""
        problem, at_once = self.problem, self._at_once()
        parts = []
        for start in range(0, len(runs), at_once):
            part = runs[start : start + at_once]
            jobs = [run.job for run in part]
            warm = np.array([self.recipes[run.candidate.recipe].loss in _WARM for run in part])
            parts.append(
                fit_probes(
                    problem.train,
                    problem.labels[:, jobs],
                    problem.n_classes,
                    np.array([run.candidate.weight_decay for run in part]),
                    config,
                    problem.seed,
                    [self.recipes[run.candidate.recipe].loss_of(run.candidate.parameter, run.job) for run in part],
                    Validation(problem.validation, problem.validation_labels[:, jobs], checks),
                    problem.sample_weight,
                    None if self.start is None else only(self.start.select(np.array(jobs)), warm),
                )
            )
        return Fitted(
            joined([part.probes for part in parts]),
            np.concatenate([part.accuracy for part in parts]),
            np.concatenate([part.log_likelihood for part in parts]),
        )

    @property
    def _n_groups(self) -> int:
        return len(self.groups)

    def _at_once(self) -> int:
        problem = self.problem
        return probes_at_once(problem.train.shape[1], problem.n_classes, problem.config.batch_size)

    def _screen(self, candidates: Sequence[_Candidate]) -> list[float]:
        """Return the mean score of each candidate over the screened jobs of its group, after a short training."""
        if not candidates:
            return []
        runs = [
            _Run(candidate, int(job))
            for candidate in candidates
            for job in self.groups[candidate.group][: self.problem.n_screened]
        ]
        fitted = self.train(runs, self.short, checks=2)
        scores: dict[_Candidate, list[float]] = {candidate: [] for candidate in candidates}
        for run, score in zip(runs, self._scores(runs, fitted), strict=True):
            scores[run.candidate].append(float(score))
        return [float(np.mean(scores[candidate])) for candidate in candidates]


def _beyond(scores: Mapping[float, float]) -> list[float]:
    """Return the next weight decay beyond the end of a grid where that end is the best; nothing elsewhere."""
    best = max(scores, key=lambda decay: (scores[decay], decay))
    if best == max(scores) and best < GREATEST_DECAY:
        return [min(best * 10, GREATEST_DECAY)]
    if best == min(scores) and best > LEAST_DECAY:
        return [max(best / 10, LEAST_DECAY)]
    return []
