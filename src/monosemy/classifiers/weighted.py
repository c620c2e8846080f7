"""Classifiers on two parts of features side by side, with the weight of the second part chosen on noisy validation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from monosemy.classifiers.engine import Probes, joined
from monosemy.classifiers.registry import FittedClassifier, fit_classifiers
from monosemy.classifiers.tuning import Problem
from monosemy.classifiers.voting import Shares, Values


def weighted(features: np.typing.NDArray[np.float32], n_first: int, weight: float) -> np.typing.NDArray[np.float32]:
    """Return a copy of features (N, D) with all columns but the first ``n_first`` multiplied by a weight."""
    result = np.array(features)
    result[:, n_first:] *= weight
    return result


@dataclass(frozen=True)
class _WeightedVoters(FittedClassifier):
    """Neighbours under several weights, and the weight of each label vector; linear classifiers need no such class."""

    by_weight: Mapping[float, FittedClassifier] = field(default_factory=dict, repr=False)
    n_first: int = 0

    def probabilities(self, features: np.typing.NDArray[np.float32], jobs: Sequence[int]) -> Shares:
        chosen = self.settings["weight"][list(jobs)]
        parts: list[Shares] = []
        places: list[int] = []
        for weight, classifier in self.by_weight.items():
            mine = np.flatnonzero(chosen == weight)
            if len(mine):
                scaled = weighted(features, self.n_first, weight)
                parts.append(classifier.probabilities(scaled, [jobs[place] for place in mine.tolist()]))
                places += mine.tolist()
        return np.concatenate(parts, axis=1)[:, np.argsort(places)]


def fit_weighted(
    names: Sequence[str], problem: Problem, n_first: int, weights: Sequence[float], transitions: Values | None = None
) -> dict[str, FittedClassifier]:
    """Fit classifiers with each weight of the columns from ``n_first`` on; each keeps its best one in each group.

    The best has the highest mean accuracy on the noisy validation labels of a group's jobs; of equals the first counts.
    The results take features with weight 1, and ``settings["weight"]`` holds the choice, (J,).

    Args:
        problem: its features are arrays.
        transitions: see :func:`monosemy.classifiers.registry.fit_classifiers`.
    """
    by_weight = {}
    for weight in weights:
        parts = [weighted(part, n_first, weight) for part in (problem.train, problem.validation)]
        scaled = replace(problem, train=parts[0], validation=parts[1])
        by_weight[weight] = fit_classifiers(names, scaled, transitions)
    groups = problem.jobs_of_groups()
    return {name: _best({w: by_weight[w][name] for w in weights}, groups, n_first) for name in names}


def _best(
    by_weight: Mapping[float, FittedClassifier], groups: Sequence[np.typing.NDArray[np.int64]], n_first: int
) -> FittedClassifier:
    """Return one classifier with the best weight for each group of jobs."""
    candidates = list(by_weight.values())
    accuracies = np.stack([candidate.validation_accuracy for candidate in candidates])
    chosen = np.empty(accuracies.shape[1], dtype=np.int64)
    for jobs in groups:
        chosen[jobs] = accuracies[:, jobs].mean(axis=1).argmax()
    every = np.arange(len(chosen))
    settings = {
        name: np.stack([candidate.settings[name] for candidate in candidates])[chosen, every]
        for name in candidates[0].settings
    }
    settings["weight"] = np.array(list(by_weight))[chosen]
    name, accuracy = candidates[0].name, accuracies[chosen, every]
    if candidates[0].probes is None:
        used = {weight: by_weight[weight] for weight in np.unique(settings["weight"]).tolist()}
        return _WeightedVoters(name, settings, accuracy, by_weight=used, n_first=n_first)
    return FittedClassifier(name, settings, accuracy, _folded(by_weight, settings["weight"], n_first))


def _folded(by_weight: Mapping[float, FittedClassifier], chosen: Values, n_first: int) -> Probes:
    """Return the probes of each job under its weight as probes on features with weight 1: W f w = (w W) f."""
    parts, places = [], []
    for weight, classifier in by_weight.items():
        mine = np.flatnonzero(chosen == weight)
        if len(mine):
            assert classifier.probes is not None
            probes = classifier.probes.select(mine)
            factor = torch.ones(len(probes.weight), 1).to(probes.weight)
            factor[n_first:] = weight
            parts.append(probes._replace(weight=probes.weight * factor))
            places.append(mine)
    return joined(parts).select(np.argsort(np.concatenate(places)))
