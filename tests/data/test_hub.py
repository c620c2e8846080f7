"""Data sets of the hub, by a stand-in for the download: columns, names of classes, images."""

import sys
from pathlib import Path

import numpy as np
import pytest
from made_files import class_folders, load, noise_images, pixels_of
from PIL import Image as PilImage

from monosemy.data.config import DataConfig
from monosemy.data.load import load_unlabelled
from monosemy.errors import MissingExtraError

datasets = pytest.importorskip("datasets")

NAMES = ["pear", "apple", "fig"]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> dict:
    """What the hub has, by id."""
    store: dict = {}

    def load_dataset(source: str, streaming: bool):
        if source not in store:
            raise FileNotFoundError(f"Dataset '{source}' doesn't exist on the Hub. Details follow")
        return store[source]

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return store


def picture_set(images: np.ndarray, first: int = 0):
    features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=NAMES)})
    rows = [{"img": PilImage.fromarray(x), "label": (first + i) % 3} for i, x in enumerate(images)]
    return datasets.Dataset.from_list(rows, features=features)


def test_images_with_the_names_of_their_classes(hub: dict) -> None:
    images = noise_images(48)
    hub["me/fruits"] = datasets.DatasetDict({"train": picture_set(images[:30]), "test": picture_set(images[30:])})
    data = load("me/fruits")
    assert (data.name, data.kind, data.class_names) == ("fruits", "images", tuple(NAMES))
    np.testing.assert_array_equal(data.test.inputs, images[30:].transpose(0, 3, 1, 2))
    assert data.test.labels.tolist() == [i % 3 for i in range(18)]
    known = {x.tobytes(): i % 3 for i, x in enumerate(images[:30].transpose(0, 3, 1, 2))}
    assert [known[x.tobytes()] for x in data.train.inputs] == data.train.labels.tolist()
    assert load_unlabelled(DataConfig(source="me/fruits")).train.shape == (27, 3, 8, 8)


def test_images_that_are_files(hub: dict, tmp_path: Path, refuses, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path))
    paths = sorted(class_folders(tmp_path, {"a": 24}).rglob("*.png"))
    rows = {"image": [str(path) for path in paths], "label": [i % 3 for i in range(24)]}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    hub["me/files"] = datasets.DatasetDict({"train": datasets.Dataset.from_dict(rows, features=features)})
    known = {pixels_of(path).tobytes() for path in paths}
    seen = {x.tobytes() for split in load("me/files").splits().values() for x in split.inputs}
    assert seen == known
    paths[3].write_bytes(b"broken")
    with refuses("Image 3 of train of me/files"):
        load("me/files")


def test_files_that_came_with_no_data_set_are_not_opened(hub: dict, tmp_path: Path, refuses) -> None:
    paths = sorted(class_folders(tmp_path, {"a": 24}).rglob("*.png"))
    rows = {"image": [str(path) for path in paths], "label": [i % 3 for i in range(24)]}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    hub["me/spy"] = datasets.DatasetDict({"train": datasets.Dataset.from_dict(rows, features=features)})
    with refuses("me/spy has 24 of 24 rows", "without an image"):
        load("me/spy")


def test_texts(hub: dict) -> None:
    rows = {"text": [f"t{i}" for i in range(24)], "label": ["x", "y"] * 12}
    hub["me/texts"] = datasets.DatasetDict(
        {"train": datasets.Dataset.from_dict(rows), "test": datasets.Dataset.from_dict({"text": ["z"], "label": ["x"]})}
    )
    data = load("me/texts")
    assert data.test.inputs == ("z",)
    assert data.class_names == ("x", "y")


def test_what_the_hub_does_not_have(hub: dict, refuses, monkeypatch: pytest.MonkeyPatch) -> None:
    with refuses("me/nothing", "doesn't exist on the Hub"):
        load("me/nothing")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r"me/nothing.*pip install 'monosemy\[hub\]'"):
        load("me/nothing")
