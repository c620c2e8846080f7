"""The classifiers of a study by name: each is tuned on noisy validation labels, and then predicts probabilities.

A problem holds one pair of feature matrices and J label vectors, one for each training condition and seed. All are
fitted together, and what depends on the features alone (neighbours, moments) is computed once. The seeds of one
condition are a group, which shares hyper-parameters.
"""

import difflib
import importlib.util
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import scipy.sparse as sp
import torch
from scipy.sparse.csgraph import connected_components

from monosemy.classifiers import closed_form, confident, engine, neighbours
from monosemy.classifiers.closed_form import Moments
from monosemy.classifiers.config import NAMES, ClassifierName
from monosemy.classifiers.engine import Probes
from monosemy.classifiers.tuning import Problem, Recipe, fit_tuned, with_checked_weights
from monosemy.classifiers.voting import Shares, Values, Voters
from monosemy.errors import InputError, needs_extra
from monosemy.functional.consistency import Codes

_CHUNK = 4096
"""Rows that linear classifiers predict at a time."""


@dataclass(frozen=True)
class Classifier:
    """A classifier by name."""

    name: ClassifierName
    title: str
    oracle: bool = False
    """True where it is told what no user knows."""
    linear: bool = True
    """True where it predicts by linear functions of the features."""
    extra: str | None = None
    """The optional dependency that it needs."""


CLASSIFIERS: dict[str, Classifier] = {
    classifier.name: classifier
    for classifier in (
        Classifier("ce", "cross-entropy"),
        Classifier("gce", "generalized cross-entropy"),
        Classifier("forward", "forward correction, rate by likelihood"),
        Classifier("knn", "k nearest neighbours", linear=False),
        Classifier("sce", "symmetric cross-entropy"),
        Classifier("elr", "early-learning regularisation"),
        Classifier("label-smoothing", "label smoothing"),
        Classifier("forward-estimated", "forward correction, matrix by confident learning", extra="cleanlab"),
        Classifier("forward-oracle", "forward correction, true matrix", oracle=True),
        Classifier("wann", "weighted adaptive nearest neighbours", linear=False),
        Classifier("knn-relabel", "relabelled by neighbours, then cross-entropy"),
        Classifier("centroid", "nearest class mean"),
        Classifier("lda", "shrunk linear discriminant analysis"),
        Classifier("ridge", "ridge regression"),
        Classifier("cleanlab", "cleanlab's CleanLearning", extra="cleanlab"),
    )
}
_RECIPES: dict[str, Recipe] = {
    "ce": Recipe("ce"),
    "gce": Recipe("gce", "gce", (0.2, 0.4, 0.7)),
    "forward": Recipe("forward", "forward", (0.03, 0.15, 0.45, 0.8)),
    "sce": Recipe("sce", "sce"),
    "elr": Recipe("elr", "elr", (1.0, 3.0)),
    "label-smoothing": Recipe("label-smoothing", "label-smoothing", (0.1, 0.3, 0.6)),
}
_PARAMETER = {"gce": "q", "forward": "rate", "elr": "strength", "label-smoothing": "smoothing"}
"""Names of the hyper-parameters of losses in settings."""
_CLOSED_FORMS: dict[str, tuple[str, tuple[float, ...]]] = {
    "centroid": ("", (0.0,)),
    "lda": ("shrinkage", closed_form.SHRINKAGES),
    "ridge": ("penalty", closed_form.PENALTIES),
}
"""Name and values of the setting of each classifier in closed form."""
_CONFIDENT = ("forward-estimated", "cleanlab")
"""Classifiers that begin with a cross-validation of cross-entropy."""


def check_classifiers(names: Iterable[str]) -> None:
    """Raise where a name is unknown, or a classifier needs an optional dependency that is missing.

    Raises:
        InputError: no classifier has this name.
        MissingExtraError: the classifier needs another package.
    """
    for name in names:
        if name not in CLASSIFIERS:
            close = difflib.get_close_matches(name, NAMES, 1)
            raise InputError(
                f"The classifier {name!r} is unknown{f' (closest match: {close[0]})' if close else ''}; "
                f"choose among {', '.join(NAMES)}."
            )
        if CLASSIFIERS[name].extra == "cleanlab":
            with needs_extra("cleanlab", f"The classifier {name}"):
                import cleanlab  # noqa: F401


def available(names: Iterable[ClassifierName]) -> tuple[ClassifierName, ...]:
    """Return the names whose optional dependencies are installed."""
    return tuple(
        name for name in names if (extra := CLASSIFIERS[name].extra) is None or importlib.util.find_spec(extra)
    )


