from .registry import FEATURE_SETS as FEATURE_SETS, FeatureSet as FeatureSet
