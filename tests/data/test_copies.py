"""Copies: equal and nearly equal rows are found, counted by splits, and kept in one split where that is drawn."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from made_files import encoded, image_parquet, load, noise_images, write
from PIL import Image

from monosemy.data.copies import Copies, count_copies, find_copies, joined_groups, normal_text
from monosemy.data.dataset import stratified_split
from monosemy.data.digits import digit_pairs
from monosemy.data.in_memory import from_arrays
from monosemy.seeding import numpy_rng

SENTENCES = [
    "The committee will meet again on Thursday to discuss the new budget.",
    "A small boat crossed the harbour before the storm reached the town.",
    "Nobody expected the old machine to work after so many quiet years.",
    "She wrote a long letter about the garden and the birds in it.",
    "Our train was late, so we walked along the river to the museum.",
]


def grouped(groups: np.ndarray) -> list[list[int]]:
    """Groups of two or more rows."""
    found = [np.flatnonzero(groups == group).tolist() for group in np.unique(groups)]
    return [rows for rows in found if len(rows) > 1]


# Texts


def test_equal_texts() -> None:
    found = find_copies((*SENTENCES, SENTENCES[1], SENTENCES[3], SENTENCES[1]))
    assert grouped(found.exact) == [[1, 5, 7], [3, 6]]
    assert found.near.tolist() == found.exact.tolist()


ALIKE = [
    ("The End", "the end"), ("Yes!", "yes"), ("a  b\tc", "a b c"), ("“quoted”", '"quoted"'),
    ("caf\u00e9", "cafe\u0301"), ("one-two", "one two"), ("What?!", "what"), (" x ", "x"), ("\uff28\uff29", "hi"),
    (" ".join(SENTENCES[:3]), " ".join(SENTENCES[:3]).replace("will meet", "would meet")),
    (SENTENCES[1], SENTENCES[1] + " Yes"),
    (SENTENCES[4], "Well, " + SENTENCES[4]),
]  # fmt: skip


@pytest.mark.parametrize(("first", "second"), ALIKE)
def test_texts_that_are_nearly_equal(first: str, second: str) -> None:
    found = find_copies((SENTENCES[2], SENTENCES[3], first, second))
    assert grouped(found.exact) == []
    assert grouped(found.near) == [[2, 3]]


DIFFERENT = [
    ("order 66 was sent to the wrong address in town", "order 67 was sent to the wrong address in town"),
    ("yes", "yes yes"), ("text 1 of class 2", "text 11 of class 2"), ("!", "?"), ("good", "goods"),
    ("the weather in london", "the weather in paris"), ("+", "-"), ("a\u0301", "a"),
]  # fmt: skip


@pytest.mark.parametrize(("first", "second"), DIFFERENT)
def test_texts_that_differ(first: str, second: str) -> None:
    assert grouped(find_copies((first, second, *SENTENCES)).near) == []


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(max_size=40), max_size=30))
def test_groups_of_texts_agree_with_a_search_of_all_pairs(texts: list[str]) -> None:
    found = find_copies(tuple(texts))
    for i, text in enumerate(texts):
        assert found.exact[i] == texts.index(text)
        for j in range(i):
            if normal_text(texts[j]) == normal_text(text):
                assert found.near[i] == found.near[j]


def test_many_texts_of_one_template_are_not_kept_together() -> None:
    names = ("anna", "berta", "clara", "dora", "emma", "frida", "gerda", "hanna", "irma", "julia", "karla", "lena")
    texts = tuple(f"Dear {name}, {' '.join(SENTENCES)}" for name in names)
    found = find_copies(texts)
    assert len(np.unique(found.near)) == 1
    assert np.array_equal(found.together(), found.exact)


def test_the_number_of_texts_is_no_limit() -> None:
    rng = np.random.default_rng(0)
    words = np.array([f"word{i}" for i in range(5000)])
    texts = [" ".join(words[rng.integers(0, 5000, 12)]) for _ in range(3000)]
    texts[2000], texts[2001] = texts[5], texts[6].upper()
    found = find_copies(tuple(texts))
    assert grouped(found.exact) == [[5, 2000]]
    assert grouped(found.near) == [[5, 2000], [6, 2001]]


# Embeddings


def matrix(n: int = 200, width: int = 16, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, width)).astype(np.float32)


def test_equal_and_nearly_equal_embeddings() -> None:
    rows = matrix()
    rows[100], rows[101], rows[102] = rows[3], rows[4] * 1.001, rows[5] + 1e-3
    found = find_copies(rows)
    assert grouped(found.exact) == [[3, 100]]
    assert grouped(found.near) == [[3, 100], [4, 101], [5, 102]]


@pytest.mark.parametrize("change", ["offset", "one wide column", "constant column", "all shifted"])
def test_scales_and_offsets_make_no_copies(change: str) -> None:
    rows = matrix()
    rows[150] = rows[7]
    if change == "offset":
        rows[:, 2] += 3000
    elif change == "one wide column":
        rows[:, 2] *= 1000
    elif change == "constant column":
        rows[:, 2] = 5
    else:
        rows += 1000
    assert grouped(find_copies(rows).near) == [[7, 150]]


def test_few_columns_have_equal_rows_only() -> None:
    rows = matrix(2000, 2)
    rows[1000] = rows[1]
    assert grouped(find_copies(rows).near) == [[1, 1000]]


def test_zero_and_minus_zero_are_equal() -> None:
    rows = matrix(4)
    rows[1], rows[2] = 0.0, -0.0
    assert grouped(find_copies(rows).exact) == [[1, 2]]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), copied=st.lists(st.tuples(st.integers(0, 39), st.integers(40, 79)), max_size=20))
def test_groups_are_the_connected_rows(seed: int, copied: list[tuple[int, int]]) -> None:
    rows = matrix(80, seed=seed)
    for source, place in copied:
        rows[place] = rows[source]
    wanted = [int(np.flatnonzero((rows == row).all(axis=1))[0]) for row in rows]
    assert find_copies(rows).exact.tolist() == wanted


def test_groups_are_joined() -> None:
    joined = joined_groups(np.array([0, 0, 2, 3, 4, 4]), np.array([0, 1, 1, 3, 4, 5]))
    assert joined.tolist() == [0, 0, 0, 3, 4, 4]


# Images


def pictures(n: int = 20, side: int = 32) -> list[Image.Image]:
    """Smooth pictures, as photographs are."""
    small = [Image.fromarray(pixels) for pixels in noise_images(n, 6, 6)]
    return [picture.resize((side, side), Image.Resampling.BICUBIC) for picture in small]


def file_of(picture: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


CHANGES = {
    "other format": lambda picture: file_of(picture, "BMP"),
    "compressed": lambda picture: file_of(picture, "JPEG", quality=75),
    "resized": lambda picture: file_of(picture.resize((64, 64), Image.Resampling.BICUBIC)),
    "a pixel": lambda picture: file_of(Image.eval(picture, lambda value: min(255, value + 1))),
}


@pytest.mark.parametrize("change", CHANGES)
def test_images_of_files(tmp_path: Path, change: str) -> None:
    originals = pictures()
    files = [file_of(picture) for picture in originals]
    files[10], files[11] = files[2], CHANGES[change](originals[3])
    path = image_parquet(tmp_path / "a.parquet", files, ["x", "y"] * 10)
    data = load(path, image_size=32)
    assert data.report is not None
    assert (data.report.copies["equal"], data.report.copies["near"]) == (1, 1)


def test_images_of_arrays() -> None:
    images = np.stack([np.asarray(picture).transpose(2, 0, 1) for picture in pictures()])
    images[5] = images[1]
    images[6] = np.clip(images[2].astype(int) + 2, 0, 255)
    for inputs in (images, images.astype(np.float32) / 255):
        found = find_copies(inputs)
        assert grouped(found.exact) == [[1, 5]]
        assert grouped(found.near) == [[1, 5], [2, 6]]


def test_images_of_one_colour_are_not_nearly_equal() -> None:
    images = np.stack([np.full((3, 8, 8), value, dtype=np.uint8) for value in (10, 11, 12, 10)])
    found = find_copies(images)
    assert grouped(found.near) == [[0, 3]]


def test_brighter_and_inverted_images_differ() -> None:
    image = np.asarray(pictures(1)[0]).transpose(2, 0, 1)
    changed = [image, 255 - image, image // 2, image[:, :, ::-1], image[[2, 1, 0]] // 2 + 100]
    assert grouped(find_copies(np.stack(changed)).near) == []


def test_damaged_images_are_no_obstacle(tmp_path: Path) -> None:
    path = image_parquet(tmp_path / "a.parquet", [*noise_images(18), b"broken", b"torn"], ["x", "y"] * 10)
    data = load(path, on_bad_row="skip")
    assert sum(map(len, data.splits().values())) == 18


# Counts and splits


def test_counts_by_splits() -> None:
    copies = Copies(np.array([0, 1, 0, 3, 4, 1, 6, 7]), np.array([0, 1, 0, 3, 3, 1, 6, 6]))
    parts = {"train": np.arange(4), "validation": np.array([4]), "test": np.array([5, 6, 7])}
    counted = count_copies(copies, parts, np.array([0, 1, 1, 0, 0, 1, 0, 1]))
    assert (counted.exact, counted.near, counted.conflicting) == (2, 2, 2)
    assert counted.across == {"test in train": (1, 0), "validation in train": (0, 1)}


def copied_table(folder: Path, n: int = 60, times: int = 4, **columns) -> Path:
    rows = matrix(n)
    labels = np.random.default_rng(1).integers(0, 3, n)
    frame = pd.DataFrame(
        {"embedding": list(np.repeat(rows, times, axis=0)), "label": np.repeat(labels, times)} | columns
    )
    return write(frame, folder / "copies.parquet")


def test_a_drawn_split_keeps_copies_together(tmp_path: Path) -> None:
    data = load(copied_table(tmp_path))
    sets = [{row.tobytes() for row in split.inputs} for split in data.splits().values()]
    assert sum(map(len, sets)) == len(set.union(*sets)) == 60
    assert [len(split) for split in data.splits().values()] == pytest.approx([144, 36, 60], abs=8)
    assert any("180 of 240 rows are copies of others (180 equal" in notice for notice in data.notices)
    assert not any("copies of train rows" in notice for notice in data.notices)


def test_given_splits_are_left_alone_and_warned_about(tmp_path: Path) -> None:
    splits = ["train", "train", "test", "validation"] * 60
    data = load(copied_table(tmp_path, split=splits))
    assert [len(split) for split in data.splits().values()] == [120, 60, 60]
    assert any("60 of 60 test rows are copies of train rows (60 equal" in notice for notice in data.notices)
    assert any("60 of 60 validation rows are copies of train rows" in notice for notice in data.notices)


def test_arrays_are_warned_about_too() -> None:
    rows, labels = matrix(60), np.arange(60) % 3
    data = from_arrays(rows[:40], labels[:40], np.concatenate([rows[35:40], rows[40:]]), labels[35:])
    assert any("5 of 25 test rows are copies of " in notice for notice in data.notices) or (
        sum(int(notice.split()[0]) for notice in data.notices if "test rows are copies of" in notice) == 5
    )


def test_labels_of_copies_that_differ(tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": [*(f"text {i}" for i in range(40)), "text 3"], "label": [*["a", "b"] * 20, "a"]})
    notices = load(write(frame, tmp_path / "t.csv")).notices
    assert any("2 rows equal others with another label" in notice for notice in notices)


def test_a_split_without_copies_is_drawn_as_before() -> None:
    labels = np.random.default_rng(3).integers(0, 5, 97)
    for fraction in (0.1, 0.25, 0.8):
        found = stratified_split(labels, fraction, numpy_rng("splits", 1), np.arange(97))
        rng = numpy_rng("splits", 1)
        chosen = [
            rng.permutation(np.flatnonzero(labels == c))[: round(fraction * (labels == c).sum())] for c in range(5)
        ]
        assert found[1].tolist() == sorted(np.concatenate(chosen).tolist())


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 60), n_groups=st.integers(1, 30), fraction=st.floats(0.05, 0.9))
def test_groups_stay_together(seed: int, n: int, n_groups: int, fraction: float) -> None:
    rng = np.random.default_rng(seed)
    labels, groups = rng.integers(0, 3, n), rng.integers(0, n_groups, n)
    rest, split_off = stratified_split(labels, fraction, rng, groups)
    assert sorted([*rest.tolist(), *split_off.tolist()]) == list(range(n))
    assert not set(groups[rest]) & set(groups[split_off])


def test_copies_everywhere_leave_a_split_that_can_be_used(tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": ["same", "other"] * 20, "label": ["a", "b"] * 20})
    data = load(write(frame, tmp_path / "t.csv"))
    assert all(len(split) for split in data.splits().values())
    assert any("Copies were not kept in one split" in notice for notice in data.notices)


def test_a_column_of_groups_stays_together(tmp_path: Path) -> None:
    n = 120
    frame = pd.DataFrame(
        {"text": [f"text {i}" for i in range(n)], "label": ["a", "b"] * 60, "patient": [f"p{i // 6}" for i in range(n)]}
    )
    data = load(write(frame, tmp_path / "t.csv"), group_column="patient")
    sets = [{frame["patient"][int(text.split()[1])] for text in split.inputs} for split in data.splits().values()]
    assert sum(map(len, sets)) == len(set.union(*sets)) == 20
    assert all(sets)


def test_groups_across_given_splits_are_warned_about(tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": [f"text {i}" for i in range(40)], "label": ["a", "b"] * 20})
    frame["split"], frame["patient"] = ["train", "train", "test", "validation"] * 10, [f"p{i % 5}" for i in range(40)]
    notices = load(write(frame, tmp_path / "t.csv"), group_column="patient").notices
    assert any("5 groups have rows in test and in another split ('p0', 'p1'" in notice for notice in notices)


def test_groups_need_a_column(tmp_path: Path, refuses) -> None:
    with refuses("t.csv", "'patient'", "group"):
        load(write(pd.DataFrame({"text": ["a", "b"], "label": ["x", "y"]}), tmp_path / "t.csv"), group_column="patient")
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "0.png").write_bytes(encoded((1, 2, 3)))
    with refuses("group_column='patient'", "requires a table"):
        load(tmp_path, group_column="patient")


def test_digit_pairs_are_split_as_they_were() -> None:
    data = digit_pairs(n_train=200, n_test=100)
    assert (len(data.train), len(data.validation), len(data.test)) == (200 - 100, 100, 100)