@dataclass(frozen=True)
class FittedClassifier:
    """A classifier fitted to J label vectors; linear ones hold J probes."""

    name: str
    settings: Mapping[str, Values]
    """Chosen hyper-parameters, each (J,)."""
    validation_accuracy: Values
    """(J,), on the validation rows with their noisy labels."""
    probes: Probes | None = None
    voters: Voters | None = field(default=None, repr=False)

    def probabilities(self, features: Codes, jobs: Sequence[int]) -> Shares:
        """Return the probabilities (N, len(jobs), C) of some of the label vectors for features (N, D).

        Those of LDA, ridge and class means are the softmax of their scores; those of neighbours, shares of votes.
        """
        if self.voters is not None:
            return self.voters.shares(features, jobs, weighted=self.name == "wann")
        assert self.probes is not None
        probes = self.probes.select(np.asarray(jobs))
        result = np.empty((features.shape[0], *probes.shape[1:]), dtype=np.float32)
        for start in range(0, len(result), _CHUNK):
            block = slice(start, start + _CHUNK)
            result[block] = torch.softmax(engine.logits(probes, features[block]), dim=-1).cpu().numpy()
        return result


def fit_classifiers(
    names: Sequence[str], problem: Problem, transitions: Values | None = None
) -> dict[str, FittedClassifier]:
    """Fit classifiers to all label vectors of a problem.

    Args:
        transitions: (J, C, C), P(given | true) of each label vector, for `forward-oracle`.

    Raises:
        InputError: a name is unknown, `forward-oracle` is not told the noise, a label vector has fewer than two
            classes, or sample weights are not numbers >= 0.
        MissingExtraError: a classifier needs another package.
    """
    check_classifiers(names)
    problem = with_checked_weights(problem)
    _check_problem(names, problem, transitions)
    asked = set(names)
    recipes = {name: _RECIPES[name] for name in names if name in _RECIPES}
    if asked & set(_CONFIDENT):
        recipes["ce"] = _RECIPES["ce"]
    if "forward-oracle" in asked:
        recipes["forward-oracle"] = Recipe("forward-oracle", "forward", transitions=transitions)
    found = _by_losses(recipes, problem)
    if asked & {"knn", "wann", "knn-relabel"}:
        found |= _by_neighbours(asked, problem)
    found |= _in_closed_form([name for name in names if name in _CLOSED_FORMS], problem)
    if asked & set(_CONFIDENT):
        found |= _by_confident_learning(asked, problem, found["ce"].settings["weight_decay"])
    return {name: found[name] for name in names}


def _check_problem(names: Sequence[str], problem: Problem, transitions: Values | None) -> None:
    shape = (problem.labels.shape[1], problem.n_classes, problem.n_classes)
    if "forward-oracle" in names and transitions is None:
        raise InputError("The classifier 'forward-oracle' needs the true noise matrix, which is unknown; leave it out.")
    if transitions is not None and transitions.shape != shape:
        raise ValueError(f"transitions have shape {transitions.shape}, not {shape}: one matrix for each label vector")
    for column in problem.labels.T:
        classes = np.unique(column[column >= 0])
        if len(classes) < 2:
            raise InputError(
                f"The {np.count_nonzero(column >= 0)} train labels of a condition hold {len(classes)} class; raise the "
                f"number of labels until they hold two at least, or leave the condition out."
            )


def _by_losses(recipes: Mapping[str, Recipe], problem: Problem) -> dict[str, FittedClassifier]:
    """Return classifiers by losses, all tuned and trained together."""
    result = {}
    tuned_recipes = fit_tuned(list(recipes.values()), problem) if recipes else []
    for name, tuned in zip(recipes, tuned_recipes, strict=True):
        settings = {"weight_decay": tuned.weight_decay}
        if name in _PARAMETER:
            settings[_PARAMETER[name]] = tuned.parameter
        result[name] = FittedClassifier(name, settings, tuned.fitted.accuracy, tuned.fitted.probes)
    return result


def _by_neighbours(asked: set[str], problem: Problem) -> dict[str, FittedClassifier]:
    """Return those of `knn`, `knn-relabel` and `wann` that are asked for."""
    voters, result, settings = Voters(problem), {}, {}
    if asked & {"knn", "knn-relabel"}:
        accuracy = voters.choose()
        assert voters.votes is not None
        settings = {name: np.array([getattr(vote, name) for vote in voters.votes], float) for name in ("k", "power")}
        result["knn"] = FittedClassifier("knn", settings, accuracy, voters=voters)
    if "knn-relabel" in asked:
        relabelled = replace(problem, labels=voters.relabelled())
        fitted = _by_losses({"knn-relabel": _RECIPES["ce"]}, relabelled)["knn-relabel"]
        result["knn-relabel"] = replace(fitted, settings={**fitted.settings, **settings})
    if "wann" in asked:
        result["wann"] = FittedClassifier("wann", {}, voters.weigh(), voters=voters)
    voters.forget()
    return result


