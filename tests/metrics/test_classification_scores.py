import numpy as np
import pytest
from hypothesis import given, strategies as st
from sklearn.metrics import balanced_accuracy_score, f1_score, recall_score, roc_auc_score

from monosemy.metrics.classification import calibration_error, class_scores, roc_auc


@given(st.integers(1, 80), st.integers(2, 7), st.integers(0, 10_000))
def test_class_scores_are_those_of_scikit_learn(n: int, n_classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, n_classes, n)
    predicted = np.where(rng.random((n, 3)) < 0.5, labels[:, None], rng.integers(0, n_classes, (n, 3)))
    scores = class_scores(labels, predicted, n_classes)
    present = np.unique(labels)
    for probe in range(3):
        mine = predicted[:, probe]
        recalls = recall_score(labels, mine, labels=present, average=None)
        expected = {
            "accuracy": (mine == labels).mean(),
            "balanced_accuracy": recalls.mean(),
            "macro_f1": f1_score(labels, mine, average="macro"),
            "worst_recall": recalls.min(),
        }
        assert {name: values[probe] for name, values in scores.items()} == pytest.approx(expected)


def test_balanced_accuracy_is_that_of_scikit_learn() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1, 2])
    predicted = np.array([0, 0, 0, 1, 1, 0, 1])
    assert class_scores(labels, predicted[:, None], 3)["balanced_accuracy"][0] == pytest.approx(
        balanced_accuracy_score(labels, predicted)
    )
    assert class_scores(labels, predicted[:, None], 3)["worst_recall"][0] == 0


def _slow_calibration_error(labels: np.ndarray, probabilities: np.ndarray, n_bins: int) -> float:
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    error = 0.0
    for i in range(n_bins):
        rows = (confidence > i / n_bins) & (confidence <= (i + 1) / n_bins)
        if rows.any():
            error += rows.mean() * abs(right[rows].mean() - confidence[rows].mean())
    return error


@pytest.mark.parametrize("n_bins", [1, 10, 15])
@pytest.mark.parametrize("sharpness", [0.1, 1.0, 8.0])
def test_calibration_error_is_that_of_its_definition(n_bins: int, sharpness: float) -> None:
    rng = np.random.default_rng(0)
    logits = sharpness * rng.standard_normal((500, 4))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = rng.integers(0, 4, 500)
    found = calibration_error(labels, probabilities, n_bins)
    assert found == pytest.approx(_slow_calibration_error(labels, probabilities, n_bins))


def test_calibration_error_by_hand() -> None:
    # Ten rows at 0.8, six of them right; ten at 1.0, all right: (0.2 * 10 + 0) / 20.
    probabilities = np.array([[0.8, 0.2]] * 10 + [[1.0, 0.0]] * 10)
    labels = np.array([0] * 6 + [1] * 4 + [0] * 10)
    assert calibration_error(labels, probabilities) == pytest.approx(0.1)


def test_a_confidence_at_the_edge_of_a_bin_is_in_the_lower_one() -> None:
    # 0.6 is 9 / 15; 0.65 lies above. Right and wrong would cancel in one bin.
    probabilities = np.array([[0.6, 0.4], [0.65, 0.35]])
    for dtype in (np.float32, np.float64):
        assert calibration_error(np.array([0, 1]), probabilities.astype(dtype)) == pytest.approx((0.4 + 0.65) / 2)


@given(st.integers(2, 60), st.integers(0, 10_000))
def test_area_under_the_curve_is_that_of_scikit_learn(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    labels[:2] = [0, 1]
    scores = rng.integers(0, 6, (n, 2)) / 5  # with ties
    expected = [roc_auc_score(labels, scores[:, probe]) for probe in range(2)]
    assert roc_auc(labels, scores).tolist() == pytest.approx(expected)


def test_one_class_has_no_curve() -> None:
    assert np.isnan(roc_auc(np.zeros(4, dtype=int), np.random.default_rng(0).random((4, 2)))).all()
