"""Augmentations of image batches (N, C, H, W) in [0, 1], on their device; every image gets its own draw."""

from monosemy.encoders.augment.recipes import (
    AUGMENTATIONS,
    Augmentation,
    AugmentationName,
    AugmentConfig,
    make_augmentation,
)

__all__ = ["AUGMENTATIONS", "AugmentConfig", "Augmentation", "AugmentationName", "make_augmentation"]
