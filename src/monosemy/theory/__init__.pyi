from .plan import ToyConfig as ToyConfig
from .toy import measure_superposition as measure_superposition, train_toy_models as train_toy_models
from .two_features import (
    overtaking as overtaking,
    scale_free_separability as scale_free_separability,
    score_separability as score_separability,
    two_feature_moments as two_feature_moments,
)
