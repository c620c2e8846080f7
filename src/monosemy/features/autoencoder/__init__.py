"""The sparse autoencoder as a torch module with activations as parts, its loss and its training."""

from monosemy.features.autoencoder.activations import (
    ACTIVATIONS,
    Activation,
    BatchTopK,
    Gated,
    JumpReLU,
    ReLU,
    TopK,
)
from monosemy.features.autoencoder.initial import Center, initialise
from monosemy.features.autoencoder.module import Autoencoder
from monosemy.features.autoencoder.training import Dead, OnEpoch, Trainer, TrainingConfig, train

__all__ = [
    "ACTIVATIONS",
    "Activation",
    "Autoencoder",
    "BatchTopK",
    "Center",
    "Dead",
    "Gated",
    "JumpReLU",
    "OnEpoch",
    "ReLU",
    "TopK",
    "Trainer",
    "TrainingConfig",
    "initialise",
    "train",
]
