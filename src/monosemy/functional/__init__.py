"""Equations as pure functions on tensors and arrays: no I/O, no classes with state."""

from monosemy.functional.codes import SparseCodes, to_csr, to_dense, top_k
from monosemy.functional.consistency import (
    Consistency,
    activation_counts,
    expected_largest_share,
    semantic_consistency,
)
from monosemy.functional.contrastive import nt_xent
from monosemy.functional.monoscore import MonoMoments, mono_moments, mono_score
from monosemy.functional.nonnegative import NON_NEGATIVE, NonNegative, relu, rep_relu
from monosemy.functional.reconstruction import aux_k, explained_variance, normalized_mse

__all__ = [
    "NON_NEGATIVE",
    "Consistency",
    "MonoMoments",
    "NonNegative",
    "SparseCodes",
    "activation_counts",
    "aux_k",
    "expected_largest_share",
    "explained_variance",
    "mono_moments",
    "mono_score",
    "normalized_mse",
    "nt_xent",
    "relu",
    "rep_relu",
    "semantic_consistency",
    "to_csr",
    "to_dense",
    "top_k",
]
