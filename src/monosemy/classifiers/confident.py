"""Confident learning on many label vectors, by cleanlab: the noise and the label issues that cross-validation shows.

The cross-validation of all label vectors and folds is one training of linear classifiers side by side.

Source: Northcutt et al., "Confident learning: estimating uncertainty in dataset labels" (arXiv 1911.00068).
"""

import warnings
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch

from monosemy.classifiers import engine
from monosemy.classifiers.engine import Probes, Validation, fit_probes, prepared, probes_at_once
from monosemy.classifiers.tuning import Problem

N_FOLDS = 5
_CHUNK = 512
_LEAST = 1e-6
"""Least probability of a given label for a true one: no label is impossible."""

Labels = np.typing.NDArray[np.integer]
Values = np.typing.NDArray[np.float64]


class HeldOut(NamedTuple):
    """Probabilities of classes for the used rows of one label vector, by a classifier that has not seen the row."""

    job: int
    rows: np.typing.NDArray[np.int64]
    """(N',), those with a label."""
    labels: Labels
    """(N',)."""
    probabilities: Values
    """(N', C)."""


def held_out(problem: Problem, weight_decay: Values) -> Iterator[HeldOut]:
    """Yield held-out probabilities of each label vector by cross-entropy, which stops early by validation.

    Args:
        weight_decay: (J,).
    """
    n_jobs, n_classes, config = problem.labels.shape[1], problem.n_classes, problem.config
    features = prepared(problem.train, config.device, problem.sample_weight)
    at_once = max(1, probes_at_once(problem.train.shape[1], n_classes, config.batch_size) // N_FOLDS)
    for jobs in np.array_split(np.arange(n_jobs), -(-n_jobs // at_once)):
        labels = problem.labels[:, jobs]
        fold = folds(labels, problem.seed)
        seen = [np.where(fold == number, -1, labels) for number in range(N_FOLDS)]
        given = np.tile(problem.validation_labels[:, jobs], N_FOLDS)
        probes = fit_probes(
            features, np.concatenate(seen, axis=1), n_classes, np.tile(weight_decay[jobs], N_FOLDS), config,
            problem.seed, validation=Validation(problem.validation, given),
        ).probes  # fmt: skip
        shares = _of_own_fold(problem, probes, fold)
        for place, job in enumerate(jobs):
            rows = np.flatnonzero(labels[:, place] >= 0)
            yield HeldOut(int(job), rows, labels[rows, place], shares[rows, place].astype(np.float64))


def folds(labels: Labels, seed: int) -> np.typing.NDArray[np.int64]:
    """Return the fold (N, J) of every row for each label vector; the rows of a class are spread evenly."""
    result = np.empty(labels.shape, dtype=np.int64)
    chance = np.random.default_rng(seed).random(len(labels))
    for job in range(labels.shape[1]):
        result[np.lexsort((chance, labels[:, job])), job] = np.arange(len(labels)) % N_FOLDS
    return result


def _of_own_fold(problem: Problem, probes: Probes, fold: np.typing.NDArray[np.int64]) -> np.typing.NDArray[np.float32]:
    """Return probabilities (N, J, C) of train by those of J classifiers for each fold that have not seen the row."""
    n, n_jobs = fold.shape
    result = np.empty((n, n_jobs, problem.n_classes), dtype=np.float32)
    for start in range(0, n, _CHUNK):
        block = slice(start, start + _CHUNK)
        shares = torch.softmax(engine.logits(probes, problem.train[block]), dim=-1).cpu().numpy()
        shares = shares.reshape(-1, N_FOLDS, n_jobs, problem.n_classes)
        result[block] = np.take_along_axis(shares, fold[block, None, :, None], axis=1)[:, 0]
    return result


def noise_matrix(found: HeldOut) -> Values:
    """Return P(given | true), (C, C), from the confident joint; a true class that is never found is not noisy."""
    from cleanlab.count import compute_confident_joint, estimate_latent

    joint = compute_confident_joint(found.labels, found.probabilities)
    _, of_true, _ = estimate_latent(joint, found.labels)  # given classes are rows
    matrix = np.nan_to_num(np.asarray(of_true, dtype=np.float64).T)
    matrix = np.where(matrix.sum(axis=1, keepdims=True) > 0.5, matrix, np.eye(len(matrix)))
    matrix = np.maximum(matrix, _LEAST)
    normalised: Values = matrix / matrix.sum(axis=1, keepdims=True)
    return normalised


def label_issues(found: HeldOut) -> np.typing.NDArray[np.int64]:
    """Return the rows whose labels CleanLearning drops, in [0, N); none where it would drop all."""
    from cleanlab.filter import find_label_issues

    with warnings.catch_warnings():
        # No class is searched to its last row: nothing that a user of many label vectors could act on.
        warnings.filterwarnings("ignore", message="May not flag all label issues")
        # Its process pool relies on forked globals, which the workers of joblib do not have.
        mask = np.asarray(find_label_issues(found.labels, found.probabilities, n_jobs=1), dtype=bool)
    return found.rows[mask & ~mask.all()]
