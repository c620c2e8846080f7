"""Classifiers by nearest neighbours: neighbours are found once, then many label vectors vote at once.

Similarity is the cosine. For a row q with neighbours i = 1, 2, ... in falling order of cos(q, i), the vote for a class
is ``v[c] = sum over i <= k with y_i = c of max(cos(q, i), 0)^m``; the predicted class has the largest vote, and of
equals the smallest number.

Under sample weights w a row counts as w rows: ``v[c] = sum over y_i = c of max(cos(q, i), 0)^m times the part of w_i
within the first k``, which lies between ``w_1 + ... + w_(i-1)`` and that plus w_i.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
import torch

from monosemy.data.memory_map import forget_pages
from monosemy.functional.codes import csr_tensor
from monosemy.functional.consistency import Codes

Labels = np.typing.NDArray[np.integer]

_BLOCK_BYTES = 2**26
"""Bytes of similarities, or of votes, at a time."""
_TRAIN_ROWS = 2**14
"""Rows of train that are compared with a block of queries at a time."""
MOST_NEIGHBOURS = 1000
POWERS = (0.0, 1.0, 4.0, 16.0)
"""Exponents m of the cosine; 0 counts heads."""
RELIABILITY_NEIGHBOURS = (*range(11, 51, 2), 51)
"""Neighbourhoods that WANN tries, the last for rows that none of them confirms."""


class Neighbours(NamedTuple):
    """The nearest rows of train for each of Q queries, nearest first."""

    rows: torch.Tensor
    """(Q, K), int64."""
    cosines: torch.Tensor
    """(Q, K)."""
    weights: torch.Tensor | None = None
    """(Q, K), sample weights; None: all 1."""

    def __repr__(self) -> str:
        return "{1} neighbours of {0:,} rows".format(*self.rows.shape)

    def within(self, block: slice, start: int, stop: int) -> torch.Tensor | None:
        """Return the part (B, K, 1) of each weight that lies between the first ``start`` and the first ``stop``.

        Weights are summed from the nearest row on. None stands for weights of 1: ranks tell what lies where.
        """
        if self.weights is None:
            return None
        weights = self.weights[block]
        last = weights.cumsum(dim=1)
        first = last - weights
        return (last.clamp(start, stop) - first.clamp(start, stop)).unsqueeze(2)


class Vote(NamedTuple):
    """The rule by which neighbours vote."""

    k: int
    power: float = 0.0
    """m, the exponent of the cosine."""


def nearest_neighbours(
    queries: Codes, train: Codes, k: int, *, leave_one_out: bool = False, device: str = "cpu"
) -> Neighbours:
    """Return the exact k nearest rows of train by cosine, with blocks of products and bounded memory.

    Rows of zeros have cosine 0 with every row. Memory maps are read block by block; sparse features stay sparse.

    Args:
        queries: (Q, D), dense, CSR or a memory map.
        train: (N, D).
        k: 1 <= k <= N, or N - 1 where a row is left out.
        leave_one_out: query i is row i of train, and not its own neighbour.

    Raises:
        ValueError: k is out of range.
    """
    n = train.shape[0]
    if not 1 <= k <= n - leave_one_out:
        raise ValueError(f"k={k} neighbours of {n - leave_one_out} rows: choose k between 1 and that")
    width = min(n, max(_TRAIN_ROWS, k))
    step = max(1, _BLOCK_BYTES // (4 * width))
    rows, cosines = [], []
    for start in range(0, queries.shape[0], step):
        block = _unit_rows(queries, slice(start, min(start + step, queries.shape[0])), device)
        query = block.to_dense() if block.layout == torch.sparse_csr else block
        best: tuple[torch.Tensor, torch.Tensor] | None = None
        for first in range(0, n, width):
            right = _unit_rows(train, slice(first, min(first + width, n)), device)
            # A sparse matrix is the left factor of a product.
            similar = (right @ query.T).T if right.layout == torch.sparse_csr else query @ right.T
            if leave_one_out:
                own = torch.arange(start - first, start - first + len(query), device=device)
                inside = (own >= 0) & (own < similar.shape[1])
                similar[inside.nonzero().squeeze(1), own[inside]] = -torch.inf
            found = similar.topk(min(k, similar.shape[1]), dim=1)
            nearest = (found.values, found.indices + first)
            if best is not None:
                values = torch.cat((best[0], nearest[0]), dim=1)
                merged = values.topk(min(k, values.shape[1]), dim=1)
                nearest = (merged.values, torch.cat((best[1], nearest[1]), dim=1).gather(1, merged.indices))
            best = nearest
        assert best is not None
        cosines.append(best[0])
        rows.append(best[1])
    return Neighbours(torch.cat(rows), torch.cat(cosines))


def with_own_copies(others: Neighbours, weight: torch.Tensor) -> Neighbours:
    """Return neighbours of rows of train among the others as those among repeated rows.

    A row of weight w is its own neighbour w - 1 times, or not at all where w < 1, and the nearest one.

    Args:
        others: of ``nearest_neighbours(train, train, k, leave_one_out=True)``.
        weight: (N,).
    """
    number = torch.arange(len(weight), device=others.rows.device).unsqueeze(1)
    weights = torch.cat(((weight - 1).clamp(min=0).unsqueeze(1), weight[others.rows]), dim=1)
    own = torch.where(weight.unsqueeze(1) > 1, 1.0, others.cosines[:, :1])
    cosines = torch.cat((own, others.cosines), dim=1)
    return Neighbours(torch.cat((number, others.rows), dim=1), cosines, weights)


def rows_within(weight: np.typing.NDArray[np.floating] | None, n_rows: int, k: int) -> int:
    """Return how many of N rows hold a weight of k at least, whichever they are; at most ``MOST_NEIGHBOURS``."""
    if weight is None:
        return k
    needed = int(np.searchsorted(np.cumsum(np.sort(weight)), k)) + 1
    return min(needed, n_rows, MOST_NEIGHBOURS)


def _unit_rows(features: Codes, block: slice, device: str) -> torch.Tensor:
    """Return rows at unit length, float32, dense or CSR; rows of zeros stay."""
    if sp.issparse(features):
        x = sp.csr_array(features[block], dtype=np.float32)
        length = np.sqrt(np.asarray(x.multiply(x).sum(axis=1), dtype=np.float32)).ravel()
        scale = np.repeat(np.where(length > 0, length, 1), np.diff(x.indptr))
        starts, columns, values = (torch.from_numpy(part) for part in (x.indptr, x.indices, x.data / scale))
        return csr_tensor(starts, columns, values, (int(x.shape[0]), int(x.shape[1]))).to(device)
    dense = torch.from_numpy(np.array(features[block], dtype=np.float32)).to(device)
    forget_pages(features)
    return dense.div_(dense.norm(dim=1, keepdim=True).clamp(min=1e-30))


def neighbour_counts(n_rows: int, n_classes: int) -> tuple[int, ...]:
    """Return the k to choose from: 1, 2, 5, 10, ... up to 400, or to the mean size of a class where that is larger.

    Of N rows at most N - 1 are neighbours, and at most ``MOST_NEIGHBOURS``.
    """
    most = min(n_rows - 1, max(400, n_rows // n_classes), MOST_NEIGHBOURS)
    steps = (1, 2, 5, 10, 20, 50, 100, 200, 400, MOST_NEIGHBOURS)
    return tuple(sorted({k for k in steps if k < most} | {max(most, 1)}))


def candidates(n_rows: int, n_classes: int, powers: Sequence[float] = POWERS) -> list[Vote]:
    """Return the votes to choose from; of equally good ones the last is taken, that of most neighbours."""
    return [Vote(k, power) for power in sorted(powers, reverse=True) for k in neighbour_counts(n_rows, n_classes)]


def predict_votes(
    neighbours: Neighbours, labels: Labels, n_classes: int, votes: Sequence[Vote]
) -> np.typing.NDArray[np.int64]:
    """Return the predicted classes (V, Q, J) of every vote under J label vectors.

    Args:
        labels: (N, J), those of train, in [0, n_classes).
    """
    result = np.empty((len(votes), len(neighbours.rows), labels.shape[1]), dtype=np.int64)
    for block, place, shares in _counted(neighbours, labels, n_classes, votes):
        result[place, block] = _largest(shares)
    return result


def vote_shares(neighbours: Neighbours, labels: Labels, n_classes: int, vote: Vote) -> np.typing.NDArray[np.float32]:
    """Return the shares of the votes that each class gets, (Q, J, C); they sum to 1."""
    result = np.empty((len(neighbours.rows), labels.shape[1], n_classes), dtype=np.float32)
    for block, _, shares in _counted(neighbours, labels, n_classes, [vote]):
        result[block] = (shares / shares.sum(dim=2, keepdim=True)).cpu().numpy()
    return result


def vote_weights(neighbours: Neighbours, vote: Vote) -> torch.Tensor:
    """Return the weight (Q, K) of each neighbour in a vote, K = k without sample weights; only ratios matter."""
    within = neighbours.within(slice(None), 0, vote.k)
    if within is None:
        return _weights(neighbours.cosines[:, : vote.k], vote.power)
    return _weights(neighbours.cosines, vote.power) * within.squeeze(2)


def _counted(
    neighbours: Neighbours, labels: Labels, n_classes: int, votes: Sequence[Vote]
) -> Iterator[tuple[slice, int, torch.Tensor]]:
    """Yield, for blocks of queries and each vote by its number, the votes for every class (B, J, C).

    Votes of one power share a pass: those of fewer neighbours are partial sums of those of more.
    """
    n_jobs = labels.shape[1]
    device = neighbours.rows.device
    given = torch.from_numpy(np.ascontiguousarray(labels)).to(device)
    column = torch.arange(n_jobs, device=device) * n_classes
    most = max(vote.k for vote in votes) if neighbours.weights is None else neighbours.rows.shape[1]
    step = max(1, _BLOCK_BYTES // (8 * n_jobs * max(most, n_classes)))
    for start in range(0, len(neighbours.rows), step):
        block = slice(start, min(start + step, len(neighbours.rows)))
        places = given[neighbours.rows[block, :most]].long() + column  # (B, k, J)
        for power in dict.fromkeys(vote.power for vote in votes):
            weights = _weights(neighbours.cosines[block, :most], power).unsqueeze(2).expand_as(places)
            counts = weights.new_zeros(len(places), n_jobs * n_classes)
            done = 0
            for k, number in sorted((vote.k, number) for number, vote in enumerate(votes) if vote.power == power):
                within = neighbours.within(block, done, k)
                if within is None:
                    part = slice(done, k)
                    counts.scatter_add_(1, places[:, part].flatten(1), weights[:, part].flatten(1))
                elif k > done:
                    counts.scatter_add_(1, places.flatten(1), (weights * within).flatten(1))
                done = k
                yield block, number, counts.view(-1, n_jobs, n_classes)


def _largest(shares: torch.Tensor) -> np.typing.NDArray[np.int64]:
    """Return the first class with the most votes, (B, J)."""
    # NumPy's argmax is several times as fast as torch's on a CPU.
    largest: np.typing.NDArray[np.int64] = (
        shares.numpy().argmax(axis=2) if shares.device.type == "cpu" else shares.argmax(dim=2).cpu().numpy()
    )
    return largest


def _weights(cosines: torch.Tensor, power: float) -> torch.Tensor:
    """Return cos^m over that of the nearest, which changes no vote but keeps large powers from vanishing."""
    positive = cosines.clamp(min=0)
    weights = (positive / positive[:, :1].clamp(min=1e-30)) ** power
    return torch.where(positive[:, :1] > 0, weights, 1.0)  # nothing is similar: all count the same


def vote_accuracies(
    neighbours: Neighbours, labels: Labels, true: Labels, n_classes: int, votes: Sequence[Vote]
) -> np.typing.NDArray[np.float64]:
    """Return the accuracy (V, J) of every vote on queries with labels (Q, J), as noisy as those of train.

    Args:
        true: -1 leaves a query out.
    """
    hits: np.typing.NDArray[np.float64] = np.zeros((len(votes), labels.shape[1]))
    for block, number, shares in _counted(neighbours, labels, n_classes, votes):
        hits[number] += (_largest(shares) == true[block]).sum(axis=0)
    counted: np.typing.NDArray[np.float64] = hits / np.maximum((true >= 0).sum(axis=0), 1)
    return counted


def best_vote(accuracies: np.typing.NDArray[np.floating], votes: Sequence[Vote]) -> Vote:
    """Return the vote with the highest mean accuracy over label vectors that share the choice; of equals the last.

    Args:
        accuracies: (V, J).
    """
    mean = accuracies.mean(axis=1)
    return votes[len(votes) - 1 - int(mean[::-1].argmax())]


def reliable_neighbourhoods(own: Neighbours, labels: Labels, n_classes: int) -> torch.Tensor:
    """Return for each row and label vector the smallest neighbourhood whose vote confirms the label, (N, J).

    The reliability of a label is 1 over it. Neighbourhoods are 11, 13, ..., 49 rows; 51 where none confirms the label.

    Args:
        own: neighbours of the rows of train among the others; neighbourhoods beyond their number are left out.
        labels: (N, J).

    Source: Di Salvo et al., "An Embedding is Worth a Thousand Noisy Labels" (arXiv 2408.14358), algorithm 1.
    """
    known = own.rows.shape[1] if own.weights is None else max(1, int(own.weights.sum(dim=1).min()))
    sizes = [size for size in RELIABILITY_NEIGHBOURS if size <= known] or [known]
    result = torch.full(labels.shape, sizes[-1])
    tried = [Vote(size) for size in sizes[:-1]]
    for block, number, shares in _counted(own, labels, n_classes, tried) if tried else ():
        confirmed = torch.from_numpy(_largest(shares) == labels[block])
        result[block] = torch.where(confirmed, result[block].clamp(max=sizes[number]), result[block])
    return result


def wann(
    neighbours: Neighbours, neighbourhoods: torch.Tensor, labels: Labels, n_classes: int
) -> np.typing.NDArray[np.float32]:
    """Return the votes (Q, J, C), as shares, of weighted adaptive nearest neighbours.

    The nearest row lends its neighbourhood k; the first k neighbours vote with their reliabilities, 1 / k_i.

    Args:
        neighbours: of the queries, at least as many as the largest neighbourhood.
        neighbourhoods: (N, J) of :func:`reliable_neighbourhoods`.
        labels: (N, J).

    Source: Di Salvo et al. (arXiv 2408.14358), equations 2 to 4.
    """
    n_jobs, most = labels.shape[1], neighbours.rows.shape[1]
    if neighbours.weights is None:
        most = min(int(neighbourhoods.max()), most)
    device = neighbours.rows.device
    given, sizes = torch.from_numpy(np.ascontiguousarray(labels)).to(device), neighbourhoods.to(device)
    column = torch.arange(n_jobs, device=device) * n_classes
    rank = torch.arange(most, device=device).view(1, -1, 1)
    result = np.empty((len(neighbours.rows), n_jobs, n_classes), dtype=np.float32)
    step = max(1, _BLOCK_BYTES // (8 * n_jobs * max(most, n_classes)))
    for start in range(0, len(neighbours.rows), step):
        rows = neighbours.rows[start : start + step, :most]
        size = sizes[rows]  # (B, k, J)
        if neighbours.weights is None:
            weights = torch.where(rank < size[:, :1], 1 / size, 0.0)
        else:
            own = neighbours.weights[start : start + step].unsqueeze(2)
            first = own.cumsum(dim=1) - own
            weights = (size[:, :1] - first).clamp(min=0).minimum(own) / size
        counts = weights.new_zeros(len(rows), n_jobs * n_classes)
        counts.scatter_add_(1, (given[rows].long() + column).flatten(1), weights.flatten(1))
        votes = counts.view(-1, n_jobs, n_classes)
        result[start : start + step] = (votes / votes.sum(dim=2, keepdim=True)).cpu().numpy()
    return result


def relabel(own: Neighbours, labels: Labels, n_classes: int, vote: Vote) -> np.typing.NDArray[np.int64]:
    """Return new labels (N, J): each row's by the vote of its neighbours, to which it does not belong.

    Args:
        own: neighbours of the rows of train among the others (``leave_one_out``).
        labels: (N, J).

    Source: Zhu et al., "Detecting corrupted labels without training a model to predict" (SimiFeat, arXiv 2110.06283),
    local voting.
    """
    return predict_votes(own, labels, n_classes, [vote])[0]


def jobs_by_rows(labels: Labels) -> list[tuple[np.typing.NDArray[np.int64], np.typing.NDArray[np.int64]]]:
    """Return the label vectors (N, J) in groups that use the same rows, as pairs (rows, jobs); -1 is an unused row.

    Neighbours and moments of features serve all label vectors of a group.
    """
    groups: dict[bytes, list[int]] = {}
    for job, used in enumerate((labels >= 0).T):
        groups.setdefault(np.packbits(used).tobytes(), []).append(job)
    return [(np.flatnonzero(labels[:, jobs[0]] >= 0), np.array(jobs)) for jobs in groups.values()]
