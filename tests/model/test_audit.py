"""Wrong labels are found by what has not seen them, and reasons name rows that are there."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.metrics import average_precision_score

from monosemy.corruptions.labels import cluster_noise, find_clusters, symmetric_noise
from monosemy.errors import InputError
from monosemy.model import LabelErrors, RobustClassifier, find_label_errors
from monosemy.model.audit import held_out_logits
from monosemy.model.crossfit import folds


def blobs(n: int = 600, n_classes: int = 5, n_parts: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Classes of one cloud each, or of several that lie apart."""
    rng = np.random.default_rng(0)
    part = rng.integers(0, n_classes * n_parts, n)
    centres = rng.normal(size=(n_classes * n_parts, 16)) * 2
    return (centres[part] + rng.normal(size=(n, 16))).astype(np.float32), part % n_classes


X, Y = blobs()
NOISY = symmetric_noise(Y, 0.2, 5, np.random.default_rng(0))


@pytest.fixture(scope="module")
def errors() -> LabelErrors:
    return find_label_errors(X, NOISY)


def test_wrong_labels_come_first_with_the_true_one_suggested(errors: LabelErrors) -> None:
    wrong = NOISY != Y
    assert average_precision_score(wrong, errors.probability) > 0.97
    assert (errors.suggested == Y).mean() > 0.97
    low, high = errors.noise_rate_interval
    assert low < wrong.mean() < high
    # Probabilities mean what they say: of rows that are wrong with p a share of p is wrong.
    assert abs(errors.probability.mean() - wrong.mean()) < 0.02
    assert errors.method == "class means"
    assert "by class means" in repr(errors)


def test_the_table_holds_every_row_once(errors: LabelErrors) -> None:
    table = errors.to_frame()
    assert table.columns.tolist() == ["row", "given", "suggested", "probability_wrong", "reason"]
    assert sorted(table["row"]) == list(range(600))
    assert table["probability_wrong"].is_monotonic_decreasing
    np.testing.assert_array_equal(table["given"], NOISY[table["row"]])


def test_reasons_count_the_labels_of_the_nearest_other_rows(errors: LabelErrors) -> None:
    row = int(errors.order[0])
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    cosines = unit @ unit[row]
    cosines[row] = -2
    near = np.argsort(-cosines)[:10]
    other, own = errors.suggested[row], NOISY[row]
    first = near[NOISY[near] == other][0]
    assert errors.reasons[row] == (
        f"{(NOISY[near] == other).sum()} of the 10 nearest rows are labelled {other}, {(NOISY[near] == own).sum()} "
        f"{own}; the most similar of the former is row {first} (cosine {cosines[first]:.2f})."
    )
    assert set(errors.reasons) == set(np.flatnonzero(errors.probability >= 0.2))


@pytest.mark.parametrize("n_parts", [1, 8])
def test_a_row_is_judged_without_its_own_label(n_parts: int) -> None:
    x, y = blobs(300, 3, n_parts)
    fold = folds(y, 5, 0)
    before, method = held_out_logits(x, y, 3, fold, 0)
    changed = y.copy()
    changed[11] = (y[11] + 1) % 3
    after, again = held_out_logits(x, changed, 3, fold, 0)
    assert method == again == ("class means" if n_parts == 1 else "neighbours")
    np.testing.assert_array_equal(before[11], after[11])
    assert not np.array_equal(before, after), "others are judged with it"


def test_scattered_classes_are_judged_by_neighbours() -> None:
    x, y = blobs(1_000, 2, 12)
    noisy = symmetric_noise(y, 0.15, 2, np.random.default_rng(0))
    found = find_label_errors(x, noisy)
    assert found.method == "neighbours"
    assert average_precision_score(noisy != y, found.probability) > 0.9


def test_noise_of_whole_regions_is_found_better_than_by_what_follows_it() -> None:
    x, y = blobs(3_000, 10)
    clusters = find_clusters(x, 60, 0)
    noisy = cluster_noise(y, clusters, 0.1, 10, np.random.default_rng(0))
    wrong = noisy != y
    model = RobustClassifier(("dense",), ("knn",)).fit(x, noisy)
    by_neighbours = average_precision_score(wrong, 1 - model.held_out_proba_[np.arange(3_000), noisy])
    assert average_precision_score(wrong, find_label_errors(x, noisy).probability) > by_neighbours + 0.03


def test_inputs_of_other_kinds_and_names() -> None:
    names = np.array(["ant", "bee", "cow", "dog", "eel"])
    found = find_label_errors(pd.DataFrame(X), pd.Series(names[NOISY]), row_names=[f"picture {i}" for i in range(600)])
    plain = find_label_errors(X, NOISY)
    np.testing.assert_array_equal(found.probability, plain.probability)
    assert found.to_frame()["suggested"][0] in names
    assert any("picture " in reason for reason in found.reasons.values())
    sparse = find_label_errors(sp.csr_array(X), NOISY)
    np.testing.assert_allclose(sparse.probability, plain.probability, atol=1e-2)  # products add in another order


def test_copies_in_one_group_do_not_vouch_for_each_other() -> None:
    x, y = np.repeat(X[:200], 2, axis=0), np.repeat(NOISY[:200], 2)
    fold = folds(y, 5, 0, np.arange(400) // 2)
    assert all(fold[i] == fold[i + 1] for i in range(0, 400, 2))
    assert find_label_errors(x, y, groups=np.arange(400) // 2).probability.shape == (400,)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros(600), "All 600 rows have the label 0.0; give at least two classes"),
        (np.arange(600), "The 600 rows have 600 different labels; give labels that occur more than once"),
        (NOISY[:5], r"y has shape \(5,\), but X has 600 rows; give one label for each"),
    ],
)
def test_labels_that_cannot_be_audited(labels: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        find_label_errors(X, labels)


def test_more_folds_than_rows_are_refused() -> None:
    with pytest.raises(InputError, match="cv=5 folds cannot be made of 4 rows; choose 2 to 4"):
        find_label_errors(X[:4], np.array([0, 1, 0, 1]))
