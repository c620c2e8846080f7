"""Cross-fitting: classifiers whose probabilities for each row come from fits that have not seen its label.

Linear classifiers of all folds are trained side by side, each on the other folds, and stop early by their own; the
final classifier is the mean of theirs, so every row is used. Neighbours vote without the row itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from monosemy.classifiers import engine, neighbours
from monosemy.classifiers.engine import Probes
from monosemy.classifiers.neighbours import Neighbours, Vote
from monosemy.classifiers.registry import FittedClassifier, fit_classifiers
from monosemy.classifiers.tuning import Problem
from monosemy.errors import InputError
from monosemy.functional.consistency import Codes

_CHUNK = 4096
LEAST_SHARE = 1e-3
"""Share of the votes that every class gets beside its own: no class is impossible for want of a neighbour."""

Labels = np.typing.NDArray[np.int64]
Shares = np.typing.NDArray[np.float32]


@dataclass(frozen=True)
class CrossFitted:
    """A classifier with held-out logits of the rows that it was fitted to."""

    name: str
    logits: Shares
    """(N, C), of each row by a fit without it; of neighbours the logarithms of their votes."""
    settings: dict[str, float]
    """Chosen hyper-parameters."""
    probes: Probes | None = None
    """One linear classifier, the mean of those of the folds."""
    vote: Vote | None = None
    """Rule by which the rows vote, where it is no linear classifier."""


def folds(
    labels: Labels, n_folds: int, seed: int, groups: np.typing.NDArray[np.integer] | None = None
) -> np.typing.NDArray[np.int64]:
    """Return the fold (N,) of each row: classes are spread evenly, and the rows of a group stay together.

    Raises:
        InputError: there are fewer rows, or groups, than folds.
    """
    if not isinstance(n_folds, int | np.integer) or isinstance(n_folds, bool):
        raise InputError(f"cv={n_folds!r} is not a whole number; give the number of folds.")
    members = np.arange(len(labels)) if groups is None else np.unique(groups, return_inverse=True)[1]
    firsts = np.unique(members, return_index=True)[1]
    if not 2 <= n_folds <= len(firsts):
        what = "rows" if groups is None else "groups of rows"
        raise InputError(f"cv={n_folds} folds cannot be made of {len(firsts)} {what}; choose 2 to {len(firsts)}.")
    # A group counts for the class of its first row. Scikit-learn's splitters refuse classes with fewer rows than folds,
    # and take minutes for tens of thousands of groups.
    chance = np.random.default_rng(seed).random(len(firsts))
    fold_of = np.empty(len(firsts), dtype=np.int64)
    fold_of[np.lexsort((chance, labels[firsts]))] = np.arange(len(firsts)) % n_folds
    return fold_of[members]


def cross_fit(names: Sequence[str], problem: Problem, fold: Labels) -> dict[str, CrossFitted]:
    """Fit classifiers in all folds.

    Args:
        problem: features and one label vector of train; its validation is not used.
        fold: (N,), of each row.

    Raises:
        InputError: the rows of a fold hold all but one class.
    """
    labels = problem.labels[:, 0].astype(np.int64)
    found: dict[str, CrossFitted] = {}
    linear = [name for name in names if name != "knn"]
    if linear:
        own = fold[:, None] == np.arange(fold.max() + 1)
        columns = replace(
            problem,
            labels=np.where(own, -1, labels[:, None]),
            validation=problem.train,
            validation_labels=np.where(own, labels[:, None], -1),
        )
        for name, fitted in fit_classifiers(linear, columns).items():
            found[name] = _mean_of_folds(name, fitted, problem.train, fold)
    if "knn" in names:
        found["knn"] = _voting(problem, labels)
    return {name: found[name] for name in names}


def _mean_of_folds(name: str, fitted: FittedClassifier, features: Codes, fold: Labels) -> CrossFitted:
    assert fitted.probes is not None
    probes = fitted.probes
    n_features, n_folds, n_classes = probes.shape
    held_out = np.empty((features.shape[0], n_classes), dtype=np.float32)
    for number in range(n_folds):
        rows, own = np.flatnonzero(fold == number), probes.select(np.array([number]))
        for start in range(0, len(rows), _CHUNK):
            part = rows[start : start + _CHUNK]
            held_out[part] = engine.logits(own, features[part])[:, 0].cpu().numpy()
    weight = probes.weight.view(n_features, n_folds, n_classes).mean(dim=1)
    settings = {setting: float(np.mean(values)) for setting, values in fitted.settings.items()}
    return CrossFitted(name, held_out, settings, Probes(weight, probes.bias.mean(dim=0, keepdim=True)))


def _voting(problem: Problem, labels: Labels) -> CrossFitted:
    features, n_classes, weight = problem.train, problem.n_classes, problem.sample_weight
    n = features.shape[0]
    candidates = neighbours.candidates(n, n_classes)
    most = min(neighbours.rows_within(weight, n, max(vote.k for vote in candidates)), n - 1)
    near = neighbours.nearest_neighbours(features, features, most, leave_one_out=True, device=problem.config.device)
    if weight is not None:
        near = near._replace(weights=torch.from_numpy(np.asarray(weight, dtype=np.float32))[near.rows])
    given = labels[:, None]
    accuracies = neighbours.vote_accuracies(near, given, given, n_classes, candidates)
    vote = neighbours.best_vote(accuracies, candidates)
    settings = {"k": float(vote.k), "power": vote.power}
    return CrossFitted("knn", vote_logits(near, labels, n_classes, vote), settings, vote=vote)


def vote_logits(near: Neighbours, labels: Labels, n_classes: int, vote: Vote) -> Shares:
    """Return the logarithms (Q, C) of the shares of votes, to each of which a thousandth was added."""
    shares = neighbours.vote_shares(near, labels[:, None], n_classes, vote)[:, 0]
    return np.log(shares + np.float32(LEAST_SHARE))


def linear_logits(probes: Probes, features: Codes) -> Shares:
    """Return the logits (N, C) of one linear classifier, a few rows at a time."""
    result = np.empty((features.shape[0], probes.shape[2]), dtype=np.float32)
    with torch.inference_mode():
        for start in range(0, len(result), _CHUNK):
            block = slice(start, start + _CHUNK)
            result[block] = engine.logits(probes, features[block])[:, 0].cpu().numpy()
    return result


def group_numbers(groups: np.typing.ArrayLike, n_rows: int) -> Labels:
    """Return the groups of rows as numbers, (N,)."""
    values = np.asarray(groups)
    if values.shape != (n_rows,):
        raise InputError(f"groups has shape {values.shape}, but there are {n_rows} rows; give one group for each.")
    return np.unique(values, return_inverse=True)[1]
