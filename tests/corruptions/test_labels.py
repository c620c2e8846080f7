"""Label noise: exact counts, never the true class, and no rate that leaves nothing to learn from."""

import numpy as np
import pytest
from hypothesis import assume, given, strategies as st
from scipy import special, stats

from monosemy.corruptions.labels import (
    _exactly,
    check_informative_rate,
    check_symmetric_rate,
    check_transition_matrix,
    cluster_count,
    cluster_noise,
    few_labels,
    find_clusters,
    imbalanced,
    informative_limit,
    informative_rates,
    instance_noise,
    labels_per_class,
    matrix_noise,
    pair_noise,
    symmetric_noise,
)
from monosemy.errors import InputError


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def some_labels(n: int, n_classes: int, seed: int = 0) -> np.ndarray:
    return rng(seed).integers(0, n_classes, n)


cases = {"n": st.integers(0, 60), "n_classes": st.integers(2, 12), "seed": st.integers(0, 99)}


@given(rate=st.floats(0, 1), **cases)
def test_symmetric_noise_changes_the_exact_count_to_other_classes(
    n: int, n_classes: int, seed: int, rate: float
) -> None:
    assume(rate < informative_limit(n_classes) - 1e-6)
    labels = some_labels(n, n_classes, seed)
    before = labels.copy()
    noisy = symmetric_noise(labels, rate, n_classes, rng(seed))
    assert (noisy != labels).sum() == round(rate * n), "a replaced label is never the true one"
    assert noisy.dtype == labels.dtype
    assert n == 0 or (noisy.min() >= 0 and noisy.max() < n_classes)
    np.testing.assert_array_equal(labels, before)


def test_draws_stay_as_they_are() -> None:
    # A study must give the same numbers with the next version; these are the draws of the first.
    labels = np.arange(12) % 4
    matrix = np.array([[0.6, 0.4, 0, 0], [0, 0.6, 0.4, 0], [0, 0, 1, 0], [0.3, 0, 0, 0.7]])
    assert symmetric_noise(labels, 0.5, 4, rng(7)).tolist() == [3, 2, 2, 1, 2, 1, 1, 3, 0, 1, 3, 3]
    assert pair_noise(labels, 0.4, 4, rng(7)).tolist() == [1, 2, 2, 3, 1, 1, 3, 3, 0, 1, 3, 3]
    assert matrix_noise(labels, matrix, rng(7)).tolist() == [0, 2, 2, 0, 1, 1, 2, 3, 0, 1, 2, 3]


def test_symmetric_noise_is_uniform_over_the_other_classes() -> None:
    labels = np.full(40_000, 2)
    noisy = symmetric_noise(labels, 0.5, 5, rng())
    counts = np.bincount(noisy, minlength=5)
    assert counts[2] == 20_000
    # 5000 expected each, standard deviation 61.
    assert np.abs(counts[[0, 1, 3, 4]] - 5000).max() < 300


def test_symmetric_noise_chooses_rows_at_random() -> None:
    labels = np.zeros(10_000, dtype=np.int64)
    changed = np.flatnonzero(symmetric_noise(labels, 0.3, 10, rng()))
    assert 4500 < changed.mean() < 5500
    assert not np.array_equal(changed, np.flatnonzero(symmetric_noise(labels, 0.3, 10, rng(1))))


@given(rate=st.floats(0, 0.499), **cases)
def test_pair_noise_changes_the_exact_count_to_the_next_class(n: int, n_classes: int, seed: int, rate: float) -> None:
    labels = some_labels(n, n_classes, seed)
    before = labels.copy()
    noisy = pair_noise(labels, rate, n_classes, rng(seed))
    changed = noisy != labels
    assert changed.sum() == round(rate * n)
    np.testing.assert_array_equal(noisy[changed], (labels[changed] + 1) % n_classes)
    np.testing.assert_array_equal(labels, before)


