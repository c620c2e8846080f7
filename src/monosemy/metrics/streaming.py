"""Metrics of streamed data, from one stream or several: ``update``, ``merge``, ``compute``.

Every accumulator keeps moments whose size does not depend on the number of samples. The order of the pieces, their
sizes, and the order in which accumulators are merged change the result by rounding only. The equations are in
:mod:`monosemy.functional`.

Codes and embeddings may be NumPy arrays, CSR arrays, tensors or ``SparseCodes``.
"""

from collections.abc import Callable
from typing import Any, Generic, NamedTuple, Self, TypeVar

import numpy as np

from monosemy.data.containers import as_codes
from monosemy.data.memory_map import check_finite, row_blocks, take_rows
from monosemy.errors import InputError
from monosemy.functional import activity, autoencoder, consistency, geometry, monoscore

Moments = TypeVar("Moments")
Result = TypeVar("Result")


class Accumulator(Generic[Moments, Result]):
    """A metric of streamed samples."""

    moments: Moments | None = None
    """Moments of all samples so far; None before the first."""

    _compute_moments: Callable[..., Moments]
    """Returns the moments of some rows."""
    _merge_moments: Callable[..., Moments]
    """Returns the moments of two disjoint sets of samples together."""
    _result: Callable[..., Result]
    """Returns the metric of moments."""

    def merge(self, other: Self) -> Self:
        """Add the samples of another accumulator of the same kind, which stays as it is.

        Raises:
            InputError: the two measured data of different shapes.
        """
        if other.moments is not None:
            self.moments = self._together(self.moments, other.moments)
        return self

    def compute(self) -> Result:
        """Return the metric of all samples so far.

        Raises:
            InputError: there were none.
        """
        if self.moments is None:
            raise InputError(f"{type(self).__name__} has seen no sample; call update with at least one row first.")
        return self._result(self.moments)

    def _add(
        self, names: tuple[str, ...], values: tuple[Any, ...], labels: np.typing.NDArray[np.int64] | None = None
    ) -> Self:
        """Add matrices of N rows each; a batch that is refused leaves the accumulator unchanged."""
        parts = [as_codes(value) for value in values]
        for name, part in zip(names, parts, strict=True):
            if part.ndim != 2 or part.shape[1] == 0:
                raise InputError(f"{name} has shape {part.shape}; give one row a sample, with at least one number.")
            if part.shape[0] != parts[0].shape[0]:
                raise InputError(
                    f"{name} has {part.shape[0]} rows but {names[0]} {parts[0].shape[0]}; give one for each sample."
                )
        if labels is not None and len(labels) != parts[0].shape[0]:
            raise InputError(
                f"labels has {len(labels)} entries for {parts[0].shape[0]} rows of {names[0]}; give one for each."
            )
        result = self.moments
        for block in row_blocks(*parts):
            rows = [take_rows(part, block) for part in parts]
            for name, part in zip(names, rows, strict=True):
                check_finite(part, name, block)
            result = self._together(result, self._compute_moments(*rows, *(() if labels is None else (labels[block],))))
        self.moments = result
        return self

    def _together(self, first: Moments | None, second: Moments) -> Moments:
        if first is None:
            return second
        shapes = [
            [value.shape for value in moments if isinstance(value, np.ndarray)]  # type: ignore[attr-defined]
            for moments in (first, second)
        ]
        if shapes[0] != shapes[1]:
            raise InputError(
                f"{type(self).__name__} was given data of different widths or classes (sums of shape {shapes[0][0]} "
                f"and {shapes[1][0]}); give pieces of one data set."
            )
        return self._merge_moments(first, second)


class MonoScores(NamedTuple):
    """MonoScore of every dimension."""

    score: np.typing.NDArray[np.float64]
    """(M,); NaN where fewer than two samples activate the dimension."""
    support: np.typing.NDArray[np.int64]
    """(M,), number of samples that activate it."""

    def mean(self) -> float:
        """Return the mean over the dimensions where it is defined; NaN where there are none."""
        defined = np.isfinite(self.score)
        return float(self.score[defined].mean()) if defined.any() else float("nan")


class MonoScore(Accumulator[monoscore.MonoMoments, MonoScores]):
    """MonoScore in linear time; sparse codes with k entries a row cost 2 N k D instead of 2 N M D."""

    def update(self, activations: Any, embeddings: Any) -> Self:
        """Add samples: activations (N, M) and the embeddings (N, D) whose similarity counts."""
        return self._add(("activations", "embeddings"), (activations, embeddings))

    _compute_moments = staticmethod(monoscore.mono_moments)
    _merge_moments = staticmethod(monoscore.merge_mono_moments)

    def _result(self, moments: monoscore.MonoMoments) -> MonoScores:
        return MonoScores(monoscore.mono_score(moments), monoscore.mono_support(moments))


class ClassTable(NamedTuple):
    """A sum over the samples of each class, for every dimension."""

    table: np.typing.NDArray[Any]
    """(C, M)."""
    samples: np.typing.NDArray[np.int64]
    """(C,), samples of each class."""


