"""Features as scikit-learn transformers: the sparse autoencoder, and the random dictionary, its control."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any, Literal, Self, get_args

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from monosemy.core import console, distributed
from monosemy.data.containers import as_codes, training_rows
from monosemy.errors import InputError
from monosemy.functional.autoencoder import explained_variance
from monosemy.functional.codes import SparseCodes, stack_codes, to_csr, to_dense
from monosemy.sae import activations, module, training
from monosemy.sae.config import ActivationName, Center, Dead

_CHUNK = 4096
"""Rows encoded at once: bounds the (rows, n_latents) matrix in memory."""


def _is_count(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and int(value) >= 1


class _Dictionary(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Base of both dictionaries: from data to ``autoencoder_``, and from there to codes."""

    n_latents: int
    k: int
    center: Center
    output: Literal["dense", "sparse"]
    random_state: int | np.random.RandomState | None
    autoencoder_: module.Autoencoder

    def _make(self, n_inputs: int) -> module.Autoencoder:
        """Return an autoencoder by the arguments."""
        raise NotImplementedError

    def _start(self, z: torch.Tensor) -> torch.Generator:
        """Set up ``autoencoder_`` before its first step, and return the generator of all later draws."""
        for name, value in (("n_latents", self.n_latents), ("k", self.k)):
            if not _is_count(value):
                raise InputError(f"{name}={value!r} is not a positive whole number; choose one of at least 1.")
        if self.output not in ("dense", "sparse"):
            raise InputError(f"output={self.output!r} is unknown; choose 'dense' or 'sparse'.")
        rng = self._generator()
        model = self._make(z.shape[1])
        module.initialise(model, z, rng, self.center)
        self.autoencoder_ = model
        return rng

    def _generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(int(check_random_state(self.random_state).randint(2**31 - 1)))

    def _checked(self, X: np.typing.ArrayLike, *, first: bool) -> torch.Tensor:
        """Return a copy of the inputs as a tensor, (N, D) float32."""
        return torch.from_numpy(training_rows(self, X, first=first))

    @property
    def _n_features_out(self) -> int:
        return self.autoencoder_.n_latents  # missing before a fit: scikit-learn then raises NotFittedError

    def encode(self, X: np.typing.ArrayLike) -> SparseCodes:
        """Return codes as :class:`monosemy.functional.SparseCodes` of tensors."""
        check_is_fitted(self, "autoencoder_")
        z = self._checked(X, first=False)
        return stack_codes([self.autoencoder_.encode(rows) for rows in z.split(_CHUNK)])

    def transform(self, X: np.typing.ArrayLike) -> np.typing.NDArray[np.float32] | sp.csr_array:
        """Return codes (N, n_latents), as an array or, with ``output="sparse"``, as a CSR array."""
        codes = self.encode(X)
        return to_csr(codes) if self.output == "sparse" else to_dense(codes).numpy()

    def steer(self, X: np.typing.ArrayLike, values: Mapping[int, float]) -> np.typing.NDArray[np.float32]:
        """Return embeddings (N, D) in which latents have the given activations and all else stays as it is.

        See :meth:`monosemy.sae.Autoencoder.steer`.
        """
        check_is_fitted(self, "autoencoder_")
        z = self._checked(X, first=False)
        return torch.cat([self.autoencoder_.steer(rows, values) for rows in z.split(_CHUNK)]).numpy()

    def ablate(self, X: np.typing.ArrayLike, latents: Iterable[int]) -> np.typing.NDArray[np.float32]:
        """Return embeddings (N, D) without some latents: :meth:`steer` with their activations set to 0."""
        return self.steer(X, dict.fromkeys(latents, 0.0))

    def inverse_transform(self, codes: np.typing.NDArray[np.floating] | sp.csr_array) -> np.typing.NDArray[np.float32]:
        """Return reconstructions (N, D) of codes (N, n_latents)."""
        check_is_fitted(self, "autoencoder_")
        model, codes = self.autoencoder_, as_codes(codes, "codes")
        if codes.ndim != 2 or codes.shape[1] != model.n_latents:
            raise InputError(f"codes has shape {codes.shape}; give (N, {model.n_latents}), one column for each latent.")
        decoded = (codes @ model.decoder.numpy() + model.decoder_bias.numpy()) * float(model.scale)
        return np.asarray(decoded, dtype=np.float32)

    def score(self, X: np.typing.ArrayLike, y: object = None) -> float:
        """Return the explained variance of the reconstruction: 1 is perfect, 0 is no better than the mean."""
        codes = self.encode(X)
        return explained_variance(self.autoencoder_.decode(codes), self._checked(X, first=False))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