def _in_closed_form(names: Sequence[str], problem: Problem) -> dict[str, FittedClassifier]:
    """Return class means, LDA and ridge regression, with shrinkage and penalty chosen on validation."""
    n_jobs, n_classes, width = problem.labels.shape[1], problem.n_classes, problem.train.shape[1]
    weight = {name: torch.empty(width, n_jobs, n_classes) for name in names}
    bias = {name: torch.empty(n_jobs, n_classes) for name in names}
    chosen, accuracy = ({name: np.empty(n_jobs) for name in names} for _ in range(2))
    for moments, groups in _moments(problem) if names else ():
        for name in names:
            _choose(name, problem, moments, groups, chosen[name], accuracy[name])
            for jobs, of in moments:
                for value in np.unique(chosen[name][jobs]):
                    places = np.flatnonzero(chosen[name][jobs] == value)
                    probes, where = _solve(name, of, value).select(places), torch.from_numpy(jobs[places])
                    weight[name][:, where] = probes.weight.view(width, -1, n_classes)
                    bias[name][where] = probes.bias
    result = {}
    for name in names:
        setting, _ = _CLOSED_FORMS[name]
        probes = Probes(weight[name].view(width, -1), bias[name])
        result[name] = FittedClassifier(name, {setting: chosen[name]} if setting else {}, accuracy[name], probes)
    return result


Jobs = np.typing.NDArray[np.int64]


def _moments(problem: Problem) -> Iterator[tuple[list[tuple[Jobs, Moments]], list[Jobs]]]:
    """Yield the moments of all rows, each with its jobs, that some groups of jobs use which share their choice."""
    groups, parts = problem.jobs_of_groups(), neighbours.jobs_by_rows(problem.labels)
    node = np.empty((2, problem.labels.shape[1]), dtype=np.int64)
    for side, sets in enumerate((groups, [jobs for _, jobs in parts])):
        for number, jobs in enumerate(sets):
            node[side, jobs] = number + side * len(groups)
    n_nodes = len(groups) + len(parts)
    links = sp.csr_array((np.ones(node.shape[1]), node), shape=(n_nodes, n_nodes))
    n_units, unit = connected_components(links, directed=False)
    for number in range(n_units):
        moments = []
        for part, (rows, jobs) in enumerate(parts):
            if unit[len(groups) + part] == number:
                train = problem.train if len(rows) == problem.train.shape[0] else problem.train[rows]
                labels = problem.labels[rows[:, None], jobs]
                weight = None if problem.sample_weight is None else np.asarray(problem.sample_weight)[rows]
                moments.append((jobs, closed_form.moments(train, labels, problem.n_classes, weight)))
        yield moments, [jobs for group, jobs in enumerate(groups) if unit[group] == number]


def _choose(
    name: str,
    problem: Problem,
    moments: Sequence[tuple[Jobs, Moments]],
    groups: Sequence[Jobs],
    chosen: Values,
    accuracy: Values,
) -> None:
    """Write the value with the best accuracy on validation for each group, and that accuracy for each job."""
    _, values = _CLOSED_FORMS[name]
    accuracies = np.empty((len(values), len(chosen)))
    for number, value in enumerate(values):
        for jobs, of in moments:
            given = problem.validation_labels[:, jobs]
            hits = (engine.predict(_solve(name, of, value), problem.validation) == given) & (given >= 0)
            accuracies[number, jobs] = hits.sum(axis=0) / np.maximum((given >= 0).sum(axis=0), 1)
    for jobs in groups:
        chosen[jobs] = closed_form.best_of(list(accuracies[:, jobs]), values)
        accuracy[jobs] = accuracies[values.index(chosen[jobs[0]]), jobs]


def _solve(name: str, of: Moments, value: float) -> Probes:
    if name == "centroid":
        return closed_form.centroid(of)
    return closed_form.lda(of, value) if name == "lda" else closed_form.ridge(of, value)


def _by_confident_learning(asked: set[str], problem: Problem, weight_decay: Values) -> dict[str, FittedClassifier]:
    """Return those of `forward-estimated` and `cleanlab` that are asked for.

    Both begin with one cross-validation of cross-entropy, with the weight decays that it chose. CleanLearning drops
    label issues and fits again, tuned like all others.
    """
    labels = problem.labels.copy()
    matrices = np.empty((labels.shape[1], problem.n_classes, problem.n_classes))
    for held_out in confident.held_out(problem, weight_decay):
        if "forward-estimated" in asked:
            matrices[held_out.job] = confident.noise_matrix(held_out)
        if "cleanlab" in asked:
            labels[confident.label_issues(held_out), held_out.job] = -1
    result: dict[str, FittedClassifier] = {}
    if "forward-estimated" in asked:
        recipe = Recipe("forward-estimated", "forward", transitions=matrices)
        result |= _by_losses({"forward-estimated": recipe}, problem)
    if "cleanlab" in asked:
        result |= _by_losses({"cleanlab": _RECIPES["ce"]}, replace(problem, labels=labels))
    return result
