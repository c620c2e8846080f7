"""The feature sets of a study, by what they do to embeddings."""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from pydantic import ValidationError
from sklearn.base import clone

from monosemy.encoders.config import HeadConfig
from monosemy.features.registry import FEATURE_SETS
from monosemy.sae.config import SaeConfig

SETTINGS = SaeConfig(n_latents=12, k=2, n_epochs=2, batch_size=32)
Z = np.random.default_rng(0).standard_normal((80, 5)).astype(np.float32) @ np.diag([5, 2, 1, 1, 0.5]).astype(np.float32)


HEAD = HeadConfig(n_features=12, k=2, batch_size=32, min_steps=6, max_steps=6)
BESIDE = {f"dense+{name}" for name in ("dense", "random-features", "simclr-head", "ncl-head", "csr", "sae")}


def make(name: str, seed: int = 0):
    feature = FEATURE_SETS[name]
    return feature.make({"sae": SETTINGS, "head": HEAD}[feature.settings], seed)


def codes(name: str, seed: int = 0):
    transformer = make(name, seed)
    return transformer.fit(Z + 1).transform(Z + 1)


def test_every_set_goes_by_its_name_and_can_be_cloned() -> None:
    assert {"dense", "relu", "whitened", "random-topk", "sae", "ncl"} <= set(FEATURE_SETS)
    for name, feature in FEATURE_SETS.items():
        assert feature.name == name
        assert feature.title
        clone(make(name))
        assert pickle.loads(pickle.dumps(feature)).name == name, "worker processes get it"
    assert [name for name, feature in FEATURE_SETS.items() if feature.role == "baseline"] == ["dense"]


@pytest.mark.parametrize("name", ["dense", "ncl"])
def test_embeddings_as_they_are(name: str) -> None:
    np.testing.assert_array_equal(codes(name), Z + 1)


def test_relu_is_the_positive_part() -> None:
    np.testing.assert_array_equal(codes("relu"), np.where(Z + 1 > 0, Z + 1, 0))


def test_whitened_directions_have_variance_one_and_no_correlation() -> None:
    white = codes("whitened")
    np.testing.assert_allclose(np.cov(white.T), np.eye(white.shape[1]), atol=1e-4)
    np.testing.assert_allclose(white.mean(axis=0), 0, atol=1e-5)


@pytest.mark.parametrize("name", ["random-topk", "sae"])
def test_dictionaries_take_their_settings_and_are_sparse(name: str) -> None:
    result = codes(name)
    assert isinstance(result, sp.csr_array)
    assert result.shape == (80, 12)
    assert np.diff(result.indptr).max() == 2


@pytest.mark.parametrize("name", sorted(FEATURE_SETS))
def test_only_seeded_sets_depend_on_the_seed(name: str) -> None:
    first, second = (np.asarray(c.toarray() if sp.issparse(c) else c) for c in (codes(name, 0), codes(name, 1)))
    assert np.array_equal(first, second) == (not FEATURE_SETS[name].seeded)


def test_settings_that_contradict_each_other() -> None:
    with pytest.raises(ValueError, match="k=9 exceeds n_latents=8; choose k <= 8"):
        SaeConfig(n_latents=8, k=9)
    with pytest.raises(ValidationError):
        SaeConfig(latents=8)
    with pytest.raises(ValidationError):
        SaeConfig(lr=0)


def test_top_k_keeps_the_largest_activations_of_each_row() -> None:
    result = codes("ncl-topk")
    assert isinstance(result, sp.csr_array)
    wanted = np.zeros_like(Z)
    for row, z in enumerate(Z + 1):
        largest = np.argsort(z)[-2:]
        wanted[row, largest] = np.maximum(z[largest], 0)
    np.testing.assert_array_equal(result.toarray(), wanted)


def test_principal_components_are_those_of_whitening_unscaled() -> None:
    found, white = codes("pca"), codes("whitened")
    assert found.shape == white.shape
    np.testing.assert_allclose(found, white * found.std(axis=0, ddof=1), atol=1e-4)
    distances = [((rows[:, None] - rows[None]) ** 2).sum(axis=2) for rows in (found, Z)]
    np.testing.assert_allclose(distances[0], distances[1], rtol=1e-2, atol=0.1)  # a change of basis moves nothing


