"""Contrastive pretraining on the spot: SimCLR for dense features, NCL for non-negative ones."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from annotated_types import Ge, Gt
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from monosemy.encoders.augment import AUGMENTATIONS, AugmentationName
from monosemy.encoders.convnet import ConvEncoder
from monosemy.errors import InputError
from monosemy.functional import NonNegative, nt_xent
from monosemy.modelfile import read_model_file, write_model_file
from monosemy.seeding import derive_seed

FORMAT = "monosemy.conv-encoder.v1"
Method = Literal["simclr", "ncl"]
OnStep = Callable[[int, int, float], None]


class ContrastiveConfig(BaseModel):
    """How an encoder is trained; SimCLR and NCL share all of it but the non-negative map."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    augmentation: AugmentationName = "natural"
    """What makes two views of one image."""
    steps: Annotated[int, Ge(1)] = 800
    """Optimiser steps."""
    batch_size: Annotated[int, Ge(2)] = 128
    """Images a step; each gives two views."""
    lr: Annotated[float, Gt(0)] = 0.25
    """Peak learning rate of SGD with Nesterov momentum 0.9; a tenth of the steps warm-up, then cosine to 0."""
    weight_decay: Annotated[float, Ge(0)] = 1e-3
    temperature: Annotated[float, Gt(0)] = 0.2
    """Of NT-Xent."""
    width: Annotated[int, Ge(1)] = 16
    """Channels of the first convolution; each further one has twice as many."""
    hidden: Annotated[int, Ge(1)] = 256
    """Width of the projector's hidden layer."""
    n_features: Annotated[int, Ge(1)] = 256
    """Width of the projector's output: the dense features, or NCL's."""
    non_negative: NonNegative = "relu"
    """The map s+ of NCL."""


def pretrain(
    images: NDArray[np.float32],
    method: Method,
    config: ContrastiveConfig,
    seed: int,
    on_step: OnStep | None = None,
) -> ConvEncoder:
    """Train an encoder on unlabelled images and return it in evaluation mode.

    Args:
        images: (N, C, H, W) in [0, 1], N >= 2.
        seed: of the initialisation, the batches and the augmentations.
        on_step: called with (steps done, steps in all, loss).

    Raises:
        InputError: the loss became infinite or NaN, or NCL's features died out.
    """
    if len(images) < 2:
        raise InputError(f"Contrastive training got {len(images)} image; it needs at least two.")
    data = torch.from_numpy(np.require(images, requirements="W"))  # a worker's shared memory is read-only
    rng = torch.Generator().manual_seed(derive_seed("batches", seed))
    encoder = _initialise(data, method, config, seed)
    optimizer = torch.optim.SGD(
        encoder.parameters(), config.lr, momentum=0.9, nesterov=True, weight_decay=config.weight_decay
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _warm_up_cosine(step, config.steps))
    augment = AUGMENTATIONS[config.augmentation]
    batch_size = min(config.batch_size, len(data))
    for step in range(config.steps):
        batch = data[torch.randint(len(data), (batch_size,), generator=rng)]
        views = augment(torch.cat([batch, batch]), rng)
        first, second = encoder(views).chunk(2)
        loss = nt_xent(first, second, config.temperature)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        value = float(loss.detach())
        if not math.isfinite(value):
            raise InputError(f"The {method} loss became {value} at step {step + 1}; lower lr ({config.lr:g}).")
        if on_step is not None:
            on_step(step + 1, config.steps, value)
    encoder.eval()
    _check_alive(encoder, data[: 4 * batch_size], method)
    return encoder


def _initialise(data: Tensor, method: Method, config: ContrastiveConfig, seed: int) -> ConvEncoder:
    shape = (int(data.shape[1]), int(data.shape[2]), int(data.shape[3]))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed("encoder", seed))
        encoder = ConvEncoder(
            shape,
            config.width,
            config.hidden,
            config.n_features,
            config.non_negative if method == "ncl" else None,
        )
    encoder.pixel_mean.copy_(data.mean(dim=(0, 2, 3)).view(-1, 1, 1))
    encoder.pixel_std.copy_(data.std(dim=(0, 2, 3)).clamp(min=1e-3).view(-1, 1, 1))
    encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stub
    return encoder


def _warm_up_cosine(step: int, steps: int) -> float:
    warm_up = max(1, steps // 10)
    return min((step + 1) / warm_up, 0.5 * (1 + math.cos(math.pi * step / steps)))


def _check_alive(encoder: ConvEncoder, images: Tensor, method: Method) -> None:
    with torch.no_grad():
        features = encoder(images)
    silent = float((features.abs().sum(dim=1) == 0).float().mean())
    if silent > 0.01:
        raise InputError(
            f"After training, {silent:.0%} of the images have {method} features that are all zero (collapse); "
            f"lower lr or train longer."
        )


@torch.no_grad()
def embed(encoder: ConvEncoder, images: NDArray[np.float32], batch_size: int = 1024) -> NDArray[np.float32]:
    """Features (N, n_features) of images (N, C, H, W), in batches of a fixed size."""
    batches = torch.from_numpy(np.require(images, requirements=["C", "W"])).split(batch_size)
    return np.concatenate([encoder(batch).numpy() for batch in batches])


def save_encoder(encoder: ConvEncoder, config: ContrastiveConfig, image_shape: tuple[int, ...], path: Path) -> None:
    """Write weights and how they were made to a safetensors file that :func:`load_encoder` reads."""
    about = {
        "config": config.model_dump(),
        "image_shape": list(image_shape),
        "non_negative": encoder.non_negative,
    }
    write_model_file(path, FORMAT, about, encoder.state_dict())


def load_encoder(path: Path) -> ConvEncoder:
    """Read a file that :func:`save_encoder` wrote, in evaluation mode."""
    about, tensors = read_model_file(path, FORMAT)
    config = ContrastiveConfig(**about["config"])
    channels, rows, columns = about["image_shape"]
    encoder = ConvEncoder(
        (channels, rows, columns), config.width, config.hidden, config.n_features, about["non_negative"]
    )
    encoder.load_state_dict(tensors)
    encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stub
    return encoder.eval()
