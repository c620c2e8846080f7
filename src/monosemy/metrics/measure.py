"""Measure embeddings or codes that lie in a file: how monosemantic, how sparse, how well they tell classes apart."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray

from monosemy.corruptions.labels import informative_limit
from monosemy.data.sources import DataConfig, load_embeddings
from monosemy.errors import InputError
from monosemy.files import atomic_path
from monosemy.functional import class_moments, class_separability
from monosemy.functional.consistency import Codes
from monosemy.functional.rank import effective_rank
from monosemy.functional.separability import check_label_noise
from monosemy.metrics.features import dead_share, describe_dimensions
from monosemy.metrics.separability import class_dimensions, dimension_separability, tidy_dimensions

FILE_NAME = "measure.parquet"
LABEL_NOISES = (0.3, 0.9)
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
    metrics: dict[str, float]
    """Means over dimensions, as a study has them, and the effective rank."""
    dimensions: pd.DataFrame
    """Tidy: dimension, label_noise, metric, value."""
    separability: Separability | None


def measure(
    embeddings: NDArray[np.float32],
    labels: NDArray[np.int64],
    class_names: Sequence[str],
    *,
    source: str = "arrays",
    separability: bool = False,
    label_noise: Sequence[float] | None = None,
) -> Measurement:
    """All feature metrics of embeddings or codes (N, D), and with ``separability`` J and d.

    MonoScore compares the rows themselves, since nothing else is known of them.

    Args:
        labels: (N,) positions in ``class_names``.
        label_noise: rates of symmetric noise beside none; default those of ``LABEL_NOISES`` that leave information.

    Raises:
        InputError: fewer than two classes, or a rate at which labels carry no information.
    """
    n_classes = len(class_names)
    if n_classes < 2:
        raise InputError(f"{source} has {n_classes} class; give rows of at least two, for metrics compare classes.")
    if label_noise is not None and not separability:
        raise InputError("label_noise concerns separability alone, which was not asked for; add --separability.")
    noises = _noises(label_noise, n_classes)
    codes = _codes(embeddings)
    found = describe_dimensions(codes, labels, n_classes, embeddings)
    metrics = found.means() | {"dead": dead_share(codes), "effective_rank": effective_rank(embeddings)}
    parts = [
        tidy_dimensions("support", found.consistency.support),
        tidy_dimensions("semantic_consistency", found.consistency.score),
        tidy_dimensions("consistency_chance", found.consistency.chance),
        tidy_dimensions("mono_score", found.mono_score),
    ]
    result = None
    if separability:
        moments = class_moments(codes, labels, n_classes)
        dimensions, means = dimension_separability(moments, noises)
        parts.append(dimensions)
        pairs = class_separability(moments, scale_free=True).best_pair
        classes = class_dimensions(moments, class_names, noises)
        result = Separability(means, _name_pairs(pairs, class_names), classes)
    table = pd.concat(parts, ignore_index=True)
    return Measurement(source, len(labels), tuple(class_names), metrics, table, result)


def measure_source(
    config: DataConfig, separability: bool = False, label_noise: Sequence[float] | None = None
) -> Measurement:
    """:func:`measure` for all rows of a file, whatever their split."""
    embeddings, labels, class_names = load_embeddings(config)
    return measure(
        embeddings, labels, class_names, source=config.source, separability=separability, label_noise=label_noise
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


def _codes(embeddings: NDArray[np.float32]) -> Codes:
    """Sparse non-negative codes as CSR; all else as it is."""
    if embeddings.min() >= 0 and np.count_nonzero(embeddings) < _SPARSE_BELOW * embeddings.size:
        return sp.csr_array(embeddings)
    return embeddings


def _name_pairs(pairs: NDArray[np.int64], class_names: Sequence[str]) -> pd.DataFrame:
    names = [[class_names[number] if number >= 0 else None for number in pair] for pair in pairs]
    frame = pd.DataFrame(names, columns=["first", "second"], dtype=object)
    frame.insert(0, "dimension", np.arange(len(pairs)))
    return frame
