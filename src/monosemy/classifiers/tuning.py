"""Linear classifiers with their hyper-parameters chosen on held-out rows whose labels are as noisy as those of train.

Every classifier gets the same treatment: its loss's hyper-parameter, then its weight decay, are chosen by short
trainings of all candidates side by side; the choice is then trained in full and stops early. Seeds of one condition
share the choice, which is made on the first few of them: their labels differ by the draw of the noise alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from monosemy.classifiers.engine import Fitted, ProbeConfig, Validation, fit_probes, probes_at_once
from monosemy.classifiers.losses import Loss, LossName
from monosemy.functional.consistency import Codes

WEIGHT_DECAYS = (1e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3)
"""First grid of weight decays; it widens by factors of 10 while an end of it is the best."""
LEAST_DECAY, GREATEST_DECAY = 1e-8, 10.0
"""Ends of every grid: a lower decay has no effect within a training, with a higher one nothing is learned."""
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

    def losses(self, parameter: float, jobs: Sequence[int]) -> list[Loss]:
        """Return the loss of each job."""
        if self.transitions is None:
            return [Loss(self.loss, parameter)] * len(jobs)
        return [Loss(self.loss, parameter, self.transitions[job]) for job in jobs]


@dataclass(frozen=True)
class Tuned:
    """A recipe with its chosen hyper-parameters, trained for each job."""

    recipe: Recipe
    parameter: float
    weight_decay: float
    fitted: Fitted
    """J probes."""
    widened: bool
    """Whether the grid of weight decays had to be widened."""


@dataclass(frozen=True)
class _Candidate:
    recipe: int
    parameter: float
    weight_decay: float


@dataclass(frozen=True)
class Problem:
    """Features of train and validation rows, and the noisy labels of J jobs that share hyper-parameters."""

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
    """Jobs on which hyper-parameters are chosen."""


def fit_tuned(
    recipes: Sequence[Recipe], problem: Problem, weight_decays: Sequence[float] = WEIGHT_DECAYS
) -> list[Tuned]:
    """Choose hyper-parameters for each recipe, and train all jobs with them.

    Forward correction is judged by the likelihood of the noisy validation labels under its own model of the noise,
    which is what tells the noise rate; other losses by accuracy. Of equally good weight decays the largest is taken.

    Raises:
        ValueError: a job has no labelled row.
    """
    screened = range(min(problem.n_screened, problem.labels.shape[1]))
    parameters = _best_parameters(recipes, problem, screened)
    decays, widened = _best_decays(recipes, parameters, problem, screened, weight_decays)
    jobs = range(problem.labels.shape[1])
    chosen = [_Candidate(i, parameters[i], decays[i]) for i in range(len(recipes))]
    fitted = _train(recipes, chosen, problem, jobs, problem.config, checks=10)
    return [
        Tuned(recipe, candidate.parameter, candidate.weight_decay, found, wide)
        for recipe, candidate, found, wide in zip(recipes, chosen, fitted, widened, strict=True)
    ]


def _best_parameters(recipes: Sequence[Recipe], problem: Problem, screened: range) -> list[float]:
    candidates = [
        _Candidate(i, parameter, _MIDDLE)
        for i, recipe in enumerate(recipes)
        if len(recipe.parameters) > 1
        for parameter in recipe.parameters
    ]
    scores = _screen(recipes, candidates, problem, screened)
    best = [recipe.parameters[0] for recipe in recipes]
    for i in {candidate.recipe for candidate in candidates}:
        _, best[i] = max((score, c.parameter) for c, score in zip(candidates, scores, strict=True) if c.recipe == i)
    return best


def _best_decays(
    recipes: Sequence[Recipe],
    parameters: Sequence[float],
    problem: Problem,
    screened: range,
    weight_decays: Sequence[float],
) -> tuple[list[float], list[bool]]:
    """Return the best weight decay of each recipe, and whether its grid was widened for it."""
    scores: list[dict[float, float]] = [{} for _ in recipes]
    asked = [list(weight_decays) for _ in recipes]
    while any(asked):
        candidates = [_Candidate(i, parameters[i], decay) for i, wanted in enumerate(asked) for decay in wanted]
        for candidate, score in zip(candidates, _screen(recipes, candidates, problem, screened), strict=True):
            scores[candidate.recipe][candidate.weight_decay] = score
        asked = [_beyond(of_recipe) if len(weight_decays) > 1 else [] for of_recipe in scores]
    best = [max(of_recipe, key=lambda decay: (of_recipe[decay], decay)) for of_recipe in scores]
    return best, [len(of_recipe) > len(weight_decays) for of_recipe in scores]


def _beyond(scores: dict[float, float]) -> list[float]:
    """Return the next weight decay beyond the end of a grid where that end is the best; nothing elsewhere."""
    best = max(scores, key=lambda decay: (scores[decay], decay))
    if best == max(scores) and best < GREATEST_DECAY:
        return [min(best * 10, GREATEST_DECAY)]
    if best == min(scores) and best > LEAST_DECAY:
        return [max(best / 10, LEAST_DECAY)]
    return []


def _screen(
    recipes: Sequence[Recipe], candidates: Sequence[_Candidate], problem: Problem, screened: range
) -> list[float]:
    """Return the mean score of each candidate over the screened jobs, after a short training."""
    full = problem.config
    short = replace(full, epochs=max(1, math.ceil(full.epochs * _SHORT)), min_steps=math.ceil(full.min_steps * _SHORT))
    fitted = _train(recipes, candidates, problem, screened, short, checks=2)
    return [
        float(np.mean(found.log_likelihood if recipes[c.recipe].loss == "forward" else found.accuracy))
        for c, found in zip(candidates, fitted, strict=True)
    ]


def _train(
    recipes: Sequence[Recipe],
    candidates: Sequence[_Candidate],
    problem: Problem,
    jobs: range,
    config: ProbeConfig,
    checks: int,
) -> list[Fitted]:
    """Train every candidate on every job, as many at a time as fit into the memory budget."""
    at_once = max(1, probes_at_once(problem.train.shape[1], problem.n_classes, config.batch_size) // len(jobs))
    result = []
    for start in range(0, len(candidates), at_once):
        group = candidates[start : start + at_once]
        losses = [loss for c in group for loss in recipes[c.recipe].losses(c.parameter, jobs)]
        fitted = fit_probes(
            problem.train,
            np.tile(problem.labels[:, jobs], len(group)),
            problem.n_classes,
            np.repeat([c.weight_decay for c in group], len(jobs)),
            config,
            problem.seed,
            losses,
            Validation(problem.validation, np.tile(problem.validation_labels[:, jobs], len(group)), checks),
            problem.sample_weight,
        )
        for number in range(len(group)):
            mine = np.arange(number * len(jobs), (number + 1) * len(jobs))
            result.append(Fitted(fitted.probes.select(mine), fitted.accuracy[mine], fitted.log_likelihood[mine]))
    return result
