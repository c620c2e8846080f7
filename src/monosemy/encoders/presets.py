"""Ready settings for pretraining; every one of them can be changed."""

from monosemy.encoders.backbones import BackboneConfig
from monosemy.encoders.contrastive import PretrainConfig
from monosemy.encoders.image import ProjectorConfig
from monosemy.training.optimizers import OptimizerConfig

_PAPER_OPTIMIZER = OptimizerConfig(
    name="lars", lr=0.4, weight_decay=1e-4, eta=0.02, clip_lars=True, warmup=0.05, lr_scaling=True
)
_PAPER_PROJECTOR = ProjectorConfig(hidden=16384, n_features=2048, hidden_norm=False, norm_before_non_negative=False)

STUDY_ENCODER = PretrainConfig(
    steps=800,
    batch_size=128,
    optimizer=OptimizerConfig(name="sgd", lr=0.25, weight_decay=1e-3, warmup=0.1),
    backbone=BackboneConfig(name="conv", width=16),
)
"""Encoders that are small enough to train several within a study."""

PRESETS: dict[str, PretrainConfig] = {
    "cifar": PretrainConfig(
        epochs=200,
        batch_size=256,
        optimizer=_PAPER_OPTIMIZER,
        backbone=BackboneConfig(name="resnet18", stem="cifar"),
        projector=_PAPER_PROJECTOR,
        augmentation="cifar",
        non_negative="rep_relu",
    ),
    "cifar-small": PretrainConfig(
        epochs=20,
        batch_size=256,
        optimizer=OptimizerConfig(name="sgd", lr=0.1, weight_decay=5e-4, warmup=0.1),
        backbone=BackboneConfig(name="resnet18", stem="stride2", width=24),
        projector=ProjectorConfig(hidden=1024, n_features=1024, norm_before_non_negative=False),
        augmentation="cifar",
    ),
    "imagenet100": PretrainConfig(
        epochs=200,
        batch_size=128,
        optimizer=_PAPER_OPTIMIZER,
        backbone=BackboneConfig(name="resnet18", stem="imagenet"),
        projector=_PAPER_PROJECTOR,
        augmentation="imagenet",
        non_negative="rep_relu",
        precision="bfloat16",
    ),
    "digit-pairs": STUDY_ENCODER.model_copy(update={"augmentation": "handwriting-pair"}),
}
"""`cifar` and `imagenet100` are Zhang et al.'s protocol; `cifar-small` is small enough for two CPU cores."""

IMAGE_SIZES = {"imagenet100": 224}
"""Side that images are resized to where the user names none; other presets take images as they are."""
