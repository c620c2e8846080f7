"""Why this class: what each feature, or each neighbour, adds to the logit of a prediction."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp

from monosemy.classifiers import neighbours
from monosemy.classifiers.engine import Probes
from monosemy.classifiers.neighbours import Neighbours, Vote
from monosemy.errors import InputError
from monosemy.functional.consistency import Codes

Labels = np.typing.NDArray[np.int64]
Values = np.typing.NDArray[np.float64]


@dataclass(frozen=True)
class Contributions:
    """The parts of N predictions, each of one class.

    For a linear classifier ``bias + values.sum(axis=1)`` is the logit of the class; for neighbours it is the share of
    their votes that the class gets.
    """

    classes: np.typing.NDArray[Any]
    """(N,), names of the explained classes."""
    values: sp.csr_array
    """(N, M): column j is what feature j adds, or row j of train by its vote."""
    bias: Values
    """(N,); zeros for neighbours."""
    of: Literal["feature", "row"]
    """What columns stand for."""
    n_votes: int = 0
    """Neighbours that vote."""

    def top(self, row: int, n: int = 3) -> list[tuple[int, float]]:
        """Return the columns that add most to a prediction, with what they add, the largest first."""
        start, end = self.values.indptr[row : row + 2]
        columns, added = self.values.indices[start:end], self.values.data[start:end]
        best = np.argsort(-added, kind="stable")[:n]
        return [(int(columns[i]), float(added[i])) for i in best if added[i] > 0]

    def sentences(self, n: int = 3) -> list[str]:
        """Return the reasons of each prediction in words."""
        found = []
        for row in range(self.values.shape[0]):
            top = self.top(row, n)
            if self.of == "row":
                count = int(self.values.indptr[row + 1] - self.values.indptr[row])
                alike = ", ".join(f"{column} ({value:.2f})" for column, value in top)
                found.append(f"{count} of {self.n_votes} neighbours vote for it; largest votes: train rows {alike}")
            else:
                found.append("; ".join(f"feature {column} adds {value:.2f}" for column, value in top))
        return found


def of_linear(probes: Probes, codes: Codes, explained: Labels, classes: np.typing.NDArray[Any]) -> Contributions:
    """Return what each feature adds to the logit of one class of each row: w_cj z_j.

    Args:
        codes: features (N, M), dense or CSR.
        explained: (N,), positions of the classes.
    """
    weight = probes.weight.numpy().astype(np.float64)  # (M, C)
    values = sp.csr_array(codes, dtype=np.float64)
    rows = np.repeat(np.arange(values.shape[0]), np.diff(values.indptr))
    added = values.data * weight[values.indices, explained[rows]]
    parts = sp.csr_array((added, values.indices, values.indptr), shape=values.shape)
    bias = probes.bias.numpy()[0].astype(np.float64)[explained]
    return Contributions(classes[explained], parts, bias, "feature")


def of_neighbours(
    near: Neighbours, labels: Labels, vote: Vote, explained: Labels, classes: np.typing.NDArray[Any]
) -> Contributions:
    """Return what the vote of each train row adds to the share of one class: its weight over all of them."""
    weights = neighbours.vote_weights(near, vote).numpy().astype(np.float64)
    rows = near.rows[:, : weights.shape[1]].numpy()
    share = weights / weights.sum(axis=1, keepdims=True)
    same = (labels[rows] == explained[:, None]) & (share > 0)
    starts = np.concatenate([[0], np.cumsum(same.sum(axis=1))])
    parts = sp.csr_array((share[same], rows[same], starts), shape=(len(rows), len(labels)))
    return Contributions(classes[explained], parts, np.zeros(len(rows)), "row", vote.k)


def explained_classes(asked: Any, predicted: Labels, classes: np.typing.NDArray[Any]) -> Labels:
    """Return the positions of the classes to explain: those that were predicted where none are asked for.

    Raises:
        InputError: a class is unknown, or there is not one for each row.
    """
    if asked is None:
        return predicted
    values = np.broadcast_to(np.asarray(asked), predicted.shape) if np.ndim(asked) == 0 else np.asarray(asked)
    if values.shape != predicted.shape:
        raise InputError(f"classes has shape {values.shape}, but there are {len(predicted)} rows; give one for each.")
    position = {name: i for i, name in enumerate(classes.tolist())}
    unknown = [value for value in values.tolist() if value not in position]
    if unknown:
        raise InputError(f"The class {unknown[0]!r} is unknown to the model; choose among its classes_.")
    return np.array([position[value] for value in values.tolist()], dtype=np.int64)
