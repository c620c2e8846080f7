"""What turns embeddings into codes."""

from monosemy.features.autoencoder import Autoencoder
from monosemy.features.estimators import RandomDictionary, SparseAutoencoder
from monosemy.features.exchange import from_pretrained, load_autoencoder, push_to_hub, save_pretrained
from monosemy.features.registry import FEATURE_SETS, FeatureSet, SaeConfig

__all__ = [
    "FEATURE_SETS",
    "Autoencoder",
    "FeatureSet",
    "RandomDictionary",
    "SaeConfig",
    "SparseAutoencoder",
    "from_pretrained",
    "load_autoencoder",
    "push_to_hub",
    "save_pretrained",
]
