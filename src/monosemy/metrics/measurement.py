"""Measure embeddings or codes: how monosemantic, how sparse, how faithful, how well they separate classes.

Rows are read once, some at a time, and the memory in use does not grow with their number.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp

from monosemy.classifiers.engine import ProbeConfig, predict, train_probes
from monosemy.core import console
from monosemy.corruptions.labels import check_symmetric_rate, informative_limit
from monosemy.data.containers import as_codes
from monosemy.data.labels import class_positions
from monosemy.data.memory_map import check_finite, row_blocks, take_rows
from monosemy.errors import InputError
from monosemy.functional.consistency import Codes
from monosemy.functional.geometry import effective_rank
from monosemy.functional.separability import ClassMoments, class_moments, class_separability, merge_class_moments
from monosemy.metrics import dimensions, streaming
from monosemy.seeding import numpy_rng

LABEL_NOISES = (0.3, 0.9)
MAX_DIMENSIONS = 4096
"""Dimensions up to which effective rank and MonoScore by the rows themselves are measured: both need a square
matrix."""
WEIGHT_DECAYS = (1e-5, 1e-4, 1e-3, 1e-2)
"""Grid of the probes on codes and of those on embeddings, which need different ones."""
MAX_PROBED_ROWS = 20_000
"""Rows that probes are trained and tested on where there are more."""
_PROBES = ProbeConfig(min_steps=300)
_SPARSE_BELOW = 0.2
"""Fraction of numbers that are not 0 below which sparse products are quicker and smaller."""


@dataclass(frozen=True)
class Separability:
    """J (``separability``) and its scale-free form d (``separability_d``), clean and under label noise."""

    means: pd.DataFrame
    """label_noise, separability, separability_d: of the best dimension of a class pair, mean over the pairs."""
    best_pairs: pd.DataFrame
    """dimension, first, second: the two classes that a dimension separates best by clean d; none if constant."""
    classes: pd.DataFrame
    """class, dimension, label_noise, separability, separability_d: each class's best dimension."""


@dataclass(frozen=True, repr=False)
class Measurement:
    """Metrics of embeddings or codes."""

    source: str
    n_rows: int
    class_names: tuple[str, ...]
    """Empty where there are no labels."""
    metrics: dict[str, float]
    """Metrics over all dimensions: NaN where one cannot be measured, absent where its inputs were not given."""
    dimensions: pd.DataFrame
    """Tidy: dimension, label_noise, metric, value."""
    separability: Separability | None

    def __repr__(self) -> str:
        classes = f", {len(self.class_names)} classes" if self.class_names else ""
        return f"Measurement of {self.source}: {self.n_rows:,} rows{classes}\n{dimensions.format_metrics(self.metrics)}"


def measure(
    embeddings: Any,
    labels: Any = None,
    class_names: Sequence[str] = (),
    *,
    reference_embeddings: Any = None,
    reconstruction: Any = None,
    source: str = "arrays",
    separability: bool = False,
    label_noise: Sequence[float] | None = None,
    on_rows: console.OnCount | None = None,
) -> Measurement:
    """Return all metrics of embeddings or codes (N, M): dense, CSR, ``SparseCodes`` or a memory map.

    Args:
        labels: (N,) positions in ``class_names``, or labels of any kind where these are not given; without labels
            metrics that compare classes are left out.
        reference_embeddings: (N, D), the embeddings that codes were made from. MonoScore takes its similarities from
            them, and with labels a linear probe on them is compared with one on the codes. Without them MonoScore
            compares the rows themselves, for up to ``MAX_DIMENSIONS`` dimensions.
        reconstruction: (N, D) of the reference embeddings, for explained variance and normalised MSE.
        label_noise: for ``separability`` (J and d), rates of symmetric noise beside none; default those of
            ``LABEL_NOISES`` that leave information.
        on_rows: called with (rows read, rows in all).

    Raises:
        InputError: one class only, a rate at which labels carry no information, shapes that do not fit, or NaN.
    """
    codes = as_codes(embeddings)
    if labels is not None and len(class_names) == 0:
        labels, class_names = class_positions(labels, codes.shape[0])
    n_classes = 0 if labels is None else len(class_names)
    if labels is not None and n_classes < 2:
        raise InputError(f"{source} has {n_classes} class, but metrics compare classes; give rows of at least two.")
    if reconstruction is not None and reference_embeddings is None:
        raise InputError("reconstruction needs the embeddings that it approximates; give reference_embeddings as well.")
    noises = _label_noises(separability, label_noise, n_classes, source)
    reference = None if reference_embeddings is None else as_codes(reference_embeddings)
    decoded = None if reconstruction is None else as_codes(reconstruction)
    _check_shapes(codes, reference, decoded, source)
    n, width = codes.shape
    small = n < width  # then the rank follows from a matrix of N x N
    state = RunningMetrics(n_classes, rank=width <= MAX_DIMENSIONS and not small, separability=separability)
    for block in row_blocks(*(part for part in (codes, reference, decoded) if part is not None)):
        rows = sparsify(_finite_rows(codes, block, source))
        if reference is not None:
            similar: Codes | None = _finite_rows(reference, block, "reference_embeddings")
        else:
            similar = rows if width <= MAX_DIMENSIONS else None
        recon = None if decoded is None else _finite_rows(decoded, block, "reconstruction")
        state.update(rows, None if labels is None else labels[block], similar, recon)
        if on_rows is not None:
            on_rows(block.stop, n)
    metrics, tables = state.summary()
    if small and n <= MAX_DIMENSIONS:
        metrics["effective_rank"] = effective_rank(take_rows(codes, slice(n)))
    if labels is not None and reference is not None:
        chosen = probed_rows(n)
        embedded = take_rows(reference, chosen)
        (recovered,) = recovered_accuracies([take_rows(codes, chosen)], embedded, labels[chosen], n_classes)
        metrics |= recovered.metrics()
    result = None
    if state.class_moments is not None:
        table, result = _separability(state.class_moments, class_names, noises)
        tables.append(table)
    names = tuple(class_names) if labels is not None else ()
    return Measurement(source, n, names, metrics, pd.concat(tables, ignore_index=True), result)


