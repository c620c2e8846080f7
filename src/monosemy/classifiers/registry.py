"""The classifiers of a study by name: each is tuned on noisy validation labels, and then predicts probabilities.

A problem holds one pair of feature matrices and J label vectors, one for each training condition and seed. All are
fitted together, and what depends on the features alone (neighbours, moments) is computed once. Seeds of one condition
share hyper-parameters where they share features.
"""

import difflib
import importlib.util
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from monosemy.classifiers import closed_form, engine, linear_probe, neighbours
from monosemy.classifiers.config import NAMES, ClassifierName
from monosemy.classifiers.engine import Probes
from monosemy.classifiers.tuning import Problem, Recipe, fit_tuned
from monosemy.errors import InputError, needs_extra
from monosemy.functional.consistency import Codes

Shares = np.typing.NDArray[np.float32]
Values = np.typing.NDArray[np.float64]
Labels = np.typing.NDArray[np.integer]


@dataclass(frozen=True)
class Classifier:
    """A classifier by name."""

    name: ClassifierName
    title: str
    oracle: bool = False
    """True where it is told what no user knows."""
    extra: str | None = None
    """The optional dependency that it needs."""


CLASSIFIERS: dict[str, Classifier] = {
    classifier.name: classifier
    for classifier in (
        Classifier("ce", "cross-entropy"),
        Classifier("gce", "generalized cross-entropy"),
        Classifier("forward", "forward correction, rate by likelihood"),
        Classifier("knn", "k nearest neighbours"),
        Classifier("sce", "symmetric cross-entropy"),
        Classifier("elr", "early-learning regularisation"),
        Classifier("label-smoothing", "label smoothing"),
        Classifier("forward-estimated", "forward correction, matrix by confident learning", extra="cleanlab"),
        Classifier("forward-oracle", "forward correction, true matrix", oracle=True),
        Classifier("wann", "weighted adaptive nearest neighbours"),
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
    "forward": Recipe("forward", "forward", (0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.75, 0.9)),
    "sce": Recipe("sce", "sce"),
    "elr": Recipe("elr", "elr", (1.0, 3.0)),
    "label-smoothing": Recipe("label-smoothing", "label-smoothing", (0.1, 0.3, 0.6)),
}
_PARAMETER = {"gce": "q", "forward": "rate", "elr": "strength", "label-smoothing": "smoothing"}
"""What the hyper-parameter of a loss is called in settings."""
_NEEDS_CE = ("forward-estimated", "cleanlab")
_FOLDS = 5


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
    votes: "_Votes | None" = field(default=None, repr=False)

    def probabilities(self, features: Codes, jobs: Sequence[int]) -> Shares:
        """Return the probabilities (N, len(jobs), C) of some of the label vectors for features (N, D).

        Those of LDA, ridge and class means are the softmax of their scores.
        """
        if self.votes is not None:
            return self.votes.shares(self.name, features, jobs, self.settings)
        assert self.probes is not None
        logits = engine.logits(self.probes.select(np.asarray(jobs)), features)
        return torch.softmax(logits, dim=-1).cpu().numpy()


def fit_classifiers(
    names: Sequence[str], problem: Problem, transitions: Values | None = None
) -> dict[str, FittedClassifier]:
    """Fit classifiers to all label vectors of a problem.

    Args:
        transitions: (J, C, C), P(given | true) of each label vector, for `forward-oracle`.

    Raises:
        InputError: a name is unknown, `forward-oracle` is not told the noise, or a label vector holds one class alone.
    """
    check_classifiers(names)
    if "forward-oracle" in names and transitions is None:
        raise InputError("The classifier 'forward-oracle' needs the true noise matrix, which is unknown; leave it out.")
    for column in problem.labels.T:
        if len(np.unique(column[column >= 0])) < 2:
            raise InputError("The train labels hold one class alone; give more labels, or leave the condition out.")
    found: dict[str, FittedClassifier] = {}
    votes = _Votes(problem) if {"knn", "wann", "knn-relabel"} & set(names) else None
    own = [name for name in names if name in _RECIPES]
    linear = [*own, *(["ce"] if set(_NEEDS_CE) & set(names) and "ce" not in own else [])]
    recipes = {name: _RECIPES[name] for name in linear}
    if transitions is not None and "forward-oracle" in names:
        recipes["forward-oracle"] = Recipe("forward-oracle", "forward", transitions=transitions)
    found |= _linear(recipes, problem)
    for name in names:
        if name in ("knn", "wann"):
            assert votes is not None
            found[name] = votes.fit(name)
        elif name == "knn-relabel":
            assert votes is not None
            found[name] = _relabelled(problem, votes)
        elif name in ("centroid", "lda", "ridge"):
            found[name] = _closed_form(name, problem)
        elif name == "forward-estimated":
            estimated = _confident_matrices(problem, found["ce"])
            found |= _linear({name: Recipe(name, "forward", transitions=estimated)}, problem)
        elif name == "cleanlab":
            found[name] = _clean_learning(problem, found["ce"])
    return {name: found[name] for name in names}


def _linear(recipes: Mapping[str, Recipe], problem: Problem) -> dict[str, FittedClassifier]:
    """Return classifiers by losses, all tuned and trained together."""
    if not recipes:
        return {}
    result = {}
    for name, tuned in zip(recipes, fit_tuned(list(recipes.values()), problem), strict=True):
        settings = {"weight_decay": tuned.weight_decay}
        if name in _PARAMETER:
            settings[_PARAMETER[name]] = tuned.parameter
        result[name] = FittedClassifier(name, settings, tuned.fitted.accuracy, tuned.fitted.probes)
    return result


def _groups(problem: Problem) -> Iterator[np.typing.NDArray[np.int64]]:
    """Yield the jobs that share hyper-parameters."""
    n_jobs = problem.labels.shape[1]
    groups = np.zeros(n_jobs, dtype=np.int64) if problem.groups is None else problem.groups
    for group in dict.fromkeys(groups.tolist()):
        yield np.flatnonzero(groups == group)


class _Votes:
    """Votes of nearest neighbours: found once for every feature matrix and set of used train rows."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.by_rows = neighbours.jobs_by_rows(problem.labels)
        self.part = {int(job): number for number, (_, jobs) in enumerate(self.by_rows) for job in jobs}
        self.most = [
            max(*neighbours.neighbour_counts(len(rows), problem.n_classes), min(51, len(rows) - 1))
            for rows, _ in self.by_rows
        ]
        self.neighbourhoods: dict[int, torch.Tensor] = {}
        self._known: tuple[Codes, dict[int, neighbours.Neighbours]] | None = None

    def _train(self, number: int) -> tuple[Codes, np.typing.NDArray[np.int64]]:
        rows, _ = self.by_rows[number]
        everything = len(rows) == self.problem.train.shape[0]
        return (self.problem.train if everything else self.problem.train[rows]), rows

    def _near(self, features: Codes, number: int) -> neighbours.Neighbours:
        """Return the neighbours of rows of features; those of the last feature matrix are kept."""
        if self._known is None or self._known[0] is not features:
            self._known = (features, {})
        known = self._known[1]
        if number not in known:
            train, _ = self._train(number)
            known[number] = neighbours.nearest_neighbours(
                features, train, self.most[number], device=self.problem.config.device
            )
        return known[number]

    def own(self, number: int, k: int) -> neighbours.Neighbours:
        """Return the neighbours of train rows among the others."""
        train, _ = self._train(number)
        return neighbours.nearest_neighbours(train, train, k, leave_one_out=True, device=self.problem.config.device)

    def labels(self, number: int, jobs: Sequence[int]) -> Labels:
        """Return the labels of the used rows (N', len(jobs))."""
        return self.problem.labels[self.by_rows[number][0]][:, jobs]

    def fit(self, name: str) -> FittedClassifier:
        """Choose k and the exponent of the cosine, or find the neighbourhoods of WANN."""
        problem, n_jobs = self.problem, self.problem.labels.shape[1]
        accuracy, k, power = (np.full(n_jobs, np.nan) for _ in range(3))
        for jobs in _groups(problem):
            for number in dict.fromkeys(self.part[int(job)] for job in jobs):
                mine = [int(job) for job in jobs if self.part[int(job)] == number]
                near, labels = self._near(problem.validation, number), self.labels(number, mine)
                given = problem.validation_labels[:, mine]
                if name == "wann":
                    own = self.own(number, min(51, len(labels) - 1))
                    found = neighbours.reliable_neighbourhoods(own, labels, problem.n_classes)
                    for place, job in enumerate(mine):
                        self.neighbourhoods[job] = found[:, place : place + 1]
                    shares = neighbours.wann(near, found, labels, problem.n_classes)
                    used = given >= 0
                    hits = (shares.argmax(axis=2) == given) & used
                    accuracy[mine] = hits.sum(axis=0) / np.maximum(used.sum(axis=0), 1)
                    continue
                votes = neighbours.candidates(len(labels), problem.n_classes)
                accuracies = neighbours.vote_accuracies(near, labels, given, problem.n_classes, votes)
                best = neighbours.best_vote(accuracies, votes)
                accuracy[mine], k[mine], power[mine] = accuracies[votes.index(best)], best.k, best.power
        settings = {} if name == "wann" else {"k": k, "power": power}
        return FittedClassifier(name, settings, accuracy, votes=self)

    def shares(self, name: str, features: Codes, jobs: Sequence[int], settings: Mapping[str, Values]) -> Shares:
        """Return the votes for each class as shares, (N, len(jobs), C)."""
        result = np.empty((features.shape[0], len(jobs), self.problem.n_classes), dtype=np.float32)
        for place, job in enumerate(jobs):
            near, labels = self._near(features, self.part[job]), self.labels(self.part[job], [job])
            if name == "wann":
                of_job = neighbours.wann(near, self.neighbourhoods[job], labels, self.problem.n_classes)
            else:
                vote = neighbours.Vote(int(settings["k"][job]), float(settings["power"][job]))
                of_job = neighbours.vote_shares(near, labels, self.problem.n_classes, vote)
            result[:, place] = of_job[:, 0]
        return result


def _relabelled(problem: Problem, votes: _Votes) -> FittedClassifier:
    """Return cross-entropy on labels that are voted by the neighbours of each row, with the best vote of `knn`."""
    chosen = votes.fit("knn").settings
    labels = problem.labels.copy()
    for number, (rows, jobs) in enumerate(votes.by_rows):
        own = votes.own(number, min(votes.most[number], len(rows) - 1))
        for job in map(int, jobs):
            vote = neighbours.Vote(min(int(chosen["k"][job]), len(rows) - 1), float(chosen["power"][job]))
            labels[rows, job] = neighbours.relabel(own, votes.labels(number, [job]), problem.n_classes, vote)[:, 0]
    fitted = _linear({"knn-relabel": Recipe("knn-relabel")}, replace(problem, labels=labels))["knn-relabel"]
    return replace(fitted, settings={**fitted.settings, **chosen})


def _closed_form(name: str, problem: Problem) -> FittedClassifier:
    """Return class means, LDA or ridge regression, with shrinkage or penalty chosen on validation."""
    n_jobs, width = problem.labels.shape[1], problem.train.shape[1]
    values: tuple[float, ...] = {"lda": closed_form.SHRINKAGES, "ridge": closed_form.PENALTIES}.get(name, (0.0,))
    of_value = [
        Probes(torch.zeros(width, n_jobs * problem.n_classes), torch.zeros(n_jobs, problem.n_classes)) for _ in values
    ]
    for rows, jobs in neighbours.jobs_by_rows(problem.labels):
        everything = len(rows) == problem.train.shape[0]
        moments = closed_form.moments(
            problem.train if everything else problem.train[rows], problem.labels[rows][:, jobs], problem.n_classes
        )
        for value, together in zip(values, of_value, strict=True):
            probes = {"lda": closed_form.lda, "ridge": closed_form.ridge}[name](moments, value) if value else (
                closed_form.centroid(moments)
            )  # fmt: skip
            together.weight.view(width, n_jobs, -1)[:, torch.from_numpy(jobs)] = probes.weight.view(
                width, len(jobs), -1
            )
            together.bias[torch.from_numpy(jobs)] = probes.bias
    accuracies = np.array([_accuracy(probes, problem) for probes in of_value])
    best = np.zeros(n_jobs, dtype=np.int64)
    for jobs in _groups(problem):
        best[jobs] = values.index(closed_form.best_of(list(accuracies[:, jobs]), values))
    weight = torch.stack([of_value[best[job]].select(np.array([job])).weight for job in range(n_jobs)], dim=1)
    bias = torch.cat([of_value[best[job]].bias[job : job + 1] for job in range(n_jobs)])
    names = {"lda": "shrinkage", "ridge": "penalty"}
    settings = {names[name]: np.array(values)[best]} if name in names else {}
    accuracy = accuracies[best, np.arange(n_jobs)]
    return FittedClassifier(name, settings, accuracy, Probes(weight.reshape(width, -1), bias))


def _accuracy(probes: Probes, problem: Problem) -> Values:
    given = problem.validation_labels
    hits = (engine.predict(probes, problem.validation) == given) & (given >= 0)
    accuracy: Values = hits.sum(axis=0) / np.maximum((given >= 0).sum(axis=0), 1)
    return accuracy


def _confident_matrices(problem: Problem, ce: FittedClassifier) -> Values:
    """Return P(given | true) of each label vector by cleanlab's confident joint on out-of-fold probabilities of ce."""
    from cleanlab.count import compute_confident_joint, estimate_latent

    rng = np.random.default_rng(problem.seed)
    fold = rng.permutation(problem.labels.shape[0]) % _FOLDS
    n_jobs = problem.labels.shape[1]
    shares = np.empty((problem.labels.shape[0], n_jobs, problem.n_classes), dtype=np.float32)
    for number in range(_FOLDS):
        held_out = np.flatnonzero(fold == number)
        labels = np.where((fold == number)[:, None], -1, problem.labels)
        probes = engine.train_probes(
            problem.train, labels, problem.n_classes, ce.settings["weight_decay"], problem.config, problem.seed
        )
        shares[held_out] = torch.softmax(engine.logits(probes, problem.train[held_out]), dim=-1).cpu().numpy()
    matrices = np.empty((n_jobs, problem.n_classes, problem.n_classes))
    for job in range(n_jobs):
        used = problem.labels[:, job] >= 0
        given = problem.labels[used, job]
        joint = compute_confident_joint(given, shares[used, job].astype(np.float64))
        _, noise, _ = estimate_latent(joint, given)
        matrices[job] = noise.T  # cleanlab's is P(given | true) with the true class in columns
    return matrices


def _clean_learning(problem: Problem, ce: FittedClassifier) -> FittedClassifier:
    """Return CleanLearning: label issues are found by cross-validation and dropped, and the rest is fitted again.

    Its classifier is the linear probe with the weight decay that cross-entropy chose for the same labels.
    """
    from cleanlab.classification import CleanLearning

    n_jobs, width = problem.labels.shape[1], problem.train.shape[1]
    weight, bias = torch.zeros(width, n_jobs, problem.n_classes), torch.full((n_jobs, problem.n_classes), -torch.inf)
    config = problem.config
    for job in range(n_jobs):
        used = np.flatnonzero(problem.labels[:, job] >= 0)
        probe = linear_probe.LinearProbe(
            float(ce.settings["weight_decay"][job]), epochs=config.epochs, batch_size=config.batch_size, lr=config.lr,
            min_steps=config.min_steps,
        )  # fmt: skip
        # Its process pool relies on forked globals, which the workers of joblib do not have.
        model = CleanLearning(
            probe, seed=problem.seed % 2**31, find_label_issues_kwargs={"n_jobs": 1}, verbose=False, cv_n_folds=_FOLDS
        )
        classes, given = np.unique(problem.labels[used, job], return_inverse=True)  # cleanlab wants 0, 1, ..., C - 1
        model.fit(problem.train[used], given)
        fitted = model.clf.probes_
        kept = torch.from_numpy(classes[model.clf.classes_])
        weight[:, job, kept], bias[job, kept] = fitted.weight, fitted.bias[0]
    probes = Probes(weight.reshape(width, -1), bias)
    return FittedClassifier("cleanlab", ce.settings, _accuracy(probes, problem), probes)
