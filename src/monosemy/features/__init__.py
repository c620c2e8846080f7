"""What turns embeddings into codes."""

from monosemy.features.autoencoder import Autoencoder
from monosemy.features.estimators import RandomDictionary, SparseAutoencoder
from monosemy.features.exchange import load_autoencoder
from monosemy.features.registry import FEATURE_SETS, FeatureSet, SaeConfig

__all__ = [
    "FEATURE_SETS",
    "Autoencoder",
    "FeatureSet",
    "RandomDictionary",
    "SaeConfig",
    "SparseAutoencoder",
    "load_autoencoder",
]
