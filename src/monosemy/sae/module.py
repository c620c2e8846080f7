"""The sparse autoencoder as a torch module: codes, reconstructions, steering, files and initialisation."""

import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, Self, get_args

import numpy as np
import torch

from monosemy.core.files import read_model_file, write_model_file
from monosemy.errors import InputError, MonosemyWarning, reason, shown
from monosemy.functional.autoencoder import Weights, decode, geometric_median, pre_activations, steering_shift
from monosemy.functional.codes import SparseCodes
from monosemy.sae import activations, config

FORMAT = "monosemy.sparse-autoencoder.v1"


class Autoencoder(torch.nn.Module):
    """code = activation(W_e (x - b) + c) with x = z / scale; reconstruction z' = scale (W_d code + b).

    The scale is part of the model, so that inputs are treated alike in training, probing and reuse. Decoder rows have
    length 1.

    Args:
        n_inputs, n_latents: D and M.
        activation: which latents are active, see :mod:`monosemy.sae.activations`.
        widths: rising prefix widths that end with M: each prefix of the latents learns to reconstruct by itself
            (Matryoshka). None for the ordinary autoencoder.
    """

    scale: torch.Tensor

    def __init__(
        self, n_inputs: int, n_latents: int, activation: activations.Activation, widths: Sequence[int] | None = None
    ) -> None:
        super().__init__()
        if n_inputs < 1:
            raise InputError(f"n_inputs={n_inputs} is below 1; give inputs of at least one column.")
        self.widths = (n_latents,) if widths is None else tuple(int(width) for width in widths)
        if any(a >= b for a, b in pairwise((0, *self.widths))) or self.widths[-1:] != (n_latents,):
            raise InputError(
                f"widths={self.widths} do not rise from above 0 to n_latents={n_latents}; give prefixes such as "
                f"({max(1, n_latents // 2)}, {n_latents})."
            )
        self.encoder = torch.nn.Parameter(torch.zeros(n_latents, n_inputs))
        self.encoder_bias = torch.nn.Parameter(torch.zeros(n_latents))
        self.decoder = torch.nn.Parameter(torch.zeros(n_latents, n_inputs))
        self.decoder_bias = torch.nn.Parameter(torch.zeros(n_inputs))
        self.register_buffer("scale", torch.ones(()))
        self.activation = activation
        self.requires_grad_(False)  # training asks for gradients itself, and elsewhere none are wanted

    @property
    def n_inputs(self) -> int:
        return self.encoder.shape[1]

    @property
    def n_latents(self) -> int:
        return self.encoder.shape[0]

    @property
    def weights(self) -> Weights:
        return Weights(self.encoder, self.encoder_bias, self.decoder, self.decoder_bias)

    def scaled(self, z: torch.Tensor) -> torch.Tensor:
        """Return x of inputs z (N, D), in the module's precision."""
        if z.ndim != 2 or z.shape[1] != self.n_inputs:
            raise InputError(
                f"Inputs of shape {tuple(z.shape)} do not fit the autoencoder; give (N, {self.n_inputs}) numbers."
            )
        return z.to(self.scale.dtype) / self.scale

    def encode(self, z: torch.Tensor) -> SparseCodes:
        """Return the codes of inputs (N, D) on their original scale."""
        return self.activation.codes(pre_activations(self.weights, self.scaled(z)), self.weights)

    def decode(self, codes: SparseCodes) -> torch.Tensor:
        """Return reconstructions (N, D) on the original scale."""
        return decode(self.weights, codes) * self.scale

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Return reconstructions (N, D) of inputs (N, D)."""
        return self.decode(self.encode(z))

    def steer(self, z: torch.Tensor, values: Mapping[int, float]) -> torch.Tensor:
        """Return inputs (N, D) in which latents have other activations: z' = z + decode(code') - decode(code).

        code' is the code of z with the given values. Every other latent's part and the error of the reconstruction stay
        as they are. The code of z' need not be code': where directions are not orthogonal, others may respond.

        Args:
            values: the new activation of each latent, on the scale of the codes.

        Raises:
            InputError: there is no such latent, or a value is not finite.
        """
        latents, targets = self._targets(values)
        shift = steering_shift(self.weights, self.encode(z), latents, targets) * self.scale
        return (z + shift).to(z.dtype) if z.is_floating_point() else z + shift

    def ablate(self, z: torch.Tensor, latents: Iterable[int]) -> torch.Tensor:
        """Return inputs (N, D) without latents: :meth:`steer` with their activations set to 0."""
        return self.steer(z, dict.fromkeys(latents, 0.0))

    @contextmanager
    def steering(self, layer: torch.nn.Module, values: Mapping[int, float]) -> Iterator[None]:
        """Steer the output of a layer while the block runs, at every position; a value of 0 switches a latent off.

        The rest of the model sees the steered activations, so a language model is run, scored or generates without a
        latent. The autoencoder must be one of this layer's output, and on its device.

        Args:
            layer: any module whose output is activations (B, D), (B, T, D) or (B, C, H, W), or a tuple that starts
                with them; :func:`monosemy.encoders.cache_activations` reads the same rows.
            values: see :meth:`steer`.

        Raises:
            InputError: as :meth:`steer`, here and not at the first pass; or the layer has another output.
        """
        self._targets(values)

        def hook(_layer: torch.nn.Module, _inputs: Any, output: Any) -> Any:
            first = output[0] if isinstance(output, tuple) and output else output
            channels = 1 if isinstance(first, torch.Tensor) and first.ndim == 4 else -1
            if not isinstance(first, torch.Tensor) or first.ndim < 2 or first.shape[channels] != self.n_inputs:
                is_tensor = isinstance(first, torch.Tensor)
                kind = f"shape {tuple(first.shape)}" if is_tensor else f"type {type(first).__name__}"
                raise InputError(
                    f"The layer has output of {kind}, not activations of {self.n_inputs} numbers; choose the layer "
                    f"that the autoencoder was trained on."
                )
            if first.device != self.scale.device:
                raise InputError(
                    f"The layer is on {first.device} but the autoencoder on {self.scale.device}; move it there by "
                    f".to({str(first.device)!r})."
                )
            rows = first.movedim(channels, -1)
            steered = self.steer(rows.reshape(-1, self.n_inputs), values).reshape(rows.shape).movedim(-1, channels)
            return (steered, *output[1:]) if isinstance(output, tuple) else steered

        handle = layer.register_forward_hook(hook)
        try:
            yield
        finally:
            handle.remove()

    def _targets(self, values: Mapping[int, float]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the latents and their values as tensors (S,)."""
        for latent, value in values.items():
            if isinstance(latent, bool) or not isinstance(latent, int | np.integer) or not 0 <= latent < self.n_latents:
                raise InputError(
                    f"latent {shown(latent)} is not among the {self.n_latents} latents of the autoencoder; choose "
                    f"whole numbers from 0 to {self.n_latents - 1}."
                )
            if not math.isfinite(value):
                raise InputError(f"The value {value} of latent {latent} is not finite; give a number.")
        device = self.scale.device
        latents = torch.tensor([int(latent) for latent in values], dtype=torch.int64, device=device)
        return latents, torch.tensor(list(map(float, values.values())), dtype=self.scale.dtype, device=device)

    def save(self, path: Path) -> None:
        """Write a safetensors file that :meth:`load` reads."""
        activation = self.activation
        metadata = {"activation": activation.name, "settings": activation.settings(), "widths": list(self.widths)}
        write_model_file(path, FORMAT, metadata, self.state_dict())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a file that :meth:`save` wrote."""
        metadata, tensors = read_model_file(path, FORMAT)
        try:
            n_latents, n_inputs = tensors["encoder"].shape
            if 0 in (n_latents, n_inputs):
                raise InputError(f"its encoder has the shape {n_latents} x {n_inputs}")  # of any length, and no bytes
            activation = activations.ACTIVATIONS[metadata["activation"]](n_latents, **metadata["settings"])
            model = cls(n_inputs, n_latents, activation, metadata["widths"])
            model.load_state_dict(tensors)
        except Exception as error:  # an untrusted file may be wrong in nearly every way
            raise InputError(
                f"{path} does not describe a sparse autoencoder ({reason(error)}); give one that monosemy wrote."
            ) from error
        return model


def initialise(model: Autoencoder, z: torch.Tensor, rng: torch.Generator, center: config.Center = "median") -> None:
    """Set the scale to unit variance a dimension, the bias to the centre, decoder rows to random ones of length 1, and
    the encoder to the decoder.

    Args:
        z: (N, D), on the original scale.
        center: the geometric median, which outliers do not move, or the mean.

    Source: Bricken et al., "Towards monosemanticity" (2023); Gao et al. (arXiv 2406.04093), appendix A.1.
    """
    if center not in get_args(config.Center):
        raise InputError(f"center={center!r} is unknown; choose 'median' or 'mean'.")
    mean = z.mean(dim=0)
    variance = (z - mean).pow(2).sum(dim=1).mean() / z.shape[1]
    if variance == 0:
        warnings.warn(
            "All inputs are equal; the autoencoder can only learn their one value.", MonosemyWarning, stacklevel=2
        )
    model.scale.copy_(variance.sqrt() if variance > 0 else torch.ones(()))
    rows = torch.randn(model.decoder.shape, generator=rng).to(model.decoder)
    model.decoder.copy_(torch.nn.functional.normalize(rows, dim=1))
    model.encoder.copy_(model.decoder)
    model.encoder_bias.zero_()
    model.decoder_bias.copy_((geometric_median(z) if center == "median" else mean) / model.scale)
