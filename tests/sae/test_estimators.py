"""The dictionaries as scikit-learn transformers."""

import pickle
from typing import get_args

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from monosemy.errors import InputError
from monosemy.functional.autoencoder import explained_variance
from monosemy.functional.codes import to_dense
from monosemy.sae.config import ActivationName
from monosemy.sae.estimators import RandomDictionary, SparseAutoencoder

ACTIVATIONS = get_args(ActivationName)
SMALL = {"n_latents": 16, "k": 3, "random_state": 0}


def sae(**changes) -> SparseAutoencoder:
    return SparseAutoencoder(**(SMALL | {"n_epochs": 5, "batch_size": 32, "lr": 1e-2} | changes))


def random_dictionary(**changes) -> RandomDictionary:
    return RandomDictionary(**(SMALL | changes))


BOTH = [sae, random_dictionary]


def blobs(n: int = 200, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(9).standard_normal((4, 5)) * 3 + 10
    y = rng.integers(0, 4, n)
    return (centres[y] + rng.standard_normal((n, 5))).astype(np.float32), y


@parametrize_with_checks(
    [
        SparseAutoencoder(n_latents=24, k=2, n_epochs=1, batch_size=16, random_state=0),
        SparseAutoencoder(n_latents=24, k=2, n_epochs=1, batch_size=16, random_state=0, activation="matryoshka"),
        SparseAutoencoder(n_latents=12, k=2, n_epochs=1, batch_size=16, random_state=0, activation="gated"),
        RandomDictionary(n_latents=12, k=2, random_state=0),
    ]
)
def test_scikit_learn_conventions(estimator, check) -> None:
    check(estimator)


@pytest.mark.parametrize("make", BOTH)
def test_dense_and_sparse_output_are_the_same_codes(make) -> None:
    X, _ = blobs()
    dense, sparse = make().fit(X).transform(X), make(output="sparse").fit(X).transform(X)
    assert isinstance(sparse, sp.csr_array)
    assert dense.shape == sparse.shape == (200, 16)
    assert dense.dtype == sparse.dtype == np.float32
    np.testing.assert_array_equal(sparse.toarray(), dense)
    assert ((dense > 0).sum(axis=1) <= 3).all()
    assert (dense >= 0).all()
    assert (dense > 0).any()


@pytest.mark.parametrize("make", BOTH)
def test_codes_do_not_depend_on_the_chunks(make, monkeypatch: pytest.MonkeyPatch) -> None:
    X, _ = blobs()
    model = make().fit(X)
    whole = model.transform(X)
    monkeypatch.setattr("monosemy.sae.estimators._CHUNK", 7)
    np.testing.assert_allclose(model.transform(X), whole, atol=1e-5)
    np.testing.assert_array_equal(to_dense(model.encode(X)).numpy(), model.transform(X))


@pytest.mark.parametrize("make", BOTH)
def test_inputs_are_not_modified(make) -> None:
    X, y = blobs()
    before = X.copy()
    model = make().fit(X, y)
    model.transform(X)
    np.testing.assert_array_equal(X, before)
    X[:] = 0
    assert np.abs(model.transform(before)).sum() > 0


@pytest.mark.parametrize("make", BOTH)
@pytest.mark.parametrize("output", ["dense", "sparse"])
def test_stands_in_a_pipeline(make, output: str) -> None:
    X, y = blobs()
    pipeline = make_pipeline(make(output=output), LogisticRegression(max_iter=500))
    assert cross_val_score(pipeline, X, y, cv=3).mean() > 0.8


@pytest.mark.parametrize("make", BOTH)
def test_the_seed_decides(make) -> None:
    X, _ = blobs()
    np.testing.assert_array_equal(make().fit_transform(X), make().fit_transform(X))
    assert not np.array_equal(make().fit_transform(X), make(random_state=1).fit_transform(X))
    generator = np.random.RandomState(0)
    assert make(random_state=generator).fit(X).transform(X).shape == (200, 16)


@pytest.mark.parametrize("make", BOTH)
@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"k": 17}, "k=17 .*n_latents=16"),
        ({"k": 0}, "k=0 "),
        ({"k": 2.5}, r"k=2\.5 "),
        ({"n_latents": -1}, "n_latents=-1 "),
        ({"n_latents": "many"}, "n_latents='many' "),
        ({"output": "csr"}, "output='csr' .*'dense' or 'sparse'"),
        ({"center": "mode"}, "center='mode' .*'median' or 'mean'"),
    ],
)
def test_bad_arguments_are_named(make, changes: dict, named: str) -> None:
    with pytest.raises(InputError, match=named):
        make(**changes).fit(blobs()[0])


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"activation": "step"}, "activation='step' is unknown; choose one of 'topk'"),
        ({"activation": "relu", "widths": (4, 16)}, r"widths=\(4, 16\) apply to"),
        ({"widths": (4, 8)}, r"widths=\(4, 8\) do not rise .* n_latents=16"),
        ({"sparsity_weight": 0.1}, "sparsity_weight=0.1 applies to 'relu'"),
        ({"activation": "relu", "sparsity_weight": -1.0}, r"sparsity_weight=-1\.0 is not a finite number >= 0"),
        ({"activation": "gated", "dead": "aux"}, "dead='aux' has no effect"),
        ({"mono_weight": -1.0}, r"mono_weight=-1\.0 is not a finite number >= 0"),
    ],
)
def test_bad_arguments_of_the_autoencoder_are_named(changes: dict, named: str) -> None:
    with pytest.raises(InputError, match=named):
        sae(**changes).fit(blobs()[0])


