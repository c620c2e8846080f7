from .registry import FEATURE_SETS as FEATURE_SETS
from .registry import FeatureSet as FeatureSet
