"""Folders and patterns of tables and arrays: which files are read, in what order, as which splits, and what is said."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st
from made_files import class_folders, encoded, load, write

from monosemy.data.codes import load_codes
from monosemy.data.config import DataConfig
from monosemy.data.load import read_rows
from monosemy.data.sources import classify, contents, natural_key
from monosemy.data.streams import open_stream


def frame_of(name: str, n: int) -> pd.DataFrame:
    return pd.DataFrame({"text": [f"{name} {i}" for i in range(n)], "label": ["a", "b"] * (n // 2)})


def test_natural_order() -> None:
    names = ["part-10", "part-2", "part-1", "part-02", "a", "Part-3", "part-1.5", "part", "2", "10", "x9y10", "x9y9"]
    assert sorted(names, key=natural_key) == [
        "2", "10", "Part-3", "a", "part", "part-1", "part-1.5", "part-02", "part-2", "part-10", "x9y9", "x9y10",
    ]  # fmt: skip
    assert sorted(["x" + "9" * 5000, "x10"], key=natural_key)[0] == "x10", "thousands of digits are no error"


@given(st.lists(st.integers(0, 10**30), unique=True, min_size=1))
def test_numbers_sort_by_value(numbers: list[int]) -> None:
    names = [f"part-{number}.csv" for number in numbers]
    assert sorted(names, key=natural_key) == [f"part-{number}.csv" for number in sorted(numbers)]


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".tsv", ".jsonl", ".csv.gz"])
@pytest.mark.parametrize("as_pattern", [False, True])
def test_parts_are_read_in_natural_order(tmp_path: Path, ending: str, as_pattern: bool) -> None:
    for i in range(12):
        write(frame_of(f"part {i}", 2), tmp_path / f"part-{i}{ending}")
    rows = read_rows(str(tmp_path / "part-*") if as_pattern else str(tmp_path), DataConfig())
    assert [str(text) for text in rows.inputs][::2] == [f"part {i} 0" for i in range(12)]
    assert rows.describe(21) == f"row 1 of part-10{ending}"


@pytest.mark.parametrize("ending", [".npy", ".npz", ".safetensors"])
def test_shards_of_arrays_are_read_in_natural_order(tmp_path: Path, ending: str) -> None:
    from safetensors.numpy import save_file

    for i in range(12):
        values = np.full((2, 3), i, np.float32)
        if ending == ".npy":
            np.save(tmp_path / f"x{i}.npy", values)
        elif ending == ".npz":
            np.savez(tmp_path / f"x{i}.npz", embeddings=values)
        else:
            save_file({"embeddings": values}, tmp_path / f"x{i}.safetensors")
    expected = np.repeat(np.arange(12), 2)
    assert open_stream(tmp_path).open().read(99)[:, 0].tolist() == expected.tolist()
    assert np.asarray(load_codes(DataConfig(source=str(tmp_path))).codes)[:, 0].tolist() == expected.tolist()
    (tmp_path / "labels").mkdir()
    np.save(tmp_path / "labels" / "y.npy", expected % 2)
    rows = read_rows(str(tmp_path), DataConfig(labels=tmp_path / "labels" / "y.npy"))
    assert rows.labels == [str(i % 2) for i in range(12) for _ in range(2)]


def test_shards_that_differ(tmp_path: Path, refuses) -> None:
    np.savez(tmp_path / "x1.npz", embeddings=np.ones((2, 3)), labels=[0, 1])
    np.savez(tmp_path / "x2.npz", embeddings=np.ones((2, 4)), labels=[0, 1])
    with refuses("x2.npz", "4 numbers", "x1.npz", "3"):
        load(tmp_path)
    np.savez(tmp_path / "x2.npz", embeddings=np.ones((2, 3)))
    with refuses("x2.npz", "labels"):
        load(tmp_path)


LAYOUTS = {
    "files": ("train{}", "test{}"),
    "numbered files": ("train-1{}", "test-1{}"),
    "in data": ("data/train{}", "data/test{}"),
    "folders": ("train/part-0{}", "test/part-0{}"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("ending", [".csv", ".tsv", ".json", ".jsonl", ".parquet"])
def test_splits_of_a_folder(tmp_path: Path, layout: str, ending: str) -> None:
    for name, split, n in zip(LAYOUTS[layout], ("train", "test"), (30, 10), strict=True):
        path = tmp_path / name.format(ending)
        path.parent.mkdir(exist_ok=True)
        frame = frame_of(split, n)
        if ending == ".json":
            frame.to_json(path, orient="records")
        else:
            write(frame, path)
    data = load(tmp_path)
    assert data.test.inputs == tuple(f"test {i}" for i in range(10))
    assert len(data.train) + len(data.validation) == 30
    assert not data.notices


def test_a_folder_of_a_competition(tmp_path: Path) -> None:
    write(frame_of("train", 30).assign(id=range(30)), tmp_path / "train.csv")
    write(frame_of("test", 10).assign(id=range(10)), tmp_path / "test.csv")
    write(pd.DataFrame({"id": range(10), "label": "a"}), tmp_path / "sample_submission.csv")
    data = load(tmp_path)
    assert data.test.inputs == tuple(f"test {i}" for i in range(10))
    assert data.notices == ("'sample_submission.csv' has no column 'text' and was not read.",)


def test_files_without_labels_are_left_out_and_named(tmp_path: Path) -> None:
    write(frame_of("train", 30).assign(id=range(30)), tmp_path / "train.csv")
    write(frame_of("test", 10)[["text"]].assign(id=range(10)), tmp_path / "test.csv")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "README.md").write_text("x")
    (tmp_path / ".hidden.csv").write_text("x")
    data = load(tmp_path)
    assert sum(map(len, data.splits().values())) == 30
    assert "'test.csv' has no column 'label' and was not read." in data.notices
    assert any("were read, but not 'notes.txt'." in message for message in data.notices)
    assert not any("README" in message or "hidden" in message for message in data.notices)
    write(frame_of("train", 30).rename(columns={"label": "Survived"}), tmp_path / "train.csv")
    assert sum(map(len, load(tmp_path, label_column="Survived").splits().values())) == 30


def test_messages_of_many_files_are_one(tmp_path: Path) -> None:
    for i in range(12):
        frame_of(f"part {i}", 4).to_csv(tmp_path / f"part-{i}.csv", index=False, sep=";")
    data = load(tmp_path)
    said = [message for message in data.notices if "semicolons" in message]
    assert said == [
        "The fields of 'part-0.csv', 'part-1.csv', 'part-2.csv', 'part-3.csv', 'part-4.csv' and 7 more are separated "
        "by semicolons."
    ]


def test_images_go_before_tables_that_describe_them(tmp_path: Path) -> None:
    class_folders(tmp_path, {"cat": 6, "dog": 6})
    (tmp_path / "metadata.csv").write_text("file_name,label\na.png,cat\n")
    assert classify(tmp_path).kind == "images"
    (tmp_path / "ab").mkdir()
    assert load(tmp_path).class_names == ("cat", "dog")


def test_what_a_folder_holds_is_named(tmp_path: Path, refuses) -> None:
    for name in ("a.pkl", "b.pkl", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "models").mkdir()
    assert contents(tmp_path) == "2 files .pkl, one file .txt, the folder 'models'"
    with refuses(tmp_path, "2 files .pkl, one file .txt, the folder 'models'", "give a .parquet"):
        open_stream(tmp_path)
    assert contents(tmp_path / "models") == "nothing"


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("x.pkl", "never opened"), ("x.xls", "save it as .xlsx"), ("x.h5", ".npz"), ("x.zip", "unpack"),
        ("x.data", "rename it to .csv"), ("x.feather", "save it as .parquet"), ("x.xyz", "convert it"),
    ],
)  # fmt: skip
def test_files_that_are_not_read_have_a_remedy(tmp_path: Path, name: str, remedy: str, refuses) -> None:
    (tmp_path / name).write_bytes(b"x")
    with refuses(name, remedy):
        load(tmp_path / name)


# Data sets that Hugging Face's library saved


@pytest.mark.parametrize("splits", [False, True])
def test_saved_data_sets(tmp_path: Path, splits: bool) -> None:
    datasets = pytest.importorskip("datasets")
    names = datasets.ClassLabel(names=["neg", "pos"])
    features = datasets.Features({"text": datasets.Value("string"), "label": names})
    parts = {
        split: datasets.Dataset.from_dict(
            {"text": [f"{split} {i}" for i in range(n)], "label": [0, 1] * (n // 2)}, features=features
        )
        for split, n in (("train", 40), ("test", 10))
    }
    saved = datasets.DatasetDict(parts) if splits else parts["train"]
    saved.save_to_disk(str(tmp_path / "saved"))
    data = load(tmp_path / "saved")
    assert data.class_names == ("neg", "pos")
    assert len(data.test) == 10
    if splits:
        assert data.test.inputs == tuple(f"test {i}" for i in range(10))


def test_saved_images(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    images = [encoded((i, 0, 0)) for i in range(20)]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    rows = {"image": [{"bytes": image, "path": None} for image in images], "label": [0, 1] * 10}
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(str(tmp_path / "saved"))
    data = load(tmp_path / "saved")
    found = sorted(int(x[0, 0, 0]) for part in data.splits().values() for x in part.inputs)
    assert found == list(range(20))


def test_damaged_saved_data_sets(tmp_path: Path, refuses) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_dict({"text": ["a"] * 4, "label": [0, 1] * 2}).save_to_disk(str(tmp_path / "saved"))
    (tmp_path / "saved" / "state.json").write_text(json.dumps({"_data_files": [{"filename": "none.arrow"}]}))
    with refuses(tmp_path / "saved", "cannot be read as a saved Hugging Face data set"):
        load(tmp_path / "saved")
