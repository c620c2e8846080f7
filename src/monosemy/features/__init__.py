"""What turns embeddings into codes."""

from monosemy.features.registry import FEATURE_SETS, FeatureSet, SaeConfig
from monosemy.sae.estimators import RandomDictionary, SparseAutoencoder
from monosemy.sae.hub import from_pretrained, load_autoencoder, push_to_hub, save_pretrained
from monosemy.sae.module import Autoencoder

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
