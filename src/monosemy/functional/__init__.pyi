from .activity import hoyer_sparsity as hoyer_sparsity
from .autoencoder import explained_variance as explained_variance
from .codes import SparseCodes as SparseCodes, batch_top_k as batch_top_k, top_k as top_k
from .consistency import activation_counts as activation_counts, semantic_consistency as semantic_consistency
from .geometry import (
    effective_rank as effective_rank,
    feature_decorrelation as feature_decorrelation,
    orthogonality_error as orthogonality_error,
)
from .lora import low_rank_update as low_rank_update
from .losses import nt_xent as nt_xent, rep_relu as rep_relu, supervised_contrastive as supervised_contrastive
from .monoscore import mono_loss as mono_loss, mono_score as mono_score
