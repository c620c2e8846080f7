"""Measure embeddings or codes: how monosemantic, how sparse, how faithful, how well they tell classes apart.

Rows are read once, some at a time, and nothing that is kept grows with their number.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray

from monosemy.corruptions.labels import informative_limit
from monosemy.data.codes import load_codes
from monosemy.data.config import DataConfig
from monosemy.errors import InputError
from monosemy.files import atomic_path
from monosemy.functional import ClassMoments, class_moments, class_separability, effective_rank, merge_class_moments
from monosemy.functional.consistency import Codes
from monosemy.functional.rows import as_codes, first_bad_row, row_blocks, take_rows
from monosemy.functional.separability import check_label_noise
from monosemy.metrics.features import MIN_SUPPORT
from monosemy.metrics.recovered import recovered_accuracy
from monosemy.metrics.separability import class_dimensions, dimension_separability, tidy_dimensions
from monosemy.metrics.streaming import (
    ClassPurity,
    EffectiveRank,
    Firing,
    MonoScore,
    Reconstruction,
    SemanticConsistency,
)
from monosemy.seeding import numpy_rng

FILE_NAME = "measure.parquet"
LABEL_NOISES = (0.3, 0.9)
WIDEST = 4096
"""Dimensions up to which effective rank and MonoScore by the rows themselves are measured: both fill a square."""
MOST_PROBED = 20_000
"""Rows that probes are trained and tested on; of more, so many are drawn."""
_SPARSE_BELOW = 0.2
"""Share of numbers that are not 0 below which sparse products are quicker and smaller."""


@dataclass(frozen=True)
class Separability:
    """J (``separability``) and its scale-free form d (``separability_d``), clean and under label noise."""

    means: pd.DataFrame
    """label_noise, separability, separability_d: of the best dimension of a class pair, mean over the pairs."""
    best_pairs: pd.DataFrame
    """dimension, first, second: the two classes that a dimension tells apart best by clean d; none if constant."""
    classes: pd.DataFrame
    """class, dimension, label_noise, separability, separability_d: each class's best dimension."""


@dataclass(frozen=True)
class Measurement:
    """What was found in a file."""

    source: str
    n_rows: int
    class_names: tuple[str, ...]
    """Empty where there are no labels."""
    metrics: dict[str, float]
    """Over all dimensions; what could not be measured is NaN, and what nothing was given for is not there."""
    dimensions: pd.DataFrame
    """Tidy: dimension, label_noise, metric, value."""
    separability: Separability | None


class _Pass:
    """What is accumulated while the rows go by."""

    def __init__(self, n_classes: int, separability: bool) -> None:
        self.n_classes, self.separability = n_classes, separability
        self.firing, self.mono = Firing(), MonoScore()
        self.consistency = SemanticConsistency(n_classes) if n_classes else None
        self.purity = ClassPurity(n_classes) if n_classes else None
        self.rank = EffectiveRank()
        self.reconstruction = Reconstruction()
        self.moments: ClassMoments | None = None

    def codes(self, codes: Codes, labels: NDArray[np.int64] | None) -> None:
        self.firing.update(codes)
        if labels is None or self.consistency is None or self.purity is None:
            return
        self.consistency.update(codes, labels)
        self.purity.update(codes, labels)
        if self.separability:
            found = class_moments(codes, labels, self.n_classes)
            self.moments = found if self.moments is None else merge_class_moments(self.moments, found)


def measure(
    embeddings: Any,
    labels: NDArray[np.int64] | None = None,
    class_names: Sequence[str] = (),
    *,
    yardstick: Any = None,
    reconstruction: Any = None,
    source: str = "arrays",
    separability: bool = False,
    label_noise: Sequence[float] | None = None,
) -> Measurement:
    """All metrics of embeddings or codes (N, M): dense, CSR, ``SparseCodes`` or a memory map.

    Args:
        labels: (N,) positions in ``class_names``; without them what compares classes is left out.
        yardstick: (N, D), the embeddings that codes were made from. MonoScore takes its similarities from them, and
            with labels a linear probe on them is compared with one on the codes. Without them MonoScore compares the
            rows themselves, for up to ``WIDEST`` dimensions.
        reconstruction: (N, D) of the yardstick, for explained variance and normalised MSE.
        label_noise: for ``separability`` (J and d), rates of symmetric noise beside none; default those of
            ``LABEL_NOISES`` that leave information.

    Raises:
        InputError: one class only, a rate at which labels carry no information, shapes that do not fit, or NaN.
    """
    codes = as_codes(embeddings)
    n_classes = len(class_names)
    if labels is not None and n_classes < 2:
        raise InputError(f"{source} has {n_classes} class; give rows of at least two, for metrics compare classes.")
    if label_noise is not None and not separability:
        raise InputError("label_noise concerns separability alone, which was not asked for; add --separability.")
    if separability and labels is None:
        raise InputError(f"{source} has no labels, but separability compares classes; give labels.")
    if reconstruction is not None and yardstick is None:
        raise InputError("reconstruction was given without the embeddings that it should equal; give both.")
    noises = _noises(label_noise, n_classes) if separability else []
    original = None if yardstick is None else as_codes(yardstick)
    given_back = None if reconstruction is None else as_codes(reconstruction)
    _check_shapes(codes, original, given_back, source)
    n, width = codes.shape
    state = _Pass(n_classes, separability)
    of_one_piece = n < width  # then the rank follows from a matrix of N x N
    for block in row_blocks(*(part for part in (codes, original, given_back) if part is not None)):
        rows = _rows(codes, block, source)
        few = _sparse_where_sparse(rows)
        state.codes(few, None if labels is None else labels[block])
        if original is not None:
            similar = _rows(original, block, "The embeddings")
            state.mono.update(few, similar)
            if given_back is not None:
                state.reconstruction.update(_rows(given_back, block, "The reconstruction"), similar)
        elif width <= WIDEST:
            state.mono.update(few, few)
        if width <= WIDEST and not of_one_piece:
            state.rank.update(few)
    rank = effective_rank(take_rows(codes, slice(n))) if of_one_piece and n <= WIDEST else _compute(state.rank)
    metrics, parts = _summary(state, n, width)
    metrics["effective_rank"] = float("nan") if rank is None else rank
    if labels is not None and original is not None:
        metrics |= _recovered(codes, original, labels, n_classes)
    result = None
    if state.moments is not None:
        dimensions, means = dimension_separability(state.moments, noises)
        parts.append(dimensions)
        pairs = class_separability(state.moments, scale_free=True).best_pair
        classes = class_dimensions(state.moments, class_names, noises)
        result = Separability(means, _name_pairs(pairs, class_names), classes)
    table = pd.concat(parts, ignore_index=True)
    return Measurement(source, n, tuple(class_names) if labels is not None else (), metrics, table, result)


