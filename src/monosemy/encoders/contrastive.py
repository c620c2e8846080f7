"""Contrastive pretraining: SimCLR and NCL, with and without labels, and presets of it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from monosemy.core import console, distributed
from monosemy.encoders import augmentation, image
from monosemy.encoders.config import NON_NEGATIVE_METHODS, EncoderSpec, PretrainConfig
from monosemy.errors import InputError
from monosemy.functional.losses import nt_xent, supervised_contrastive
from monosemy.seeding import derive_seed
from monosemy.training import batches, checkpoint, loop

OnFeatures = Callable[[image.ImageEncoder], dict[str, float]]
"""Called with the encoder after each epoch; what it returns goes into the log."""


def make_encoder(images: np.typing.NDArray[Any], config: PretrainConfig) -> image.ImageEncoder:
    """Return a new encoder for these images, its weights drawn from the seed, its pixel statistics those of the
    images."""
    channels, rows, columns = images.shape[1:]
    spec = EncoderSpec(
        image_shape=(channels, rows, columns),
        backbone=config.backbone,
        projector=config.projector,
        non_negative=config.non_negative if config.method in NON_NEGATIVE_METHODS else None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed("encoder", config.seed))
        encoder = image.ImageEncoder(spec)
    mean, std = pixel_statistics(images)
    encoder.pixel_mean.copy_(mean)
    encoder.pixel_std.copy_(std)
    return image.channels_last(encoder)


def pixel_statistics(images: np.typing.NDArray[Any], at_most: int = 50_000) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and standard deviation (C, 1, 1) of the pixels in [0, 1], over evenly spaced images where there are
    many."""
    chosen = images[:: -(-len(images) // at_most)]
    n, total, squares = 0, torch.zeros(images.shape[1]).double(), torch.zeros(images.shape[1]).double()
    for start in range(0, len(chosen), 1024):
        batch = image.to_unit(torch.from_numpy(np.require(chosen[start : start + 1024], requirements="W"))).double()
        total += batch.sum(dim=(0, 2, 3))
        squares += batch.square().sum(dim=(0, 2, 3))
        n += batch.shape[0] * batch.shape[2] * batch.shape[3]
    mean = total / n
    std = (squares / n - mean.square()).clamp(min=0).sqrt().clamp(min=1e-3)
    return mean.float().view(-1, 1, 1), std.float().view(-1, 1, 1)


def contrastive_loss(config: PretrainConfig, labels: torch.Tensor | None) -> Callable[..., torch.Tensor]:
    """Return the loss of a batch: two augmented views of each image through the network, then NT-Xent or its supervised
    form.

    Args:
        labels: (N,) on the device, of all images; needed by the supervised methods.
    """
    augment = augmentation.make_augmentation(config.augmentation)

    def loss(network: torch.nn.Module, images: torch.Tensor, rows: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        batch = image.to_unit(images)
        views = augment(torch.cat([batch, batch]), rng)
        with torch.autocast(views.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
            features = network(views)
        first, second = features.float().chunk(2)
        offset = distributed.row_offset(2 * len(first))
        if not config.supervised:
            return nt_xent(first, second, config.temperature, gather=distributed.all_gather, offset=offset)
        assert labels is not None
        return supervised_contrastive(
            first, second, labels[rows], config.temperature, gather=distributed.all_gather, offset=offset
        )

    return loss


def pretrain(
    images: np.typing.NDArray[Any],
    config: PretrainConfig,
    labels: np.typing.NDArray[np.int64] | None = None,
    *,
    processes: distributed.Processes = distributed.SINGLE_PROCESS,
    folder: checkpoint.RunFolder | None = None,
    minutes: float = float("inf"),
    on_step: console.OnLoss | None = None,
    on_epoch: OnFeatures | None = None,
) -> image.ImageEncoder | None:
    """Train an encoder and return it in evaluation mode; None where the time ended before the last step.

    Args:
        images: (N, C, H, W), bytes or floats in [0, 1], N >= 2.
        labels: (N,), for the supervised methods.
        processes: those that train together.
        folder: for checkpoints and the log; training resumes from its last checkpoint.
        minutes: time after which training stops at a checkpoint.
        on_step: called with (steps done, steps in all, loss).
        on_epoch: called with the encoder after each epoch.

    Raises:
        InputError: there is one image, the labels are missing, the loss became infinite or NaN, or all features
            became zero.
    """
    check_pretraining(images, config, labels)
    encoder = make_encoder(images, config)
    on_device = None if labels is None else torch.from_numpy(labels).to(processes.device)
    finished = loop.train(
        loop.TrainingJob(
            network=encoder,
            loss_of=contrastive_loss(config, on_device),
            images=batches.image_rows(images, processes.device),
            config=config,
            name=config.method,
            processes=processes,
            folder=folder,
            on_step=on_step,
            on_epoch=None if on_epoch is None else lambda: _check_collapse(on_epoch(encoder), config),
            minutes=minutes,
        )
    )
    encoder.eval()
    if not finished:
        return None
    silent = float((np.abs(image.embed(encoder, images[: 4 * config.batch_size])).sum(axis=1) == 0).mean())
    if silent > 0.01:
        raise InputError(
            f"After training, {silent:.0%} of the images have {config.method} features that are all zero (collapse); "
            f"lower lr ({config.optimizer.lr:g}) or train longer."
        )
    return encoder


def check_pretraining(
    images: np.typing.NDArray[Any], config: PretrainConfig, labels: np.typing.NDArray[np.int64] | None
) -> None:
    """Raise where the settings cannot train on the images, before anything is written.

    Raises:
        InputError: there is one image, labels are missing, or views have a size that the backbone does not take.
    """
    if len(images) < 2:
        raise InputError(f"Contrastive training needs at least two images, but got {len(images)}; give more.")
    if config.supervised and labels is None:
        raise InputError(
            f"The method {config.method!r} needs labels, but labels=None; give labels, or choose simclr or ncl."
        )
    views = augmentation.make_augmentation(config.augmentation)(
        image.to_unit(torch.from_numpy(np.array(images[:2]))), torch.Generator()
    )
    if tuple(views.shape[1:]) != tuple(images.shape[1:]):
        raise InputError(
            f"The augmentation makes views of {views.shape[2]}x{views.shape[3]} pixels from images of "
            f"{images.shape[2]}x{images.shape[3]}; set --image-size {views.shape[2]}, or another augmentation."
        )


def _check_collapse(statistics: dict[str, float], config: PretrainConfig) -> dict[str, float]:
    """Return the statistics of an epoch; raise once all features are zero."""
    if statistics.get("l0") == 0:
        raise InputError(
            f"All {config.method} features are zero (collapse); lower lr ({config.optimizer.lr:g}), or set "
            f"projector.norm_before_non_negative."
        )
    return statistics
