"""Images to pretrain on: all train rows but a few held out, with labels where there are any."""

from pathlib import Path

import numpy as np
import pytest
from made_files import class_folders, encoded, image_parquet, noise_images, texts, write

from monosemy.data import load as load_module, memory_map
from monosemy.data.config import DataConfig
from monosemy.data.load import UnlabelledImages, load_data, load_unlabelled

IMAGES = noise_images(60)


def load(source: Path | str, seed: int = 0, **options) -> UnlabelledImages:
    return load_unlabelled(DataConfig(source=str(source), **options), seed)


def numbers(images: np.ndarray) -> list[int]:
    """Which of IMAGES these are."""
    known = {image.tobytes(): i for i, image in enumerate(IMAGES.transpose(0, 3, 1, 2))}
    return [known[np.asarray(image).tobytes()] for image in images]


def test_all_rows_without_labels_and_splits(tmp_path: Path) -> None:
    found = load(image_parquet(tmp_path / "a.parquet", IMAGES))
    assert (found.train_labels, found.held_out_labels, found.class_names) == (None, None, ())
    assert (len(found.train), len(found.held_out)) == (54, 6)
    train, held_out = numbers(found.train), numbers(found.held_out)
    assert sorted(train + held_out) == list(range(60))
    assert train == sorted(train)
    assert found.train.dtype == found.held_out.dtype == np.uint8


def test_labels_follow_their_images(tmp_path: Path) -> None:
    path = image_parquet(tmp_path / "a.parquet", IMAGES, [i % 3 for i in range(60)], ["pear", "apple", "fig"])
    found = load(path)
    assert found.class_names == ("pear", "apple", "fig")
    assert found.train_labels is not None
    assert found.held_out_labels is not None
    assert found.train_labels.tolist() == [i % 3 for i in numbers(found.train)]
    assert found.held_out_labels.tolist() == [i % 3 for i in numbers(found.held_out)]


def test_only_train_rows_are_touched(tmp_path: Path) -> None:
    splits = ["train"] * 40 + ["validation"] * 10 + ["test"] * 10
    broken = [*map(encoded, IMAGES[:40]), *[b"broken"] * 20]
    found = load(image_parquet(tmp_path / "a.parquet", broken, split=splits))
    assert sorted(numbers(found.train) + numbers(found.held_out)) == list(range(40))


def test_rows_of_one_class_or_without_a_label_are_fine(tmp_path: Path) -> None:
    one = load(image_parquet(tmp_path / "a.parquet", IMAGES, [0] * 60))
    assert one.class_names == ("0",)
    some = load(image_parquet(tmp_path / "b.parquet", IMAGES, [0, -1] * 30, ["pear", "fig"]))
    assert (some.train_labels, some.class_names) == (None, ())
    splits = ["train"] * 30 + ["test"] * 30
    hidden = load(image_parquet(tmp_path / "c.parquet", IMAGES, [0] * 30 + [-1] * 30, ["pear", "fig"], split=splits))
    assert hidden.train_labels is not None, "hidden labels of the test split do not matter"


@pytest.mark.parametrize("splits", [None, ["train"] * 60, ["train"] * 50 + ["validation"] * 10])
def test_rows_that_a_study_would_test_on_are_left_out(tmp_path: Path, splits: list[str] | None) -> None:
    columns = {} if splits is None else {"split": splits}
    path = image_parquet(tmp_path / "a.parquet", IMAGES, [i % 3 for i in range(60)], **columns)
    found, study = load(path), load_data(DataConfig(source=str(path)))
    seen = {*numbers(found.train), *numbers(found.held_out)}
    assert not seen & set(numbers(study.test.inputs))
    own_validation = splits is not None and "validation" in splits  # which is not for training
    wanted = {*numbers(study.train.inputs), *(() if own_validation else numbers(study.validation.inputs))}
    assert seen == wanted


def test_folders_with_and_without_classes(tmp_path: Path) -> None:
    class_folders(tmp_path / "flat", {".": 30})
    flat = load(tmp_path / "flat")
    assert (len(flat.train), len(flat.held_out), flat.train_labels) == (27, 3, None)
    class_folders(tmp_path / "classes", {"a": 20, "b": 10})
    classes = load(tmp_path / "classes")
    assert classes.class_names == ("a", "b")
    assert classes.train_labels is not None
    assert len(classes.train_labels) == len(classes.train)
    mixed = class_folders(tmp_path / "mixed", {"a": 10, ".": 10})
    assert load(mixed).train_labels is None
    split = class_folders(tmp_path / "split", {"train": 20, "test": 10})
    assert len(load(split).train) == 18


def test_the_seed_draws_what_is_held_out(tmp_path: Path) -> None:
    path = image_parquet(tmp_path / "a.parquet", IMAGES)
    assert numbers(load(path).held_out) == numbers(load(path).held_out)
    assert numbers(load(path).held_out) != numbers(load(path, seed=1).held_out)


def test_at_most_so_many_are_held_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_module, "HELD_OUT", 4)
    path = image_parquet(tmp_path / "a.parquet", IMAGES)
    assert len(load(path).held_out) == 4
    assert [len(x) for x in (load(image_parquet(tmp_path / "b.parquet", IMAGES[:2])).train, load(path).train)] == [
        1,
        56,
    ]


def test_digit_pairs() -> None:
    found = load("digit-pairs")
    assert (found.train.shape, found.held_out.shape) == ((9_000, 1, 8, 16), (1_000, 1, 8, 16))
    assert found.train.dtype == np.float32
    assert len(found.class_names) == 100


def test_bad_images_and_large_sets(tmp_path: Path, refuses, monkeypatch: pytest.MonkeyPatch) -> None:
    class_folders(tmp_path / "a", {".": 30})
    (tmp_path / "a" / "003.png").write_bytes(b"broken")
    with refuses("003.png"):
        load(tmp_path / "a")
    monkeypatch.setattr(memory_map, "MAX_IN_MEMORY", 100)
    found = load(tmp_path / "a", on_bad_row="skip")
    assert len(found.train) + len(found.held_out) == 29
    assert isinstance(found.train, np.memmap)
    assert any("Left out: 1 of" in notice for notice in found.notices)


def test_what_cannot_be_pretrained_on(tmp_path: Path, refuses) -> None:
    path = write(texts(), tmp_path / "t.csv")
    with refuses("texts, not images", path):
        load(path)
    with refuses("1 train image"):
        load(image_parquet(tmp_path / "a.parquet", IMAGES[:1]))
    with refuses("no train rows"):
        load(image_parquet(tmp_path / "b.parquet", IMAGES[:4], split=["test"] * 4))