def measure_source(
    config: DataConfig,
    separability: bool = False,
    label_noise: Sequence[float] | None = None,
    yardstick: Path | None = None,
    reconstruction: Path | None = None,
) -> Measurement:
    """:func:`measure` for all rows of a file, whatever their split, and files that belong to them row by row."""
    loaded = load_codes(config)
    beside = [
        None if path is None else load_codes(DataConfig(source=str(path))) for path in (yardstick, reconstruction)
    ]
    return measure(
        loaded.codes,
        loaded.labels,
        loaded.class_names,
        yardstick=None if beside[0] is None else beside[0].codes,
        reconstruction=None if beside[1] is None else beside[1].codes,
        source=config.source,
        separability=separability,
        label_noise=label_noise,
    )


def write_measurement(found: Measurement, folder: Path) -> Path:
    """Write the tidy table into the folder, which is made if missing.

    Returns: the path of the table.
    """
    path = folder / FILE_NAME
    try:
        with atomic_path(path) as temporary:
            found.dimensions.to_parquet(temporary, index=False)
    except OSError as error:
        raise InputError(f"out is {str(folder)!r}, which is no folder one can write to; give another.") from error
    return path


def _noises(wanted: Sequence[float] | None, n_classes: int) -> list[float]:
    """The rates in rising order, none first."""
    if wanted is None:
        wanted = [eta for eta in LABEL_NOISES if eta < informative_limit(n_classes)]
    return sorted({0.0, *(float(eta) for eta in check_label_noise(wanted, n_classes))})


def _check_shapes(codes: Codes, original: Codes | None, given_back: Codes | None, source: str) -> None:
    if codes.ndim != 2 or 0 in codes.shape:
        raise InputError(f"{source} has shape {codes.shape}; give at least one row and one dimension.")
    for name, part in (("embeddings", original), ("reconstruction", given_back)):
        if part is not None and (part.ndim != 2 or part.shape[0] != codes.shape[0]):
            raise InputError(
                f"{name} has shape {part.shape} but {source} {codes.shape}; give one row for each of its rows."
            )


def _rows(codes: Codes, block: slice, name: str) -> Codes:
    rows = take_rows(codes, block)
    bad = first_bad_row(rows)
    if bad is not None:
        raise InputError(f"{name} holds NaN or infinity in row {block.start + bad}; drop or repair it.")
    return rows


def _sparse_where_sparse(rows: Codes) -> Codes:
    if isinstance(rows, np.ndarray) and np.count_nonzero(rows) < _SPARSE_BELOW * rows.size:
        return sp.csr_array(rows)
    return rows


def _compute(accumulator: Any) -> Any:
    """The metric, or None where no row was given to it."""
    return None if accumulator.moments is None else accumulator.compute()


def _summary(state: _Pass, n: int, width: int) -> tuple[dict[str, float], list[pd.DataFrame]]:
    """Metrics over all dimensions, and tidy tables of each."""
    fired, mono = state.firing.compute(), _compute(state.mono)
    low, middle, high = fired.l0_quantiles
    metrics = {
        "n_dimensions": float(width), "dead": fired.dead, "dense": fired.dense, "l0": fired.l0_mean,
        "l0_5_percent": low, "l0_median": middle, "l0_95_percent": high,
        "mono_score": float("nan") if mono is None else mono.mean(),
    }  # fmt: skip
    counts = state.firing.moments
    assert counts is not None
    parts = [tidy_dimensions("support", counts.support)]
    if state.consistency is not None and state.purity is not None:
        consistency, purity = state.consistency.compute(), state.purity.compute()
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
    faithful = _compute(state.reconstruction)
    return metrics | ({} if faithful is None else faithful._asdict()), parts


def _recovered(codes: Codes, original: Codes, labels: NDArray[np.int64], n_classes: int) -> dict[str, float]:
    n = len(labels)
    rows: Any = slice(n)
    if n > MOST_PROBED:
        rows = np.sort(numpy_rng("measure", n).choice(n, MOST_PROBED, replace=False))
    found = recovered_accuracy(take_rows(codes, rows), take_rows(original, rows), labels[rows], n_classes)
    return {
        "probe_accuracy": found.codes,
        "probe_accuracy_of_embeddings": found.embeddings,
        "probe_recovered": found.share,
    }


def _name_pairs(pairs: NDArray[np.int64], class_names: Sequence[str]) -> pd.DataFrame:
    names = [[class_names[number] if number >= 0 else None for number in pair] for pair in pairs]
    frame = pd.DataFrame(names, columns=["first", "second"], dtype=object)
    frame.insert(0, "dimension", np.arange(len(pairs)))
    return frame