def random_matrix(n_classes: int, seed: int) -> np.ndarray:
    """Rows are distributions that are largest on the diagonal."""
    off = rng(seed).dirichlet(np.ones(n_classes), n_classes)
    return 0.49 * off + 0.51 * np.eye(n_classes)


@given(**cases)
def test_matrix_noise_counts_are_the_rounded_expectation(n: int, n_classes: int, seed: int) -> None:
    labels, matrix = some_labels(n, n_classes, seed), random_matrix(n_classes, seed)
    before = labels.copy()
    noisy = matrix_noise(labels, matrix, rng(seed))
    np.testing.assert_array_equal(labels, before)
    for c in range(n_classes):
        counts = np.bincount(noisy[labels == c], minlength=n_classes)
        wanted = (labels == c).sum() * matrix[c]
        assert counts.sum() == (labels == c).sum()
        assert np.abs(counts - wanted).max() < 1, "within one of the expectation"


def test_matrix_noise_gives_what_is_left_to_the_largest_remainders() -> None:
    matrix = np.array([[0.62, 0.15, 0.23], [0.0, 1.0, 0.0], [0.25, 0.25, 0.5]])
    labels = np.array([0] * 10 + [1] * 4 + [2] * 7)
    noisy = matrix_noise(labels, matrix, rng())
    # Class 0: 6.2, 1.5, 2.3 -> 6, 2, 2. Class 2: 1.75, 1.75, 3.5 -> 2, 2, 3.
    assert np.bincount(noisy[:10], minlength=3).tolist() == [6, 2, 2]
    assert np.bincount(noisy[10:14], minlength=3).tolist() == [0, 4, 0]
    assert np.bincount(noisy[14:], minlength=3).tolist() == [2, 2, 3]