class SparseAutoencoder(_Dictionary):
    """Sparse autoencoder on embeddings.

    code = activation(W_e (x - b) + c), reconstruction = W_d code + b, with x the input over one stored scale; loss
    |reconstruction - x|^2 / |x|^2 plus what the activation and the treatment of dead latents add; decoder rows of
    length 1.

    Args:
        n_latents: width of the code.
        k: active latents a sample: at most (topk), on average in training (batchtopk, matryoshka), or what the weight
            of the penalty is steered to on average (relu, jumprelu, gated).
        activation: "topk", "batchtopk", "relu" (L1 penalty), "jumprelu" (learned thresholds, L0 penalty), "gated"
            (L1 penalty on the gate), or "matryoshka" (batchtopk with nested prefixes of the latents that reconstruct
            by themselves).
        widths: the nested prefixes for topk, batchtopk and matryoshka, the last one n_latents; None for no prefixes,
            with matryoshka for a sixteenth, an eighth, a quarter, half and all of the latents.
        sparsity_weight: fixed weight of the penalty of relu, jumprelu and gated, with inputs that are scaled to a mean
            squared length of 1; None to steer it to k.
        center: start of the bias, the geometric "median" or the "mean" of the inputs.
        n_epochs: passes over the rows; None to train until the reconstruction of held-out rows stops improving, see
            :func:`monosemy.sae.training.train_to_convergence`.
        max_steps: most steps of a training without n_epochs.
        batch_size, lr: of the training with Adam.
        aux_weight: weight of AuxK; 0 switches it off.
        mono_weight: weight of 1 - the mean MonoScore of the batch, which draws latents to samples that look alike.
        dead: "aux" (AuxK), "resample" or "none"; None for AuxK where it reaches dead latents, else resampling.
        dead_after: a latent is dead when it has not fired for this many samples.
        output: form of the codes of ``transform``, "dense" or "sparse" (SciPy CSR).
        random_state: of the initialisation and the order of the samples.
        on_epoch: called with (epochs done, epochs in all, mean loss); without n_epochs at each look at the held-out
            rows.

    After ``fit``: ``autoencoder_`` (the torch module), ``losses_`` (mean loss of each epoch, of each call of
    ``partial_fit``, or between two looks at the held-out rows).

    Warns:
        ConvergenceWarning: the held-out rows still improved at max_steps.

    Source: Gao et al. (arXiv 2406.04093); on contrastive features Zhang et al. (arXiv 2410.21331), section 3.1; the
    other activations name theirs in :mod:`monosemy.sae.activations`.
    """

    def __init__(
        self,
        n_latents: int = 1024,
        k: int = 32,
        *,
        activation: ActivationName = "topk",
        widths: Sequence[int] | None = None,
        sparsity_weight: float | None = None,
        center: Center = "median",
        n_epochs: int | None = None,
        max_steps: int = 5_000,
        batch_size: int = 256,
        lr: float = 3e-3,
        aux_weight: float = 1 / 32,
        mono_weight: float = 0.0,
        dead: Dead | None = None,
        dead_after: int = 10_000,
        output: Literal["dense", "sparse"] = "dense",
        random_state: int | np.random.RandomState | None = None,
        on_epoch: console.OnLoss | None = None,
    ) -> None:
        self.n_latents = n_latents
        self.k = k
        self.activation = activation
        self.widths = widths
        self.sparsity_weight = sparsity_weight
        self.center = center
        self.n_epochs = n_epochs
        self.max_steps = max_steps
        self.batch_size = batch_size
        self.lr = lr
        self.aux_weight = aux_weight
        self.mono_weight = mono_weight
        self.dead = dead
        self.dead_after = dead_after
        self.output = output
        self.random_state = random_state
        self.on_epoch = on_epoch

    def _make(self, n_inputs: int) -> module.Autoencoder:
        if self.activation not in get_args(ActivationName):
            names = ", ".join(map(repr, get_args(ActivationName)))
            raise InputError(f"activation={self.activation!r} is unknown; choose one of {names}.")
        selecting = self.activation in ("topk", "batchtopk", "matryoshka")
        widths = self.widths
        if widths is not None and (np.ndim(widths) != 1 or not all(map(_is_count, widths))):
            raise InputError(f"widths={widths!r} is no list of positive whole numbers; give prefixes such as (8, 16).")
        if widths is not None and not selecting:
            raise InputError(
                f"widths={widths!r} apply to 'topk', 'batchtopk' and 'matryoshka', not with "
                f"activation={self.activation!r}; leave them out."
            )
        if selecting and self.sparsity_weight is not None:
            raise InputError(
                f"sparsity_weight={self.sparsity_weight!r} applies to 'relu', 'jumprelu' and 'gated'; "
                f"activation={self.activation!r} is made sparse by k alone: leave it out."
            )
        if self.activation == "matryoshka" and widths is None:
            widths = sorted({max(1, self.n_latents // part) for part in (16, 8, 4, 2, 1)})
        kind = activations.ACTIVATIONS["batchtopk" if self.activation == "matryoshka" else self.activation]
        settings = {} if selecting else {"sparsity_weight": self.sparsity_weight}
        return module.Autoencoder(n_inputs, self.n_latents, kind(self.n_latents, self.k, **settings), widths)

    def _config(self) -> training.TrainingConfig:
        return training.TrainingConfig(**{f.name: getattr(self, f.name) for f in fields(training.TrainingConfig)})

    def fit(self, X: np.typing.ArrayLike, y: object = None) -> Self:
        """Train on embeddings (N, D); ``y`` is ignored."""
        config = self._config()
        z = self._checked(X, first=True)
        rng = self._start(z)
        model, on_epoch = self.autoencoder_, self.on_epoch
        if self.n_epochs is None:
            course = training.train_to_convergence(model, z, config, rng, max_steps=self.max_steps, on_epoch=on_epoch)
            self.losses_ = course.losses
            if not course.converged:
                warnings.warn(
                    f"The autoencoder still improved on held-out rows after {course.n_steps} steps; raise max_steps.",
                    ConvergenceWarning,
                    stacklevel=2,
                )
        else:
            self.losses_ = training.train(model, z, config, rng, n_epochs=self.n_epochs, on_epoch=on_epoch)
        self.__dict__.pop("trainer_", None)  # its learning rate has run out
        return self

    def begin(
        self,
        sample: np.typing.ArrayLike,
        *,
        steps: int | None = None,
        processes: distributed.Processes = distributed.SINGLE_PROCESS,
    ) -> training.Trainer:
        """Set up ``autoencoder_`` from a sample of the embeddings, and return its trainer before the first step.

        Args:
            sample: (N, D).
            steps, processes: see :class:`monosemy.sae.training.Trainer`; all processes need the same sample.
        """
        config = self._config()
        rng = self._start(self._checked(sample, first=True))
        self.losses_ = []
        self.__dict__.pop("trainer_", None)
        self.autoencoder_.to(processes.device)
        return training.Trainer(self.autoencoder_, config, rng, steps=steps, processes=processes)

    def partial_fit(self, X: np.typing.ArrayLike, y: object = None) -> Self:
        """Train for one pass over further embeddings (N, D) at a constant learning rate; ``y`` is ignored.

        The first call sets the scale and the bias from its embeddings, so give it a good sample. After ``fit``,
        training continues from there.
        """
        first = not hasattr(self, "autoencoder_")
        z = self._checked(X, first=first)
        if not hasattr(self, "trainer_"):
            config = self._config()
            rng = self._start(z) if first else self._generator()
            if first:
                self.losses_ = []
            self.trainer_ = training.Trainer(self.autoencoder_, config, rng)
        self.losses_.append(self.trainer_.epoch(self.autoencoder_.scaled(z)))
        return self


class RandomDictionary(_Dictionary):
    """The control of a sparse autoencoder: the same TopK code over random directions that were never trained.

    Same centring, scale, width and k as :class:`SparseAutoencoder` before its first step.

    Args: as there.
    """

    def __init__(
        self,
        n_latents: int = 1024,
        k: int = 32,
        *,
        center: Center = "median",
        output: Literal["dense", "sparse"] = "dense",
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_latents = n_latents
        self.k = k
        self.center = center
        self.output = output
        self.random_state = random_state

    def _make(self, n_inputs: int) -> module.Autoencoder:
        return module.Autoencoder(n_inputs, self.n_latents, activations.TopK(self.n_latents, self.k))

    def fit(self, X: np.typing.ArrayLike, y: object = None) -> Self:
        """Take centre and scale from embeddings (N, D); ``y`` is ignored."""
        self._start(self._checked(X, first=True))
        return self
