"""The sparse autoencoder as a torch module, its files, and its initialisation."""

import warnings
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Self, get_args

import torch

from monosemy.core.files import read_model_file, write_model_file
from monosemy.errors import InputError, MonosemyWarning, reason
from monosemy.functional.autoencoder import Weights, decode, geometric_median, pre_activations
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
