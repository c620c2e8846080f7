"""Shifted test sets: read like the source, folders of CIFAR-10-C, and labels as names or as integers."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_files import EMBEDDINGS, LABELS, class_folders, image_parquet, load, noise_images, pixels_of, texts, write
from PIL import Image

from monosemy.data.config import DataConfig
from monosemy.data.images import fit
from monosemy.data.load import load_data


def test_shifts_are_read_like_the_source_and_keep_known_labels(tmp_path: Path) -> None:
    path = write(texts(), tmp_path / "t.csv")
    other = pd.DataFrame({"text": ["a", "b", "c"], "label": ["class 2", "new", "class 0"]})
    data = load(path, shifts={"web": str(write(other, tmp_path / "s.jsonl"))})
    assert data.shifts["web"].inputs == ("a", "c")
    assert data.shifts["web"].labels.tolist() == [2, 0]


def test_of_a_shift_with_splits_only_test_counts(tmp_path: Path) -> None:
    path = write(texts(), tmp_path / "t.csv")
    other = pd.DataFrame({"text": ["a", "b"], "label": ["class 2", "class 0"], "split": ["train", "test"]})
    assert load(path, shifts={"web": str(write(other, tmp_path / "s.csv"))}).shifts["web"].inputs == ("b",)


def test_a_shift_needs_no_noisy_labels_of_its_own(tmp_path: Path) -> None:
    path = write(texts(noisy=LABELS), tmp_path / "t.csv")
    other = write(pd.DataFrame({"text": ["a"], "label": ["class 1"]}), tmp_path / "s.csv")
    assert len(load(path, noisy_label_column="noisy", shifts={"web": str(other)}).shifts["web"]) == 1


def test_a_shift_with_labels_keeps_its_own(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", EMBEDDINGS)
    np.save(tmp_path / "l.npy", np.array(LABELS))
    np.savez(tmp_path / "s.npz", embeddings=EMBEDDINGS, labels=np.array(LABELS[::-1]))
    data = load(tmp_path / "a.npy", labels=tmp_path / "l.npy", shifts={"s": str(tmp_path / "s.npz")})
    assert [data.class_names[y] for y in data.shifts["s"].labels] == LABELS[::-1]


def test_bad_shifts_are_refused(tmp_path: Path, refuses) -> None:
    path = write(texts(), tmp_path / "t.csv")
    images = image_parquet(tmp_path / "i.parquet", noise_images(4), [0, 1, 2, 3])
    with refuses("'dark'", "images", "texts"):
        load(path, shifts={"dark": str(images)})
    with refuses(tmp_path / "none.csv"):
        load(path, shifts={"dark": str(tmp_path / "none.csv")})
    strange = pd.DataFrame({"text": ["a"], "label": ["else"]})
    with refuses("'dark'", "shares no class with t.csv"):
        load(path, shifts={"dark": str(write(strange, tmp_path / "s.csv"))})
    wide = tmp_path / "a.npz"
    np.savez(wide, embeddings=EMBEDDINGS, labels=np.array([label[-1] for label in LABELS]))
    np.savez(tmp_path / "b.npz", embeddings=EMBEDDINGS[:, :2], labels=np.array([label[-1] for label in LABELS]))
    with refuses("'dark'", "(2,)", "(3,)"):
        load(wide, shifts={"dark": str(tmp_path / "b.npz")})
    with refuses("'dark'", "texts", "images"):
        load_data(DataConfig(shifts={"dark": str(path)}))


# Images


def test_shifted_images_take_the_size_of_the_data(tmp_path: Path) -> None:
    source = class_folders(tmp_path / "photos", {"a": 8, "b": 8}, (16, 16))
    sketches = class_folders(tmp_path / "sketches", {"a": 1, "b": 2, "unknown": 1}, (20, 40), seed=1)
    data = load(source, shifts={"sketch": str(sketches)})
    assert data.shifts["sketch"].inputs.shape == (3, 3, 16, 16)
    assert data.shifts["sketch"].inputs.dtype == np.uint8
    assert data.shifts["sketch"].labels.tolist() == [0, 1, 1]
    with Image.open(sketches / "b" / "000.png") as image:
        wanted = np.asarray(fit(image.convert("RGB"), (16, 16))).transpose(2, 0, 1)
    np.testing.assert_array_equal(data.shifts["sketch"].inputs[1], wanted)


def test_of_a_shifted_folder_only_known_classes_are_decoded(tmp_path: Path) -> None:
    source = class_folders(tmp_path / "photos", {"a": 8, "b": 8})
    other = class_folders(tmp_path / "other", {"a": 2, "unknown": 1})
    (other / "unknown" / "000.png").write_bytes(b"broken")
    data = load(source, shifts={"other": str(other)})
    np.testing.assert_array_equal(data.shifts["other"].inputs[0], pixels_of(other / "a" / "000.png"))


def test_skipped_images_of_a_shift_are_said(tmp_path: Path) -> None:
    source = class_folders(tmp_path / "photos", {"a": 8, "b": 8})
    other = class_folders(tmp_path / "other", {"a": 2, "b": 2})
    (other / "b" / "000.png").write_bytes(b"broken")
    data = load(source, on_bad_row="skip", shifts={"other": str(other)})
    assert data.shifts["other"].labels.tolist() == [0, 0, 1]
    assert any("Left out: 1 of 4 images" in notice and "b/000.png" in notice for notice in data.notices)


NAMES = ["pear", "apple", "fig"]


def test_integers_and_names_of_classes_meet(tmp_path: Path) -> None:
    images = noise_images(12)
    labels = [i % 3 for i in range(12)]
    named = image_parquet(tmp_path / "named.parquet", images, labels, NAMES)
    plain = image_parquet(tmp_path / "plain.parquet", images, labels)
    for source, shift in ((named, plain), (plain, named), (named, named), (plain, plain)):
        data = load(source, shifts={"s": str(shift)})
        assert data.shifts["s"].labels.tolist() == labels, (source.name, shift.name)


# CIFAR-10-C


def corruption_folder(folder: Path, n: int = 6, repeated: bool = True, kinds=("gaussian_noise", "fog")) -> dict:
    folder.mkdir()
    labels = np.arange(n) % 3
    np.save(folder / "labels.npy", np.tile(labels, 5) if repeated else labels)
    made = {}
    for seed, kind in enumerate(kinds, start=7):
        made[kind] = noise_images(5 * n, seed=seed)
        np.save(folder / f"{kind}.npy", made[kind])
    return made


@pytest.fixture
def fruits(tmp_path: Path) -> Path:
    return image_parquet(tmp_path / "fruits.parquet", noise_images(12), [i % 3 for i in range(12)], NAMES)


@pytest.mark.parametrize("repeated", [True, False])
def test_a_shift_for_each_corruption_and_severity(tmp_path: Path, fruits: Path, repeated: bool) -> None:
    made = corruption_folder(tmp_path / "c", repeated=repeated)
    data = load(fruits, shifts={"c": str(tmp_path / "c")})
    assert set(data.shifts) == {f"c/{kind}@{s}" for kind in ("gaussian_noise", "fog") for s in range(1, 6)}
    for kind, images in made.items():
        for severity in range(1, 6):
            split = data.shifts[f"c/{kind}@{severity}"]
            block = images[(severity - 1) * 6 : severity * 6]
            np.testing.assert_array_equal(split.inputs, block.transpose(0, 3, 1, 2))
            assert split.labels.tolist() == [0, 1, 2, 0, 1, 2]


def test_corruptions_stay_in_their_files(tmp_path: Path, fruits: Path) -> None:
    corruption_folder(tmp_path / "c")
    inputs = load(fruits, shifts={"c": str(tmp_path / "c")}).shifts["c/fog@2"].inputs
    assert isinstance(inputs, np.memmap)
    assert str(inputs.filename).endswith("fog.npy")
    assert not inputs.flags.owndata


def test_bad_corruption_folders(tmp_path: Path, fruits: Path, refuses) -> None:
    folder = tmp_path / "c"
    corruption_folder(folder)

    def refused(*named: object) -> None:
        with refuses(*named):
            load(fruits, shifts={"c": str(folder)})

    np.save(folder / "fog.npy", noise_images(31))
    refused("fog.npy", "(31, 8, 8, 3)")
    np.save(folder / "fog.npy", noise_images(40))
    refused("fog.npy", "40 images", "30")
    np.save(folder / "fog.npy", noise_images(30).astype(np.float32))
    refused("fog.npy", "float32")
    np.save(folder / "fog.npy", noise_images(30, 4, 4))
    refused("'c/fog@1'", "(3, 4, 4)", "(3, 8, 8)")
    (folder / "fog.npy").write_bytes(b"broken")
    refused("fog.npy", "cannot be read")
    np.save(folder / "labels.npy", np.full(30, 7))
    (folder / "fog.npy").unlink()
    refused("'c/gaussian_noise@1'", "shares no class")
    np.save(folder / "labels.npy", np.full(30, 0.5))
    refused("labels.npy", "list of integers")
    with refuses("'c'", "images", "texts"):
        load(write(texts(), tmp_path / "t.csv"), shifts={"c": str(folder)})
