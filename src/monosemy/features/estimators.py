"""Features as scikit-learn transformers: the sparse autoencoder, and the random dictionary it must beat."""

from typing import Any, Literal, Self

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from monosemy.errors import InputError
from monosemy.features.autoencoder import OnEpoch, TopKAutoencoder, initialise, train
from monosemy.functional import SparseCodes, explained_variance, to_csr, to_dense

_CHUNK = 4096
"""Rows encoded at once: bounds the (rows, n_latents) matrix in memory."""


class _TopKTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """What both dictionaries share: from a fitted ``autoencoder_`` to codes."""

    n_latents: int
    k: int
    output: Literal["dense", "sparse"]
    random_state: int | np.random.RandomState | None
    autoencoder_: TopKAutoencoder

    def _start(self, X: ArrayLike) -> tuple[torch.Tensor, torch.Generator]:
        """Check the arguments and the data; set up ``autoencoder_``."""
        for name, value in (("n_latents", self.n_latents), ("k", self.k)):
            if not isinstance(value, int | np.integer) or value < 1:
                raise InputError(f"{name}={value!r} is no positive whole number; choose one of at least 1.")
        if self.output not in ("dense", "sparse"):
            raise InputError(f"output={self.output!r} is unknown; choose 'dense' or 'sparse'.")
        z = torch.from_numpy(validate_data(self, X, dtype=np.float32, order="C", copy=True, ensure_min_samples=2))
        seed = check_random_state(self.random_state).randint(2**31 - 1)
        self.autoencoder_ = TopKAutoencoder(z.shape[1], self.n_latents, self.k)
        rng = torch.Generator().manual_seed(int(seed))
        initialise(self.autoencoder_, z, rng)
        return z, rng

    @property
    def _n_features_out(self) -> int:
        return self.n_latents

    def encode(self, X: ArrayLike) -> SparseCodes:
        """Codes as (values, indices) tensors."""
        check_is_fitted(self, "autoencoder_")
        z = torch.from_numpy(validate_data(self, X, dtype=np.float32, order="C", copy=True, reset=False))
        pieces = [self.autoencoder_.encode(rows) for rows in z.split(_CHUNK)]
        return SparseCodes(
            torch.cat([piece.values for piece in pieces]),
            torch.cat([piece.indices for piece in pieces]),
            self.n_latents,
        )

    def transform(self, X: ArrayLike) -> NDArray[np.float32] | sp.csr_array:
        """Codes (N, n_latents), as an array or, with ``output="sparse"``, as a CSR array."""
        codes = self.encode(X)
        return to_csr(codes) if self.output == "sparse" else to_dense(codes).numpy()

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


class SparseAutoencoder(_TopKTransformer):
    """TopK sparse autoencoder on embeddings.

    code = TopK(ReLU(W_e (x - b) + c)), reconstruction = W_d code + b, with x the input over one stored scale; loss
    |reconstruction - x|^2 / |x|^2 plus AuxK for dead latents; decoder rows of length 1.

    Args:
        n_latents: width of the code.
        k: latents that may be active a sample.
        n_epochs, batch_size, lr: of the training with Adam.
        aux_weight: weight of AuxK; 0 switches it off.
        dead_after: a latent is dead when it has not fired for this many samples.
        output: what ``transform`` returns, "dense" or "sparse" (SciPy CSR).
        random_state: of the initialisation and the order of the samples.
        on_epoch: called with (epochs done, epochs in all, mean loss).

    After ``fit``: ``autoencoder_`` (the torch module), ``losses_`` (mean loss of each epoch).

    Source: Gao et al. (arXiv 2406.04093); on contrastive features Zhang et al. (arXiv 2410.21331), section 3.1.
    """

    def __init__(
        self,
        n_latents: int = 1024,
        k: int = 32,
        *,
        n_epochs: int = 30,
        batch_size: int = 512,
        lr: float = 1e-3,
        aux_weight: float = 1 / 32,
        dead_after: int = 10_000,
        output: Literal["dense", "sparse"] = "dense",
        random_state: int | np.random.RandomState | None = None,
        on_epoch: OnEpoch | None = None,
    ) -> None:
        self.n_latents = n_latents
        self.k = k
        self.n_epochs = n_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.aux_weight = aux_weight
        self.dead_after = dead_after
        self.output = output
        self.random_state = random_state
        self.on_epoch = on_epoch

    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Train on embeddings (N, D); ``y`` is ignored."""
        for name, value in (("n_epochs", self.n_epochs), ("batch_size", self.batch_size), ("lr", self.lr)):
            if not value > 0:
                raise InputError(f"{name}={value!r} is not positive; choose a value above 0.")
        z, rng = self._start(X)
        self.losses_ = train(
            self.autoencoder_,
            z,
            n_epochs=self.n_epochs,
            batch_size=self.batch_size,
            lr=self.lr,
            aux_weight=self.aux_weight,
            dead_after=self.dead_after,
            rng=rng,
            on_epoch=self.on_epoch,
        )
        return self

    def inverse_transform(self, codes: NDArray[np.floating] | sp.csr_array) -> NDArray[np.float32]:
        """Reconstructions (N, D) of codes (N, n_latents)."""
        check_is_fitted(self, "autoencoder_")
        weights = self.autoencoder_.weights
        scale = float(self.autoencoder_.scale)
        return np.asarray((codes @ weights.decoder.numpy() + weights.decoder_bias.numpy()) * scale, dtype=np.float32)

    def score(self, X: ArrayLike, y: object = None) -> float:
        """Explained variance of the reconstruction: 1 is perfect, 0 is no better than the mean."""
        z = torch.from_numpy(validate_data(self, X, dtype=np.float32, order="C", copy=True, reset=False))
        return explained_variance(self.autoencoder_.decode(self.encode(X)), z)


class RandomDictionary(_TopKTransformer):
    """The control of a sparse autoencoder: the same TopK code over random directions that were never trained.

    Same centring, scale, width and k as :class:`SparseAutoencoder` before its first step.

    Args: as there.
    """

    def __init__(
        self,
        n_latents: int = 1024,
        k: int = 32,
        *,
        output: Literal["dense", "sparse"] = "dense",
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_latents = n_latents
        self.k = k
        self.output = output
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Take centre and scale from embeddings (N, D); ``y`` is ignored."""
        self._start(X)
        return self