def test_matrix_noise_is_not_fooled_by_rounding() -> None:
    # 0.7 * 10 is 7.000000000000001 or 6.999999999999999 in binary; the counts are 7, 2 and 1.
    matrix = np.array([[0.7, 0.2, 0.1], [0.1, 0.7, 0.2], [0.2, 0.1, 0.7]])
    for repeats in (10, 100, 1000):
        noisy = matrix_noise(np.zeros(repeats, dtype=np.int64), matrix, rng())
        assert np.bincount(noisy).tolist() == [7 * repeats // 10, 2 * repeats // 10, repeats // 10]


def test_matrix_noise_chooses_rows_at_random() -> None:
    matrix = np.array([[0.6, 0.4], [0.0, 1.0]])
    changed = np.flatnonzero(matrix_noise(np.zeros(10_000, dtype=np.int64), matrix, rng()))
    assert 4500 < changed.mean() < 5500


def test_identity_matrix_and_rate_zero_change_nothing() -> None:
    labels = some_labels(50, 5)
    for noisy in (
        symmetric_noise(labels, 0, 5, rng()),
        pair_noise(labels, 0, 5, rng()),
        matrix_noise(labels, np.eye(5), rng()),
    ):
        np.testing.assert_array_equal(noisy, labels)
        assert noisy is not labels


@pytest.mark.parametrize(("n_classes", "limit"), [(2, 0.5), (10, 0.9), (100, 0.99)])
def test_the_informative_limit_is_where_all_classes_are_equally_frequent(n_classes: int, limit: float) -> None:
    assert informative_limit(n_classes) == pytest.approx(limit)
    assert (1 - limit) == pytest.approx(limit / (n_classes - 1))
    check_symmetric_rate(limit - 0.01, n_classes)
    for rate in (limit, 1.0):
        with pytest.raises(InputError, match=f"{rate:g}.*{limit:g}.*{n_classes} classes") as caught:
            symmetric_noise(np.zeros(5, dtype=np.int64), rate, n_classes, rng())
        assert str(caught.value).endswith("choose a lower rate.")


@pytest.mark.parametrize("rate", [-0.1, 1.5, float("nan")])
def test_rates_outside_the_unit_interval_are_refused(rate: float) -> None:
    for noise in (symmetric_noise, pair_noise):
        with pytest.raises(InputError, match=rf"label_noise={rate:g} is outside \[0, 1\]"):
            noise(np.zeros(5, dtype=np.int64), rate, 3, rng())


def test_pair_noise_of_one_half_is_refused() -> None:
    with pytest.raises(InputError, match=r"label_noise=0\.5 of the kind pair is not below 0\.5"):
        pair_noise(np.zeros(5, dtype=np.int64), 0.5, 3, rng())


@pytest.mark.parametrize(
    ("matrix", "complaint"),
    [
        (np.eye(3), r"shape \(3, 3\); 2 classes need \(2, 2\)"),
        (np.array([[0.9, 0.2], [0.0, 1.0]]), "a row that is not a distribution"),
        (np.array([[1.1, -0.1], [0.0, 1.0]]), "a row that is not a distribution"),
        (np.array([[np.nan, 0.0], [0.0, 1.0]]), "a row that is not a distribution"),
        (np.array([[0.9, 0.1], [0.5, 0.5]]), "Row 1 .* makes a wrong class at least as likely"),
        (np.array([[0.4, 0.6], [0.0, 1.0]]), "Row 0 .* makes a wrong class at least as likely"),
    ],
)
def test_bad_matrices_are_refused(matrix: np.ndarray, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        check_transition_matrix(matrix, 2)


@given(small=st.floats(0.01, 1), large=st.floats(0.01, 1), **cases)
def test_few_labels_are_nested_and_stratified(n: int, n_classes: int, seed: int, small: float, large: float) -> None:
    assume(small <= large)
    labels = some_labels(n, n_classes, seed)
    few, more = few_labels(labels, small, rng(seed)), few_labels(labels, large, rng(seed))
    assert not (few & ~more).any(), "more labels only add"
    for c in np.unique(labels):
        size = int((labels == c).sum())
        assert few[labels == c].sum() == max(1, round(small * size))
        assert more[labels == c].sum() == max(1, round(large * size))


def test_few_labels_are_random_rows() -> None:
    labels = np.zeros(10_000, dtype=np.int64)
    kept = np.flatnonzero(few_labels(labels, 0.1, rng()))
    assert len(kept) == 1000
    assert 4500 < kept.mean() < 5500


@pytest.mark.parametrize("fraction", [0.0, -1.0, 1.01, float("nan")])
def test_bad_fractions_are_refused(fraction: float) -> None:
    with pytest.raises(InputError, match=rf"fraction of labels {fraction:g} is outside \(0, 1\]"):
        few_labels(np.zeros(5, dtype=np.int64), fraction, rng())


@given(k=st.integers(1, 9), **cases)
def test_labels_per_class_keeps_k_of_each_class_and_nests(n: int, n_classes: int, seed: int, k: int) -> None:
    labels = some_labels(n, n_classes, seed)
    keep = labels_per_class(labels, k, rng(seed))
    counts = np.bincount(labels, minlength=n_classes)
    np.testing.assert_array_equal(np.bincount(labels[keep], minlength=n_classes), np.minimum(counts, k))
    assert not (keep & ~labels_per_class(labels, k + 1, rng(seed))).any()


def test_no_label_a_class_is_refused() -> None:
    with pytest.raises(InputError, match="0 labels a class"):
        labels_per_class(some_labels(9, 3), 0, rng())


@given(ratio=st.floats(1, 300), **cases)
def test_imbalance_keeps_exponentially_falling_classes_and_nests(
    n: int, n_classes: int, seed: int, ratio: float
) -> None:
    labels = some_labels(n, n_classes, seed)
    keep = imbalanced(labels, ratio, n_classes, rng(seed))
    assert set(labels[keep]) == set(labels)
    assert not (imbalanced(labels, 2 * ratio, n_classes, rng(seed)) & ~keep).any()
    if ratio == 1:
        assert keep.all()


def test_imbalance_of_equal_classes_by_hand() -> None:
    labels = np.repeat(np.arange(5), 1000)
    sizes = np.bincount(labels[imbalanced(labels, 100, 5, rng())])
    assert sorted(sizes.tolist()) == [10, 32, 100, 316, 1000]
    others = [np.bincount(labels[imbalanced(labels, 100, 5, rng(seed))]).argmax() for seed in range(20)]
    assert len(set(others)) > 1, "which class is the largest is drawn"


@pytest.mark.parametrize("ratio", [0.5, 0.0, -1.0, float("inf"), float("nan")])
def test_ratios_that_are_refused(ratio: float) -> None:
    with pytest.raises(InputError, match="imbalance ratio"):
        imbalanced(some_labels(9, 3), ratio, 3, rng())


def some_features(n: int, d: int = 6, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


@given(rate=st.floats(0, 1), **cases)
def test_instance_noise_changes_the_exact_count_to_other_classes(
    n: int, n_classes: int, seed: int, rate: float
) -> None:
    labels = some_labels(n, n_classes, seed)
    noisy = instance_noise(labels, some_features(n), rate, n_classes, rng(seed))
    assert (noisy != labels).sum() == round(rate * n)
    assert noisy.dtype == labels.dtype
    assert n == 0 or (noisy.min() >= 0 and noisy.max() < n_classes)


def test_instance_noise_gives_similar_rows_the_same_wrong_label() -> None:
    groups = np.repeat(np.arange(20), 200)
    features = some_features(20, 50)[groups] + 0.01 * some_features(4000, 50, 1)
    labels = np.zeros(4000, dtype=np.int64)
    noisy = instance_noise(labels, features, 0.4, 10, rng())
    agreement = []
    for group in range(20):
        wrong = noisy[(groups == group) & (noisy != 0)]
        assert 40 < len(wrong) < 120, "every group has its share"
        agreement.append(np.bincount(wrong).max() / len(wrong))
    assert np.mean(agreement) > 0.8
    assert len(set(noisy.tolist())) > 5, "other rows of the class go elsewhere"
    # The scale and the place of the features do not matter.
    np.testing.assert_array_equal(noisy, instance_noise(labels, 100 * features + 7, 0.4, 10, rng()))


def test_instance_noise_follows_its_definition() -> None:
    labels, features = some_labels(400, 4), some_features(400, 3)
    noisy = instance_noise(labels, features, 0.5, 4, rng(5))
    again = rng(5)
    q = stats.truncnorm.rvs(-5, 5, loc=0.5, scale=0.1, size=400, random_state=again)
    replaced = _exactly(q, 200, again)
    np.testing.assert_array_equal(noisy != labels, replaced)
    again.random(400)
    x = (features - features.mean(axis=0)) / features.std(axis=0)
    likelihood = []
    for c in range(4):
        w = again.standard_normal((3, 4))
        rows = np.flatnonzero(replaced & (labels == c))
        scores = np.delete(x[rows] @ w, c, axis=1)
        p = special.softmax(scores, axis=1)
        place = noisy[rows] - (noisy[rows] > c)
        likelihood += (p[np.arange(len(rows)), place] - (p**2).sum(axis=1)).tolist()
    # A class drawn from p has probability sum p^2 on average; 200 draws.
    assert abs(np.mean(likelihood)) < 0.05


@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=40), st.floats(0, 1), st.integers(0, 99))
def test_exactly_as_many_rows_as_asked(weights: list[float], fraction: float, seed: int) -> None:
    count = round(fraction * len(weights))
    assert _exactly(np.array(weights), count, rng(seed)).sum() == count


def test_rows_are_chosen_in_proportion_to_their_weights() -> None:
    weights = np.array([0.1, 0.2, 0.3, 0.4, 1.0])
    often = np.mean([_exactly(weights, 2, rng(seed)) for seed in range(4000)], axis=0)
    np.testing.assert_allclose(often, [0.1, 0.2, 0.3, 0.4, 1.0], atol=0.03)
    often = np.mean([_exactly(weights, 3, rng(seed)) for seed in range(4000)], axis=0)
    np.testing.assert_allclose(often, [0.2, 0.4, 0.6, 0.8, 1.0], atol=0.03)


def _clusters(n_classes: int = 4, a_cluster: int = 25) -> tuple[np.ndarray, np.ndarray]:
    """Features in two clusters a class, and their labels; class c is near class c + 1."""
    x = np.concatenate([[[10 * c, 0], [10 * c, 3]] for c in range(n_classes)])
    groups = np.repeat(np.arange(2 * n_classes), a_cluster)
    return x[groups] + 0.1 * some_features(len(groups), 2), groups // 2


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.25, 0.5, 1.0])
def test_cluster_noise_replaces_whole_clusters_by_one_near_class(rate: float) -> None:
    features, labels = _clusters()
    clusters = find_clusters(features, 8, 0)
    assert [len(set(labels[clusters.of_row == k])) for k in range(8)] == [1] * 8
    noisy = cluster_noise(labels, clusters, rate, 4, rng(1))
    assert (noisy != labels).sum() == round(rate * 200)
    partly = 0
    for k in range(8):
        rows = clusters.of_row == k
        wrong = noisy[rows & (noisy != labels)]
        assert len(set(wrong.tolist())) <= 1
        assert all(abs(wrong - labels[rows][0]) == 1), "the nearest other class"
        partly += 0 < len(wrong) < rows.sum()
        if 0 < len(wrong) < rows.sum():
            nearest = np.sort(clusters.distances[rows])[: len(wrong)]
            np.testing.assert_array_equal(np.sort(clusters.distances[rows & (noisy != labels)]), nearest)
    assert partly <= 1
    assert not np.array_equal(cluster_noise(labels, clusters, 0.25, 4, rng(2)) != labels, noisy != labels)


