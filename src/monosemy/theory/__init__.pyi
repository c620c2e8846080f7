from .plan import ToyConfig as ToyConfig
from .toy import measure_superposition as measure_superposition
from .toy import train_toy_models as train_toy_models
from .two_features import overtaking as overtaking
from .two_features import scale_free_separability as scale_free_separability
from .two_features import score_separability as score_separability
from .two_features import two_feature_moments as two_feature_moments
