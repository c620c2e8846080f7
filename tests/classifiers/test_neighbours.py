import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from monosemy.classifiers import neighbours as nn
from monosemy.classifiers.neighbours import Neighbours, Vote

C = 4


def _data(seed: int = 0, n: int = 160, q: int = 50, d: int = 7) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((C, d))
    true = rng.integers(0, C, n)
    train = (centres[true] + 0.6 * rng.standard_normal((n, d))).astype(np.float32)
    queries = (centres[rng.integers(0, C, q)] + 0.6 * rng.standard_normal((q, d))).astype(np.float32)
    labels = np.stack([np.where(rng.random(n) < rate, rng.integers(0, C, n), true) for rate in (0.0, 0.3, 0.6)], axis=1)
    return train, queries, labels


def _sparse(x: np.ndarray) -> sp.csr_array:
    return sp.csr_array(np.where(x > 0.4, x, 0).astype(np.float32))


@pytest.mark.parametrize("block_bytes", [2**26, 4 * 13 * 20])
@pytest.mark.parametrize("form", ["dense", "sparse", "map"])
def test_neighbours_are_those_of_scikit_learn(
    form: str, block_bytes: int, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.setattr(nn, "_BLOCK_BYTES", block_bytes)
    monkeypatch.setattr(nn, "_TRAIN_ROWS", 20 if block_bytes < 2**20 else nn._TRAIN_ROWS)
    train, queries, _ = _data()
    left, right = (_sparse(queries), _sparse(train)) if form == "sparse" else (queries, train)
    if form == "map":
        np.save(f"{tmp_path}/train.npy", train)
        right = np.load(f"{tmp_path}/train.npy", mmap_mode="r")
    found = nn.nearest_neighbours(left, right, 9)
    distance, rows = NearestNeighbors(n_neighbors=9, metric="cosine", algorithm="brute").fit(right).kneighbors(left)
    np.testing.assert_allclose(1 - found.cosines.numpy(), distance, atol=2e-6)
    if form != "sparse":  # sparse rows may have equal cosines
        np.testing.assert_array_equal(found.rows.numpy(), rows)


@pytest.mark.parametrize("train_rows", [20, 2**14])
def test_leave_one_out_is_the_others(train_rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nn, "_TRAIN_ROWS", train_rows)
    train, *_ = _data(n=70)
    found = nn.nearest_neighbours(train, train, 69, leave_one_out=True)
    for i in range(70):
        others = np.delete(np.arange(70), i)
        direct = nn.nearest_neighbours(train[i : i + 1], train[others], 69)
        np.testing.assert_array_equal(found.rows[i], others[direct.rows[0]])
    assert torch.isfinite(found.cosines).all()


@pytest.mark.parametrize(("k", "leave_one_out"), [(0, False), (71, False), (70, True)])
def test_k_out_of_range(k: int, leave_one_out: bool) -> None:
    train, *_ = _data(n=70)
    with pytest.raises(ValueError, match=f"k={k}"):
        nn.nearest_neighbours(train, train, k, leave_one_out=leave_one_out)


def test_rows_of_zeros_are_neighbours_at_cosine_zero() -> None:
    train = np.array([[0, 0], [1, 0], [-1, 0]], dtype=np.float32)
    found = nn.nearest_neighbours(np.array([[2, 0], [0, 0]], dtype=np.float32), train, 3)
    np.testing.assert_array_equal(found.cosines, [[1, 0, -1], [0, 0, 0]])
    np.testing.assert_array_equal(found.rows[0], [1, 0, 2])
    assert torch.isfinite(found.cosines).all()


def _weights_of(power: float) -> object:
    return (lambda distance: np.maximum(1 - distance, 0) ** power) if power else "uniform"


@pytest.mark.parametrize("power", [0.0, 1.0, 4.0])
@pytest.mark.parametrize("k", [1, 5, 20])
def test_votes_are_those_of_scikit_learn(power: float, k: int) -> None:
    train, queries, labels = _data()
    found = nn.nearest_neighbours(queries, train, 20)
    predicted = nn.predict_votes(found, labels, C, [Vote(k, power)])[0]
    shares = nn.vote_shares(found, labels, C, Vote(k, power))
    for job in range(labels.shape[1]):
        knn = KNeighborsClassifier(k, weights=_weights_of(power), metric="cosine", algorithm="brute")
        knn.fit(train, labels[:, job])
        np.testing.assert_allclose(shares[:, job], knn.predict_proba(queries), atol=1e-4)
        np.testing.assert_array_equal(predicted[:, job], knn.predict(queries))


def test_many_votes_at_once_are_each_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    train, queries, labels = _data(1)
    found = nn.nearest_neighbours(queries, train, 40)
    votes = [Vote(7, 1.0), Vote(40, 0.0), Vote(1, 1.0), Vote(13, 0.0), Vote(40, 16.0)]
    singly = [nn.predict_votes(found, labels[:, [job]], C, [vote]) for vote in votes for job in range(3)]
    monkeypatch.setattr(nn, "_BLOCK_BYTES", 8 * 3 * 40 * 11)
    together = nn.predict_votes(found, labels, C, votes)
    np.testing.assert_array_equal(together, np.stack(singly).reshape(5, 3, -1).transpose(0, 2, 1))
    true = np.random.default_rng(0).integers(-1, C, (len(queries), 3))
    accuracies = nn.vote_accuracies(found, labels, true, C, votes)
    expected = [[(p[t >= 0] == t[t >= 0]).mean() for p, t in zip(vote.T, true.T, strict=True)] for vote in together]
    np.testing.assert_allclose(accuracies, expected)


def test_a_large_power_does_not_vanish_and_nothing_similar_counts_heads() -> None:
    cosines = torch.tensor([[0.1, 0.09, 0.01], [0.0, 0.0, -0.5]])
    found = Neighbours(torch.tensor([[0, 1, 2], [0, 1, 2]]), cosines)
    labels = np.array([[1], [2], [2]])
    assert nn.predict_votes(found, labels, 3, [Vote(3, 300.0)]).ravel().tolist() == [1, 2]
    np.testing.assert_allclose(nn.vote_shares(found, labels, 3, Vote(3, 1.0))[0, 0], [0, 0.5, 0.5])


def test_negative_cosines_have_no_vote() -> None:
    found = Neighbours(torch.tensor([[0, 1, 2]]), torch.tensor([[0.2, -0.5, -0.5]]))
    labels = np.array([[0], [1], [1]])
    assert nn.predict_votes(found, labels, 2, [Vote(3, 1.0), Vote(3, 0.0)]).ravel().tolist() == [0, 1]


def test_best_vote_by_the_mean_over_label_vectors_and_of_equals_the_last() -> None:
    votes = [Vote(1), Vote(5), Vote(20)]
    assert nn.best_vote(np.array([[0.9, 0.1], [0.6, 0.6], [0.6, 0.6]]), votes) == Vote(20)
    assert nn.best_vote(np.array([[0.9, 0.5], [0.6, 0.6], [0.6, 0.6]]), votes) == Vote(1)


@pytest.mark.parametrize(
    ("rows", "classes", "expected"),
    [
        (15_000, 150, (1, 2, 5, 10, 20, 50, 100, 200, 400)),
        (6_000, 10, (1, 2, 5, 10, 20, 50, 100, 200, 400, 600)),
        (50_000, 10, (1, 2, 5, 10, 20, 50, 100, 200, 400, 1000)),
        (30, 3, (1, 2, 5, 10, 20, 29)),
        (2, 2, (1,)),
    ],
)
def test_numbers_of_neighbours_to_choose_from(rows: int, classes: int, expected: tuple[int, ...]) -> None:
    assert nn.neighbour_counts(rows, classes) == expected


def _slow_wann(train: np.ndarray, labels: np.ndarray, queries: np.ndarray) -> tuple[list[int], list[int]]:
    """Algorithm 1 and equations 2 to 4, row by row."""
    unit, asked = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (train, queries))
    sizes = []
    for i in range(len(train)):
        order = [j for j in np.argsort(-(unit @ unit[i]), kind="stable") if j != i]
        size = next((k for k in range(11, 51, 2) if np.bincount(labels[order[:k]]).argmax() == labels[i]), 51)
        sizes.append(size)
    predicted = []
    for q in asked:
        order = np.argsort(-(unit @ q), kind="stable")
        votes = np.zeros(C)
        for j in order[: sizes[order[0]]]:
            votes[labels[j]] += 1 / sizes[j]
        predicted.append(int(votes.argmax()))
    return sizes, predicted