@pytest.mark.parametrize("make", BOTH)
def test_bad_inputs_are_said_in_one_sentence(make) -> None:
    X, _ = blobs()
    X[[7, 9], 2] = np.nan
    with pytest.raises(InputError, match=r"^X has NaN or infinity in 2 of 200 rows, the first of them row 7; .*\.$"):
        make().fit(X)
    with pytest.raises(InputError, match=r"^X has 1 sample of 5 features; .*\.$"):
        make().fit(blobs(1)[0])
    fitted = make().fit(blobs()[0])
    with pytest.raises(InputError, match="NaN or infinity in 2 of 200 rows"):
        fitted.transform(X)
    for wrong in (blobs()[0][:, 1:], np.zeros((4, 0)), [["a"] * 5]):
        with pytest.raises(ValueError, match=r"feature|convert"):
            fitted.transform(wrong)


@pytest.mark.parametrize("make", BOTH)
def test_whole_numbers_halves_and_doubles_are_the_same_data(make) -> None:
    X = np.round(blobs()[0])
    wanted = make().fit(X).transform(X)
    for dtype in (np.int64, np.float16, np.float64, object):
        np.testing.assert_array_equal(make().fit(X.astype(dtype)).transform(X.astype(dtype)), wanted)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_learns(activation: str) -> None:
    X, _ = blobs()
    model = sae(activation=activation, n_epochs=40).fit(X)
    codes = model.transform(X)
    assert (codes >= 0).all()
    assert model.score(X) > 0.5
    assert model.autoencoder_.widths == ((1, 2, 4, 8, 16) if activation == "matryoshka" else (16,))
    np.testing.assert_allclose(np.linalg.norm(model.autoencoder_.decoder.numpy(), axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(model.transform(X[:3]), codes[:3], atol=1e-5)


@pytest.mark.parametrize("activation", ["topk", "matryoshka"])
def test_partial_fit_learns_from_pieces(activation: str) -> None:
    X, _ = blobs(400)
    model = sae(activation=activation)
    scores = []
    for _ in range(10):
        for piece in np.array_split(X, 4):
            assert model.partial_fit(piece) is model
        scores.append(model.score(X))
    assert len(model.losses_) == 40
    assert scores[-1] > max(0.6, scores[0])
    one_sample = model.partial_fit(X[:1])
    assert one_sample.transform(X).shape == (400, 16)
    with pytest.raises(InputError, match="NaN"):
        model.partial_fit(np.full((3, 5), np.nan))
    assert np.isfinite(model.transform(X)).all()


def test_partial_fit_goes_on_after_fit_and_fit_starts_anew() -> None:
    X, _ = blobs()
    model = sae().fit(X)
    before = model.score(X)
    for _ in range(20):
        model.partial_fit(X)
    assert model.score(X) > before
    np.testing.assert_array_equal(model.fit(X).transform(X), sae().fit_transform(X))
    twin = pickle.loads(pickle.dumps(model.partial_fit(X)))
    np.testing.assert_array_equal(twin.partial_fit(X).transform(X), model.partial_fit(X).transform(X))


@pytest.mark.parametrize("name", ["n_epochs", "batch_size", "lr"])
def test_training_arguments_must_be_positive(name: str) -> None:
    with pytest.raises(InputError, match=f"{name}=0 is not positive"):
        sae(**{name: 0}).fit(blobs()[0])


def test_decoder_rows_have_length_one_after_training() -> None:
    model = sae().fit(blobs()[0])
    np.testing.assert_allclose(np.linalg.norm(model.autoencoder_.decoder.numpy(), axis=1), 1, rtol=1e-5)


def test_inverse_transform_is_the_decoder_for_dense_and_sparse_codes() -> None:
    X, _ = blobs()
    model = sae().fit(X)
    codes = model.transform(X)
    reconstruction = model.inverse_transform(codes)
    np.testing.assert_allclose(model.inverse_transform(sp.csr_array(codes)), reconstruction, rtol=1e-5)
    np.testing.assert_allclose(model.autoencoder_.decode(model.encode(X)).numpy(), reconstruction, rtol=1e-4)
    assert reconstruction.shape == X.shape
    assert reconstruction.dtype == np.float32


def test_score_is_the_explained_variance_of_the_reconstruction() -> None:
    import torch

    X, y = blobs()
    model = sae(n_epochs=40).fit(X)
    reconstruction = torch.from_numpy(model.inverse_transform(model.transform(X)))
    assert model.score(X, y) == pytest.approx(explained_variance(reconstruction, torch.from_numpy(X)), abs=1e-5)
    assert model.score(X) > 0.7
    assert model.score(X) > sae(n_epochs=1).fit(X).score(X)


def test_losses_are_kept_and_told() -> None:
    told: list[tuple[int, int, float]] = []
    model = sae(n_epochs=3, on_epoch=lambda *arguments: told.append(arguments)).fit(blobs()[0])
    assert told == [(i + 1, 3, loss) for i, loss in enumerate(model.losses_)]


def test_the_random_dictionary_is_the_autoencoder_before_its_first_step() -> None:
    X, _ = blobs()
    untrained = sae(lr=1e-30, n_epochs=1).fit(X)
    np.testing.assert_allclose(random_dictionary().fit_transform(X), untrained.transform(X), atol=1e-5)


def test_names_of_features_and_cloning() -> None:
    X, _ = blobs()
    model = sae().fit(X)
    assert model.get_feature_names_out()[[0, 15]].tolist() == ["sparseautoencoder0", "sparseautoencoder15"]
    assert clone(model).get_params() == sae().get_params()
    assert not hasattr(clone(model), "autoencoder_")


@pytest.mark.parametrize("make", [sae, random_dictionary])
def test_names_of_features_are_those_of_the_fit(make) -> None:
    X, _ = blobs()
    with pytest.raises(NotFittedError):
        make().get_feature_names_out()
    assert len(make().fit(X).set_params(n_latents=40).get_feature_names_out()) == 16


def test_the_random_dictionary_reconstructs_worse_than_a_trained_one() -> None:
    X, _ = blobs()
    model = random_dictionary().fit(X)
    reconstruction = model.inverse_transform(model.transform(X))
    explained = 1 - np.square(X - reconstruction).sum() / np.square(X - X.mean(axis=0)).sum()
    assert model.score(X) == pytest.approx(explained, abs=1e-4)
    assert model.score(X) < sae().fit(X).score(X)


@pytest.mark.parametrize("name", ["k", "n_latents"])
def test_true_is_no_number(name: str) -> None:
    with pytest.raises(InputError, match=f"{name}=True is not a positive whole number"):
        sae(**{name: True}).fit(blobs()[0])


@pytest.mark.parametrize("widths", [5, ["a", 16], [4.5, 16], [True, 16]])
def test_widths_are_whole_numbers(widths: object) -> None:
    with pytest.raises(InputError, match="is no list of positive whole numbers; give prefixes"):
        sae(widths=widths).fit(blobs()[0])


@pytest.mark.parametrize("codes", [np.zeros((3, 5)), sp.csr_array((3, 5)), np.zeros(16)])
def test_codes_of_another_width_are_refused(codes) -> None:
    with pytest.raises(InputError, match=r"codes has shape .*; give \(N, 16\), one column for each latent"):
        sae().fit(blobs()[0]).inverse_transform(codes)
