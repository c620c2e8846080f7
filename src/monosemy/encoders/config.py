"""Settings of image encoders: architecture, augmentation, pretraining with its presets, and finetuning.

Plans and the command line derive from these models; the chapter therefore imports no numerical library.
"""

import math
from typing import Annotated, Literal, Self

from annotated_types import Ge, Gt, Le, Lt
from pydantic import ConfigDict, model_validator

from monosemy.core.config import Config
from monosemy.data.config import DataConfig
from monosemy.training.config import OptimizerConfig, TrainingConfig

BackboneName = Literal["conv", "resnet18", "resnet34", "resnet50", "vit", "convnext", "mixer"]
Stem = Literal["cifar", "stride2", "imagenet"]
_TAKERS = {
    "stem": ("resnet18", "resnet34", "resnet50"),
    "depth": ("vit", "convnext", "mixer"),
    "patch_size": ("vit", "convnext", "mixer"),
}
Layer = Literal["features", "backbone"]
"""`features`: the projector's output, after s+ where there is one; `backbone`: its input."""
NonNegative = Literal["relu", "rep_relu"]
"""Equal to :data:`monosemy.functional.losses.NonNegative`, which needs torch."""
Method = Literal["simclr", "ncl", "supcon", "supncl"]
NON_NEGATIVE_METHODS = ("ncl", "supncl")
SUPERVISED_METHODS = ("supcon", "supncl")
AugmentationName = Literal["natural", "cifar", "imagenet", "crop-flip", "handwriting-pair"]
Probability = Annotated[float, Ge(0), Le(1)]
Fraction = Annotated[float, Gt(0), Le(1)]
Positive = Annotated[float, Gt(0)]
Strength = Annotated[float, Ge(0)]


class BackboneConfig(Config):
    """A backbone; settings that are None follow from its name and the images' size."""

    name: BackboneName = "resnet18"
    """Backbone: resnet18, resnet34, resnet50, vit, convnext, mixer or conv (three to five convolutions)."""
    stem: Stem | None = None
    """First convolution of a ResNet: `cifar` 3x3 with stride 1, `stride2` 3x3 with stride 2, `imagenet` 7x7 with
    stride 2 and max-pooling. By default the first below 64 pixels, the second below 128."""
    width: Annotated[int, Ge(1)] | None = None
    """Channels of the first stage (default 16 of conv, 64 of ResNets, 96 of ConvNeXt, 48 below 64 pixels), or of every
    patch (default 384 of ViT, 512 of mixer; below 64 pixels 192 and 256)."""
    depth: Annotated[int, Ge(1), Le(1000)] | None = None
    """Blocks of ViT (default 12) and mixer (default 8); of ConvNeXt's stages but the third, which has thrice as many
    (default 3; below 64 pixels 2)."""
    patch_size: Annotated[int, Ge(1)] | None = None
    """Side of a patch in pixels. By default 4 for ConvNeXt (below 64 pixels 2, below 16 pixels 1), else the largest up
    to 16 that leaves at least 7 patches a side."""

    @model_validator(mode="after")
    def _check_applicable(self) -> "BackboneConfig":
        for setting, takers in _TAKERS.items():
            if getattr(self, setting) is not None and self.name not in takers:
                raise ValueError(
                    f"{setting}={getattr(self, setting)!r} does not apply to the backbone {self.name}; leave it out"
                )
        return self


class ProjectorConfig(Config):
    """The two-layer network between backbone and features."""

    hidden: Annotated[int, Ge(1)] = 256
    """Width of the hidden layer."""
    n_features: Annotated[int, Ge(1)] = 256
    """Width of the output: the dense features, or NCL's."""
    hidden_norm: bool = True
    """BatchNorm after the hidden layer, in the place of its bias."""
    norm_before_non_negative: bool = True
    """BatchNorm before s+, where there is one: without it NCL on small data collapses to zero."""


class EncoderSpec(Config):
    """Architecture of an encoder; its weights come from a file or from training."""

    image_shape: tuple[int, int, int]
    """(C, H, W)"""
    backbone: BackboneConfig = BackboneConfig()
    """The network between the normalised images and the projector."""
    projector: ProjectorConfig = ProjectorConfig()
    """The network between the backbone and the features."""
    non_negative: NonNegative | None = None
    """The map s+ on the features; None leaves them signed."""


