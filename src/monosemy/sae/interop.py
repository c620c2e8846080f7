"""Shared code of the layouts of other libraries: plain weights on the scale of the inputs, read with checks.

pre-activation a = W_e (z - b) + c, reconstruction = W_d code + b, with z the unscaled input. Files may be untrusted:
tensors are checked one by one, and nothing in a file is executed.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from monosemy.core.files import write_text
from monosemy.errors import InputError, names, reason
from monosemy.functional.autoencoder import Weights
from monosemy.sae import activations, module

MIN_THRESHOLD = 1e-30
"""Replaces thresholds <= 0, which select all positive entries: thresholds here are exponentials, and this one does
the same."""


class Tensors:
    """The named tensors of a file, taken one by one and checked.

    Args:
        where: name of the file in messages.
    """

    def __init__(self, tensors: Mapping[str, torch.Tensor], where: str) -> None:
        self.tensors, self.where = tensors, where

    def take(self, name: str, *shape: int | None) -> torch.Tensor:
        """Return a tensor in float32 of this shape; None stands for any size."""
        tensor = self.tensors.get(name)
        if tensor is None:
            raise InputError(
                f"{self.where} has no tensor {name!r} (it has {names(self.tensors) or 'none'}); check that its "
                f"configuration belongs to it."
            )
        sizes = tuple(tensor.shape)
        if len(sizes) != len(shape) or any(want not in (None, size) for want, size in zip(shape, sizes, strict=True)):
            expected = ", ".join("any" if size is None else str(size) for size in shape)
            raise InputError(
                f"{self.where} has {name!r} of shape {sizes} where ({expected}) is needed; check that its "
                f"configuration belongs to it."
            )
        tensor = tensor.detach().cpu().float()
        if not bool(tensor.isfinite().all()):
            raise InputError(f"{self.where} has NaN or infinity in {name!r}; give a model whose training succeeded.")
        return tensor


def assemble(
    weights: Weights, activation: activations.Activation, widths: Sequence[int] | None = None
) -> module.Autoencoder:
    """Return the autoencoder of plain weights; its scale is 1, and decoder rows keep their length."""
    n_latents, n_inputs = weights.encoder.shape
    model = module.Autoencoder(n_inputs, n_latents, activation, widths)
    for parameter, value in zip(model.weights, weights, strict=True):
        parameter.copy_(value)
    return model


def plain(model: module.Autoencoder) -> Weights:
    """Return weights for unscaled inputs that equal the model on scaled ones."""
    weights, scale = model.weights, model.scale
    return Weights(
        (weights.encoder / scale).contiguous(),
        weights.encoder_bias.clone(),
        (weights.decoder * scale).contiguous(),
        (weights.decoder_bias * scale).contiguous(),
    )


def shift(weights: Weights) -> torch.Tensor:
    """Return W_e b, (M,), by which the encoder bias differs between inputs z and inputs z - b."""
    return (weights.encoder.double() @ weights.decoder_bias.double()).float()


@torch.no_grad()
def centred(weights: Weights, activation: activations.Activation) -> Weights:
    """Return weights for inputs z - b with the same pre-activations as these for inputs z."""
    moved = shift(weights)
    if isinstance(activation, activations.Gated):  # its magnitude path does not use the encoder's bias
        activation.magnitude_bias.add_(activation.log_scale.exp() * moved)
    return weights._replace(encoder_bias=weights.encoder_bias + moved)


def relu(n_latents: int) -> activations.ReLU:
    """Return the activation; its penalty matters in training only."""
    return activations.ReLU(n_latents, n_latents, activations.ReLU.start_weight)


def batch_top_k(n_latents: int, k: int, threshold: torch.Tensor) -> activations.BatchTopK:
    """Return the activation with a threshold, a scalar."""
    activation = activations.BatchTopK(n_latents, k)
    activation.threshold.copy_(threshold)
    return activation


def jump_relu(threshold: torch.Tensor) -> activations.JumpReLU:
    """Return the activation with thresholds (M,)."""
    activation = activations.JumpReLU(len(threshold), len(threshold), activations.JumpReLU.start_weight)
    activation.set_threshold(threshold.clamp(min=MIN_THRESHOLD))
    return activation


def gated(log_scale: torch.Tensor, magnitude_bias: torch.Tensor) -> activations.Gated:
    """Return the activation with the weights of its magnitude path, both (M,)."""
    activation = activations.Gated(len(log_scale), len(log_scale), activations.Gated.start_weight)
    with torch.no_grad():
        activation.log_scale.copy_(log_scale)
        activation.magnitude_bias.copy_(magnitude_bias)
    return activation


def check_kind(kind: Any, known: Sequence[str], name: str, path: Path) -> str:
    """Return the kind of model that a configuration describes; raise where it cannot be read."""
    if not isinstance(kind, str) or kind not in known:
        raise InputError(f"{path} has {name}={kind!r}, which cannot be read; give one of {', '.join(known)}.")
    return kind


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file.

    Raises:
        InputError: the file is missing, damaged, or not an object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as JSON ({reason(error)}); give the file as it was saved.") from error
    if not isinstance(value, dict):
        raise InputError(f"{path} is not a JSON object; give the configuration as it was saved.")
    return value


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write a configuration."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def whole_number(value: Any, name: str, where: str) -> int:
    """Return a setting that must be a positive whole number."""
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not number or value != int(value) or value < 1:
        raise InputError(f"{where} has {name}={value!r}, which is not a positive whole number; check the file.")
    return int(value)
