"""Settings of sparse autoencoders that are trained on a stream of rows; the options of ``monosemy sae train``.

The chapter imports no numerical library: the command line reads it to print its help.
"""

import math
from typing import Annotated, Literal, Self

from annotated_types import Ge, Gt, Len
from pydantic import model_validator

from monosemy.core.config import Config

ActivationName = Literal["topk", "batchtopk", "relu", "jumprelu", "gated", "matryoshka"]
Center = Literal["median", "mean"]
"""Initial value of the bias before the encoder: the geometric median or the mean of the inputs."""
Dead = Literal["aux", "resample", "none"]
"""Treatment of dead latents."""
LEAST_EXPLAINED = 0.5
"""Explained variance below which an autoencoder counts as not trained."""
_Count = Annotated[int, Ge(1)]


class StreamConfig(Config):
    """Sparse autoencoders that read the same rows: one for each combination of n_latents, k, activation and seed."""

    source: str
    """Rows: .npy, .npz, .safetensors or .parquet; a folder of them (also of `monosemy activations`) or
    'PATTERN*.parquet'; or a Hugging Face id."""
    input_column: str | None = None
    """Array or column of the rows; by default recognised by its name."""
    n_latents: Annotated[tuple[_Count, ...], Len(1)] = (1024,)
    """Numbers of latents."""
    k: Annotated[tuple[_Count, ...], Len(1)] = (32,)
    """Active latents per row."""
    activation: Annotated[tuple[ActivationName, ...], Len(1)] = ("topk",)
    """Activations: topk, batchtopk, matryoshka, relu, jumprelu, gated."""
    n_seeds: _Count = 1
    """Number of autoencoders of a kind; their seeds are seed, seed + 1, ..."""
    seed: Annotated[int, Ge(0)] = 0
    """First seed of the initialisation."""
    epochs: _Count | None = None
    """Passes over the rows; by default as many as 2,000 steps take."""
    steps: _Count | None = None
    """Total number of steps, instead of epochs."""
    batch_size: _Count = 1024
    """Rows per step, over all processes."""
    lr: Annotated[float, Gt(0)] = 1e-3
    """Peak learning rate of Adam."""
    widths: tuple[_Count, ...] | None = None
    """Nested prefixes of the latents for topk, batchtopk and matryoshka."""
    sparsity_weight: Annotated[float, Gt(0)] | None = None
    """Fixed weight of the penalty of relu, jumprelu and gated; by default it is steered to k."""
    center: Center = "median"
    """Initial value of the bias before the encoder: median or mean of the inputs."""
    dead: Dead | None = None
    """Treatment of dead latents: aux, resample or none; by default aux where it reaches them."""
    dead_after: _Count = 10_000
    """Rows without firing after which a latent is dead."""
    aux_weight: Annotated[float, Ge(0)] = 1 / 32
    """Weight of the auxiliary loss of dead latents."""
    mono_weight: Annotated[float, Ge(0)] = 0.0
    """Weight of 1 - the mean MonoScore of the batch."""
    minutes: Annotated[float, Ge(0)] = math.inf
    """Minutes after which training stops at a checkpoint; the same command resumes it."""


class SaeConfig(Config):
    """The sparse autoencoder of a study; the random dictionary has the same number of latents and the same k."""

    n_latents: Annotated[int, Ge(1)] = 1024
    """Number of latents."""
    k: Annotated[int, Ge(1)] = 16
    """Active latents per sample."""
    activation: ActivationName = "topk"
    """Activation of the feature sets that do not name theirs."""
    center: Center = "mean"
    """Initial value of the bias before the encoder."""
    n_epochs: Annotated[int, Ge(1)] | None = None
    """Epochs of training; by default until the reconstruction of held-out rows stops improving."""
    max_steps: Annotated[int, Ge(1)] = 5_000
    """Most steps of a training without n_epochs."""
    batch_size: Annotated[int, Ge(1)] = 256
    """Rows per step."""
    lr: Annotated[float, Gt(0)] = 3e-3
    """Learning rate of Adam."""

    @model_validator(mode="after")
    def _k_fits(self) -> Self:
        if self.k > self.n_latents:
            raise ValueError(f"k={self.k} exceeds n_latents={self.n_latents}; choose k <= {self.n_latents}")
        return self