class RunningMetrics:
    """All metrics of codes whose rows are read once.

    Args:
        n_classes: 0 where there are no labels.
        rank: whether effective rank is measured.
        separability: whether moments of the classes are kept.
    """

    def __init__(self, n_classes: int, *, rank: bool, separability: bool = False) -> None:
        self.firing, self.mono = streaming.Firing(), streaming.MonoScore()
        self.consistency = streaming.SemanticConsistency(n_classes) if n_classes else None
        self.purity = streaming.ClassPurity(n_classes) if n_classes else None
        self.rank = streaming.EffectiveRank() if rank else None
        self.reconstruction = streaming.Reconstruction()
        self.n_classes, self.separability = n_classes, separability
        self.class_moments: ClassMoments | None = None

    def update(
        self,
        codes: Codes,
        labels: np.typing.NDArray[np.int64] | None,
        similar: Codes | None,
        reconstruction: Codes | None = None,
    ) -> None:
        """Add some rows.

        Args:
            codes: (n, M).
            labels: (n,), or None where there are none.
            similar: (n, D), the embeddings that MonoScore takes its similarities from; None leaves it out.
            reconstruction: (n, D), of ``similar``.
        """
        self.firing.update(codes)
        if labels is not None and self.consistency is not None and self.purity is not None:
            self.consistency.update(codes, labels)
            self.purity.update(codes, labels)
        if similar is not None:
            self.mono.update(codes, similar)
            if reconstruction is not None:
                self.reconstruction.update(reconstruction, similar)
        if self.rank is not None:
            self.rank.update(codes)
        if self.separability and labels is not None:
            moments = class_moments(codes, labels, self.n_classes)
            before = self.class_moments
            self.class_moments = moments if before is None else merge_class_moments(before, moments)

    def summary(self) -> tuple[dict[str, float], list[pd.DataFrame]]:
        """Return metrics over all dimensions, and tidy tables of each."""
        fired, mono = self.firing.compute(), _compute(self.mono)
        counts = self.firing.moments
        assert counts is not None
        low, middle, high = fired.l0_quantiles
        rank = None if self.rank is None else _compute(self.rank)
        metrics = {
            "n_dimensions": float(len(counts.support)),
            "dead": fired.dead, "dense": fired.dense, "l0": fired.l0_mean,
            "l0_5_percent": low, "l0_median": middle, "l0_95_percent": high,
            "effective_rank": float("nan") if rank is None else rank,
            "mono_score": float("nan") if mono is None else mono.mean(),
        }  # fmt: skip
        values: dict[str, np.typing.NDArray[Any]] = {"support": counts.support}
        if self.consistency is not None and self.purity is not None:
            consistency, purity = self.consistency.compute(), self.purity.compute()
            metrics |= dimensions.mean_metrics(consistency)
            metrics["class_purity"], metrics["class_entropy"] = purity.means()
            values |= {"semantic_consistency": consistency.score, "consistency_chance": consistency.chance}
            values |= {"class_purity": purity.score, "class_entropy": purity.entropy}
        if mono is not None:
            values |= {"mono_score": mono.score, "mono_support": mono.support}
        faithful = _compute(self.reconstruction)
        tables = [dimensions.tidy_dimensions(name, numbers) for name, numbers in values.items()]
        return metrics | ({} if faithful is None else faithful._asdict()), tables


def sparsify(rows: Codes) -> Codes:
    """Return a matrix that is mostly zeros as CSR; others as they are."""
    if isinstance(rows, np.ndarray) and np.count_nonzero(rows) < _SPARSE_BELOW * rows.size:
        return sp.csr_array(rows)
    return rows


def _compute(accumulator: Any) -> Any:
    """Return the metric, or None where it has seen no row."""
    return None if accumulator.moments is None else accumulator.compute()