class AugmentConfig(Config):
    """A recipe in SimCLR's order: crop, flip, colour jitter, grey, blur, solarize. The defaults are mild."""

    model_config = ConfigDict(allow_inf_nan=False)

    crop_area: tuple[Fraction, Fraction] = (0.2, 1.0)
    """Smallest and largest fraction of the image's area that is cropped."""
    crop_ratio: tuple[Positive, Positive] = (3 / 4, 4 / 3)
    """Smallest and largest width / height of the crop."""
    output_size: Annotated[int, Ge(1)] | None = None
    """Height and width of the view; None: those of the image."""
    flip_probability: Probability = 0.5
    """Probability of mirroring left to right."""
    brightness: Strength = 0.4
    """Brightness, contrast and saturation are changed by a factor of U[max(0, 1 - strength), 1 + strength]."""
    contrast: Strength = 0.4
    """Strength of the change of contrast."""
    saturation: Strength = 0.4
    """Strength of the change of saturation."""
    hue: Annotated[float, Ge(0), Le(0.5)] = 0.0
    """The hue is turned by U[-hue, hue] of a full circle."""
    jitter_probability: Probability = 1.0
    """Probability of changing brightness, contrast, saturation and hue, in a random order."""
    grey_probability: Probability = 0.2
    """Probability of removing the colours."""
    blur_probability: Probability = 0.0
    """Probability of a Gaussian blur."""
    blur_kernel: Annotated[int, Ge(3)] | None = None
    """Odd; None: a tenth of the view's shorter side, at least 3 (3 for 32 pixels, 23 for 224)."""
    blur_sigma: tuple[Positive, Positive] = (0.1, 2.0)
    """In pixels."""
    solarize_probability: Probability = 0.0
    """Probability of inverting the pixels from 0.5 up."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in ("crop_area", "crop_ratio", "blur_sigma"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} is ({low:g}, {high:g}); put the smaller one first")
        if self.blur_kernel is not None and self.blur_kernel % 2 == 0:
            raise ValueError(f"blur_kernel is {self.blur_kernel}; give an odd number")
        return self


class PretrainConfig(TrainingConfig):
    """Training of an encoder; the methods share all of it but the map s+ and the labels."""

    method: Method = "simclr"
    """Method: simclr, ncl (simclr with a non-negative map on the features), or with labels supcon and supncl."""
    non_negative: NonNegative = "relu"
    """The map s+ of `ncl` and `supncl`."""
    backbone: BackboneConfig = BackboneConfig()
    """The network between the normalised images and the projector."""
    projector: ProjectorConfig = ProjectorConfig()
    """The network between the backbone and the features."""
    augmentation: AugmentationName | AugmentConfig = "natural"
    """Recipe for two views of one image."""
    temperature: Annotated[float, Gt(0)] = 0.2
    """Temperature of the contrastive loss."""

    @property
    def supervised(self) -> bool:
        return self.method in SUPERVISED_METHODS


class FinetuneConfig(TrainingConfig):
    """Finetuning of an encoder as a classifier; CE and NCE share all of it but the map s+."""

    loss: Literal["ce", "nce"] = "ce"
    """`nce` puts s+ between the features and the linear classifier."""
    non_negative: NonNegative = "rep_relu"
    """The map s+ of `nce`."""
    layer: Layer = "features"
    """Input of the classifier: the projector's output before s+, or the backbone's output. After a ReLU and pooling, as
    in ResNets, the backbone's output is non-negative already, and NCE equals CE."""
    batch_norm: Literal["train", "frozen"] = "train"
    """`frozen` keeps the moments and weights of all BatchNorms as pretraining left them."""
    label_smoothing: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Probability mass that the targets spread evenly over all classes."""
    augmentation: AugmentationName | AugmentConfig = "crop-flip"
    """Recipe for one view of an image, by name or in full."""
    epochs: Annotated[int, Ge(1)] = 20
    """Passes over the images."""
    optimizer: OptimizerConfig = OptimizerConfig(name="sgd", lr=0.03)
    """The optimiser and its schedule."""


HeadAugmentation = Literal["dropout", "noise", "neighbours"]


class HeadConfig(Config):
    """Training of a contrastive head on frozen embeddings, without labels."""

    n_features: Annotated[int, Ge(1)] = 1024
    """Number of features."""
    k: Annotated[int, Ge(1)] = 32
    """Active features per sample of contrastive sparse codes."""
    augmentation: HeadAugmentation = "dropout"
    """Views of an embedding: dropout of its standardised columns, Gaussian noise, or its nearest neighbours."""
    strength: Annotated[float, Gt(0)] | None = None
    """Probability of dropout or deviation of noise; by default views are as far as the fifth nearest neighbour."""
    n_neighbours: Annotated[int, Ge(1)] = 10
    """Neighbours of a row that are its second view, with `neighbours`."""
    temperature: Annotated[float, Gt(0)] = 0.2
    """Temperature of the contrastive loss."""
    batch_size: Annotated[int, Ge(2)] = 256
    """Rows per step."""
    lr: Annotated[float, Gt(0)] = 1e-3
    """Peak learning rate of Adam."""
    min_steps: Annotated[int, Ge(0)] = 100
    """Steps before the first look at held-out rows; k falls from all features to its value over them."""
    max_steps: Annotated[int, Ge(0)] = 900
    """Most steps; training ends before once the loss of held-out rows falls no more."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.k > self.n_features:
            raise ValueError(f"k={self.k} exceeds n_features={self.n_features}; choose k <= {self.n_features}")
        if self.strength is not None and self.strength >= 1 and self.augmentation != "noise":
            raise ValueError(f"strength={self.strength:g} drops every column; choose a probability below 1")
        if self.min_steps > self.max_steps:
            raise ValueError(f"min_steps={self.min_steps} exceeds max_steps={self.max_steps}; lower it")
        return self