class _ClassMetric(Accumulator[ClassTable, Result]):
    """A metric of classes: labels, and tables that add up."""

    def __init__(self, n_classes: int) -> None:
        if n_classes < 1:
            raise InputError(f"n_classes={n_classes} is below 1; give the number of classes.")
        self.n_classes = n_classes

    def update(self, codes: Any, labels: Any) -> Self:
        """Add samples: codes (N, M) and their classes (N,) in [0, n_classes)."""
        classes = np.asarray(labels)
        if classes.ndim != 1 or (classes.size and not np.issubdtype(classes.dtype, np.integer)):
            raise InputError(f"labels has shape {classes.shape} and type {classes.dtype}; give one integer a sample.")
        outside = (classes < 0) | (classes >= self.n_classes)
        if outside.any():
            raise InputError(
                f"labels has {classes[outside.argmax()]}, which is outside [0, n_classes={self.n_classes}); number "
                f"the classes from 0."
            )
        return self._add(("codes",), (codes,), classes.astype(np.int64))

    _table: Callable[..., np.typing.NDArray[Any]]
    """Returns the sum over the samples of each class."""

    def _compute_moments(self, codes: consistency.Codes, labels: np.typing.NDArray[np.int64]) -> ClassTable:
        return ClassTable(self._table(codes, labels, self.n_classes), np.bincount(labels, minlength=self.n_classes))

    def _merge_moments(self, first: ClassTable, second: ClassTable) -> ClassTable:
        return ClassTable(first.table + second.table, first.samples + second.samples)


class SemanticConsistency(_ClassMetric[consistency.Consistency]):
    """Fraction of the commonest class among the samples that activate a dimension, with support and chance level."""

    _table = staticmethod(consistency.activation_counts)

    def _result(self, moments: ClassTable) -> consistency.Consistency:
        return consistency.semantic_consistency(moments.table, moments.samples / moments.samples.sum())


class ClassPurity(_ClassMetric[consistency.Purity]):
    """Fraction of the largest class in a dimension's activation, and the entropy of the classes in it."""

    _table = staticmethod(consistency.activation_mass)

    def _result(self, moments: ClassTable) -> consistency.Purity:
        return consistency.class_purity(moments.table)


class Firing(Accumulator[activity.FiringCounts, activity.Sparsity]):
    """L0 and its distribution, dead and dense dimensions."""

    def update(self, codes: Any) -> Self:
        """Add samples: codes (N, M)."""
        return self._add(("codes",), (codes,))

    _compute_moments = staticmethod(activity.firing_counts)
    _merge_moments = staticmethod(activity.merge_firing_counts)
    _result = staticmethod(activity.sparsity)


class ReconstructionScores(NamedTuple):
    """Faithfulness of a reconstruction."""

    explained_variance: float
    """1 - FVU about the mean: 1 is perfect, the mean predictor scores 0; NaN for constant data."""
    normalized_mse: float
    """Squared error over squared length: 0 is perfect, predicting 0 scores 1."""


class Reconstruction(Accumulator[autoencoder.ReconstructionMoments, ReconstructionScores]):
    """Explained variance and normalised MSE of pairs."""

    def update(self, reconstruction: Any, target: Any) -> Self:
        """Add samples: reconstructions (N, D) of targets (N, D)."""
        recon, z = as_codes(reconstruction), as_codes(target)
        if recon.shape != z.shape:
            raise InputError(f"reconstruction has shape {recon.shape} but target {z.shape}; give one for each target.")
        return self._add(("reconstruction", "target"), (recon, z))

    _merge_moments = staticmethod(autoencoder.merge_reconstruction_moments)

    def _compute_moments(self, *parts: Any) -> autoencoder.ReconstructionMoments:
        dense = [part if isinstance(part, np.ndarray) else part.toarray() for part in parts]
        return autoencoder.reconstruction_moments(*dense)

    def _result(self, moments: autoencoder.ReconstructionMoments) -> ReconstructionScores:
        return ReconstructionScores(
            autoencoder.streamed_explained_variance(moments), autoencoder.streamed_normalized_mse(moments)
        )


class EffectiveRank(Accumulator[geometry.CovarianceMoments, float]):
    """Effective rank, from the (D, D) covariance."""

    def update(self, embeddings: Any) -> Self:
        """Add samples: embeddings or codes (N, D)."""
        return self._add(("embeddings",), (embeddings,))

    _compute_moments = staticmethod(geometry.covariance_moments)
    _merge_moments = staticmethod(geometry.merge_covariance_moments)
    _result = staticmethod(geometry.streamed_effective_rank)


class FeatureDecorrelation(Accumulator[geometry.DirectionMoments, float]):
    """1 - mean cosine over pairs of samples, from the sum of their directions."""

    def update(self, embeddings: Any) -> Self:
        """Add samples: embeddings or activations (N, D)."""
        return self._add(("embeddings",), (embeddings,))

    _compute_moments = staticmethod(geometry.direction_moments)
    _merge_moments = staticmethod(geometry.merge_direction_moments)
    _result = staticmethod(geometry.streamed_feature_decorrelation)


class TopActivating(Accumulator[activity.TopSamples, activity.TopSamples]):
    """The k samples that activate each dimension most, in the memory of k numbers a dimension."""

    def __init__(self, k: int) -> None:
        if k < 1:
            raise InputError(f"k={k} is below 1; give the number of samples.")
        self.k = k

    def update(self, codes: Any, rows: np.typing.NDArray[np.integer]) -> Self:
        """Add samples: codes (N, M) and the samples' numbers (N,), no number twice."""
        return self._add(("codes",), (codes,), np.asarray(rows, dtype=np.int64))

    _merge_moments = staticmethod(activity.merge_top_samples)

    def _compute_moments(self, codes: consistency.Codes, rows: np.typing.NDArray[np.int64]) -> activity.TopSamples:
        return activity.top_samples(codes, self.k, rows)

    def _result(self, moments: activity.TopSamples) -> activity.TopSamples:
        return moments
