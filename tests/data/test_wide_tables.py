"""Tables with a column for each dimension: which columns are the input, what is said, and what is refused."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_files import load, write
from sklearn import datasets

from monosemy.data.codes import load_codes
from monosemy.data.config import DataConfig
from monosemy.data.streams import open_stream
from monosemy.errors import InputError

N = 40
LABELS = np.array(["a", "b"] * (N // 2))
X = np.random.default_rng(0).normal(size=(N, 384)).astype(np.float32)
FORMATS = ["t.csv", "t.tsv", "t.parquet", "t.jsonl"]


def frame_of(columns: list[str], **others) -> pd.DataFrame:
    return pd.DataFrame(X[:, : len(columns)], columns=columns).assign(label=LABELS, **others)


def inputs(data) -> np.ndarray:
    """All inputs, in the order of their first numbers."""
    found = np.concatenate([part.inputs for part in data.splits().values()])
    return found[found[:, 0].argsort()]


def expected(columns: list[int]) -> np.ndarray:
    return X[:, columns][X[:, columns[0]].argsort()]


@pytest.mark.parametrize("name", FORMATS)
def test_numbered_columns_are_dimensions_in_the_order_of_their_numbers(tmp_path: Path, name: str) -> None:
    order = np.random.default_rng(1).permutation(384)
    frame = frame_of([f"dim_{i}" for i in range(384)])
    path = write(frame[["label", *(f"dim_{i}" for i in order)]], tmp_path / name)
    data = load(path)
    np.testing.assert_allclose(inputs(data), expected([*range(384)]), rtol=1e-6)
    said = next(message for message in data.notices if "columns of numbers" in message)
    assert "its 384 columns of numbers 'dim_0', 'dim_1', 'dim_2', 'dim_3', 'dim_4' and 379 more" in said
    assert len(said) < 400


def test_a_message_about_many_columns_is_short(tmp_path: Path) -> None:
    path = write(frame_of([f"dim_{i}" for i in range(384)]), tmp_path / "t.csv")
    with pytest.raises(InputError, match=r"'topic'.* 'dim_4' and 380 more") as caught:
        load(path, label_column="topic")
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("name", FORMATS)
def test_a_pattern_names_dimensions(tmp_path: Path, name: str) -> None:
    columns = [f"{kind}_{i}" for kind in ("text_emb", "image_emb") for i in range(12)]
    path = write(frame_of(columns), tmp_path / name)
    np.testing.assert_allclose(inputs(load(path, input_column="image_emb_*")), expected([*range(12, 24)]), rtol=1e-6)
    chosen = inputs(load(path, input_column="text_emb_1, image_emb_0"))
    np.testing.assert_allclose(chosen, expected([12, 1]), rtol=1e-6)


def test_two_groups_are_not_guessed(tmp_path: Path, refuses) -> None:
    path = write(frame_of([f"{kind}_{i}" for kind in ("text_emb", "image_emb") for i in range(12)]), tmp_path / "t.csv")
    with refuses("'text_emb_*', 'image_emb_*'", "--input-column 'text_emb_*'"):
        load(path)


def test_a_group_goes_before_other_numbers(tmp_path: Path) -> None:
    path = write(frame_of(["emb_0", "emb_1", "emb_2", "age"], id=range(N)), tmp_path / "t.csv")
    data = load(path)
    np.testing.assert_allclose(inputs(data), expected([0, 1, 2]), rtol=1e-6)
    assert any("it is not 'age', 'id'" in message for message in data.notices)


def test_a_usual_name_goes_before_dimensions(tmp_path: Path) -> None:
    texts = [f"text {i}" for i in range(N)]
    assert load(write(frame_of(["dim_0", "dim_1"], text=texts), tmp_path / "t.csv")).kind == "texts"


@pytest.mark.parametrize("loader", ["load_iris", "load_wine", "load_breast_cancer"])
@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_frames_of_scikit_learn(tmp_path: Path, loader: str, name: str) -> None:
    bunch = getattr(datasets, loader)(as_frame=True)
    data = load(write(bunch.frame, tmp_path / name))
    assert data.class_names == tuple(map(str, sorted(set(bunch.target))))
    assert data.train.inputs.shape[1] == bunch.data.shape[1]
    total = sum(part.inputs.astype(np.float64).sum() for part in data.splits().values())
    assert total == pytest.approx(bunch.data.to_numpy().sum(), rel=1e-5)


def test_a_group_of_some_columns_does_not_hide_the_others(tmp_path: Path) -> None:
    bunch = datasets.load_diabetes(as_frame=True)  # age, sex, bmi, bp, s1, ..., s6
    frame = bunch.data.assign(label=np.where(bunch.target > 140, "high", "low"))
    assert load(write(frame, tmp_path / "t.csv")).train.inputs.shape[1] == 10


def test_row_numbers_are_no_dimensions(tmp_path: Path) -> None:
    for name in ("id", "index", "Row_ID"):
        path = write(frame_of(["height", "width"], **{name: range(N)}), tmp_path / "t.csv")
        assert load(path).train.inputs.shape[1] == 2


def test_columns_of_other_roles_are_no_dimensions(tmp_path: Path) -> None:
    split = ["train"] * 30 + ["test"] * 10
    frame = frame_of(["height", "width"], group=np.arange(N) // 2, split=split, noisy=np.arange(N) % 2)
    frame["label"] = np.arange(N) % 2
    data = load(write(frame, tmp_path / "t.csv"), group_column="group", noisy_label_column="noisy")
    assert data.train.inputs.shape[1] == 2


def test_categories_are_left_out_and_prose_is_not(tmp_path: Path, refuses) -> None:
    data = load(write(frame_of(["height", "width"], sex=["m", "f"] * 20), tmp_path / "t.csv"))
    assert any("it is not 'sex'" in message for message in data.notices)
    prose = [f"a long review of the product number {i}" for i in range(N)]
    with refuses("no input column", "'review'", "--input-column"):
        load(write(frame_of(["stars", "votes"], review=prose), tmp_path / "t.csv"))


@pytest.mark.parametrize("missing", ["", "NA", "nan", "NULL", "?"])
def test_missing_numbers_are_missing_values(tmp_path: Path, missing: str, refuses) -> None:
    frame = frame_of([f"dim_{i}" for i in range(3)]).astype({"dim_1": object})
    frame.loc[[4, 7], "dim_1"] = missing
    path = write(frame, tmp_path / "t.csv")
    with refuses("2 of 40 rows", "row 4", "row 7"):
        load(path)
    data = load(path, on_bad_row="skip")
    assert sum(map(len, data.splits().values())) == N - 2


def test_a_value_that_is_no_number_is_named(tmp_path: Path, refuses) -> None:
    frame = frame_of([f"dim_{i}" for i in range(3)]).astype({"dim_1": object})
    frame.loc[4, "dim_1"] = "12 cm"
    with refuses("'12 cm'", "'dim_1'", "row 4"):
        load(write(frame, tmp_path / "t.csv"))
    folder = tmp_path / "parts"
    folder.mkdir()
    write(frame_of([f"dim_{i}" for i in range(3)]), folder / "part-1.csv")
    write(frame, folder / "part-2.csv")
    with refuses("'12 cm'", "row 4 of part-2.csv"):
        load(folder)


@pytest.mark.parametrize("cells", [lambda row: str(row.tolist()), lambda row: str(row), lambda row: repr(row.tolist())])
def test_lists_that_a_csv_holds_as_text(tmp_path: Path, cells) -> None:
    frame = pd.DataFrame({"embedding": [cells(row) for row in X[:, :12]], "label": LABELS})
    data = load(write(frame, tmp_path / "t.csv"))
    np.testing.assert_allclose(inputs(data), expected([*range(12)]), rtol=1e-5)


def test_lists_that_numpy_shortened(tmp_path: Path, refuses) -> None:
    with np.printoptions(threshold=10):
        frame = pd.DataFrame({"embedding": [str(row) for row in X], "label": LABELS})
    with refuses("'embedding'", "row 0", "whole list of numbers", "parquet"):
        load(write(frame, tmp_path / "t.csv"))


@pytest.mark.parametrize("name", FORMATS)
def test_streams_and_measurements_read_the_same_tables(tmp_path: Path, name: str) -> None:
    path = write(frame_of([f"dim_{i}" for i in range(384)]), tmp_path / name)
    np.testing.assert_allclose(open_stream(str(path)).open().read(N).numpy(), X, rtol=1e-6)
    loaded = load_codes(DataConfig(source=str(path)))
    np.testing.assert_allclose(np.asarray(loaded.codes), X, rtol=1e-6)
    assert loaded.class_names == ("a", "b")
