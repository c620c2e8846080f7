"""One policy for missing values: every row that cannot be used is found in one round, counted and named."""

from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st
from made_files import EMBEDDINGS, LABELS, SPLITS, TEXTS, encoded, image_parquet, load, noise_images, texts, write

from monosemy.data.dataset import Rows, label_texts
from monosemy.data.in_memory import from_arrays
from monosemy.data.quality import usable_rows

MISSING = [
    None, float("nan"), float("inf"), np.float32("nan"), pd.NA, pd.NaT, np.datetime64("NaT"), Decimal("NaN"),
    "", "  ", "nan", "NaN", "None", "null", "NULL", "<NA>", "NaT", "N/A", "#N/A", b"", b" ",
]  # fmt: skip


@pytest.mark.parametrize("value", MISSING, ids=repr)
def test_a_missing_label_is_empty(value: object) -> None:
    assert label_texts(["a", value, "b"]) == ["a", "", "b"]


LABEL_TEXTS = [
    ([b"cat", "d\u00f6g".encode()], ["cat", "d\u00f6g"]),
    (np.array([b"cat", b"dog"]), ["cat", "dog"]),
    ([0.0, 1.0, np.float32(2)], ["0", "1", "2"]),
    (["0.0", "1.0", ""], ["0", "1", ""]),
    (["nan", "1.0", "2.0"], ["", "1", "2"]),
    (["1.0", "1.5"], ["1.0", "1.5"]),
    (["1.0", "a"], ["1.0", "a"]),
    ([1.0, 1.5], ["1", "1.5"]),
    ([True, False], ["True", "False"]),
    (np.array([True, False]), ["True", "False"]),
    (["NA", "na"], ["NA", "na"]),
    ([" pos", "pos\u00a0", "pos"], ["pos", "pos", "pos"]),
    (pd.Series(["a", None], dtype="string"), ["a", ""]),
    (pd.Series([1, None], dtype="Int64"), ["1", ""]),
    (pd.Categorical(["a", None, "b"]), ["a", "", "b"]),
    ([Decimal("1.0"), Decimal("2.5")], ["1", "2.5"]),
]


@pytest.mark.parametrize(("values", "wanted"), LABEL_TEXTS, ids=[str(list(values)) for values, _ in LABEL_TEXTS])
def test_labels_as_text(values: object, wanted: list[str]) -> None:
    assert label_texts(values) == wanted


def test_changed_labels_are_said() -> None:
    messages: list[str] = []
    label_texts(["pos ", "pos", "\tneg", " "], messages=messages)
    assert messages == ["White space around 2 labels was removed (such as 'pos ')."]
    messages = []
    label_texts(["1.0", "2"], messages=messages)
    assert messages == ["1 labels such as '1.0' are whole numbers and were read as such."]
    messages = []
    label_texts(["NA", "NA", "b", "nan"], messages=messages)
    assert messages == ["2 labels 'NA' were kept as a class; list it in data.missing_labels if it means none."]


def test_what_means_missing_is_chosen() -> None:
    assert label_texts(["NA", "None"], ["NA"]) == ["", "None"]
    assert label_texts([None, float("nan")], []) == ["", ""]


def test_bytes_that_are_no_text(refuses) -> None:
    with refuses("no UTF-8"):
        label_texts([b"\xff\xfe"])


TWO_OF_EACH = {"text": ["", None, *TEXTS[2:]], "label": [*LABELS[:2], None, *LABELS[3:]], "split": [*SPLITS[:-1], ""]}


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl", "t.parquet"])
def test_all_kinds_are_said_in_one_round(tmp_path: Path, refuses, name: str) -> None:
    path = write(pd.DataFrame(TWO_OF_EACH), tmp_path / name)
    found = "2 with an empty text (row 0, row 1), 1 without a split (row 39), 1 without a label (row 2)"
    with refuses(path, "4 of 40 rows that cannot be used", found, "--on-bad-row skip", "count from 0"):
        load(path)
    data = load(path, on_bad_row="skip")
    assert [len(split) for split in data.splits().values()] == [21, 4, 11]
    assert data.class_names == tuple(sorted(set(LABELS)))
    assert data.notices[-1] == (
        f"Left out: 4 of 40 rows that cannot be used: {found} (rows count from 0, without the header)."
    )
    assert data.train.inputs == tuple(TEXTS[3:24])


def test_rows_of_several_files_are_named_by_their_file(tmp_path: Path, refuses) -> None:
    for part, start in (("train-1", 0), ("train-2", 10), ("test", 20)):
        frame = texts()[["text", "label"]][start : start + 10].reset_index(drop=True)
        frame.loc[[3], "label"] = None
        write(frame, tmp_path / f"{part}.csv")
    with refuses("3 without a label (row 3 of test.csv, row 3 of train-1.csv, row 3 of train-2.csv)"):
        load(tmp_path / "*.csv")
    data = load(tmp_path / "*.csv", on_bad_row="skip")
    assert (len(data.train) + len(data.validation), len(data.test)) == (18, 9)


def test_many_bad_rows_are_bounded(tmp_path: Path, refuses) -> None:
    path = write(texts(label=[None] * 30 + LABELS[30:]), tmp_path / "t.csv")
    with refuses("30 without a label (row 0, row 1, row 2, row 3, row 4 and 25 more)"):
        load(path)


