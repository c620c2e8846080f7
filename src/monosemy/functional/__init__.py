"""Equations as pure functions on tensors and arrays: no I/O, no classes with state."""

from monosemy.functional.class_separability import (
    ClassMoments,
    ClassSeparability,
    class_moments,
    class_separability,
    merge_class_moments,
    noisy_class_moments,
    pair_separability,
)
from monosemy.functional.codes import SparseCodes, to_csr, to_dense, top_k
from monosemy.functional.consistency import (
    Consistency,
    activation_counts,
    expected_largest_share,
    semantic_consistency,
)
from monosemy.functional.contrastive import nt_xent, supervised_contrastive
from monosemy.functional.gather import all_gather, own_rows
from monosemy.functional.monoscore import MonoMoments, mono_moments, mono_score
from monosemy.functional.nonnegative import NON_NEGATIVE, NonNegative, relu, rep_relu
from monosemy.functional.reconstruction import aux_k, explained_variance, normalized_mse
from monosemy.functional.separability import (
    Overtaking,
    ScoreMoments,
    noisy_moments,
    overtaking,
    scale_free_separability,
    score_separability,
    two_feature_moments,
)

__all__ = [
    "NON_NEGATIVE",
    "ClassMoments",
    "ClassSeparability",
    "Consistency",
    "MonoMoments",
    "NonNegative",
    "Overtaking",
    "ScoreMoments",
    "SparseCodes",
    "activation_counts",
    "all_gather",
    "aux_k",
    "class_moments",
    "class_separability",
    "expected_largest_share",
    "explained_variance",
    "merge_class_moments",
    "mono_moments",
    "mono_score",
    "noisy_class_moments",
    "noisy_moments",
    "normalized_mse",
    "nt_xent",
    "overtaking",
    "own_rows",
    "pair_separability",
    "relu",
    "rep_relu",
    "scale_free_separability",
    "score_separability",
    "semantic_consistency",
    "supervised_contrastive",
    "to_csr",
    "to_dense",
    "top_k",
    "two_feature_moments",
]
