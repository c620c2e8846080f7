"""Autoencoders side by side, against `measure` on their codes in memory."""

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray

from monosemy.data.streams import open_stream
from monosemy.errors import InputError
from monosemy.functional.codes import to_csr
from monosemy.functional.geometry import orthogonality_error
from monosemy.metrics import measurement
from monosemy.metrics.measurement import measure
from monosemy.sae import evaluation as module
from monosemy.sae.activations import ReLU, TopK
from monosemy.sae.estimators import SparseAutoencoder
from monosemy.sae.evaluation import decoder_angles, evaluate
from monosemy.sae.module import Autoencoder

N, D, M = 300, 6, 16
Data = tuple[NDArray[np.float32], NDArray[np.int64]]
NAMES = ("cat", "dog", "owl")


@pytest.fixture
def data() -> Data:
    rng = np.random.default_rng(0)
    labels = np.arange(N) % 3
    z = rng.standard_normal((N, D)) + 3 * np.eye(D)[labels] + 1
    return z.astype(np.float32), labels


@pytest.fixture
def models(data: Data) -> dict[str, Autoencoder]:
    settings = {"n_latents": M, "n_epochs": 3, "batch_size": 32, "random_state": 0}
    made = {name: SparseAutoencoder(k=3, activation=name, **settings) for name in ("topk", "batchtopk", "gated")}
    return {name: estimator.fit(data[0]).autoencoder_ for name, estimator in made.items()}


