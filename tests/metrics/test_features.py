"""The metrics of a feature set, by hand and against what they are made of."""

import math

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from monosemy.functional.autoencoder import explained_variance
from monosemy.functional.monoscore import mono_moments, mono_score
from monosemy.metrics.dimensions import MIN_SUPPORT, describe_features
from monosemy.sae.estimators import RandomDictionary, SparseAutoencoder

N, CLASSES = 120, 3
LABELS = np.arange(N) % CLASSES
EMBEDDINGS = (np.eye(CLASSES)[LABELS] * 3 + np.random.default_rng(0).standard_normal((N, 3))).astype(np.float32)


def hand_made() -> np.ndarray:
    """Pure for class 0; fires for all; fires for too few; never fires; never fires in test, but in train."""
    codes = np.zeros((N, 5), dtype=np.float32)
    codes[LABELS == 0, 0] = 2.0
    codes[:, 1] = 1.0
    codes[: MIN_SUPPORT - 1, 2] = 1.0
    return codes


@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
def test_by_hand(form) -> None:
    test, train = hand_made(), hand_made()
    train[0, 4] = 0.5
    found = describe_features(
        form(train), form(test), LABELS, CLASSES, EMBEDDINGS, transformer=None, reference_embeddings=EMBEDDINGS
    )
    assert found["semantic_consistency"] == pytest.approx((1 + 1 / 3) / 2), "too little support is left out"
    assert found["consistency_dimensions"] == 2
    assert found["l0"] == pytest.approx((N / 3 + N + MIN_SUPPORT - 1) / N)
    assert found["n_dimensions"] == 5
    assert found["dead"] == pytest.approx(1 / 5), "dead is what never fires in train"
    assert math.isnan(found["explained_variance"])
    wanted = mono_score(mono_moments(test, EMBEDDINGS))
    assert found["mono_score"] == pytest.approx(np.nanmean(wanted))
    assert 0.3 < found["consistency_chance"] < 0.5


def test_dense_and_sparse_codes_of_a_dictionary_agree() -> None:
    results = []
    for output in ("dense", "sparse"):
        model = SparseAutoencoder(12, 2, n_epochs=3, batch_size=32, output=output, random_state=0).fit(EMBEDDINGS)
        codes = model.transform(EMBEDDINGS)
        results.append(describe_features(codes, codes, LABELS, CLASSES, EMBEDDINGS, model, EMBEDDINGS))
    assert results[0].keys() == results[1].keys()
    for name, value in results[0].items():
        assert results[1][name] == pytest.approx(value, rel=1e-5), name
    reconstruction = torch.from_numpy(model.inverse_transform(codes))
    wanted = explained_variance(reconstruction, torch.from_numpy(EMBEDDINGS))
    assert results[0]["explained_variance"] == pytest.approx(wanted, rel=1e-5)
    assert 0 < wanted < 1


def test_only_features_with_a_decoder_have_a_reconstruction() -> None:
    model = RandomDictionary(12, 2, random_state=0).fit(EMBEDDINGS)
    codes = model.transform(EMBEDDINGS)
    found, without = (
        describe_features(codes, codes, LABELS, CLASSES, EMBEDDINGS, transformer, EMBEDDINGS)["explained_variance"]
        for transformer in (model, None)
    )
    assert found == pytest.approx(model.score(EMBEDDINGS), abs=1e-5)
    assert math.isnan(without)


def test_signed_features_are_shifted_for_mono_score_only() -> None:
    codes = EMBEDDINGS.copy()
    found = describe_features(codes, codes, LABELS, CLASSES, EMBEDDINGS, None, EMBEDDINGS)
    shifted = codes - codes.min(axis=0)
    assert found["mono_score"] == pytest.approx(mono_score(mono_moments(shifted, EMBEDDINGS)).mean())
    assert found["l0"] == pytest.approx(3, abs=0.05), "every dimension fires, whatever its sign"
    np.testing.assert_array_equal(codes, EMBEDDINGS)


def test_features_of_noise_score_at_chance_and_of_classes_above() -> None:
    rng = np.random.default_rng(0)
    noise = (rng.random((N, 40)) * (rng.random((N, 40)) < 0.3)).astype(np.float32)
    classes = np.repeat(np.eye(CLASSES, dtype=np.float32)[LABELS], 4, axis=1) * (rng.random((N, 12)) < 0.8)
    random, pure = (describe_features(c, c, LABELS, CLASSES, EMBEDDINGS, None, EMBEDDINGS) for c in (noise, classes))
    assert random["semantic_consistency"] == pytest.approx(random["consistency_chance"], abs=0.03)
    assert pure["semantic_consistency"] == 1
    assert pure["mono_score"] > random["mono_score"] + 0.1


def test_features_that_never_fire() -> None:
    dead = np.zeros((N, 4), dtype=np.float32)
    found = describe_features(dead, dead, LABELS, CLASSES, EMBEDDINGS, None, EMBEDDINGS)
    assert found["dead"] == 1
    assert found["l0"] == 0
    assert math.isnan(found["semantic_consistency"])
    assert math.isnan(found["mono_score"])


def test_mono_score_is_measured_by_the_reference_embeddings() -> None:
    codes = np.abs(EMBEDDINGS)
    other = EMBEDDINGS[::-1].copy()
    found = describe_features(codes, codes, LABELS, CLASSES, EMBEDDINGS, None, other)
    assert found["mono_score"] == pytest.approx(mono_score(mono_moments(codes, other)).mean())
