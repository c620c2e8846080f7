"""What all layouts of other libraries share: plain weights on the inputs' own scale, read with suspicion.

pre-activation a = W_e (z - b) + c, reconstruction = W_d code + b, with z the input as it is.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from monosemy.errors import InputError, reason
from monosemy.functional.autoencoder import Weights
from monosemy.sae.activations import Activation, Gated, JumpReLU
from monosemy.sae.module import Autoencoder

LEAST_THRESHOLD = 1e-30
"""A threshold of 0 or less keeps whatever is positive; ours are exponentials, and this one does the same."""


class Tensors:
    """The named tensors of a file, taken one by one and checked.

    Args:
        where: what messages call the file.
    """

    def __init__(self, tensors: Mapping[str, Tensor], where: str) -> None:
        self.tensors, self.where = tensors, where

    def take(self, name: str, *shape: int | None) -> Tensor:
        """A tensor in float32, of this shape; None for a size that may be any."""
        found = self.tensors.get(name)
        if found is None:
            raise InputError(
                f"{self.where} has no tensor {name!r} (it has {', '.join(self.tensors) or 'none'}); check that its "
                f"configuration belongs to it."
            )
        sizes = tuple(found.shape)
        if len(sizes) != len(shape) or any(want not in (None, size) for want, size in zip(shape, sizes, strict=True)):
            raise InputError(
                f"{self.where} has {name!r} of shape {sizes} where {_sizes(shape)} is needed; check that its "
                f"configuration belongs to it."
            )
        found = found.detach().cpu().float()
        if not bool(found.isfinite().all()):
            raise InputError(f"{self.where} has NaN or infinity in {name!r}; give a model that was trained to its end.")
        return found


def assemble(weights: Weights, activation: Activation, widths: Sequence[int] | None = None) -> Autoencoder:
    """The autoencoder of plain weights; its scale is 1, and decoder rows keep their length."""
    n_latents, n_inputs = weights.encoder.shape
    model = Autoencoder(n_inputs, n_latents, activation, widths)
    for parameter, value in zip(model.weights, weights, strict=True):
        parameter.copy_(value)
    return model


def plain(model: Autoencoder) -> Weights:
    """Weights that do on inputs as they are what the model does on scaled ones."""
    weights, scale = model.weights, model.scale
    return Weights(
        (weights.encoder / scale).contiguous(),
        weights.encoder_bias.clone(),
        (weights.decoder * scale).contiguous(),
        (weights.decoder_bias * scale).contiguous(),
    )


def shift(weights: Weights) -> Tensor:
    """W_e b, (M,): what an encoder bias gains when b is no longer subtracted from the inputs, and loses when it is."""
    return (weights.encoder.double() @ weights.decoder_bias.double()).float()


def jump_relu(threshold: Tensor) -> JumpReLU:
    """The activation with given thresholds (M,)."""
    activation = JumpReLU(len(threshold), len(threshold), sparsity_weight=JumpReLU.start_weight)
    activation.set_threshold(threshold.clamp(min=LEAST_THRESHOLD))
    return activation


def gated(log_scale: Tensor, magnitude_bias: Tensor) -> Gated:
    """The activation with given weights of its magnitude path, both (M,)."""
    activation = Gated(len(log_scale), len(log_scale), sparsity_weight=Gated.start_weight)
    with torch.no_grad():
        activation.log_scale.copy_(log_scale)
        activation.magnitude_bias.copy_(magnitude_bias)
    return activation


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a file.

    Raises:
        InputError: the file is missing, damaged, or no object.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as JSON ({reason(error)}); give the file as it was saved.") from error
    if not isinstance(found, dict):
        raise InputError(f"{path} holds no JSON object; give the configuration as it was saved.")
    return found


def whole_number(found: Any, name: str, where: str) -> int:
    """A setting that must be a positive whole number."""
    number = isinstance(found, int | float) and not isinstance(found, bool) and math.isfinite(found)
    if not number or found != int(found) or found < 1:
        raise InputError(f"{where} has {name}={found!r}, which is no positive whole number; check the file.")
    return int(found)


def _sizes(shape: Sequence[int | None]) -> str:
    return "(" + ", ".join("any" if size is None else str(size) for size in shape) + ")"
