"""Classifiers by nearest neighbours on many label vectors: neighbours are found once, and their votes are chosen.

Label vectors that use the same rows of train share their neighbours; these vectors, with their rows, are a part.
Numbers of neighbours count sample weights: a row of weight 2 is two neighbours.
"""

import weakref
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch

from monosemy.classifiers import neighbours
from monosemy.classifiers.neighbours import RELIABILITY_NEIGHBOURS, Labels, Neighbours, Vote
from monosemy.classifiers.tuning import Problem
from monosemy.functional.consistency import Codes

Shares = np.typing.NDArray[np.float32]
Values = np.typing.NDArray[np.float64]
_BUDGET = 2**28
"""Bytes of neighbours that are kept."""


class Voters:
    """The rows of train of a problem as neighbours that vote, for each of its J label vectors."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.parts = neighbours.jobs_by_rows(problem.labels)
        """Rows and jobs of each part."""
        self.part_of = np.empty(problem.labels.shape[1], dtype=np.int64)
        for part, (_, jobs) in enumerate(self.parts):
            self.part_of[jobs] = part
        self.votes: list[Vote] | None = None
        """The chosen vote of each label vector."""
        self.accuracy: Values = np.empty(len(self.part_of))
        """Of the chosen votes, on validation."""
        self.neighbourhoods: dict[int, torch.Tensor] = {}
        """Those of WANN for each part, (N', J'); its jobs are in the order of ``parts``."""
        self._queries: weakref.ref[Codes] | None = None
        self._near: dict[int, Neighbours] = {}
        self._own: dict[int, Neighbours] = {}

    def choose(self) -> Values:
        """Choose number of neighbours and exponent for each group of jobs; return the accuracy on validation, (J,)."""
        if self.votes is not None:
            return self.accuracy
        problem = self.problem
        votes = [Vote(1)] * len(self.part_of)
        for jobs in problem.jobs_of_groups():
            fewest = min(self._size(part) for part in self.part_of[jobs])
            candidates = neighbours.candidates(fewest, problem.n_classes)
            accuracies = np.empty((len(candidates), len(jobs)))
            for part, places in self._by_part(jobs):
                mine = jobs[places]
                near = self.near(problem.validation, part, self._most(part))
                accuracies[:, places] = neighbours.vote_accuracies(
                    near, self._labels(part, mine), problem.validation_labels[:, mine], problem.n_classes, candidates
                )
            best = neighbours.best_vote(accuracies, candidates)
            self.accuracy[jobs] = accuracies[candidates.index(best)]
            for job in jobs:
                votes[job] = best
        self.votes = votes
        return self.accuracy

    def weigh(self) -> Values:
        """Find the neighbourhoods of WANN; return its accuracy on validation, (J,)."""
        problem = self.problem
        for part, (_, jobs) in enumerate(self.parts):
            own, labels = self._others(part, RELIABILITY_NEIGHBOURS[-1]), self._labels(part, jobs)
            self.neighbourhoods[part] = neighbours.reliable_neighbourhoods(own, labels, problem.n_classes)
        given = problem.validation_labels
        accuracy: Values = np.empty(given.shape[1])
        for part, (_, jobs) in enumerate(self.parts):
            near = self.near(problem.validation, part, self._reach(part))
            shares = neighbours.wann(near, self.neighbourhoods[part], self._labels(part, jobs), problem.n_classes)
            used = given[:, jobs] >= 0
            hits = (shares.argmax(axis=2) == given[:, jobs]) & used
            accuracy[jobs] = hits.sum(axis=0) / np.maximum(used.sum(axis=0), 1)
        return accuracy

    def relabelled(self) -> Labels:
        """Return labels (N, J) of train that each row's neighbours vote, to which it does not belong."""
        self.choose()
        assert self.votes is not None
        problem, result = self.problem, self.problem.labels.copy()
        for part, (rows, jobs) in enumerate(self.parts):
            own = self._others(part, max(self.votes[job].k for job in jobs))
            for vote in dict.fromkeys(self.votes[job] for job in jobs):
                mine = np.array([job for job in jobs if self.votes[job] == vote])
                voted = neighbours.relabel(own, self._labels(part, mine), problem.n_classes, vote)
                result[rows[:, None], mine] = voted
        return result

    def shares(self, features: Codes, jobs: Sequence[int], *, weighted: bool) -> Shares:
        """Return the shares (N, len(jobs), C) of the votes for each class; weighted are those of WANN."""
        n_classes, asked = self.problem.n_classes, np.asarray(jobs)
        result = np.empty((features.shape[0], len(asked), n_classes), dtype=np.float32)
        for part, places in self._by_part(asked):
            mine = asked[places]
            near, labels = self.near(features, part, self._reach(part)), self._labels(part, mine)
            if weighted:
                columns = torch.from_numpy(np.searchsorted(self.parts[part][1], mine))
                sizes = self.neighbourhoods[part][:, columns]
                result[:, places] = neighbours.wann(near, sizes, labels, n_classes)
                continue
            assert self.votes is not None
            for vote in dict.fromkeys(self.votes[job] for job in mine):
                same = np.array([self.votes[job] == vote for job in mine])
                result[:, places[same]] = neighbours.vote_shares(near, labels[:, same], n_classes, vote)
        return result

    def near(self, features: Codes, part: int, k: int) -> Neighbours:
        """Return at least k neighbours of rows of features; those of the last matrix that was asked for are kept."""
        if self._queries is None or self._queries() is not features:
            self._queries, self._near = weakref.ref(features), {}
        found = self._near.pop(part, None)
        weight = self._weight(part)
        rows = neighbours.rows_within(weight, len(self.parts[part][0]), k)
        if found is None or found.rows.shape[1] < rows:
            train = self._train(part)
            found = neighbours.nearest_neighbours(features, train, rows, device=self.problem.config.device)
            if weight is not None:
                found = found._replace(weights=torch.from_numpy(weight).to(found.rows.device)[found.rows])
        while self._near and _n_bytes((*self._near.values(), found)) > _BUDGET:
            del self._near[next(iter(self._near))]
        self._near[part] = found
        return found

    def forget(self) -> None:
        """Forget the neighbours within train, which predictions do not need."""
        self._own = {}

    def _others(self, part: int, k: int) -> Neighbours:
        """Return at least k neighbours of rows of train, among the other rows; fewer where there are no more."""
        n, weight = len(self.parts[part][0]) - 1, self._weight(part)
        found = self._own.get(part)
        if found is None or found.rows.shape[1] < min(neighbours.rows_within(weight, n, k), n):
            train, most = self._train(part), max(k, RELIABILITY_NEIGHBOURS[-1])
            rows, device = min(neighbours.rows_within(weight, n, most), n), self.problem.config.device
            found = neighbours.nearest_neighbours(train, train, rows, leave_one_out=True, device=device)
            if weight is not None:
                found = neighbours.with_own_copies(found, torch.from_numpy(weight).to(found.rows.device))
            self._own[part] = found
        return found

    def _weight(self, part: int) -> np.typing.NDArray[np.float32] | None:
        """Return the sample weights of the rows of a part, (N',)."""
        weight = self.problem.sample_weight
        return None if weight is None else np.asarray(weight, dtype=np.float32)[self.parts[part][0]]

    def _size(self, part: int) -> int:
        """Return the number of rows of a part, or the sum of their weights."""
        weight = self._weight(part)
        return len(self.parts[part][0]) if weight is None else max(2, round(float(weight.sum(dtype=np.float64))))

    def _train(self, part: int) -> Codes:
        rows, train = self.parts[part][0], self.problem.train
        return train if len(rows) == train.shape[0] else train[rows]

    def _labels(self, part: int, jobs: np.typing.NDArray[np.integer]) -> Labels:
        return self.problem.labels[self.parts[part][0][:, None], jobs]

    def _most(self, part: int) -> int:
        """Return the most neighbours that any vote may ask for."""
        n = self._size(part)
        return max(neighbours.neighbour_counts(n, self.problem.n_classes)[-1], min(RELIABILITY_NEIGHBOURS[-1], n - 1))

    def _reach(self, part: int) -> int:
        """Return the most neighbours that the chosen votes ask for."""
        votes = [] if self.votes is None else [self.votes[job].k for job in self.parts[part][1]]
        sizes = [int(self.neighbourhoods[part].max())] if part in self.neighbourhoods else []
        return max(votes + sizes)

    def _by_part(self, jobs: np.typing.NDArray[np.integer]) -> Iterator[tuple[int, np.typing.NDArray[np.int64]]]:
        """Yield the parts of some jobs, with the places of their jobs among these."""
        for part in dict.fromkeys(self.part_of[jobs].tolist()):
            yield part, np.flatnonzero(self.part_of[jobs] == part)


def _n_bytes(all_found: Iterable[Neighbours]) -> int:
    return sum(tensor.nbytes for found in all_found for tensor in found if tensor is not None)
