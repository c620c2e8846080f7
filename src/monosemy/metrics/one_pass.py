"""All metrics of codes whose rows go by once: what is kept does not grow with their number."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray

from monosemy.functional.consistency import Codes
from monosemy.metrics.features import MIN_SUPPORT
from monosemy.metrics.separability import tidy_dimensions
from monosemy.metrics.streaming import (
    ClassPurity,
    EffectiveRank,
    Firing,
    MonoScore,
    Reconstruction,
    SemanticConsistency,
)

OnRows = Callable[[int, int], None]
"""Told how many rows have been read, and how many there are."""
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
