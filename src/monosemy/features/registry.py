"""The feature sets that a study compares, by name."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal, Self

import numpy as np
import scipy.sparse as sp
import torch
from annotated_types import Ge, Gt
from numpy.typing import NDArray
from pydantic import model_validator
from sklearn.decomposition import PCA
from sklearn.preprocessing import FunctionTransformer

from monosemy.core.config import Config
from monosemy.features.controls import IndependentComponents
from monosemy.functional.codes import to_csr, top_k
from monosemy.sae.estimators import ActivationName, RandomDictionary, SparseAutoencoder
from monosemy.sae.module import Center

Role = Literal["baseline", "control", "monosemantic"]


FeatureName = Literal[
    "dense", "relu", "whitened", "random-topk", "sae", "ncl", "pca", "ica", "dense-autoencoder", "ncl-topk", "ncl-sae",
    "sae-batchtopk", "sae-relu", "sae-jumprelu", "sae-gated", "sae-matryoshka",
]  # fmt: skip


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
    n_epochs: Annotated[int, Ge(1)] = 30
    """Epochs of training; 15 by default on digit pairs."""
    batch_size: Annotated[int, Ge(1)] = 512
    """Rows per step."""
    lr: Annotated[float, Gt(0)] = 1e-3
    """Learning rate of Adam."""

    @model_validator(mode="after")
    def _k_fits(self) -> Self:
        if self.k > self.n_latents:
            raise ValueError(f"k={self.k} exceeds n_latents={self.n_latents}; choose k <= n_latents")
        return self


@dataclass(frozen=True)
class FeatureSet:
    """One column of a study: a base representation and what is done to it."""

    name: str
    title: str
    role: Role
    base: Literal["dense", "ncl"]
    make: Callable[[SaeConfig, int], Any]
    """Makes a scikit-learn transformer from settings and a seed."""
    seeded: bool = False
    """Whether the transformer itself depends on the seed."""
    on_request: bool = False
    """Whether a study runs it only if it is named: hybrids of two methods, variants, and further controls."""


def _rectify(z: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.maximum(z, 0)


def _identity(settings: SaeConfig, seed: int) -> FunctionTransformer:
    return FunctionTransformer(None)


def _relu(settings: SaeConfig, seed: int) -> FunctionTransformer:
    return FunctionTransformer(_rectify)


def _whiten(settings: SaeConfig, seed: int) -> PCA:
    # All directions that hold more than a thousandth of the mean variance: whitening noise directions only adds noise.
    return PCA(n_components=0.999, whiten=True, svd_solver="full")


def _pca(settings: SaeConfig, seed: int) -> PCA:
    # The directions of `whitened`, unscaled: what a mere change of basis does.
    return PCA(n_components=0.999, svd_solver="full")


def _ica(settings: SaeConfig, seed: int) -> IndependentComponents:
    return IndependentComponents(random_state=seed)


def _dense_autoencoder(settings: SaeConfig, seed: int) -> SparseAutoencoder:
    """Return the autoencoder of the study in all but sparsity: width, start, loss and training, without selection or
    penalty.

    As many latents, because a bottleneck would change the width too, and two differences at once explain nothing.
    """
    return _autoencoder(settings, seed, settings.n_latents, "relu", sparsity_weight=0.0)


def _random_topk(settings: SaeConfig, seed: int) -> RandomDictionary:
    return RandomDictionary(settings.n_latents, settings.k, center=settings.center, output="sparse", random_state=seed)


def _sae(settings: SaeConfig, seed: int, activation: ActivationName | None = None) -> SparseAutoencoder:
    return _autoencoder(settings, seed, settings.k, activation or settings.activation, output="sparse")


def _autoencoder(settings: SaeConfig, seed: int, k: int, activation: ActivationName, **more: Any) -> SparseAutoencoder:
    return SparseAutoencoder(
        settings.n_latents,
        k,
        activation=activation,
        center=settings.center,
        n_epochs=settings.n_epochs,
        batch_size=settings.batch_size,
        lr=settings.lr,
        random_state=seed,
        **more,
    )


def _variant(activation: ActivationName, title: str) -> FeatureSet:
    make = partial(_sae, activation=activation)  # not a closure: worker processes have to unpickle it
    return FeatureSet(f"sae-{activation}", title, "monosemantic", "dense", make, seeded=True, on_request=True)


def _top_k(settings: SaeConfig, seed: int) -> FunctionTransformer:
    return FunctionTransformer(_largest, kw_args={"k": settings.k})


def _largest(z: NDArray[np.float32], k: int) -> sp.csr_array:
    return to_csr(top_k(torch.from_numpy(z), min(k, z.shape[1])))


FEATURE_SETS: dict[str, FeatureSet] = {
    feature.name: feature
    for feature in (
        FeatureSet("dense", "dense", "baseline", "dense", _identity),
        FeatureSet("relu", "dense + ReLU", "control", "dense", _relu),
        FeatureSet("whitened", "dense + PCA whitening", "control", "dense", _whiten),
        FeatureSet("random-topk", "random dictionary, TopK", "control", "dense", _random_topk, seeded=True),
        FeatureSet("sae", "sparse autoencoder", "monosemantic", "dense", _sae, seeded=True),
        FeatureSet("ncl", "non-negative contrastive", "monosemantic", "ncl", _identity),
        FeatureSet("pca", "principal components", "control", "dense", _pca, on_request=True),
        FeatureSet("ica", "independent components", "control", "dense", _ica, seeded=True, on_request=True),
        FeatureSet(
            "dense-autoencoder",
            "autoencoder without sparsity",
            "control",
            "dense",
            _dense_autoencoder,
            seeded=True,
            on_request=True,
        ),
        FeatureSet("ncl-topk", "NCL, TopK", "monosemantic", "ncl", _top_k, on_request=True),
        FeatureSet("ncl-sae", "sparse autoencoder on NCL", "monosemantic", "ncl", _sae, seeded=True, on_request=True),
        _variant("batchtopk", "sparse autoencoder, BatchTopK"),
        _variant("relu", "sparse autoencoder, ReLU and L1"),
        _variant("jumprelu", "sparse autoencoder, JumpReLU"),
        _variant("gated", "sparse autoencoder, gated"),
        _variant("matryoshka", "sparse autoencoder, Matryoshka"),
    )
}