def test_independent_components_have_variance_one() -> None:
    found = codes("ica")
    assert found.shape[0] == len(Z)
    np.testing.assert_allclose(found.std(axis=0), 1, rtol=0.05)
    assert ((found**3).mean(axis=0) > 0).all()


def test_the_dense_autoencoder_differs_from_the_sparse_one_by_sparsity_alone() -> None:
    dense, sparse = (FEATURE_SETS[name].make(SETTINGS, 3).get_params() for name in ("dense-autoencoder", "sae-relu"))
    differing = {name for name in dense if dense[name] != sparse[name]}
    assert differing == {"k", "sparsity_weight", "output"}
    assert dense["sparsity_weight"] == 0
    found = codes("dense-autoencoder")
    assert isinstance(found, np.ndarray)
    assert found.shape == (80, 12)
    assert 0.3 < (found > 0).mean() < 0.7


def test_hybrids_and_variants_are_on_request() -> None:
    on_request = {name for name, feature in FEATURE_SETS.items() if feature.on_request}
    variants = {f"sae-{name}" for name in ("batchtopk", "relu", "jumprelu", "gated", "matryoshka")}
    controls = {"pca", "ica", "dense-autoencoder"}
    heads = {"ncl-head", "simclr-head", "csr", "random-features"}
    assert on_request == {"ncl-topk", "ncl-sae"} | controls | variants | heads | BESIDE
    assert {FEATURE_SETS[name].role for name in controls} == {"control"}
    assert {name for name in on_request if FEATURE_SETS[name].base == "ncl"} == {"ncl-topk", "ncl-sae"}


def test_variants_have_their_activation_and_sae_that_of_the_settings() -> None:
    settings = SaeConfig(n_latents=12, k=2, activation="gated", center="median")
    assert FEATURE_SETS["sae-relu"].make(settings, 0).activation == "relu"
    assert FEATURE_SETS["sae"].make(settings, 0).activation == "gated"
    assert FEATURE_SETS["sae"].make(SETTINGS, 0).activation == "topk"
    assert {FEATURE_SETS[name].make(settings, 0).center for name in ("sae", "sae-relu", "random-topk")} == {"median"}
    with pytest.raises(ValidationError):
        SaeConfig(activation="step")  # type: ignore[arg-type]


def test_heads_differ_by_what_their_names_say_alone() -> None:
    found = {name: make(name, 3).get_params() for name in ("ncl-head", "simclr-head", "csr", "random-features")}
    of_ncl = found["ncl-head"]
    differing = {
        name: {key: value for key, value in params.items() if value != of_ncl[key]} for name, params in found.items()
    }
    assert differing == {
        "ncl-head": {},
        "simclr-head": {"non_negative": False},
        "csr": {"k": 2, "output": "sparse"},
        "random-features": {"min_steps": 0, "max_steps": 0},
    }
    assert {name: FEATURE_SETS[name].role for name in found} == {
        "ncl-head": "monosemantic",
        "simclr-head": "control",
        "csr": "monosemantic",
        "random-features": "control",
    }
    assert np.diff(codes("csr").indptr).max() == 2


@pytest.mark.parametrize("name", sorted(BESIDE))
def test_features_beside_dense_ones(name: str) -> None:
    feature, alone = FEATURE_SETS[name], FEATURE_SETS[name.removeprefix("dense+")]
    assert feature.weights == (0.25, 0.5, 1.0, 2.0)
    assert alone.weights == ()
    assert feature.role == ("control" if alone.role == "baseline" else alone.role)
    both, second = codes(name), codes(alone.name)
    dense = (Z + 1) / np.linalg.norm(Z + 1, axis=1, keepdims=True)
    np.testing.assert_allclose(both[:, :5], dense, rtol=1e-5)
    second = second.toarray() if sp.issparse(second) else np.asarray(second)
    length = np.linalg.norm(second, axis=1, keepdims=True)
    np.testing.assert_allclose(both[:, 5:], second / np.where(length > 0, length, 1), rtol=1e-5, atol=1e-7)
