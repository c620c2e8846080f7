"""Finetuning of a whole encoder as a classifier: plain cross-entropy (CE), or with non-negative features (NCE)."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from monosemy.core.distributed import single_process
from monosemy.encoders import augmentation, image
from monosemy.encoders.config import FinetuneConfig
from monosemy.functional.losses import NON_NEGATIVE
from monosemy.seeding import derive_seed
from monosemy.training.batches import image_rows
from monosemy.training.loop import TrainingJob, train

OnEpoch = Callable[["Classifier"], None]


class Classifier(torch.nn.Module):
    """Images (N, C, H, W) in [0, 1] to logits (N, C'): W z + b, or W s+(z) + b.

    Source: Wang et al., "Non-negative Contrastive Learning" (arXiv 2403.12459), section 6 (NCE); Zhang et al. (arXiv
    2410.21331), section 3.2.
    """

    def __init__(self, encoder: image.ImageEncoder, n_classes: int, config: FinetuneConfig) -> None:
        super().__init__()
        self.encoder = encoder
        self.config = config
        width = encoder.spec.projector.n_features if config.layer == "features" else encoder.n_backbone
        self.head = torch.nn.Linear(width, n_classes)
        if config.batch_norm == "frozen":
            for norm in self._norms():
                norm.requires_grad_(False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        return self.head(self.features(images))

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Return the input of the linear classifier."""
        hidden = self.encoder.represent(images)
        z = self.encoder.projector(hidden) if self.config.layer == "features" else hidden
        return NON_NEGATIVE[self.config.non_negative](z) if self.config.loss == "nce" else z

    def train(self, mode: bool = True) -> "Classifier":
        """Set the mode as for every module, but keep frozen BatchNorms in evaluation mode."""
        super().train(mode)
        if self.config.batch_norm == "frozen":
            for norm in self._norms():
                norm.eval()
        return self

    def _norms(self) -> list[torch.nn.Module]:
        return [module for module in self.encoder.modules() if isinstance(module, _BatchNorm)]

    @torch.inference_mode()
    def predict(self, images: np.typing.NDArray[Any], batch_size: int | None = None) -> np.typing.NDArray[np.int64]:
        """Return the likeliest class (N,) of images, bytes or floats in [0, 1]; call it in evaluation mode."""
        batches = image.unit_batches(images, self.head.weight.device, batch_size)
        return np.concatenate([self(batch).argmax(dim=1).cpu().numpy() for batch in batches])


def finetune(
    encoder: image.ImageEncoder,
    images: np.typing.NDArray[Any],
    labels: np.typing.NDArray[np.int64],
    n_classes: int,
    config: FinetuneConfig,
    *,
    device: str = "cpu",
    on_epoch: OnEpoch | None = None,
) -> Classifier:
    """Train encoder (in place) and a new linear classifier on labelled images; returned in evaluation mode.

    Args:
        images: (N, C, H, W), bytes or floats in [0, 1].
        labels: (N,) in [0, n_classes).
        on_epoch: called after each epoch with the classifier in evaluation mode.

    Raises:
        InputError: fewer than two images, or the loss became infinite or NaN.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed("head", config.seed))
        classifier = Classifier(encoder, n_classes, config)
    processes = single_process(device)
    targets = torch.from_numpy(labels).to(processes.device)
    augment = augmentation.make_augmentation(config.augmentation)

    def loss(network: torch.nn.Module, batch: torch.Tensor, rows: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        views = augment(image.to_unit(batch), rng)
        with torch.autocast(processes.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
            logits = network(views)
        return F.cross_entropy(logits.float(), targets[rows], label_smoothing=config.label_smoothing)

    def epoch_ended() -> dict[str, float]:
        if on_epoch is not None:
            on_epoch(classifier)
        return {}

    train(
        TrainingJob(
            network=classifier,
            loss_of=loss,
            images=image_rows(images, processes.device),
            config=config,
            name=config.loss,
            processes=processes,
            on_epoch=epoch_ended,
        )
    )
    return classifier.eval()