def test_wann_is_the_algorithm_of_its_authors() -> None:
    train, queries, labels = _data(2)
    own = nn.nearest_neighbours(train, train, 51, leave_one_out=True)
    sizes = nn.reliable_neighbourhoods(own, labels, C)
    shares = nn.wann(nn.nearest_neighbours(queries, train, 51), sizes, labels, C)
    np.testing.assert_allclose(shares.sum(axis=2), 1, atol=1e-5)
    for job in range(labels.shape[1]):
        slow_sizes, predicted = _slow_wann(train, labels[:, job], queries)
        assert sizes[:, job].tolist() == slow_sizes
        assert shares[:, job].argmax(axis=1).tolist() == predicted
    assert {11, 51} <= set(sizes.ravel().tolist())


def test_wann_of_few_rows_uses_what_is_there() -> None:
    train, queries, labels = _data(3, n=8)
    own = nn.nearest_neighbours(train, train, 7, leave_one_out=True)
    sizes = nn.reliable_neighbourhoods(own, labels, C)
    assert (sizes == 7).all()
    shares = nn.wann(nn.nearest_neighbours(queries, train, 8), sizes, labels, C)
    np.testing.assert_allclose(shares.sum(axis=2), 1, atol=1e-5)


def test_relabel_by_the_other_rows() -> None:
    train, _, labels = _data(4, n=40)
    own = nn.nearest_neighbours(train, train, 5, leave_one_out=True)
    new = nn.relabel(own, labels, C, Vote(5, 1.0))
    for i in range(40):
        others = np.delete(np.arange(40), i)
        knn = KNeighborsClassifier(5, weights=_weights_of(1.0), metric="cosine", algorithm="brute")
        for job in range(3):
            assert new[i, job] == knn.fit(train[others], labels[others, job]).predict(train[i : i + 1])[0]


def test_relabelling_mends_noisy_labels() -> None:
    train, _, labels = _data(5, n=400)
    own = nn.nearest_neighbours(train, train, 20, leave_one_out=True)
    new = nn.relabel(own, labels, C, Vote(20, 1.0))
    assert ((new == labels[:, [0]]).mean(axis=0) > (labels == labels[:, [0]]).mean(axis=0))[1:].all()


def test_label_vectors_that_use_the_same_rows_form_a_group() -> None:
    labels = np.array([[0, -1, 1, 2], [1, 1, 1, -1], [-1, 0, -1, 0]])
    groups = [(rows.tolist(), jobs.tolist()) for rows, jobs in nn.jobs_by_rows(labels)]
    assert groups == [([0, 1], [0, 2]), ([1, 2], [1]), ([0, 2], [3])]
