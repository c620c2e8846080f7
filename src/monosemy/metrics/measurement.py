"""Measure embeddings or codes: how monosemantic, how sparse, how faithful, how well they tell classes apart.

Rows are read once, some at a time, and nothing that is kept grows with their number.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monosemy.core.console import OnCount
from monosemy.core.files import atomic_path
from monosemy.corruptions.labels import informative_limit
from monosemy.data.codes import load_codes
from monosemy.data.dataset import DataConfig
from monosemy.data.memory_map import as_codes, first_bad_row, row_blocks, take_rows
from monosemy.errors import InputError
from monosemy.functional.consistency import Codes
from monosemy.functional.geometry import effective_rank
from monosemy.functional.separability import ClassMoments, class_moments, class_separability, merge_class_moments
from monosemy.metrics.dimensions import class_dimensions, dimension_separability
from monosemy.metrics.single_pass import WIDEST, OnePass, probed_rows, recovered_accuracies, sparse_where_sparse
from monosemy.theory.two_features import check_label_noise

FILE_NAME = "measure.parquet"
LABEL_NOISES = (0.3, 0.9)


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
    on_rows: OnCount | None = None,
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
        on_rows: told how many rows have been read, and how many there are.

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
    of_one_piece = n < width  # then the rank follows from a matrix of N x N
    state = OnePass(0 if labels is None else n_classes, rank=width <= WIDEST and not of_one_piece)
    moments: ClassMoments | None = None
    for block in row_blocks(*(part for part in (codes, original, given_back) if part is not None)):
        few = sparse_where_sparse(_rows(codes, block, source))
        own = None if labels is None else labels[block]
        if original is not None:
            similar: Codes | None = _rows(original, block, "The embeddings")
        else:
            similar = few if width <= WIDEST else None
        decoded = None if given_back is None else _rows(given_back, block, "The reconstruction")
        state.update(few, own, similar, decoded)
        if separability and own is not None:
            found = class_moments(few, own, n_classes)
            moments = found if moments is None else merge_class_moments(moments, found)
        if on_rows is not None:
            on_rows(block.stop, n)
    metrics, parts = state.summary()
    if of_one_piece and n <= WIDEST:
        metrics["effective_rank"] = effective_rank(take_rows(codes, slice(n)))
    if labels is not None and original is not None:
        metrics |= _recovered(codes, original, labels, n_classes)
    result = None
    if moments is not None:
        dimensions, means = dimension_separability(moments, noises)
        parts.append(dimensions)
        pairs = class_separability(moments, scale_free=True).best_pair
        classes = class_dimensions(moments, class_names, noises)
        result = Separability(means, _name_pairs(pairs, class_names), classes)
    table = pd.concat(parts, ignore_index=True)
    return Measurement(source, n, tuple(class_names) if labels is not None else (), metrics, table, result)


def measure_source(
    config: DataConfig,
    separability: bool = False,
    label_noise: Sequence[float] | None = None,
    yardstick: Path | None = None,
    reconstruction: Path | None = None,
    on_rows: OnCount | None = None,
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
        on_rows=on_rows,
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


def _recovered(codes: Codes, original: Codes, labels: NDArray[np.int64], n_classes: int) -> dict[str, float]:
    rows = probed_rows(len(labels))
    (found,) = recovered_accuracies([take_rows(codes, rows)], take_rows(original, rows), labels[rows], n_classes)
    return found.metrics()


def _name_pairs(pairs: NDArray[np.int64], class_names: Sequence[str]) -> pd.DataFrame:
    names = [[class_names[number] if number >= 0 else None for number in pair] for pair in pairs]
    frame = pd.DataFrame(names, columns=["first", "second"], dtype=object)
    frame.insert(0, "dimension", np.arange(len(pairs)))
    return frame
