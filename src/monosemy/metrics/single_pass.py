"""All metrics of codes whose rows go by once: what is kept does not grow with their number.

Probe-recovered accuracy: how much of what a linear probe finds in embeddings does it find in their codes?
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray

from monosemy.classifiers.engine import ProbeConfig, predict, train_probes
from monosemy.data.memory_map import as_codes
from monosemy.errors import InputError
from monosemy.functional.consistency import Codes
from monosemy.metrics.dimensions import MIN_SUPPORT, tidy_dimensions
from monosemy.metrics.streaming import (
    ClassPurity,
    EffectiveRank,
    Firing,
    MonoScore,
    Reconstruction,
    SemanticConsistency,
)
from monosemy.seeding import numpy_rng

WIDEST = 4096
"""Dimensions up to which effective rank and MonoScore by the rows themselves are measured: both fill a square."""
_SPARSE_BELOW = 0.2
"""Share of numbers that are not 0 below which sparse products are quicker and smaller."""


class OnePass:
    """What is accumulated while the rows go by.

    Args:
        n_classes: 0 where there are no labels.
        rank: whether effective rank is measured.
    """

    def __init__(self, n_classes: int, *, rank: bool) -> None:
        self.firing, self.mono = Firing(), MonoScore()
        self.consistency = SemanticConsistency(n_classes) if n_classes else None
        self.purity = ClassPurity(n_classes) if n_classes else None
        self.rank = EffectiveRank() if rank else None
        self.reconstruction = Reconstruction()

    def update(
        self,
        codes: Codes,
        labels: NDArray[np.int64] | None,
        similar: Codes | None,
        reconstruction: Codes | None = None,
    ) -> None:
        """Add some rows.

        Args:
            codes: (n, M).
            labels: (n,), or None where there are none.
            similar: (n, D), what MonoScore takes its similarities from; None leaves it out.
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

    def summary(self) -> tuple[dict[str, float], list[pd.DataFrame]]:
        """Metrics over all dimensions, and tidy tables of each."""
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
        parts = [tidy_dimensions("support", counts.support)]
        if self.consistency is not None and self.purity is not None:
            consistency, purity = self.consistency.compute(), self.purity.compute()
            metrics["semantic_consistency"] = consistency.mean(MIN_SUPPORT)
            metrics["consistency_chance"] = consistency.mean_chance(MIN_SUPPORT)
            metrics["consistency_dimensions"] = float((consistency.support >= MIN_SUPPORT).sum())
            metrics["class_purity"], metrics["class_entropy"] = purity.means()
            parts += [
                tidy_dimensions("semantic_consistency", consistency.score),
                tidy_dimensions("consistency_chance", consistency.chance),
                tidy_dimensions("class_purity", purity.score),
                tidy_dimensions("class_entropy", purity.entropy),
            ]
        if mono is not None:
            parts += [tidy_dimensions("mono_score", mono.score), tidy_dimensions("mono_support", mono.support)]
        faithful = _compute(self.reconstruction)
        return metrics | ({} if faithful is None else faithful._asdict()), parts


def sparse_where_sparse(rows: Codes) -> Codes:
    """A matrix that is mostly zeros as CSR; others as they are."""
    if isinstance(rows, np.ndarray) and np.count_nonzero(rows) < _SPARSE_BELOW * rows.size:
        return sp.csr_array(rows)
    return rows


def _compute(accumulator: Any) -> Any:
    """The metric, or None where no row was given to it."""
    return None if accumulator.moments is None else accumulator.compute()


WEIGHT_DECAYS = (1e-5, 1e-4, 1e-3, 1e-2)
"""Tried for each of the two alike; codes and embeddings want different ones."""
MOST_PROBED = 20_000
"""Rows that probes are trained and tested on where more are at hand."""
_CONFIG = ProbeConfig(min_steps=300)


class Recovered(NamedTuple):
    """Accuracy of a linear probe on codes, and on what they were made from."""

    codes: float
    embeddings: float

    @property
    def share(self) -> float:
        """accuracy on codes / accuracy on embeddings; NaN where the latter is 0. Above 1 where codes help."""
        return self.codes / self.embeddings if self.embeddings > 0 else float("nan")

    def metrics(self) -> dict[str, float]:
        """By the names that tables have."""
        return {
            "probe_accuracy": self.codes,
            "probe_accuracy_of_embeddings": self.embeddings,
            "probe_recovered": self.share,
        }


def probed_rows(n: int) -> NDArray[np.int64]:
    """The rows of N that probes are trained and tested on, rising: all, or ``MOST_PROBED`` drawn at random."""
    if n <= MOST_PROBED:
        return np.arange(n)
    return np.sort(numpy_rng("measure", n).choice(n, MOST_PROBED, replace=False))


def recovered_accuracy(
    codes: Codes, embeddings: Codes, labels: NDArray[np.integer], n_classes: int, seed: int = 0
) -> Recovered:
    """:func:`recovered_accuracies` of one set of codes."""
    return recovered_accuracies([codes], embeddings, labels, n_classes, seed)[0]


def recovered_accuracies(
    codes: Sequence[Codes], embeddings: Codes, labels: NDArray[np.integer], n_classes: int, seed: int = 0
) -> list[Recovered]:
    """Accuracy of linear probes on codes (N, M), for each of several, and on embeddings (N, D) of the same rows.

    Rows are dealt at random: three fifths train, a fifth chooses the weight decay, a fifth is tested on. All probes
    see the same rows.

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
    chosen, tested, trained = np.split(order, [n // 5, 2 * (n // 5)])
    if len(tested) == 0 or len(np.unique(labels[trained])) < 2:
        raise InputError(f"labels has {n} rows, too few or of one class, to train and test a probe; give more rows.")
    *found, plain = (_tested_accuracy(part, labels, n_classes, (trained, chosen, tested), seed) for part in parts)
    return [Recovered(accuracy, plain) for accuracy in found]


def _tested_accuracy(
    features: Codes,
    labels: NDArray[np.integer],
    n_classes: int,
    parts: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]],
    seed: int,
) -> float:
    trained, chosen, tested = parts
    decays = np.array(WEIGHT_DECAYS)
    targets = np.repeat(np.asarray(labels, dtype=np.int64)[trained, None], len(decays), axis=1)
    probes = train_probes(features[trained], targets, n_classes, decays, _CONFIG, seed)
    accuracy = (predict(probes, features[chosen]) == labels[chosen, None]).mean(axis=0)
    best = probes.select(np.array([accuracy.argmax()]))
    return float((predict(best, features[tested])[:, 0] == labels[tested]).mean())