def test_all_is_what_measure_finds_in_the_codes(
    data: Data, models: dict[str, Autoencoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    z, labels = data
    monkeypatch.setattr(module, "_BLOCK", 40 * M)  # 40 rows at a time
    done = []
    found = evaluate(models, open_stream(z), labels, NAMES, lambda n, total: done.append((n, total)))
    assert done == [(40, N), (80, N), (120, N), (160, N), (200, N), (240, N), (280, N), (N, N)]
    assert (found.n_rows, found.class_names, list(found.models)) == (N, NAMES, list(models))
    for name, model in models.items():
        codes = model.encode(torch.from_numpy(z))
        decoded = model.decode(codes).numpy()
        wanted = measure(to_csr(codes), labels, NAMES, reference_embeddings=z, reconstruction=decoded)
        one = found.models[name]
        angles = orthogonality_error(model.decoder.numpy())
        cosines = {"decoder_cosine": angles.mean, "decoder_cosine_rms": angles.rms}
        assert one.metrics == pytest.approx(wanted.metrics | cosines | {"decoder_cosine_max": angles.largest}, rel=1e-4)
        pd.testing.assert_frame_equal(one.latents, wanted.dimensions, rtol=1e-4)
        assert (one.activation, one.n_inputs, one.n_latents) == (name, D, M)
        assert one.k == (None if name == "gated" else 3)


def test_without_labels_nothing_is_said_of_classes(data: Data, models: dict[str, Autoencoder]) -> None:
    found = evaluate(models, open_stream(data[0]))
    assert found.class_names == ()
    metrics = found.models["topk"].metrics
    assert "semantic_consistency" not in metrics
    assert "probe_accuracy" not in metrics
    assert 0 < metrics["explained_variance"] < 1
    assert metrics["l0"] == pytest.approx(3, abs=0.5)


def test_of_many_rows_some_are_probed_in_any_pieces(
    data: Data, models: dict[str, Autoencoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    z, labels = data
    monkeypatch.setattr(measurement, "MAX_PROBED_ROWS", 100)
    wanted = measurement.probed_rows(N)
    assert len(wanted) == 100
    assert (np.diff(wanted) > 0).all()
    results = []
    for block in (7, 1000):
        monkeypatch.setattr(module, "_BLOCK", block * M)
        results.append(evaluate({"topk": models["topk"]}, open_stream(z), labels, NAMES).models["topk"].metrics)
    assert results[0] == pytest.approx(results[1], rel=1e-6)
    codes = to_csr(models["topk"].encode(torch.from_numpy(z[wanted])))
    of_these = measurement.recovered_accuracies([codes], z[wanted], labels[wanted], 3)[0]
    assert results[0]["probe_accuracy"] == pytest.approx(of_these.codes)
    assert results[0]["probe_accuracy_of_embeddings"] == pytest.approx(of_these.embeddings)


def test_several_codes_are_probed_as_one_by_one(data: Data) -> None:
    z, labels = data
    codes = [np.maximum(z, 0), np.maximum(z - 1, 0)]
    together = measurement.recovered_accuracies(codes, z, labels, 3)
    assert together == [measurement.recovered_accuracies([one], z, labels, 3)[0] for one in codes]


def test_rows_of_a_decoder_without_direction_are_left_out() -> None:
    model = Autoencoder(2, 3, TopK(3, 1))
    model.decoder.copy_(torch.tensor([[1.0, 0], [0, 0], [3, 4]]))
    assert decoder_angles(model).mean == pytest.approx(0.6)
    model.decoder[2] = 0
    assert np.isnan(decoder_angles(model).mean)


def test_too_many_latents_for_all_angles(monkeypatch: pytest.MonkeyPatch, models: dict[str, Autoencoder]) -> None:
    monkeypatch.setattr(module, "MAX_ANGLES", M - 1)
    assert np.isnan(decoder_angles(models["topk"]).largest)


def test_dead_and_dense_latents_are_counted() -> None:
    """Four latents along one number: dead, always on, on for a tenth and a bit, and for one row in twenty."""
    model = Autoencoder(1, 4, ReLU(4, 1))
    model.encoder.copy_(torch.ones(4, 1))
    model.decoder.copy_(torch.ones(4, 1))
    model.encoder_bias.copy_(torch.tensor([-1000.0, 1, -88.5, -94.5]))
    z = np.arange(100, dtype=np.float32)[:, None]
    metrics = evaluate({"m": model}, open_stream(z)).models["m"].metrics
    assert metrics["dead"] == pytest.approx(1 / 4)
    assert metrics["dense"] == pytest.approx(2 / 4)
    assert metrics["l0"] == pytest.approx((100 + 11 + 5) / 100)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda z, y: (z[:, 1:], None, ()), "has rows of 5 numbers, but topk takes 6; give the embeddings"),
        (lambda z, y: (z[:1], None, ()), "has 1 row, and metrics compare rows; give at least two"),
        (lambda z, y: (z, y[:-1], NAMES), "has 300 rows but 299 labels"),
        (lambda z, y: (z, y * 0, ("cat",)), "has 1 class; give rows of at least two"),
        (lambda z, y: (np.where(np.arange(N)[:, None] == 7, np.nan, z), None, ()), r"NaN or infinity \(first: row 7\)"),
    ],
)
def test_what_cannot_be_measured_is_said_in_one_sentence(
    data: Data, models: dict[str, Autoencoder], change, says: str
) -> None:
    rows, labels, names = change(*data)
    with pytest.raises(InputError, match=says):
        evaluate(models, open_stream(rows), labels, names)


@pytest.mark.parametrize(
    ("n_labels", "says"), [(250, "more rows than the 250 labels"), (350, "300 rows but 350 labels")]
)
def test_a_stream_of_unknown_length_is_counted(
    n_labels: int, says: str, data: Data, models: dict[str, Autoencoder]
) -> None:
    stream = open_stream(lambda: iter(np.split(data[0], 3)))
    with pytest.raises(InputError, match=says):
        evaluate(models, stream, np.arange(n_labels) % 3, NAMES)


def test_no_model() -> None:
    with pytest.raises(InputError, match="models is empty"):
        evaluate({}, open_stream(np.ones((3, 2), np.float32)))


def test_an_evaluation_prints_a_short_summary(data: Data, models: dict[str, Autoencoder]) -> None:
    text = repr(evaluate({"topk": models["topk"]}, open_stream(data[0]), data[1], NAMES))
    assert text.startswith("Evaluation on ")
    assert f": {N} rows, {len(NAMES)} classes\ntopk: topk autoencoder, {M} latents, k=3\n  n_dimensions {M}, " in text
    assert len(text.splitlines()) < 12
