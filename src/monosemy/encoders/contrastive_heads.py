"""Contrastive heads as a scikit-learn transformer."""

from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_consistent_length, check_random_state, column_or_1d
from sklearn.utils.validation import check_is_fitted

from monosemy.core import config, console
from monosemy.data.containers import for_sklearn, training_rows
from monosemy.encoders import heads
from monosemy.encoders.config import HeadAugmentation, HeadConfig
from monosemy.errors import InputError


class ContrastiveHead(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Contrastive features of frozen embeddings: NCL, its control, and contrastive sparse codes.

    h = BatchNorm(W x) of the standardised embedding x, trained so that two views of an embedding are alike and those of
    others are not (NT-Xent). The features are h, s+(h) = max(h, 0), or the k largest of s+(h).

    Args:
        n_features: width of the features.
        non_negative: apply s+ (NCL); False for the control without it.
        k: active features a sample (contrastive sparse codes); None leaves all. In training it falls from all features
            to k over ``min_steps``.
        augmentation: views of an embedding: "dropout" of its standardised columns, Gaussian "noise", or "neighbours",
            where one of the nearest rows is the second view and both lose columns.
        strength: probability of dropout, or deviation of the noise; None sets it so that a view is as far from its row
            as the fifth nearest neighbour. Neither needs labels.
        n_neighbours: nearest rows that "neighbours" draws from.
        supervised: rows of the same label are views of each other too; for labels that can be trusted.
        temperature: of the contrastive loss.
        batch_size, lr: of the training with Adam.
        min_steps, max_steps: training ends between them, once a held-out tenth of the rows tells its near neighbours
            from other rows no better than before. ``max_steps=0`` leaves random features.
        output: form of the features of ``transform``, "dense" or "sparse" (SciPy CSR).
        random_state: of the initialisation, the batches and the views.
        on_step: called with (steps done, most steps, held-out loss).

    After ``fit``: ``head_`` (the torch module), ``losses_`` (held-out loss along the training, or mean loss of each
    call of ``partial_fit``), ``n_steps_``, ``strength_``, ``converged_``, ``n_active_`` (features that are not constant
    on the rows of ``fit``).

    Source: NCL (arXiv 2403.12459); contrastive sparse codes (arXiv 2503.01776); supervised contrast (arXiv 2004.11362).
    """

    def __init__(
        self,
        n_features: int = 1024,
        *,
        non_negative: bool = True,
        k: int | None = None,
        augmentation: HeadAugmentation = "dropout",
        strength: float | None = None,
        n_neighbours: int = 10,
        supervised: bool = False,
        temperature: float = 0.2,
        batch_size: int = 256,
        lr: float = 1e-3,
        min_steps: int = 100,
        max_steps: int = 900,
        output: Literal["dense", "sparse"] = "dense",
        random_state: int | np.random.RandomState | None = None,
        on_step: console.OnLoss | None = None,
    ) -> None:
        self.n_features = n_features
        self.non_negative = non_negative
        self.k = k
        self.augmentation = augmentation
        self.strength = strength
        self.n_neighbours = n_neighbours
        self.supervised = supervised
        self.temperature = temperature
        self.batch_size = batch_size
        self.lr = lr
        self.min_steps = min_steps
        self.max_steps = max_steps
        self.output = output
        self.random_state = random_state
        self.on_step = on_step

    def _config(self) -> HeadConfig:
        if self.output not in ("dense", "sparse"):
            raise InputError(f"output={self.output!r} is unknown; choose 'dense' or 'sparse'.")
        if self.output == "sparse" and not self.non_negative:
            raise InputError("output='sparse' needs features with zeros; set non_negative=True, or output='dense'.")
        values = {name: getattr(self, name) for name in HeadConfig.model_fields}
        plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in values.items()}
        if plain["k"] is None:
            plain["k"] = 1  # the head below has none
        return config.validated(HeadConfig, plain, "ContrastiveHead")

    def _rows(self, X: np.typing.ArrayLike, *, first: bool) -> torch.Tensor:
        return torch.from_numpy(training_rows(self, X, first=first))

    def _labels(self, X: torch.Tensor, y: Any) -> torch.Tensor | None:
        """Return numbers of the classes for the supervised loss, in which only equality counts."""
        if not self.supervised:
            return None
        if y is None:
            raise InputError(
                "supervised=True requires y to be passed, but the target y is None; give labels, or set "
                "supervised=False."
            )
        values = column_or_1d(for_sklearn(y, "y"))
        check_consistent_length(X, values)
        return torch.from_numpy(np.unique(values, return_inverse=True)[1].astype(np.int64))

    def _start(self, z: torch.Tensor, settings: HeadConfig) -> torch.Generator:
        """Set up ``head_`` before its first step, and return the generator of all later draws."""
        rng = self._generator()
        head = heads.Head(z.shape[1], settings.n_features, self.non_negative, None if self.k is None else settings.k)
        heads.initialise(head, z, rng)
        self.head_ = head.eval()
        return rng

    def _generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(int(check_random_state(self.random_state).randint(2**31 - 1)))

    def fit(self, X: np.typing.ArrayLike, y: Any = None) -> Self:
        """Train on embeddings (N, D); ``y`` is ignored unless ``supervised``."""
        settings = self._config()
        z = self._rows(X, first=True)
        labels = self._labels(z, y)
        rng = self._start(z, settings)
        course = heads.train(self.head_, z, settings, rng, labels=labels, on_step=self.on_step)
        self.losses_, self.n_steps_, self.strength_, self.converged_ = course
        self.n_active_ = heads.check_collapse(self.head_, z)
        self.__dict__.pop("trainer_", None)  # its learning rate has run out
        return self

    def partial_fit(self, X: np.typing.ArrayLike, y: Any = None) -> Self:
        """Train for one pass over further embeddings (N, D) at a constant learning rate.

        The first call sets the standardisation from its embeddings, and the strength of the views, so give it a good
        sample. After ``fit``, training continues from there.
        """
        settings = self._config()
        first = not hasattr(self, "head_")
        z = self._rows(X, first=first)
        labels = self._labels(z, y)
        if not hasattr(self, "trainer_"):
            rng = self._start(z, settings) if first else self._generator()
            self.trainer_ = heads.Trainer(self.head_, settings, rng)
        if first:
            self.losses_, self.n_steps_, self.converged_ = [], 0, False
        x = self.head_.standardised(z)
        if not first:
            settings = settings.model_copy(update={"strength": self.strength_})
        views = heads.Views(x, heads.with_strength(settings, x, self.trainer_.rng), self.trainer_.rng)
        self.strength_ = views.strength
        self.losses_.append(self.trainer_.epoch(views, labels))
        self.n_steps_ = self.trainer_.done
        self.n_active_ = heads.check_collapse(self.head_, z)
        return self

    @property
    def _n_features_out(self) -> int:
        return self.head_.n_features

    @torch.no_grad()
    def transform(self, X: np.typing.ArrayLike) -> np.typing.NDArray[np.float32] | sp.csr_array:
        """Return features (N, n_features), as an array or, with ``output="sparse"``, as a CSR array."""
        check_is_fitted(self, "head_")
        z = self._rows(X, first=False)
        pieces = [self.head_(rows).numpy() for rows in z.split(heads.CHUNK)]
        if self.output == "sparse":
            return sp.csr_array(sp.vstack([sp.csr_array(piece) for piece in pieces]))
        return np.concatenate(pieces)

    def save(self, path: str | Path) -> None:
        """Write the trained head to a safetensors file, which :meth:`load` and ``heads.Head.load`` read."""
        check_is_fitted(self, "head_")
        self.head_.save(Path(path))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a head that :meth:`save` wrote; settings of the training take their defaults."""
        head = heads.Head.load(Path(path))
        estimator = cls(head.n_features, non_negative=head.non_negative, k=head.k)
        estimator.head_, estimator.n_features_in_ = head, len(head.mean)
        return estimator

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        tags.target_tags.required = bool(self.supervised)
        return tags
