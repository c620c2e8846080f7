"""The feature sets that a study compares, by name, and the transformers of the controls."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, Self

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.decomposition import PCA, FastICA
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from monosemy.encoders.config import HeadConfig
from monosemy.encoders.contrastive_heads import ContrastiveHead
from monosemy.errors import InputError
from monosemy.features.beside import BesideDense
from monosemy.functional import autoencoder, codes
from monosemy.sae import config, estimators


class IndependentComponents(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """FastICA on the principal components that hold nearly all variance, each pointing to its longer tail.

    The principal components are whitened first: directions of noise alone, scaled up, are what FastICA would find.
    The sign of a component is arbitrary in ICA; here positive values are the longer tail.

    Args:
        variance: fraction of the variance that is retained, in (0, 1).
        max_iter, tol: of FastICA, see scikit-learn.
        max_samples: rows that the directions are found on, drawn at random of more; all rows are transformed.
        random_state: of FastICA's start and of these rows.

    After ``fit``: ``components_`` (M, D), ``mixing_`` (D, M), ``mean_`` (D,), ``n_iter_``.

    Source: Hyvärinen and Oja, "Independent component analysis: algorithms and applications" (2000).
    """

    def __init__(
        self,
        variance: float = 0.999,
        *,
        max_iter: int = 200,
        tol: float = 1e-3,
        max_samples: int = 20_000,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.variance = variance
        self.max_iter = max_iter
        self.tol = tol
        self.max_samples = max_samples
        self.random_state = random_state

    def fit(self, X: np.typing.ArrayLike, y: object = None) -> Self:
        """Find the components of embeddings (N, D); ``y`` is ignored."""
        if not 0 < self.variance < 1:
            raise InputError(f"variance={self.variance!r} is outside (0, 1); choose a fraction such as 0.999.")
        z = validate_data(self, X, dtype=[np.float64, np.float32], ensure_min_samples=2)
        rng = check_random_state(self.random_state)
        if len(z) > self.max_samples:
            z = z[np.sort(rng.choice(len(z), self.max_samples, replace=False))]
        # In float64: in float32 the iteration stalls before it converges.
        pca = PCA(n_components=self.variance, whiten=True, svd_solver="full").fit(z.astype(np.float64))
        whitened = pca.transform(z.astype(np.float64))
        ica = FastICA(whiten=False, max_iter=self.max_iter, tol=self.tol, random_state=rng)
        with warnings.catch_warnings():
            # One or two directions of hundreds often do not converge; n_iter_ reports it.
            warnings.simplefilter("ignore", ConvergenceWarning)
            components = ica.fit_transform(whitened)
        towards_tail = np.where((components**3).mean(axis=0) < 0, -1.0, 1.0)
        rotation = ica.components_ * towards_tail[:, None]
        lengths = np.sqrt(pca.explained_variance_)
        self.mean_ = pca.mean_
        self.components_ = rotation / lengths @ pca.components_
        self.mixing_ = pca.components_.T * lengths @ np.linalg.pinv(rotation)
        self.n_iter_ = int(ica.n_iter_)
        return self

    @property
    def _n_features_out(self) -> int:
        return len(self.components_)

    def transform(self, X: np.typing.ArrayLike) -> np.typing.NDArray[Any]:
        """Return components (N, M) of embeddings, each of variance 1 on the rows of ``fit``."""
        check_is_fitted(self, "components_")
        z = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        return np.asarray((z - self.mean_) @ self.components_.T, dtype=z.dtype)

    def inverse_transform(self, components: np.typing.ArrayLike) -> np.typing.NDArray[Any]:
        """Return embeddings (N, D) of components (N, M)."""
        check_is_fitted(self, "components_")
        values = np.asarray(components)
        dtype = np.float32 if values.dtype == np.float32 else np.float64
        return np.asarray(values @ self.mixing_.T + self.mean_, dtype=dtype)

    def score(self, X: np.typing.ArrayLike, y: object = None) -> float:
        """Return the explained variance of the reconstruction: 1 is perfect, 0 is no better than the mean."""
        z = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        return autoencoder.streamed_explained_variance(
            autoencoder.reconstruction_moments(self.inverse_transform(self.transform(z)), z)
        )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


Role = Literal["baseline", "control", "monosemantic"]


@dataclass(frozen=True)
class FeatureSet:
    """One column of a study: a base representation and what is done to it."""

    name: str
    title: str
    role: Role
    base: Literal["dense", "ncl"]
    make: Callable[[Any, int], Any]
    """Makes a scikit-learn transformer from settings and a seed."""
    seeded: bool = False
    """Whether the transformer itself depends on the seed."""
    on_request: bool = False
    """Whether a study runs it only if it is named: hybrids of two methods, variants, and further controls."""
    settings: Literal["sae", "head"] = "sae"
    """Section of the plan that holds its settings."""
    weights: tuple[float, ...] = ()
    """Weights of the features beside dense ones, which every classifier chooses from; none for other sets."""


def _rectify(z: np.typing.NDArray[np.float32]) -> np.typing.NDArray[np.float32]:
    return np.maximum(z, 0)


def _identity(settings: config.SaeConfig, seed: int) -> FunctionTransformer:
    return FunctionTransformer(None)


def _relu(settings: config.SaeConfig, seed: int) -> FunctionTransformer:
    return FunctionTransformer(_rectify)


def _whiten(settings: config.SaeConfig, seed: int) -> PCA:
    # All directions that hold more than a thousandth of the mean variance: whitening noise directions only adds noise.
    return PCA(n_components=0.999, whiten=True, svd_solver="full")


def _pca(settings: config.SaeConfig, seed: int) -> PCA:
    # The directions of `whitened`, unscaled: what a mere change of basis does.
    return PCA(n_components=0.999, svd_solver="full")


def _ica(settings: config.SaeConfig, seed: int) -> IndependentComponents:
    return IndependentComponents(random_state=seed)


def _dense_autoencoder(settings: config.SaeConfig, seed: int) -> estimators.SparseAutoencoder:
    """Return the autoencoder of the study in all but sparsity: width, start, loss and training, without selection or
    penalty.

    As many latents, because a bottleneck would change the width too, and two differences at once explain nothing.
    """
    return _autoencoder(settings, seed, settings.n_latents, "relu", sparsity_weight=0.0)


def _random_topk(settings: config.SaeConfig, seed: int) -> estimators.RandomDictionary:
    return estimators.RandomDictionary(
        settings.n_latents, settings.k, center=settings.center, output="sparse", random_state=seed
    )


def _sae(
    settings: config.SaeConfig, seed: int, activation: config.ActivationName | None = None
) -> estimators.SparseAutoencoder:
    return _autoencoder(settings, seed, settings.k, activation or settings.activation, output="sparse")


def _autoencoder(
    settings: config.SaeConfig, seed: int, k: int, activation: config.ActivationName, **more: Any
) -> estimators.SparseAutoencoder:
    return estimators.SparseAutoencoder(
        settings.n_latents,
        k,
        activation=activation,
        center=settings.center,
        n_epochs=settings.n_epochs,
        max_steps=settings.max_steps,
        batch_size=settings.batch_size,
        lr=settings.lr,
        random_state=seed,
        **more,
    )


def _variant(activation: config.ActivationName, title: str) -> FeatureSet:
    make = partial(_sae, activation=activation)  # not a closure: worker processes have to unpickle it
    return FeatureSet(f"sae-{activation}", title, "monosemantic", "dense", make, seeded=True, on_request=True)


def _head(
    settings: HeadConfig, seed: int, *, non_negative: bool = True, sparse: bool = False, trained: bool = True
) -> ContrastiveHead:
    values = settings.model_dump(exclude={"k"}) | ({} if trained else {"min_steps": 0, "max_steps": 0})
    return ContrastiveHead(
        non_negative=non_negative,
        k=settings.k if sparse else None,
        output="sparse" if sparse else "dense",
        random_state=seed,
        **values,
    )


def _head_set(name: str, title: str, role: Role, **kind: Any) -> FeatureSet:
    return FeatureSet(name, title, role, "dense", partial(_head, **kind), seeded=True, on_request=True, settings="head")


def _beside(features: FeatureSet) -> FeatureSet:
    """Return a feature set beside dense features."""
    return replace(
        features,
        name=f"dense+{features.name}",
        title=f"dense beside {features.title}",
        role="control" if features.role == "baseline" else features.role,
        make=partial(_make_beside, features.make),
        on_request=True,
        weights=WEIGHTS,
    )


def _make_beside(make: Callable[[Any, int], Any], settings: Any, seed: int) -> BesideDense:
    return BesideDense(make(settings, seed))


def _top_k(settings: config.SaeConfig, seed: int) -> FunctionTransformer:
    return FunctionTransformer(_largest, kw_args={"k": settings.k})


def _largest(z: np.typing.NDArray[np.float32], k: int) -> sp.csr_array:
    return codes.to_csr(codes.top_k(torch.from_numpy(z), min(k, z.shape[1])))


WEIGHTS = (0.25, 0.5, 1.0, 2.0)
"""Weights of features beside dense ones."""

_ALONE = (
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
    _head_set("ncl-head", "non-negative contrastive head", "monosemantic"),
    _head_set("simclr-head", "contrastive head without s+", "control", non_negative=False),
    _head_set("csr", "contrastive sparse codes", "monosemantic", sparse=True),
    _head_set("random-features", "random features, ReLU", "control", trained=False),
)
_BESIDE = ("dense", "random-features", "simclr-head", "ncl-head", "csr", "sae")
"""Feature sets that a study also takes beside dense ones, controls first."""

FEATURE_SETS: dict[str, FeatureSet] = {feature.name: feature for feature in _ALONE}
FEATURE_SETS |= {f"dense+{name}": _beside(FEATURE_SETS[name]) for name in _BESIDE}
