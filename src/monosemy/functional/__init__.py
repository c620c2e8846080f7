"""Equations as pure functions on tensors and arrays: no I/O, no classes with state."""

from monosemy.functional.activations import gated, jump_relu, step_count
from monosemy.functional.class_separability import (
    ClassMoments,
    ClassSeparability,
    class_moments,
    class_separability,
    merge_class_moments,
    noisy_class_moments,
    pair_separability,
)
from monosemy.functional.codes import (
    SparseCodes,
    above,
    batch_top_k,
    from_csr,
    from_dense,
    stack_codes,
    to_csr,
    to_dense,
    top_k,
)
from monosemy.functional.consistency import (
    Consistency,
    activation_counts,
    expected_largest_share,
    semantic_consistency,
)
from monosemy.functional.contrastive import nt_xent, supervised_contrastive
from monosemy.functional.decorrelation import activation_l1, decorrelation, feature_decorrelation
from monosemy.functional.firing import FiringCounts, Sparsity, firing_counts, merge_firing_counts, sparsity
from monosemy.functional.gather import all_gather, own_rows
from monosemy.functional.geometric_median import geometric_median
from monosemy.functional.hoyer import hoyer_sparsity
from monosemy.functional.low_rank import Placement, add_update, low_rank_update
from monosemy.functional.mono_loss import batch_mono_score, mono_loss
from monosemy.functional.monoscore import MonoMoments, merge_mono_moments, mono_moments, mono_score, mono_support
from monosemy.functional.nonnegative import NON_NEGATIVE, NonNegative, relu, rep_relu
from monosemy.functional.orthogonality import Orthogonality, orthogonality_error
from monosemy.functional.purity import Purity, activation_mass, class_purity
from monosemy.functional.rank import effective_rank
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
from monosemy.functional.superposition import gauge_change, layer_gauge, neuron_gauge
from monosemy.functional.top_samples import TopSamples, activation_histogram, merge_top_samples, top_samples

__all__ = [
    "NON_NEGATIVE",
    "ClassMoments",
    "ClassSeparability",
    "Consistency",
    "FiringCounts",
    "MonoMoments",
    "NonNegative",
    "Orthogonality",
    "Overtaking",
    "Placement",
    "Purity",
    "ScoreMoments",
    "SparseCodes",
    "Sparsity",
    "TopSamples",
    "above",
    "activation_counts",
    "activation_histogram",
    "activation_l1",
    "activation_mass",
    "add_update",
    "all_gather",
    "aux_k",
    "batch_mono_score",
    "batch_top_k",
    "class_moments",
    "class_purity",
    "class_separability",
    "decorrelation",
    "effective_rank",
    "expected_largest_share",
    "explained_variance",
    "feature_decorrelation",
    "firing_counts",
    "from_csr",
    "from_dense",
    "gated",
    "gauge_change",
    "geometric_median",
    "hoyer_sparsity",
    "jump_relu",
    "layer_gauge",
    "low_rank_update",
    "merge_class_moments",
    "merge_firing_counts",
    "merge_mono_moments",
    "merge_top_samples",
    "mono_loss",
    "mono_moments",
    "mono_score",
    "mono_support",
    "neuron_gauge",
    "noisy_class_moments",
    "noisy_moments",
    "normalized_mse",
    "nt_xent",
    "orthogonality_error",
    "overtaking",
    "own_rows",
    "pair_separability",
    "relu",
    "rep_relu",
    "scale_free_separability",
    "score_separability",
    "semantic_consistency",
    "sparsity",
    "stack_codes",
    "step_count",
    "supervised_contrastive",
    "to_csr",
    "to_dense",
    "top_k",
    "top_samples",
    "two_feature_moments",
]
