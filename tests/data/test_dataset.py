"""Splits and labelled data: what they refuse and what they keep."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from monosemy.data.dataset import LabelledData, Rows, Split, encode_labels, stratified_split, take


def split(n: int = 4, labels=None, inputs=None) -> Split:
    labels = np.arange(n) % 2 if labels is None else np.asarray(labels)
    return Split(np.ones((n, 3), dtype=np.float32) if inputs is None else inputs, labels)


def data(**changes) -> LabelledData:
    parts = {
        "name": "toy", "kind": "embeddings", "train": split(), "validation": split(), "test": split(),
        "class_names": ("a", "b"),
    }  # fmt: skip
    return LabelledData(**(parts | changes))


def test_good_data_is_taken() -> None:
    whole = data(shifts={"dark": split(2)})
    assert whole.n_classes == 2
    assert list(whole.splits()) == ["train", "validation", "test", "dark"]
    assert [len(part) for part in whole.splits().values()] == [4, 4, 4, 2]


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_empty_splits_are_refused(refuses, part: str) -> None:
    with refuses(f"The {part} split of toy is empty"):
        data(**{part: split(0)})
    with refuses("dark"):
        data(shifts={"dark": split(0)})


def test_label_count_must_match(refuses) -> None:
    with refuses("test split of toy", 4, 3):
        data(test=Split(np.ones((4, 3), dtype=np.float32), np.array([0, 1, 0])))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("part", ["train", "validation", "test", "shift"])
def test_embeddings_must_be_finite(refuses, value: float, part: str) -> None:
    bad = np.ones((4, 3), dtype=np.float32)
    bad[2, 1] = bad[3, 0] = value
    with refuses(part, "2 of 4 rows", "first: row 2"):
        data(**({"shifts": {part: split(inputs=bad)}} if part == "shift" else {part: split(inputs=bad)}))


def test_one_class_is_refused(refuses) -> None:
    with refuses("train split of toy has 1 class"):
        data(train=split(labels=[1, 1, 1, 1]))


def test_noisy_labels_need_one_for_each_row(refuses) -> None:
    good = np.array([1, 1, 0, 0])
    assert data(noisy_labels=(good, good)).noisy_labels is not None
    with refuses("3 noisy labels for 4 rows"):
        data(noisy_labels=(good, good[:3]))


def test_take_keeps_order_and_pairs() -> None:
    rows = np.array([2, 0])
    assert take(("a", "b", "c"), rows) == ("c", "a")
    assert take(np.arange(6).reshape(3, 2), rows).tolist() == [[4, 5], [0, 1]]
    part = Split(("a", "b", "c"), np.array([7, 8, 9])).take(rows)
    assert (part.inputs, part.labels.tolist()) == (("c", "a"), [9, 7])


def test_labels_are_compared_as_text() -> None:
    assert encode_labels([1, "1", "x", 2], ["2", "1"]).tolist() == [1, 1, -1, 0]


@given(labels=st.lists(st.integers(0, 4), max_size=60), fraction=st.floats(0.01, 0.99), seed=st.integers(0, 99))
def test_stratified_split_takes_its_share_of_every_class(labels: list[int], fraction: float, seed: int) -> None:
    array = np.array(labels, dtype=np.int64)
    kept, off = stratified_split(array, fraction, np.random.default_rng(seed))
    assert sorted([*kept, *off]) == list(range(len(labels)))
    assert kept.tolist() == sorted(kept)
    assert off.tolist() == sorted(off)
    for c in set(labels):
        size, taken = labels.count(c), int((array[off] == c).sum())
        if size == 1:
            assert taken == 0
        else:
            assert 1 <= taken <= size - 1
            assert taken == min(max(round(fraction * size), 1), size - 1)


def test_stratified_split_is_random_and_repeatable() -> None:
    labels = np.zeros(1000, dtype=np.int64)
    _, off = stratified_split(labels, 0.2, np.random.default_rng(0))
    assert 400 < off.mean() < 600
    assert off.tolist() == stratified_split(labels, 0.2, np.random.default_rng(0))[1].tolist()
    assert off.tolist() != stratified_split(labels, 0.2, np.random.default_rng(1))[1].tolist()


def test_rows_are_named_by_their_numbers_in_their_files() -> None:
    rows = Rows("texts", ("a",) * 6, None, files=(("part-1.csv", 2), ("part-2.csv", 0), ("part-10.csv", 4)))
    assert [rows.describe(i) for i in (0, 1, 2, 5)] == [
        "row 0 of part-1.csv",
        "row 1 of part-1.csv",
        "row 0 of part-10.csv",
        "row 3 of part-10.csv",
    ]
    assert Rows("texts", ("a",), None).describe(0) == "row 0"
