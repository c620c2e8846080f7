"""Linear classifiers with their hyper-parameters chosen on held-out rows whose labels are as noisy as those of train.

Every classifier gets the same treatment: its loss's hyper-parameter, then its weight decay, are chosen by short
trainings of all candidates side by side; the choice is then trained in full and stops early. Seeds of one condition
share the choice, which is made on the first few of them: their labels differ by the draw of the noise alone.

Losses with weights near 0 for labels that are not believed learn slowly from zeros, where nothing is believed. They
start from a short training by cross-entropy, whose steps count as theirs: all losses make equally many. Candidates of
slow losses take larger steps, so that a short training ranks them as a full one would.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from monosemy.classifiers.config import WEIGHT_DECAYS
from monosemy.classifiers.engine import (
    Fitted,
    ProbeConfig,
    Probes,
    Validation,
    fit_probes,
    joined,
    only,
    prepared,
    probes_at_once,
    train_probes,
)  # fmt: skip
from monosemy.classifiers.losses import Loss, LossName
from monosemy.data.memory_map import memory_map
from monosemy.errors import InputError
from monosemy.functional.consistency import Codes

LEAST_DECAY, GREATEST_DECAY = 1e-7, 10.0
"""Ends of every grid: a lower decay has no effect within a training, with a higher one nothing is learned."""
LEAST_RATE, GREATEST_RATE = 0.005, 0.98
"""Ends of the noise rates of forward correction."""
RATE_ERROR = 0.02
"""Noise rates nearer to each other are not told apart."""
_STRIDE = 1.5
"""Step in log odds to a noise rate beyond those of a recipe."""
_WARM = ("gce", "sce", "forward")
"""Losses that start from cross-entropy."""
_SHORT = 0.25
"""Steps of a training of candidates, as a fraction of those of a full one."""
_SHORT_PACE = {"gce": 3.0, "sce": 3.0, "forward": 1.5}
"""Factors on the step sizes of a short training: with them, slow losses get about as far as in a full one."""
_CHECKS = 6
"""Looks at validation in a full training."""
_MIDDLE = 1e-6
"""Weight decay under which the hyper-parameters of losses are compared. With little of it the likelihood tells the
noise rate best, and robust losses, whose gradients are small, forget no class."""


@dataclass(frozen=True)
class Recipe:
    """A linear classifier: a loss, and the values of its hyper-parameter to choose from."""

    name: str
    loss: LossName = "ce"
    parameters: tuple[float, ...] = (0.0,)
    """Several noise rates of forward correction lie between 0 and 1, both excluded."""
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
    """(N,), >= 0, of the rows of train. Whole numbers count as copies, others are scaled to a mean of 1."""
    n_screened: int = 2
    """Jobs of a group on which hyper-parameters are chosen."""
    weight_decays: tuple[float, ...] = WEIGHT_DECAYS
    """First grid of weight decays; it widens by factors of 10 while an end of it is the best."""
    groups: np.typing.NDArray[np.integer] | None = None
    """(J,); jobs of equal number share hyper-parameters. None: all do."""

    def jobs_of_groups(self) -> list[np.typing.NDArray[np.int64]]:
        """Return the jobs of each group."""
        groups = np.zeros(self.labels.shape[1], dtype=np.int64) if self.groups is None else np.asarray(self.groups)
        return [np.flatnonzero(groups == number) for number in dict.fromkeys(groups.tolist())]


def checked_weight(sample_weight: np.typing.ArrayLike, n_rows: int) -> np.typing.NDArray[np.float64]:
    """Return sample weights (N,) in float64.

    Raises:
        InputError: they are not one finite number >= 0 for each row, or all are 0.
    """
    weight = np.asarray(sample_weight, dtype=np.float64)
    if weight.shape != (n_rows,):
        raise InputError(f"sample_weight has shape {weight.shape}; give one number for each of the {n_rows} rows.")
    bad = np.flatnonzero(~(np.isfinite(weight) & (weight >= 0)))
    if len(bad):
        raise InputError(f"sample_weight is {weight[bad[0]]} for row {bad[0]}; give finite numbers of at least 0.")
    if not weight.any():
        raise InputError("sample_weight is zero for all rows; give at least one row a weight.")
    return weight


def with_checked_weights(problem: Problem) -> Problem:
    """Return a problem whose sample weights are checked and positive: rows of weight 0 are left out.

    Weights that are not all whole numbers are scaled to a mean of 1. Rows of a memory map stay, without labels.

    Raises:
        InputError: see :func:`checked_weight`.
    """
    if problem.sample_weight is None:
        return problem
    weight = checked_weight(problem.sample_weight, problem.train.shape[0])
    used = weight > 0
    if (weight % 1).any():
        weight = weight / weight[used].mean()
    if used.all():
        return replace(problem, sample_weight=weight)
    if memory_map(problem.train) is not None:
        return replace(problem, sample_weight=weight, labels=np.where(used[:, None], problem.labels, -1))
    return replace(problem, train=problem.train[used], labels=problem.labels[used], sample_weight=weight[used])


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


def fit_tuned(recipes: Sequence[Recipe], problem: Problem) -> list[Tuned]:
    """Choose hyper-parameters for each recipe and group of jobs, and train all jobs with them.

    Forward correction is judged by the likelihood of the noisy validation labels under its own model of the noise,
    which tells the noise rate; the rates of the recipe are a first grid, from which it is interpolated. Other losses
    are judged by accuracy. Of equally good weight decays the largest is taken.

    Raises:
        ValueError: a job has no labelled row.
    """
    tuning = _Tuning(recipes, problem)
    parameters = tuning.best_parameters()
    decays = tuning.best_decays(parameters)
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


_Place = tuple[int, int]
"""Numbers of a recipe and of a group."""


class _Tuning:
    """The trainings of all candidates of a problem."""

    def __init__(self, recipes: Sequence[Recipe], problem: Problem) -> None:
        self.recipes, self.problem = recipes, problem
        self.features = prepared(problem.train, problem.config.device, problem.sample_weight)
        self.groups = problem.jobs_of_groups()
        self.places: list[_Place] = [(i, group) for i in range(len(recipes)) for group in range(len(self.groups))]
        self.scores: dict[_Place, dict[_Candidate, float]] = {place: {} for place in self.places}
        """Mean scores of candidates on the screened jobs after a short training."""
        self.kept: dict[tuple[_Place, float], tuple[_Candidate, Fitted]] = {}
        """The best candidate with each hyper-parameter, trained on the screened jobs."""
        self.start: Probes | None = None
        if any(recipe.loss in _WARM for recipe in recipes):
            n_jobs = problem.labels.shape[1]
            of_jobs = []
            for jobs in np.array_split(np.arange(n_jobs), -(-n_jobs // self._at_once())):
                decay, labels = np.full(len(jobs), _MIDDLE), problem.labels[:, jobs]
                of_jobs.append(
                    train_probes(self.features, labels, problem.n_classes, decay, self._config(_SHORT), problem.seed)
                )
            self.start = joined(of_jobs)

    def best_parameters(self) -> dict[_Place, float]:
        """Return the best hyper-parameter of each recipe in each group."""
        best = {(i, group): self.recipes[i].parameters[0] for i, group in self.places}
        asked = {(i, group): list(self.recipes[i].parameters) for i, group in self.places}
        asked = {place: values for place, values in asked.items() if len(values) > 1}
        rates = {place for place in asked if self.recipes[place[0]].loss == "forward"}
        while asked:
            self._screen([_Candidate(*place, value, _MIDDLE) for place, values in asked.items() for value in values])
            wanted = {}
            for place in asked:
                scores = {candidate.parameter: score for candidate, score in self.scores[place].items()}
                best[place] = max(zip(scores.values(), scores, strict=True))[1]
                if place in rates and (beyond := _beyond_rates(scores)):
                    wanted[place] = beyond
                elif place in rates:
                    wanted[place] = _between_rates(scores)
            asked = {place: values for place, values in wanted.items() if values}
        return best

    def best_decays(self, parameters: Mapping[_Place, float]) -> dict[_Place, float]:
        """Return the best weight decay of each recipe in each group."""
        weight_decays = self.problem.weight_decays
        asked = {place: list(weight_decays) for place in self.places}
        found: dict[_Place, dict[float, float]] = {}
        while any(asked.values()):
            self._screen(
                [_Candidate(*place, parameters[place], decay) for place, decays in asked.items() for decay in decays]
            )
            for place, of in self.scores.items():
                found[place] = {
                    one.weight_decay: score
                    for one, score in of.items()
                    if one.parameter == parameters[place]
                    and (len(weight_decays) > 1 or one.weight_decay in weight_decays)
                }
            asked = {place: _beyond_decays(of) for place, of in found.items()}
        return {place: max(zip(of.values(), of, strict=True))[1] for place, of in found.items()}

    def of_best_length(self, runs: Sequence[_Run]) -> Fitted:
        """Return each run after the short or the full training, whichever is better in its recipe and group.

        Under much noise a full training learns the wrong labels too; its own checks come at larger steps, and see less
        well how good the classifier was. The screened jobs decide.
        """
        screened = np.array([run.job in self._screened(run.candidate.group) for run in runs])
        first, others = np.flatnonzero(screened).tolist(), np.flatnonzero(~screened).tolist()
        full = self.train_long([runs[i] for i in first])
        scores = self._scores([runs[i] for i in first], full)
        of_candidate: dict[_Candidate, list[int]] = {}
        for number, i in enumerate(first):
            of_candidate.setdefault(runs[i].candidate, []).append(number)
        parts, places, is_short = [], [], set()
        for candidate, mine in of_candidate.items():
            place = (candidate.recipe, candidate.group)
            best, short = self.kept[place, candidate.parameter]
            if best == candidate and self.scores[place][candidate] > scores[mine].mean():
                is_short.add(candidate)
                parts.append(short)
            else:
                parts.append(full.select(np.array(mine)))
            places.append([first[number] for number in mine])
        for train, chosen in ((self.train_short, True), (self.train_long, False)):
            rest = [i for i in others if (runs[i].candidate in is_short) == chosen]
            if rest:
                parts.append(train([runs[i] for i in rest]))
                places.append(rest)
        return _together(parts).select(np.argsort(np.concatenate(places)))

    def train_short(self, runs: Sequence[_Run]) -> Fitted:
        """Train all runs for a fraction of the steps."""
        pace = [_SHORT_PACE.get(self._loss(run), 1.0) for run in runs]
        return self._train(runs, self._config(_SHORT), np.array(pace), checks=2)

    def train_long(self, runs: Sequence[_Run]) -> Fitted:
        """Train all runs in full: those that start from cross-entropy have made a part of their steps by it."""
        schedules: dict[float, list[int]] = {}
        for number, run in enumerate(runs):
            schedules.setdefault(1 - _SHORT if self._loss(run) in _WARM else 1.0, []).append(number)
        parts = [
            self._train([runs[i] for i in mine], self._config(left), np.full(len(mine), 1 / left), _CHECKS)
            for left, mine in schedules.items()
        ]
        return _together(parts).select(np.argsort(np.concatenate(list(schedules.values()))))

    def _train(
        self, runs: Sequence[_Run], config: ProbeConfig, pace: np.typing.NDArray[np.float64], checks: int
    ) -> Fitted:
        """Train all runs, as many at a time as fit into the memory budget."""
        problem, at_once = self.problem, self._at_once()
        parts = []
        for first in range(0, len(runs), at_once):
            part = runs[first : first + at_once]
            jobs = [run.job for run in part]
            warm = np.array([self._loss(run) in _WARM for run in part])
            parts.append(
                fit_probes(
                    self.features,
                    problem.labels[:, jobs],
                    problem.n_classes,
                    np.array([run.candidate.weight_decay for run in part]),
                    config,
                    problem.seed,
                    [self.recipes[run.candidate.recipe].loss_of(run.candidate.parameter, run.job) for run in part],
                    Validation(problem.validation, problem.validation_labels[:, jobs], checks),
                    None if self.start is None else only(self.start.select(np.array(jobs)), warm),
                    pace[first : first + at_once],
                )
            )
        return _together(parts)

    def _config(self, fraction: float) -> ProbeConfig:
        """Return the training of a fraction of the steps."""
        full = self.problem.config
        epochs, steps = math.ceil(full.epochs * fraction), math.ceil(full.min_steps * fraction)
        return replace(full, epochs=epochs, min_steps=steps)

    def _loss(self, run: _Run) -> LossName:
        return self.recipes[run.candidate.recipe].loss

    def _scores(self, runs: Sequence[_Run], fitted: Fitted) -> np.typing.NDArray[np.float64]:
        """Return the score of each run by which candidates are compared."""
        by_likelihood = np.array([self._loss(run) == "forward" for run in runs])
        return np.where(by_likelihood, fitted.log_likelihood, fitted.accuracy)

    def _screened(self, group: int) -> np.typing.NDArray[np.int64]:
        return self.groups[group][: self.problem.n_screened]

    def _at_once(self) -> int:
        problem = self.problem
        return probes_at_once(problem.train.shape[1], problem.n_classes, problem.config.batch_size)

    def _screen(self, candidates: Sequence[_Candidate]) -> None:
        """Give each new candidate a short training on the screened jobs of its group, and write down its mean score."""
        new = [one for one in candidates if one not in self.scores[one.recipe, one.group]]
        if not new:
            return
        runs = [_Run(candidate, int(job)) for candidate in new for job in self._screened(candidate.group)]
        fitted = self.train_short(runs)
        scores = self._scores(runs, fitted)
        stop = 0
        for candidate in new:
            mine = np.arange(stop, stop := stop + len(self._screened(candidate.group)))
            place, score = (candidate.recipe, candidate.group), float(scores[mine].mean())
            self.scores[place][candidate] = score
            best = self.kept.get((place, candidate.parameter))
            if best is None or (score, candidate.weight_decay) >= (self.scores[place][best[0]], best[0].weight_decay):
                self.kept[place, candidate.parameter] = candidate, fitted.select(mine)


def _together(parts: Sequence[Fitted]) -> Fitted:
    """Return fitted probes on the same features as one."""
    return Fitted(
        joined([part.probes for part in parts]),
        np.concatenate([part.accuracy for part in parts]),
        np.concatenate([part.log_likelihood for part in parts]),
    )


def _beyond_decays(scores: Mapping[float, float]) -> list[float]:
    """Return the next weight decay beyond the end of a grid where that end is the best; nothing elsewhere."""
    best = max(scores, key=lambda decay: (scores[decay], decay))
    if len(scores) == 1:
        return []
    if best == max(scores) and best < GREATEST_DECAY:
        return [min(best * 10, GREATEST_DECAY)]
    if best == min(scores) and best > LEAST_DECAY:
        return [max(best / 10, LEAST_DECAY)]
    return []


def _beyond_rates(likelihoods: Mapping[float, float]) -> list[float]:
    """Return the next noise rate beyond an end of those tried, where that end is the most likely."""
    best, least, greatest = max(likelihoods, key=likelihoods.__getitem__), min(likelihoods), max(likelihoods)
    if best == greatest and best < GREATEST_RATE:
        return [min(_expit(_logit(best) + _STRIDE), GREATEST_RATE)]
    if best == least and best > LEAST_RATE:
        return [max(_expit(_logit(best) - _STRIDE), LEAST_RATE)]
    return []


def _between_rates(likelihoods: Mapping[float, float]) -> list[float]:
    """Return the top of the parabola, in log odds, through the most likely noise rate and its neighbours.

    Nothing is returned where a rate as good as equal has been tried.
    """
    rates = sorted(likelihoods)
    place = rates.index(max(likelihoods, key=likelihoods.__getitem__))
    if not 0 < place < len(rates) - 1:
        return []
    left, middle, right = (_logit(rate) for rate in rates[place - 1 : place + 2])
    low, high, last = (likelihoods[rate] for rate in rates[place - 1 : place + 2])
    a, b = (middle - left) * (high - last), (right - middle) * (high - low)
    if a + b <= 0:
        return []  # all three are equal
    top = _expit(middle + ((right - middle) * b - (middle - left) * a) / (2 * (a + b)))
    return [top] if min(abs(top - rate) for rate in rates) > RATE_ERROR else []


def _logit(rate: float) -> float:
    return math.log(rate / (1 - rate))


def _expit(odds: float) -> float:
    return 1 / (1 + math.exp(-odds))
