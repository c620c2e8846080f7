"""Folders and patterns of parquet files as one source."""

from pathlib import Path

import numpy as np
import pytest
from made_files import image_parquet, load, noise_images, texts, write

from monosemy.data.config import DataConfig
from monosemy.data.load import load_unlabelled, source_name

NAMES = ["pear", "apple", "fig"]
IMAGES = noise_images(60)


def parts(folder: Path, names: dict[str, slice]) -> Path:
    for name, rows in names.items():
        labels = [i % 3 for i in range(60)][rows]
        image_parquet(folder / name, IMAGES[rows], labels, NAMES, group=7)
    return folder


LAYOUTS = {
    "hub": {
        "train-00000-of-00002.parquet": slice(0, 24),
        "train-00001-of-00002.parquet": slice(24, 40),
        "validation-00000-of-00001.parquet": slice(40, 48),
        "test-00000-of-00001.parquet": slice(48, 60),
    },
    "hub, in data": {
        "data/train-00000-of-00001.parquet": slice(0, 40),
        "data/val-00000-of-00001.parquet": slice(40, 48),
        "data/test-00000-of-00001.parquet": slice(48, 60),
    },
    "words": {"x_train_0of2.parquet": slice(0, 40), "x_valid.parquet": slice(40, 48), "x_test.parquet": slice(48, 60)},
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("pattern", [False, True])
def test_the_splits_of_the_files_and_the_order_of_their_rows(tmp_path: Path, layout: str, pattern: bool) -> None:
    folder = parts(tmp_path / "fruits", LAYOUTS[layout])
    source = str(folder / ("data/*.parquet" if layout == "hub, in data" else "*.parquet")) if pattern else str(folder)
    data = load(source)
    assert data.class_names == tuple(NAMES)
    assert data.notices == ()
    for part, rows in (("train", slice(0, 40)), ("validation", slice(40, 48)), ("test", slice(48, 60))):
        np.testing.assert_array_equal(data.splits()[part].inputs, IMAGES[rows].transpose(0, 3, 1, 2))
        assert data.splits()[part].labels.tolist() == [i % 3 for i in range(60)][rows]


def test_texts_of_several_files(tmp_path: Path) -> None:
    frame = texts().drop(columns="split")
    write(frame.iloc[:30], tmp_path / "train.csv")
    write(frame.iloc[30:], tmp_path / "test.csv")
    data = load(tmp_path / "t*.csv")
    assert data.test.inputs == tuple(frame["text"][30:])
    assert len(data.train) + len(data.validation) == 30


def test_patterns_that_match_nothing_or_too_much(tmp_path: Path, refuses) -> None:
    with refuses(tmp_path / "*.parquet", "No file matches"):
        load(tmp_path / "*.parquet")
    parts(tmp_path, LAYOUTS["words"])
    (tmp_path / "x_notes.txt").write_text("x")
    with refuses("x_*", tmp_path / "x_notes.txt"):
        load(tmp_path / "x_*")


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path: Path) -> None:
    path = write(texts(), tmp_path / "a[1].csv")
    assert len(load(path).test) == 12


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("a/b.parquet", "b.parquet"),
        ("a/cifar100_t*.parquet", "cifar100_t.parquet"),
        ("a/data/*.parquet", "data"),
        ("*.parquet", "data"),
        ("owner/set", "set"),
        ("folder/", "folder"),
    ],
)
def test_names_of_sources(source: str, name: str) -> None:
    assert source_name(source) == name


@pytest.mark.shared_data
@pytest.mark.slow
def test_cifar100_with_human_labels(shared_data: Path) -> None:
    data = load(
        shared_data / "cifar100_t*.parquet",
        noisy_labels=shared_data / "cifar100n_labels.parquet",
        noisy_label_column="noisy_label",
    )
    assert {name: split.inputs.shape for name, split in data.splits().items()} == {
        "train": (40_000, 3, 32, 32), "validation": (10_000, 3, 32, 32), "test": (10_000, 3, 32, 32),
    }  # fmt: skip
    assert (data.class_names[0], data.class_names[99], data.n_classes) == ("apple", "worm", 100)
    assert data.noisy_labels is not None
    wrong = [
        given != split.labels for given, split in zip(data.noisy_labels, (data.train, data.validation), strict=True)
    ]
    assert np.concatenate(wrong).mean() == pytest.approx(0.4020, abs=5e-5)
    images = load_unlabelled(DataConfig(source=str(shared_data / "cifar100_t*.parquet")))
    assert (len(images.train), len(images.held_out)) == (48_000, 2_000)
    pixels = np.concatenate([images.train, images.held_out])
    for row in range(3):  # in [0, 1], the published statistics to the digit
        channel = pixels[:, row]
        assert channel.mean() / 255 == pytest.approx((0.5071, 0.4865, 0.4409)[row], abs=1e-4)
        assert channel.std() / 255 == pytest.approx((0.2673, 0.2564, 0.2762)[row], abs=1e-4)
