"""Which labels are wrong: probability of every row, suggested label, and the neighbours that contradict the given one.

Two classifiers are at hand, both judged on rows that they have not seen. Shrunk discriminant analysis describes each
class by its mean. It does not learn that some region of a class carries another label, as every classifier does that
follows the given labels closely, and therefore finds such errors. Where classes are no compact clouds it knows too
little, and the nearest neighbours vote instead.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from monosemy.classifiers import closed_form, neighbours
from monosemy.classifiers.linear_probe import plain_labels
from monosemy.classifiers.neighbours import Vote
from monosemy.data.containers import as_matrix, for_sklearn
from monosemy.data.memory_map import check_finite
from monosemy.errors import InputError
from monosemy.functional.consistency import Codes
from monosemy.model.crossfit import folds, group_numbers, linear_logits, vote_logits
from monosemy.model.labels import LabelModel, fit_label_model

SHRINKAGE = 0.8
"""Of the covariance within classes towards a multiple of the identity."""
LEAST_COMPACT = 0.8
"""Agreement of discriminant analysis with given labels, relative to that of neighbours, from which it is used.
Agreements are counted above that of the largest class."""
_VOTE = Vote(20, 4.0)
_QUERIES = 2_000
"""Rows whose neighbours decide which classifier is used, drawn at random of more."""
_SHOWN = 10
"""Neighbours that a reason counts."""
LEAST_EXPLAINED = 0.2
"""Probability of a wrong label from which a row gets a reason."""
MOST_EXPLAINED = 5_000
"""Rows that get a reason, the most suspicious ones."""

Labels = np.typing.NDArray[np.int64]
Shares = np.typing.NDArray[np.float32]


@dataclass(frozen=True)
class LabelErrors:
    """The labels of all rows as an audit sees them."""

    classes: np.typing.NDArray[Any]
    given: Labels
    """(N,), positions in ``classes``."""
    suggested: Labels
    """(N,), the most likely true class; the given one for most rows."""
    probability: np.typing.NDArray[np.float64]
    """(N,), that the given label is wrong."""
    reasons: dict[int, str]
    """Reasons of the most suspicious rows, in words."""
    method: str
    """`class means` or `neighbours`."""
    label_model: LabelModel

    @property
    def order(self) -> Labels:
        """Return all rows, the most suspicious first."""
        return np.argsort(-self.probability, kind="stable")

    @property
    def noise_rate(self) -> float:
        """Return the estimated share of wrong labels."""
        return self.label_model.rate

    @property
    def noise_rate_interval(self) -> tuple[float, float]:
        """Return the 95 % interval of the noise rate over draws of the rows."""
        return self.label_model.low, self.label_model.high

    def to_frame(self) -> pd.DataFrame:
        """Return a row for each row of the data, the most suspicious first."""
        order = self.order
        return pd.DataFrame(
            {
                "row": order,
                "given": self.classes[self.given[order]],
                "suggested": self.classes[self.suggested[order]],
                "probability_wrong": self.probability[order],
                "reason": [self.reasons.get(int(row), "") for row in order],
            }
        )

    def __repr__(self) -> str:
        low, high = self.noise_rate_interval
        wrong = int((self.suggested != self.given).sum())
        return (
            f"LabelErrors: {wrong:,} of {len(self.given):,} labels are contradicted; estimated noise "
            f"{100 * self.noise_rate:.1f} % [{100 * low:.1f}, {100 * high:.1f}], by {self.method}"
        )


def find_label_errors(
    X: Any, y: Any, *, groups: Any = None, cv: int = 5, random_state: int = 0, row_names: Any = None
) -> LabelErrors:
    """Return the probability that each label is wrong, from embeddings (N, D), dense or sparse, and labels (N,).

    >>> errors = find_label_errors(embeddings, labels)  # doctest: +SKIP
    >>> errors.to_frame().head()  # doctest: +SKIP

    Args:
        groups: (N,); rows of a group, such as copies of one text, stay in one fold.
        cv: number of folds of discriminant analysis; neighbours vote without the row itself.
        random_state: of the folds and of what is drawn.
        row_names: (N,), names of the rows in reasons; their numbers by default.

    Raises:
        InputError: there is one class, there are fewer rows than folds, or every label is another one.
    """
    X = for_sklearn(X, "X")
    X = sp.csr_array(X, dtype=np.float32) if sp.issparse(X) else as_matrix(X, "X")
    check_finite(X, "X")
    values = np.asarray(plain_labels(y))
    if values.shape != (X.shape[0],):
        raise InputError(f"y has shape {values.shape}, but X has {X.shape[0]} rows; give one label for each row.")
    classes, given = np.unique(values, return_inverse=True)
    check_repeated(classes, len(given))
    own = None if groups is None else group_numbers(groups, len(given))
    logits, method = held_out_logits(X, given, len(classes), folds(given, cv, random_state, own), random_state)
    model = fit_label_model(logits, given, random_state)
    posterior = model.posterior(logits, given)
    probability = 1 - posterior[np.arange(len(given)), given]
    suggested = posterior.argmax(axis=1)
    order = np.argsort(-probability, kind="stable")[:MOST_EXPLAINED]
    rows = order[probability[order] >= LEAST_EXPLAINED]
    reasons = _reasons(X, given, suggested, classes, rows, row_names)
    return LabelErrors(classes, given, suggested, probability, reasons, method, model)


def check_repeated(classes: np.typing.NDArray[Any], n_rows: int) -> None:
    """Raise where labels cannot be held against each other.

    Raises:
        InputError: all rows have one label, or each has its own.
    """
    if len(classes) < 2:
        raise InputError(f"All {n_rows} rows have the label {classes.tolist()[0]!r}; give at least two classes.")
    if len(classes) == n_rows:
        raise InputError(f"The {n_rows} rows have {n_rows} different labels; give labels that occur more than once.")


def held_out_logits(X: Codes, given: Labels, n_classes: int, fold: Labels, seed: int) -> tuple[Shares, str]:
    """Return logits (N, C) of each row by a classifier without it, and that classifier in words."""
    logits = np.empty((X.shape[0], n_classes), dtype=np.float32)
    for number in range(fold.max() + 1):
        out = fold == number
        of = closed_form.moments(X[~out], given[~out][:, None], n_classes)
        logits[out] = linear_logits(closed_form.lda(of, SHRINKAGE), X[out])
    rows = np.arange(X.shape[0])
    if len(rows) > _QUERIES:
        rows = np.sort(np.random.default_rng(seed).choice(len(rows), _QUERIES, replace=False))
    votes = _votes(X, given, n_classes, rows)
    chance = np.bincount(given).max() / len(given)
    of_means, of_votes = ((z.argmax(axis=1) == given[rows]).mean() - chance for z in (logits[rows], votes))
    if of_means >= LEAST_COMPACT * of_votes:
        return logits, "class means"
    return (votes if len(rows) == X.shape[0] else _votes(X, given, n_classes, np.arange(X.shape[0]))), "neighbours"


def _votes(X: Codes, given: Labels, n_classes: int, rows: Labels) -> Shares:
    """Return the logarithms of the votes of the neighbours of some rows, without the rows themselves."""
    near = _neighbours(X, rows, min(_VOTE.k, X.shape[0] - 1))
    return vote_logits(near, given, n_classes, _VOTE._replace(k=near.rows.shape[1]))


def _neighbours(X: Codes, rows: Labels, k: int) -> neighbours.Neighbours:
    """Return the k nearest other rows of some rows."""
    found = neighbours.nearest_neighbours(X[rows], X, k + 1)
    own = found.rows == found.rows.new_tensor(rows)[:, None]
    own[:, -1] |= ~own.any(dim=1)  # where copies hide the row itself, the last one goes
    kept = ~own
    shape = (len(rows), k)
    return neighbours.Neighbours(found.rows[kept].view(shape), found.cosines[kept].view(shape))


def _reasons(
    X: Codes, given: Labels, suggested: Labels, classes: np.typing.NDArray[Any], rows: Labels, row_names: Any
) -> dict[int, str]:
    """Return for each row which labels its nearest rows have, with the most similar row of the suggested class."""
    if not len(rows):
        return {}
    names = [f"row {number}" for number in range(X.shape[0])] if row_names is None else row_names
    found = _neighbours(X, rows, min(_SHOWN, X.shape[0] - 1))
    near, cosines = found.rows.numpy(), found.cosines.numpy()
    k = near.shape[1]
    reasons = {}
    for place, row in enumerate(rows):
        labels = given[near[place]]
        wanted, own = suggested[row], given[row]
        for_other, for_own = int((labels == wanted).sum()), int((labels == own).sum())
        text = f"{for_own} of the {k} nearest rows are labelled {classes[own]!s}"
        if wanted != own:
            text = f"{for_other} of the {k} nearest rows are labelled {classes[wanted]!s}, {for_own} {classes[own]!s}"
            alike = np.flatnonzero(labels == wanted)
            if len(alike):
                first = near[place, alike[0]], cosines[place, alike[0]]
                text += f"; the most similar of the former is {names[first[0]]} (cosine {first[1]:.2f})"
        reasons[int(row)] = text + "."
    return reasons
