"""Sparse autoencoders of other libraries, and the hub: reading and writing their layouts."""

from monosemy.features.exchange.dictionary_learning import from_dictionary_learning, to_dictionary_learning
from monosemy.features.exchange.hub import from_pretrained, model_card, push_to_hub, save_pretrained
from monosemy.features.exchange.recognise import load_autoencoder, own_models
from monosemy.features.exchange.saelens import from_saelens, to_saelens

__all__ = [
    "from_dictionary_learning",
    "from_pretrained",
    "from_saelens",
    "load_autoencoder",
    "model_card",
    "own_models",
    "push_to_hub",
    "save_pretrained",
    "to_dictionary_learning",
    "to_saelens",
]