STUDY_PRETRAINING = PretrainConfig(
    steps=800,
    batch_size=128,
    optimizer=OptimizerConfig(name="sgd", lr=0.25, weight_decay=1e-3, warmup=0.1),
    backbone=BackboneConfig(name="conv", width=16),
)
"""Small enough to train several encoders within a study."""
_CIFAR = PretrainConfig(
    epochs=200,
    batch_size=256,
    optimizer=OptimizerConfig(
        name="lars", lr=0.4, weight_decay=1e-4, eta=0.02, clip_lars=True, warmup=0.05, lr_scaling=True
    ),
    backbone=BackboneConfig(name="resnet18", stem="cifar"),
    projector=ProjectorConfig(hidden=16384, n_features=2048, hidden_norm=False, norm_before_non_negative=False),
    augmentation="cifar",
    non_negative="rep_relu",
)
_IMAGENET = {"backbone": BackboneConfig(name="resnet18", stem="imagenet"), "augmentation": "imagenet"}

PRESETS: dict[str, PretrainConfig] = {
    "cifar": _CIFAR,
    "cifar-small": PretrainConfig(
        epochs=20,
        batch_size=256,
        optimizer=OptimizerConfig(name="sgd", lr=0.1, weight_decay=5e-4, warmup=0.1),
        backbone=BackboneConfig(name="resnet18", stem="stride2", width=24),
        projector=ProjectorConfig(hidden=1024, n_features=1024, norm_before_non_negative=False),
        augmentation="cifar",
    ),
    "imagenet100": _CIFAR.model_copy(update=_IMAGENET | {"batch_size": 128, "precision": "bfloat16"}),
    "digit-pairs": STUDY_PRETRAINING.model_copy(update={"augmentation": "handwriting-pair"}),
}
"""`cifar` and `imagenet100` are Zhang et al.'s protocol; `cifar-small` is small enough for two CPU cores."""

IMAGE_SIZES = {"imagenet100": 224}
"""Side that images are resized to where the user names none; other presets take images as they are."""


class PretrainPlan(PretrainConfig):
    """Pretraining of an image encoder; settings that are not given are those of the preset."""

    data: DataConfig = DataConfig()
    """Images to train on."""
    preset: Literal["cifar", "cifar-small", "imagenet100", "digit-pairs"] | None = None
    """Settings to start from: cifar, cifar-small, imagenet100, digit-pairs; by default chosen by the images."""
    minutes: Annotated[float, Ge(0)] = math.inf
    """Minutes after which training stops at a checkpoint; the same command resumes it."""
    tensorboard: bool = False
    """Write TensorBoard's event files too."""
    wandb: str | None = None
    """Project at Weights & Biases to log to."""


ENCODER_FILE = "encoder.safetensors"
"""Name of the encoder's file in the folder of a training run."""