def test_no_row_is_left(tmp_path: Path, refuses) -> None:
    path = write(texts(label=[None] * 40), tmp_path / "t.csv")
    with refuses(path, "no row that can be used", "40 without a label"):
        load(path, on_bad_row="skip")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_embeddings_and_labels_of_separate_files(tmp_path: Path, refuses, value: float) -> None:
    bad = EMBEDDINGS.copy()
    bad[[3, 7], 1] = value
    np.save(tmp_path / "x.npy", bad)
    labels = write(pd.DataFrame({"label": ["", "nan", *LABELS[2:]]}), tmp_path / "labels.csv")
    with refuses("2 with NaN or infinity (row 3, row 7), 2 without a label (row 0, row 1)"):
        load(tmp_path / "x.npy", labels=labels)
    data = load(tmp_path / "x.npy", labels=labels, on_bad_row="skip")
    rows = np.concatenate([np.asarray(split.inputs) for split in data.splits().values()])
    assert sorted(map(tuple, rows)) == sorted(map(tuple, EMBEDDINGS[[2, 4, 5, 6, *range(8, 40)]]))


def test_parts_of_an_array_file(tmp_path: Path, refuses) -> None:
    bad = EMBEDDINGS.copy()
    bad[30] = np.nan
    np.savez(tmp_path / "a.npz", X_train=bad[:28], y_train=LABELS[:28], X_test=bad[28:], y_test=LABELS[28:])
    with refuses("1 with NaN or infinity (row 2 of X_test)"):
        load(tmp_path / "a.npz")


def test_images_that_are_missing_or_damaged(tmp_path: Path, refuses) -> None:
    images = [encoded(image) for image in noise_images(40)]
    images[5], images[6] = None, None
    path = tmp_path / "a.parquet"
    frame = pd.DataFrame({"image": [None if x is None else {"bytes": x, "path": None} for x in images]})
    frame.assign(label=[*LABELS[:8], None, *LABELS[9:]]).to_parquet(path, row_group_size=10)
    with refuses("2 without an image (row 5, row 6), 1 without a label (row 8)"):
        load(path)
    data = load(path, on_bad_row="skip")
    assert sum(map(len, data.splits().values())) == 37


def test_all_damaged_images_are_named_at_once(tmp_path: Path, refuses) -> None:
    path = image_parquet(tmp_path / "a.parquet", [*noise_images(18), b"broken", b"torn"], ["x", "y"] * 10)
    with refuses("2 of 20 images that cannot be read", f"Image 18 of {path}", f"Image 19 of {path}"):
        load(path)


def test_labels_of_splits_that_are_left_out_may_be_missing(tmp_path: Path) -> None:
    path = write(texts(label=[*LABELS[:36], *[None] * 4], split=[*SPLITS[:36], *["unlabeled"] * 4]), tmp_path / "t.csv")
    assert load(path).notices == ("Left out: rows of the splits 'unlabeled' (4).",)


def test_given_noisy_labels_of_skipped_rows_stay_with_their_rows(tmp_path: Path) -> None:
    path = write(texts(text=[None, *TEXTS[1:]], split=["train"] * 28 + ["test"] * 12), tmp_path / "t.csv")
    noisy = write(pd.DataFrame({"noisy_label": [LABELS[(i * 7 + 1) % 4] for i in range(28)]}), tmp_path / "n.csv")
    data = load(path, noisy_labels=noisy, on_bad_row="skip")
    assert data.noisy_labels is not None
    for split, given_labels in zip((data.train, data.validation), data.noisy_labels, strict=True):
        for text, label in zip(split.inputs, given_labels, strict=True):
            assert data.class_names[label] == LABELS[(int(text.split()[1]) * 7 + 1) % 4]


SPOILT = [None if i == 3 else f"c{i % 3}" for i in range(60)]
CONTAINERS = {
    "list": SPOILT,
    "string column": pd.Series(SPOILT, dtype="string"),
    "object column": pd.Series(SPOILT, dtype=object),
    "nan among texts": [float("nan") if label is None else label for label in SPOILT],
    "array of objects": np.array(SPOILT, dtype=object),
    "category": pd.Series(SPOILT, dtype="category"),
    "numbers": [np.nan if label is None else float(label[1]) for label in SPOILT],
    "nullable integers": pd.Series([None if label is None else int(label[1]) for label in SPOILT], dtype="Int64"),
}


@pytest.mark.parametrize("kind", CONTAINERS)
def test_missing_labels_of_arrays(kind: str, refuses) -> None:
    X = np.random.default_rng(0).standard_normal((60, 4)).astype(np.float32)
    y = CONTAINERS[kind]
    clean = [i % 3 if kind in ("numbers", "nullable integers") else f"c{i % 3}" for i in range(60)]
    with refuses("The train part", "1 of 60 rows", "1 without a label (row 3)"):
        from_arrays(X, y, X, clean)
    with refuses("The test part", "1 without a label (row 3)"):
        from_arrays(X, clean, X, y)
    data = from_arrays(X, y, X, clean, on_bad_row="skip")
    assert len(data.train) + len(data.validation) == 59
    assert data.n_classes == 3


@given(bad=st.sets(st.integers(0, 19), max_size=19))
def test_numbers_are_those_of_the_source_also_after_rows_were_left_out(bad: set[int]) -> None:
    rows = Rows("texts", tuple("" if i in bad else str(i) for i in range(20)), ["x"] * 20, files=(("a", 12), ("b", 8)))
    kept = usable_rows(rows, "skip", "here")
    assert [int(text) for text in kept.inputs] == [i for i in range(20) if i not in bad]
    names = [f"row {i} of a" if i < 12 else f"row {i - 12} of b" for i in range(20) if i not in bad]
    assert [kept.describe(i) for i in range(len(kept))] == names