def _label_noises(separability: bool, rates: Sequence[float] | None, n_classes: int, source: str) -> list[float]:
    """Return the rates for separability in rising order, no noise first; none without separability."""
    if not separability:
        if rates is not None:
            raise InputError("label_noise applies to separability, which is not measured; add --separability.")
        return []
    if n_classes == 0:
        raise InputError(f"{source} has no labels, but separability compares classes; give labels.")
    if rates is None:
        rates = [eta for eta in LABEL_NOISES if eta < informative_limit(n_classes)]
    return sorted({0.0, *(float(eta) for eta in check_symmetric_rate(rates, n_classes))})


def _check_shapes(codes: Codes, reference: Codes | None, reconstruction: Codes | None, source: str) -> None:
    if codes.ndim != 2 or 0 in codes.shape:
        raise InputError(f"{source} has shape {codes.shape}; give at least one row and one dimension.")
    for name, part in (("reference_embeddings", reference), ("reconstruction", reconstruction)):
        if part is not None and (part.ndim != 2 or part.shape[0] != codes.shape[0]):
            raise InputError(
                f"{name} has shape {part.shape} but {source} {codes.shape}; give one row for each of its rows."
            )


def _finite_rows(codes: Codes, block: slice, name: str) -> Codes:
    rows = take_rows(codes, block)
    check_finite(rows, name, block)
    return rows


def _separability(
    moments: ClassMoments, class_names: Sequence[str], noises: Sequence[float]
) -> tuple[pd.DataFrame, Separability]:
    """Return the tidy table of the dimensions, and the summary."""
    of_dimensions, means = dimensions.dimension_separability(moments, noises)
    pairs = class_separability(moments, scale_free=True).best_pair
    names = [[class_names[number] if number >= 0 else None for number in pair] for pair in pairs]
    best_pairs = pd.DataFrame(names, columns=["first", "second"], dtype=object)
    best_pairs.insert(0, "dimension", np.arange(len(pairs)))
    return of_dimensions, Separability(means, best_pairs, dimensions.class_dimensions(moments, class_names, noises))


class Recovered(NamedTuple):
    """Accuracy of a linear probe on codes, and of one on the embeddings that they were made from."""

    codes: float
    embeddings: float

    @property
    def fraction(self) -> float:
        """Accuracy on codes / accuracy on embeddings; NaN where the latter is 0. Above 1 where codes help."""
        return self.codes / self.embeddings if self.embeddings > 0 else float("nan")

    def metrics(self) -> dict[str, float]:
        """Return the accuracies by their names in tables."""
        return {
            "probe_accuracy": self.codes,
            "probe_accuracy_of_embeddings": self.embeddings,
            "probe_recovered": self.fraction,
        }


def probed_rows(n: int) -> np.typing.NDArray[np.int64]:
    """Return the rows of N that probes are trained and tested on, rising: all, or ``MAX_PROBED_ROWS`` drawn at
    random."""
    if n <= MAX_PROBED_ROWS:
        return np.arange(n)
    return np.sort(numpy_rng("measure", n).choice(n, MAX_PROBED_ROWS, replace=False))


def recovered_accuracies(
    codes: Sequence[Codes], embeddings: Codes, labels: np.typing.NDArray[np.integer], n_classes: int, seed: int = 0
) -> list[Recovered]:
    """Return the accuracy of linear probes on each of several codes (N, M), and on embeddings (N, D) of the same rows.

    Rows are assigned at random: three fifths train, a fifth chooses the weight decay, a fifth tests. All probes see
    the same rows.

    Args:
        labels: (N,) in [0, n_classes).
        seed: of the split and of the order of the samples.

    Raises:
        InputError: too few rows to split, one class only, or numbers of rows that differ.
    """
    parts = [*map(as_codes, codes), as_codes(embeddings)]
    n = len(labels)
    for name, part in zip([*("codes" for _ in codes), "embeddings"], parts, strict=True):
        if part.shape[0] != n:
            raise InputError(f"{name} has {part.shape[0]} rows for {n} labels; give one for each label.")
    order = np.random.default_rng(seed).permutation(n)
    validation, test, train = np.split(order, [n // 5, 2 * (n // 5)])
    if len(test) == 0 or len(np.unique(labels[train])) < 2:
        raise InputError(f"labels has {n} rows, too few or of one class, to train and test a probe; give more rows.")
    decays = np.array(WEIGHT_DECAYS)
    targets = np.repeat(np.asarray(labels, dtype=np.int64)[train, None], len(decays), axis=1)
    accuracies = []
    for features in parts:
        probes = train_probes(features[train], targets, n_classes, decays, _PROBES, seed)
        accuracy = (predict(probes, features[validation]) == labels[validation, None]).mean(axis=0)
        best = probes.select(np.array([accuracy.argmax()]))
        accuracies.append(float((predict(best, features[test])[:, 0] == labels[test]).mean()))
    return [Recovered(accuracy, accuracies[-1]) for accuracy in accuracies[:-1]]
