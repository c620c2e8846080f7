"""Folders of class folders: lists of classes, flat folders, and classes that cannot be split."""

from pathlib import Path

import numpy as np
import pytest
from made_files import class_folders, encoded, load, noise_images

from monosemy.data.config import DataConfig
from monosemy.data.image_folders import rows_of_folder
from monosemy.data.load import load_unlabelled


@pytest.fixture
def animals(tmp_path: Path) -> Path:
    return class_folders(tmp_path / "animals", {"n01": 8, "n02": 8, "n03": 8})


def listed(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "classes.txt"
    path.write_text(text)
    return path


@pytest.mark.parametrize("text", ["n03\nn01\n", "n01 tench\n\n  n03   goldfish, Carassius\n"])
def test_a_list_of_classes_chooses_folders(animals: Path, tmp_path: Path, text: str) -> None:
    data = load(animals, classes=listed(tmp_path, text))
    assert data.class_names == ("n01", "n03")
    assert sum(map(len, data.splits().values())) == 16


def test_a_list_of_classes_below_split_folders(tmp_path: Path) -> None:
    for part in ("train", "val", "test"):
        class_folders(tmp_path / "a" / part, {"n01": 3, "n02": 3, "n03": 3})
    data = load(tmp_path / "a", classes=listed(tmp_path, "n02\nn01\n"))
    assert data.class_names == ("n01", "n02")
    assert [len(data.splits()[part]) for part in ("train", "validation", "test")] == [6, 6, 6]


def test_unread_classes_may_hold_anything(animals: Path, tmp_path: Path) -> None:
    (animals / "n02" / "000.png").write_bytes(b"broken")
    assert load(animals, classes=listed(tmp_path, "n01\nn03\n")).n_classes == 2


def test_missing_classes_and_bad_lists(animals: Path, tmp_path: Path, refuses) -> None:
    with refuses(tmp_path / "classes.txt", "'n04'", animals):
        load(animals, classes=listed(tmp_path, "n01\nn04\nn05\n"))
    with refuses(tmp_path / "classes.txt", "empty"):
        load(animals, classes=listed(tmp_path, "\n \n"))
    with refuses(tmp_path / "none.txt", "does not exist"):
        load(animals, classes=tmp_path / "none.txt")
    (tmp_path / "t.csv").write_text("text,label\n" + "a,x\nb,y\n" * 8)
    with refuses("data.classes", "t.csv"):
        load(tmp_path / "t.csv", classes=listed(tmp_path, "n01\n"))


def test_a_class_with_one_image_is_named(animals: Path) -> None:
    class_folders(animals, {"lonely": 1})
    data = load(animals)
    assert (data.train.labels == data.class_names.index("lonely")).sum() == 1
    assert any("1 class with one row" in notice and "'lonely'" in notice for notice in data.notices)


def test_a_class_with_one_image_is_fine_where_nothing_is_split(tmp_path: Path, animals: Path) -> None:
    for part in ("train", "val", "test"):
        class_folders(tmp_path / "a" / part, {"x": 1, "y": 2})
    assert len(load(tmp_path / "a").train) == 3
    lonely = class_folders(tmp_path / "b", {"n01": 1})
    assert len(load(animals, shifts={"s": str(lonely)}).shifts["s"]) == 1
    class_folders(animals, {"lonely": 1})
    assert "lonely" in load_unlabelled(DataConfig(source=str(animals))).class_names


def test_flat_folders_have_no_labels(tmp_path: Path, refuses) -> None:
    class_folders(tmp_path, {"a": 5})
    rows = rows_of_folder(tmp_path / "a", None, labelled=False)
    assert (len(rows.inputs), rows.labels, rows.splits) == (5, None, None)
    with refuses(tmp_path / "a", "outside class folders"):
        load(tmp_path / "a")


def test_flat_split_folders_are_splits_and_no_classes(tmp_path: Path, refuses) -> None:
    class_folders(tmp_path / "a", {"train": 5, "test": 3})
    rows = rows_of_folder(tmp_path / "a", None, labelled=False)
    assert (rows.labels, rows.splits) == (None, ["test"] * 3 + ["train"] * 5)
    with refuses(tmp_path / "a", "outside class folders"):
        load(tmp_path / "a")


def test_bad_images_stop_or_are_skipped(animals: Path, refuses) -> None:
    (animals / "n02" / "003.png").write_bytes(b"broken")
    with refuses("n02/003.png", animals, "--on-bad-row skip"):
        load(animals)
    data = load(animals, on_bad_row="skip")
    assert sum(map(len, data.splits().values())) == 23
    assert (
        data.notices[-1] == f"Left out: 1 of 24 images that cannot be read (Image n02/003.png of the folder {animals})."
    )
    for split in data.splits().values():
        assert len(split.inputs) == len(split.labels)


def test_skipping_keeps_labels_and_noisy_labels_with_their_images(tmp_path: Path) -> None:
    """Class i has images of colour i; one in five is broken."""
    folder = tmp_path / "a"
    for i in range(60):
        target = folder / f"c{i % 3}" / f"{i:02d}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(b"broken" if i % 5 == 0 else encoded((i % 3, i, 0)))
    order = [i for c in range(3) for i in range(c, 60, 3)]
    (tmp_path / "given.csv").write_text("given_label\n" + "\n".join(f"c{(i + i // 3) % 3}" for i in order) + "\n")
    data = load(folder, on_bad_row="skip", noisy_labels=tmp_path / "given.csv")
    assert sum(map(len, data.splits().values())) == 48
    assert data.noisy_labels is not None
    for split in data.splits().values():
        assert split.inputs[:, 0, 0, 0].tolist() == split.labels.tolist()
    for split, given in zip((data.train, data.validation), data.noisy_labels, strict=True):
        numbers = split.inputs[:, 1, 0, 0].astype(int)
        assert given.tolist() == ((numbers + numbers // 3) % 3).tolist()


def test_image_size_cuts_the_middle(tmp_path: Path) -> None:
    class_folders(tmp_path / "a", {"x": 6, "y": 6}, (16, 32))
    assert load(tmp_path / "a").train.inputs.shape[1:] == (3, 16, 32)
    assert load(tmp_path / "a", image_size=16).train.inputs.shape[1:] == (3, 16, 16)
    known = {x[:, 8:24].transpose(2, 0, 1).tobytes() for x in noise_images(12, 16, 32)}
    assert {x.tobytes() for x in np.asarray(load(tmp_path / "a", image_size=16).train.inputs)} <= known
