"""Explanations of dimensions, and predictions beside them."""

import numpy as np
import pytest
import scipy.sparse as sp

from monosemy.data import memory_map as rows_module
from monosemy.errors import InputError
from monosemy.functional.consistency import activation_counts
from monosemy.metrics.explanations import (
    N_CLASSES,
    N_TOP,
    N_WEIGHTS,
    describe_predictions,
    explain,
    sample_monosemanticity,
    standard_deviations,
)
from monosemy.metrics.streaming import TopActivating

CLASSES = 7


def made(n: int = 300, width: int = 6) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sparse codes whose last dimension never fires, labels, and embeddings."""
    rng = np.random.default_rng(0)
    codes = (rng.random((n, width)) * (rng.random((n, width)) < 0.3)).astype(np.float32)
    codes[:, -1] = 0
    return codes, rng.integers(0, CLASSES, n), rng.normal(size=(n, 4)).astype(np.float32)


def test_pieces_and_forms_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    codes, labels, embeddings = made()
    whole = explain(codes, labels, CLASSES, embeddings)
    monkeypatch.setattr(rows_module, "_ROWS_AT_ONCE", 1000)
    for form in (codes, sp.csr_array(codes)):
        for name, value in explain(form, labels, CLASSES, embeddings)._asdict().items():
            np.testing.assert_allclose(value, getattr(whole, name), rtol=1e-12, err_msg=name)


def test_classes_and_support_are_those_of_the_counts() -> None:
    codes, labels, embeddings = made()
    found = explain(codes, labels, CLASSES, embeddings)
    counts = activation_counts(codes, labels, CLASSES)
    np.testing.assert_array_equal(found.support, counts.sum(axis=0))
    np.testing.assert_array_equal(found.class_counts, -np.sort(-counts, axis=0)[:N_CLASSES].T)
    np.testing.assert_array_equal(found.classes[:-1, 0], counts[:, :-1].argmax(axis=0))
    np.testing.assert_array_equal(found.histogram.sum(axis=1), (codes != 0).sum(axis=0))
    np.testing.assert_array_equal(found.values[:, 0], codes.max(axis=0))
    assert found.rows.shape == (codes.shape[1], N_TOP)


def test_a_dead_dimension_is_said_to_be_dead() -> None:
    codes, labels, embeddings = made()
    found = explain(codes, labels, CLASSES, embeddings)
    assert found.support[-1] == 0
    assert np.isnan([found.consistency[-1], found.mono_score[-1]]).all()
    assert (found.rows[-1] == -1).all()
    assert (found.classes[-1] == -1).all()


def test_without_labels_nothing_is_said_of_classes() -> None:
    codes, _, embeddings = made()
    found = explain(codes, reference_embeddings=embeddings)
    assert np.isnan(found.consistency).all()
    assert (found.classes == -1).all()
    assert np.isfinite(found.mono_score[:-1]).all()


def test_bad_rows_are_named() -> None:
    codes, labels, embeddings = made()
    with pytest.raises(InputError, match=r"299 rows, but codes 300"):
        explain(codes, labels, CLASSES, embeddings[1:])
    codes[41, 2] = np.nan
    with pytest.raises(InputError, match=r"with NaN or infinity \(first: row 41"):
        explain(codes, labels, CLASSES, embeddings)


def test_a_sample_is_as_monosemantic_as_its_dimensions() -> None:
    codes = np.array([[1.0, 3.0, 0.0], [0.0, -2.0, 0.0], [0.0, 0.0, 5.0]])
    for form in (codes, sp.csr_array(codes)):
        found = sample_monosemanticity(form, np.array([0.2, 1.0, np.nan]))
        np.testing.assert_allclose(found, [0.8, 1.0, np.nan])


def test_predictions_of_a_made_classifier() -> None:
    """Class 0 is always right by dimension 0, class 1 never."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 200)
    codes = np.stack([labels == 0, labels == 1, np.ones(200)], axis=1) * rng.uniform(1, 2, (200, 1))
    weight = np.array([[3.0, -3.0], [1.0, -1.0], [0.0, 0.0]])
    found = describe_predictions(np.zeros(200, dtype=np.int64), labels, weight, codes, codes, labels)
    assert found.extreme_classes == (1, 0)
    np.testing.assert_array_equal(found.class_accuracy, [1, 0])
    assert found.dimensions[1].tolist() == [0, 1] + [-1] * (N_WEIGHTS - 2)
    assert (found.dimensions[0] == -1).all()  # none speaks for class 1
    np.testing.assert_allclose(found.weights[1, 0], 3 * codes[:, 0].std())
    assert (found.monosemanticity > 0.5).all()


def test_standard_deviations_of_both_forms() -> None:
    codes, _, _ = made()
    np.testing.assert_allclose(standard_deviations(codes), codes.std(axis=0, dtype=np.float64))
    np.testing.assert_allclose(standard_deviations(sp.csr_array(codes)), codes.std(axis=0, dtype=np.float64))


def test_top_activating_takes_and_merges_pieces() -> None:
    codes, _, _ = made()
    numbers = np.arange(len(codes))
    whole = TopActivating(5).update(codes, numbers).compute()
    shards = [TopActivating(5).update(codes[part], numbers[part]) for part in (slice(100, 300), slice(0, 100))]
    merged = shards[0].merge(shards[1]).compute()
    np.testing.assert_array_equal(merged.rows, whole.rows)
    np.testing.assert_array_equal(merged.values, whole.values)
    with pytest.raises(InputError, match="different widths"):
        shards[0].update(codes[:, 1:], numbers)
    with pytest.raises(InputError, match="k=0"):
        TopActivating(0)


def test_explanations_print_a_short_summary() -> None:
    codes = np.array([[1.0, 0.0, 2.0], [0.0, 0.0, 1.0], [3.0, 0.0, 0.0]], dtype=np.float32)
    text = repr(explain(codes, np.array([0, 1, 0]), 2))
    assert text == "Explanations of 3 dimensions, 2 active\n  consistency 0.75, mono_score 0.6708"
