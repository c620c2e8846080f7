"""Names of latents without a language model: the words or classes that their samples share, tested on held-out samples.

A name is up to three terms: words or bigrams of texts, or classes. It *fits* a sample that has any of them. A latent is
*active* in a sample where it is positive and above its median, which for a sparse latent means that it fires.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp

from monosemy.data.containers import as_codes, as_texts
from monosemy.data.labels import class_positions
from monosemy.data.memory_map import check_finite, row_blocks, take_rows
from monosemy.errors import InputError, shown
from monosemy.functional.consistency import Array, Codes, one_hot
from monosemy.functional.terms import c_tf_idf, count_terms, f1, yes_no_auc
from monosemy.metrics.dimensions import MIN_SUPPORT
from monosemy.metrics.streaming import TopActivating
from monosemy.seeding import numpy_rng

N_TOP = 20
"""Strongest samples of a latent whose texts suggest its name."""
MOST_TERMS = 3
_CANDIDATES = 8
_WORTH = 1.05
"""Factor by which a further term of a name has to raise F1."""
_FEWEST = MIN_SUPPORT // 2
"""Active samples that a latent needs in either half."""
_MEDIAN_NUMBERS = 2**24
_MEDIAN_ROWS = 4096
Numbers = np.typing.NDArray[np.int64]


class LatentName(NamedTuple):
    """A name that predicts a latent, with its scores on held-out samples."""

    latent: int
    terms: tuple[str, ...]
    confidence: float
    """Fraction of the samples with the latent active that the name fits."""
    chance: float
    """Fraction of all samples that it fits."""
    precision: float
    """Fraction of the samples that it fits on which the latent is active."""
    auc: float
    """Probability that the name fits an active sample rather than a silent one, ties half; 0.5 for a name that says
    nothing."""
    auc_low: float
    auc_high: float
    counter_example: int
    """Number of a sample that speaks against the name: of the commoner kind of error; -1 where there is none."""
    counter_is_active: bool
    """Whether the latent is active there and the name does not fit; else the name fits and the latent is silent."""

    def __str__(self) -> str:
        return ", ".join(self.terms)

    @property
    def lift(self) -> float:
        """Factor by which the name fits more often where the latent is active than anywhere."""
        return self.confidence / self.chance


@dataclass(frozen=True, repr=False)
class LatentNames:
    """Names of M latents; ``names[m]`` is that of latent m, None where it has none."""

    kind: str
    """`words` or `classes`, which the names are made of."""
    names: tuple[LatentName | None, ...]
    """(M,)"""
    n_tested: int
    """Names that were tested on held-out samples; those not better than chance were left out."""

    def __getitem__(self, latent: int) -> LatentName | None:
        """Return the name of a latent.

        Raises:
            InputError: there is no such latent.
        """
        if isinstance(latent, bool) or not isinstance(latent, int | np.integer) or not 0 <= latent < len(self.names):
            raise InputError(
                f"latent {shown(latent)} is not among the {len(self.names)} latents; choose a whole number from 0 to "
                f"{len(self.names) - 1}."
            )
        return self.names[latent]

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[LatentName | None]:
        return iter(self.names)

    @property
    def known(self) -> tuple[LatentName, ...]:
        """The names that there are, in the order of their latents."""
        return tuple(name for name in self.names if name is not None)

    @property
    def median_auc(self) -> float:
        """Median AUC of the names; NaN without any."""
        return float(np.median([name.auc for name in self.known])) if self.known else float("nan")

    def to_frame(self) -> pd.DataFrame:
        """Return a row for each latent with a name: the name, its scores, and its counter-example by row number.

        ``counter_kind`` is `silent` where the name fits that row and `active` where it does not.
        """
        columns = ["latent", "name", "confidence", "chance", "lift", "precision", "auc", "auc_low", "auc_high"]
        rows = [
            (n.latent, str(n), n.confidence, n.chance, n.lift, n.precision, n.auc, n.auc_low, n.auc_high,
             n.counter_example, "" if n.counter_example < 0 else "active" if n.counter_is_active else "silent")
            for n in self.known
        ]  # fmt: skip
        return pd.DataFrame(rows, columns=[*columns, "counter_example", "counter_kind"])

    def __repr__(self) -> str:
        return (
            f"LatentNames of {self.kind}: {len(self.known):,} of {len(self.names):,} latents named, median held-out "
            f"AUC {self.median_auc:.3f}; {self.n_tested - len(self.known):,} names left out at chance"
        )


def name_latents(
    codes: Any, texts: Any = None, labels: Any = None, class_names: Sequence[str] = (), *, seed: int = 0
) -> LatentNames:
    """Name latents by the words of their strongest texts, or by the classes that they are active for.

    One half of the samples suggests the names. For texts, candidates are the words and bigrams of largest c-TF-IDF in
    the ``N_TOP`` strongest samples of a latent; for labels, the classes of largest F1. Terms are added while they raise
    the F1 of "the name fits" and "the latent is active". The other half tests the name: its AUC, and names whose AUC is
    not above 0.5 by the lower end of its 95 % interval are left out, so that about one in forty names that say nothing
    passes. All numbers are those of the half that tests. Equal texts are in one half.

    Args:
        codes: (N, M), dense, CSR, ``SparseCodes`` or a memory map. Of dimensions with negative values only the positive
            side is named.
        texts: (N,) texts; or instead
        labels: (N,) positions in ``class_names``, or labels of any kind where these are not given.
        seed: of the split into halves.

    Raises:
        InputError: neither or both of texts and labels, other numbers of rows, or NaN.
    """
    values = as_codes(codes)
    if values.ndim != 2 or 0 in values.shape:
        raise InputError(f"codes has shape {values.shape}; give at least one row and one latent.")
    if (texts is None) == (labels is None):
        given = "neither texts nor labels" if texts is None else "both texts and labels"
        raise InputError(f"name_latents was given {given}; give one of them, which names are made of.")
    n = values.shape[0]
    if texts is not None:
        words_of = as_texts(texts, "texts")
        if len(words_of) != n:
            raise InputError(f"codes has {n} rows but there are {len(words_of)} texts; give one for each row.")
        counts, terms = count_terms(words_of)
        groups = pd.factorize(np.array(words_of, dtype=object))[0]
    else:
        counts, terms = _class_counts(labels, class_names, n)
        groups = np.arange(n)
    active = _active(values)
    suggests = _first_half(groups, seed)
    chosen = _chosen_terms(active[suggests], counts[suggests], texts is not None)
    if texts is not None:
        chosen = {latent: _without_longer(numbers, terms) for latent, numbers in chosen.items()}
    tested = _tested(active[~suggests], counts[~suggests], chosen, terms, np.flatnonzero(~suggests))
    passed = {name.latent: name for name in tested if name.auc_low > 0.5}
    kind = "classes" if texts is None else "words"
    return LatentNames(kind, tuple(passed.get(latent) for latent in range(values.shape[1])), len(tested))


def _class_counts(labels: Any, class_names: Sequence[str], n: int) -> tuple[sp.csr_array, tuple[str, ...]]:
    """Return a 1 for the class of each sample, (N, C), and the names of the classes."""
    if len(class_names) == 0:
        positions, class_names = class_positions(labels, n)
    else:
        positions = np.asarray(labels)
        if positions.shape != (n,) or not np.isin(positions, np.arange(len(class_names))).all():
            raise InputError(
                f"labels has shape {positions.shape} for {n} rows and {len(class_names)} class names; give the "
                f"position of a class name for each row."
            )
    return sp.csr_array(one_hot(positions, len(class_names)), dtype=np.int32), tuple(class_names)


def _first_half(groups: Numbers, seed: int) -> np.typing.NDArray[np.bool_]:
    """Return a random half of the samples that splits no group, (N,)."""
    sizes = np.bincount(groups)
    order = numpy_rng("names", seed).permutation(len(sizes))
    before = np.cumsum(sizes[order]) - sizes[order]
    selected = np.zeros(len(sizes), dtype=bool)
    selected[order[before < len(groups) / 2]] = True
    return selected[groups]


def _active(codes: Codes) -> sp.csr_array:
    """Return the activations of active latents, (N, M): positive, and above the median of the latent."""
    n, width = codes.shape
    step = max(1, n // max(1, min(_MEDIAN_ROWS, _MEDIAN_NUMBERS // width)))
    sample = take_rows(codes, np.arange(0, n, step))
    threshold = np.maximum(np.median(sample if isinstance(sample, np.ndarray) else sample.toarray(), axis=0), 0)
    parts = []
    for block in row_blocks(codes):
        rows = take_rows(codes, block)
        check_finite(rows, "codes", block)
        if isinstance(rows, np.ndarray):
            parts.append(sp.csr_array(np.where(rows > threshold, rows, 0)))
            continue
        selected = rows.data > threshold[rows.indices]
        starts = np.concatenate([[0], np.cumsum(selected)])[rows.indptr]
        parts.append(sp.csr_array((rows.data[selected], rows.indices[selected], starts), shape=rows.shape))
    return sp.csr_array(sp.vstack(parts, format="csr"))


def _chosen_terms(active: sp.csr_array, counts: sp.csr_array, texts: bool) -> dict[int, list[int]]:
    """Return the terms of each latent that is active often enough and shares a term with others."""
    by_latent, by_term = active.tocsc(), counts.tocsc()
    n_active = np.diff(by_latent.indptr)
    usable = np.flatnonzero(n_active >= _FEWEST)
    candidates = _by_c_tf_idf(active[:, usable], counts) if texts else _by_f1(active[:, usable], counts)
    is_active, taken = (np.zeros(active.shape[0], dtype=bool) for _ in range(2))
    chosen = {}
    for latent, terms in zip(usable, candidates, strict=True):
        rows = _column(by_latent, int(latent))
        is_active[rows] = True
        numbers = _grown([_column(by_term, term) for term in terms], is_active, taken, len(rows))
        is_active[rows] = False
        if numbers:
            chosen[int(latent)] = [int(terms[number]) for number in numbers]
    return chosen


def _column(matrix: sp.csc_array, number: int) -> Numbers:
    """Return the rows in which a column has entries."""
    return matrix.indices[matrix.indptr[number] : matrix.indptr[number + 1]]


def _by_c_tf_idf(active: sp.csr_array, counts: sp.csr_array) -> list[Numbers]:
    """Return for each latent the terms of largest c-TF-IDF that at least two of its strongest samples have."""
    if not active.nnz:
        return [np.empty(0, np.int64)] * active.shape[1]
    top = TopActivating(N_TOP).update(active, np.arange(active.shape[0])).compute().rows
    latents, places = np.nonzero(top >= 0)
    ones = np.ones(len(latents), dtype=np.int32)
    members = sp.csr_array((ones, (latents, top[latents, places])), shape=(len(top), active.shape[0]))
    present = counts.copy()
    present.data[:] = 1
    shared = members @ present
    shared.data = (shared.data > 1).astype(np.int32)
    weights = sp.csr_array(c_tf_idf(members @ counts).multiply(shared))
    weights.eliminate_zeros()
    return [
        row.indices[np.argsort(-row.data, kind="stable")[:_CANDIDATES]]
        for row in (weights[[number]] for number in range(len(top)))
    ]


def _by_f1(active: sp.csr_array, counts: sp.csr_array) -> list[Numbers]:
    """Return for each latent the classes of largest F1 among those for which it is active."""
    fires = active.copy()
    fires.data[:] = 1
    both = (fires.T @ counts).toarray()
    sizes = np.asarray(counts.sum(axis=0), dtype=np.float64)
    scores = f1(both, sizes[None], np.asarray(fires.sum(axis=0))[:, None])
    order = np.argsort(-scores, axis=1, kind="stable")[:, :_CANDIDATES]
    return [row[line[row] > 0] for row, line in zip(order, scores, strict=True)]


def _grown(
    candidates: list[Numbers], is_active: np.typing.NDArray[np.bool_], taken: np.typing.NDArray[np.bool_], n_active: int
) -> list[int]:
    """Return the candidates that raise F1 together, the best first.

    Args:
        candidates: rows that each one fits.
        is_active: (N,), whether the latent is active.
        taken: (N,), all false; all false again afterwards.
    """
    chosen: list[int] = []
    fitting, both, best = 0.0, 0.0, 0.0
    while candidates and len(chosen) < MOST_TERMS:
        new = [rows[~taken[rows]] for rows in candidates]
        sizes = np.array([len(rows) for rows in new], dtype=np.float64)
        hits = np.array([is_active[rows].sum() for rows in new], dtype=np.float64)
        scores = f1(both + hits, fitting + sizes, np.full(len(sizes), float(n_active)))
        number = int(scores.argmax())
        if scores[number] <= _WORTH * best:
            break
        chosen.append(number)
        fitting, both, best = fitting + sizes[number], both + hits[number], scores[number]
        taken[candidates[number]] = True
    for number in chosen:
        taken[candidates[number]] = False
    return chosen


def _without_longer(numbers: list[int], terms: Sequence[str]) -> list[int]:
    """Return terms without the bigrams of which a word is among them: where they fit, the word fits as well."""
    single = {terms[number] for number in numbers}
    return [n for n in numbers if terms[n].count(" ") == 0 or not single & set(terms[n].split(" "))]


def _tested(
    active: sp.csr_array, counts: sp.csr_array, chosen: dict[int, list[int]], terms: Sequence[str], rows: Numbers
) -> list[LatentName]:
    """Return the names with their scores on samples that did not suggest them.

    Args:
        rows: (n,), numbers of the samples.
    """
    by_latent, by_term, n = active.tocsc(), counts.tocsc(), len(rows)
    found = []
    for latent, numbers in chosen.items():
        n_active = len(_column(by_latent, latent))
        if _FEWEST <= n_active < n:
            fits, n_fitting = np.unique(np.concatenate([_column(by_term, t) for t in numbers]), return_counts=True)
            found.append((latent, numbers, n_active, fits, n_fitting))
    hits = np.array([np.isin(_column(by_latent, item[0]), item[3]).sum() for item in found], dtype=np.float64)
    positives = np.array([item[2] for item in found], dtype=np.float64)
    fitting = np.array([len(item[3]) for item in found], dtype=np.float64)
    scores = yes_no_auc(hits, positives, fitting - hits, n - positives)
    names = []
    for i, (latent, numbers, _, fits, n_fitting) in enumerate(found):
        start, end = by_latent.indptr[latent : latent + 2]
        row, is_active = _counter_example(by_latent.indices[start:end], by_latent.data[start:end], fits, n_fitting)
        auc, low, high = (float(values[i]) for values in scores)
        precision = float(hits[i] / fitting[i]) if fitting[i] else 0.0
        confidence, chance = float(hits[i] / positives[i]), float(fitting[i] / n)
        name = tuple(terms[t] for t in numbers)
        counter = -1 if row < 0 else int(rows[row])
        names.append(LatentName(latent, name, confidence, chance, precision, auc, low, high, counter, is_active))
    return names


def _counter_example(rows: Numbers, values: Array, fits: Numbers, n_fitting: Numbers) -> tuple[int, bool]:
    """Return a sample that speaks against a name, and whether the latent is active there; -1 where there is none.

    Of the commoner kind of error, relative to the active samples or to those that the name fits, it is the sample with
    the largest activation that the name does not fit, or the silent one that most terms of the name fit.

    Args:
        rows, values: the active samples and their activations.
        fits, n_fitting: the samples that the name fits, and the number of its terms that fit each.
    """
    missed, silent = ~np.isin(rows, fits), ~np.isin(fits, rows)
    if not missed.any() and not silent.any():
        return -1, False
    if not silent.any() or (missed.any() and missed.mean() > silent.mean()):
        return int(rows[missed][values[missed].argmax()]), True
    return int(fits[silent][n_fitting[silent].argmax()]), False
