"""The feature sets of a study, by what they do to embeddings."""

import numpy as np
import pytest
import scipy.sparse as sp
from pydantic import ValidationError
from sklearn.base import clone

from monosemy.features import FEATURE_SETS, SaeConfig

SETTINGS = SaeConfig(n_latents=12, k=2, n_epochs=2, batch_size=32)
Z = np.random.default_rng(0).standard_normal((80, 5)).astype(np.float32) @ np.diag([5, 2, 1, 1, 0.5]).astype(np.float32)


def codes(name: str, seed: int = 0):
    transformer = FEATURE_SETS[name].make(SETTINGS, seed)
    return transformer.fit(Z + 1).transform(Z + 1)


def test_every_set_goes_by_its_name_and_can_be_cloned() -> None:
    assert {"dense", "relu", "whitened", "random-topk", "sae", "ncl"} <= set(FEATURE_SETS)
    for name, feature in FEATURE_SETS.items():
        assert feature.name == name
        assert feature.title
        clone(feature.make(SETTINGS, 0))
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
    with pytest.raises(ValueError, match="k=9 is above n_latents=8"):
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


def test_hybrids_stand_on_ncl() -> None:
    hybrids = {name for name, feature in FEATURE_SETS.items() if feature.hybrid}
    assert hybrids == {"ncl-topk", "ncl-sae"}
    assert {FEATURE_SETS[name].base for name in hybrids} == {"ncl"}