def test_clusters_of_one_class_cannot_be_wrong() -> None:
    features, _ = _clusters()
    labels = np.zeros(200, dtype=np.int64)
    clusters = find_clusters(features, 8, 0)
    with pytest.raises(InputError, match="more than the clusters allow"):
        cluster_noise(labels, clusters, 0.1, 3, rng())
    np.testing.assert_array_equal(cluster_noise(labels, clusters, 0.0, 3, rng()), labels)


def test_distances_are_those_to_the_centre_of_the_cluster() -> None:
    features, _ = _clusters()
    clusters = find_clusters(features, 8, 0)
    for k in range(8):
        rows = features[clusters.of_row == k]
        np.testing.assert_allclose(clusters.centres[k], rows.mean(axis=0), rtol=1e-5)
        expected = np.linalg.norm(rows - rows.mean(axis=0), axis=1)
        np.testing.assert_allclose(clusters.distances[clusters.of_row == k], expected, atol=1e-4)
    assert len(find_clusters(features[:5], 8, 0).centres) == 5


@pytest.mark.parametrize(("rows", "classes", "expected"), [(15_000, 150, 750), (500, 100, 50), (9, 3, 2)])
def test_number_of_clusters(rows: int, classes: int, expected: int) -> None:
    assert cluster_count(rows, classes) == expected


@pytest.mark.parametrize(
    ("kind", "highest", "refused"),
    [
        ("symmetric", 0.79, 0.8),
        ("instance", 0.79, 0.8),
        ("cluster", 0.79, 0.8),
        ("pair", 0.49, 0.5),
        ("matrix", 1, 1.1),
    ],
)
def test_rates_that_leave_no_information_are_refused(kind: str, highest: float, refused: float) -> None:
    check_informative_rate(highest, kind, 5)
    with pytest.raises(InputError, match=f"label_noise={refused}"):
        check_informative_rate(refused, kind, 5)


def test_default_rates_of_noise_that_depends_on_features_stay_below_one_half() -> None:
    for kind in ("instance", "cluster"):
        assert informative_rates((0.05, 0.4, 0.49, 0.6), kind, 100) == (0.05, 0.4)
