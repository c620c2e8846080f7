"""Reading tables: each format gives the same rows, each broken file gives one sentence."""

import gzip
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, strategies as st
from made_files import image_parquet, load, noise_images, write

from monosemy.data.columns import InputColumns, column, input_columns, inputs_of, rows_of_table
from monosemy.data.config import DataConfig
from monosemy.data.dataset import label_texts
from monosemy.data.load import read_rows
from monosemy.data.tables import Table, read_table, read_tables
from monosemy.errors import InputError

ROWS = pd.DataFrame({"text": ["one, two", "drei ✓", "NA"], "label": ["x", "y", "x"]})


TABLES = ["t.parquet", "t.csv", "t.tsv", "t.csv.gz", "t.jsonl", "t.jsonl.gz", "T.CSV"]


@pytest.mark.parametrize("name", TABLES)
def test_every_table_format_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    frame = read_table(write(ROWS, tmp_path / name)).frame
    assert frame["text"].tolist() == ROWS["text"].tolist(), "'NA' is a text, not a missing value"
    assert frame["label"].tolist() == ROWS["label"].tolist()


def test_gzipped_tables_are_really_compressed(tmp_path: Path) -> None:
    assert write(ROWS, tmp_path / "t.jsonl.gz").read_bytes()[:2] == b"\x1f\x8b"


def test_labels_that_look_like_numbers_or_dates_stay_as_written(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("text,label\na,007\nb,1.50\n")
    assert read_table(tmp_path / "t.csv").frame["label"].tolist() == ["007", "1.50"]
    (tmp_path / "t.jsonl").write_text('{"text": "a", "date": "2020-01-01", "label": 7}\n')
    assert read_table(tmp_path / "t.jsonl").frame.iloc[0].tolist() == ["a", "2020-01-01", 7]


@pytest.mark.parametrize("name", TABLES)
def test_missing_and_empty_tables(tmp_path: Path, refuses, name: str) -> None:
    path = tmp_path / name
    with refuses(f"{path} does not exist"):
        read_table(path)
    path.write_bytes(b"")
    with refuses(path):
        read_table(path)
    path.unlink()
    write(ROWS.iloc[:0], path)
    with refuses(path):
        read_table(path)


@pytest.mark.parametrize("name", ["t.parquet", "t.csv.gz", "t.jsonl.gz"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.95])
def test_truncated_tables(tmp_path: Path, refuses, name: str, kept: float) -> None:
    path = write(pd.concat([ROWS] * 50), tmp_path / name)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    with refuses(path, "check that the file is whole"):
        read_table(path)


def test_gzip_with_damaged_content(tmp_path: Path, refuses) -> None:
    path = tmp_path / "t.jsonl.gz"
    raw = bytearray(gzip.compress(b'{"text": "a", "label": 1}\n' * 100))
    raw[20:30] = b"\xff" * 10
    path.write_bytes(raw)
    with refuses(path):
        read_table(path)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00\x81", b'"a,b\n', b"a\n1,2,3\n1,2\n"])
def test_csv_that_is_none(tmp_path: Path, refuses, content: bytes) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with refuses(tmp_path / "t.csv"):
        read_table(tmp_path / "t.csv")


def test_an_unquoted_comma_does_not_shift_the_columns(tmp_path: Path, refuses) -> None:
    (tmp_path / "t.csv").write_text("text,label\nhello, world,1\nbye, world,0\n")
    with refuses(tmp_path / "t.csv", "more fields than its header"):
        read_table(tmp_path / "t.csv")


def test_jsonl_with_a_broken_line(tmp_path: Path, refuses) -> None:
    (tmp_path / "t.jsonl").write_text('{"text": "a"}\n{"text": \n')
    with refuses(tmp_path / "t.jsonl"):
        read_table(tmp_path / "t.jsonl")


def test_unknown_endings(tmp_path: Path, refuses) -> None:
    (tmp_path / "t.xyz").write_bytes(b"x")
    with refuses(tmp_path / "t.xyz", ".parquet"):
        read_table(tmp_path / "t.xyz")


@given(seed=st.integers(0, 10_000))
def test_damaged_parquet_is_read_or_refused_and_nothing_else(tmp_path: Path, seed: int) -> None:
    path = write(ROWS, tmp_path / "t.parquet")
    raw, rng = bytearray(path.read_bytes()), np.random.default_rng(seed)
    for place in rng.integers(0, len(raw), 4):
        raw[place] = rng.integers(256)
    path.write_bytes(raw)
    with suppress(InputError):
        read_table(path)


def test_columns_by_role(refuses) -> None:
    table = Table(pd.DataFrame({"sentence": ["a"], "intent": ["x"], "other": ["y"]}), "f.csv")
    assert column(table, None, "text") == "sentence"
    assert column(table, "other", "label") == "other"
    with refuses("f.csv", "'topic'", "label", "'sentence', 'intent', 'other'"):
        column(table, "topic", "label")
    with refuses(
        "f.csv", "noisy label", "looked for noisy_label", "'sentence', 'intent', 'other'", "--noisy-label-column"
    ):
        column(table, None, "noisy label")


def test_kinds_by_column_name_and_by_value(tmp_path: Path, refuses) -> None:
    for name, kind in (("embedding", "embeddings"), ("img", "images"), ("image", "images"), ("sentence", "texts")):
        assert input_columns(Table(pd.DataFrame({name: [[1]]}), "f"), DataConfig()) == InputColumns((name,), kind)
    with refuses("f.csv", "topic", "--input-column"):
        input_columns(Table(pd.DataFrame({"topic": [1]}), "f.csv"), DataConfig())
    odd = Table(pd.DataFrame({"a": ["x"], "b": [[1.0, 2.0]]}), "f")
    assert input_columns(odd, DataConfig(input_column="a")) == InputColumns(("a",), "texts")
    assert input_columns(odd, DataConfig(input_column="b")) == InputColumns(("b",), "embeddings")
    pictures = read_table(image_parquet(tmp_path / "f.parquet", noise_images(2), [0, 1]))
    assert input_columns(pictures, DataConfig(input_column="image")) == InputColumns(("image",), "images")


def inputs(values: list, kind: str, where: str = "f.parquet"):
    table = Table(pd.DataFrame({"x": pd.Series(values, dtype=object)}), where)
    return inputs_of(table, InputColumns(("x",), kind))  # type: ignore[arg-type]


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA, ""])
def test_missing_texts_are_empty(missing: object) -> None:
    assert inputs(["a", missing, "c"], "texts") == ("a", "", "c")


def test_embedding_columns(refuses) -> None:
    result = inputs([[1, 2], [3, 4]], "embeddings")
    assert result.dtype == np.float32
    assert result.tolist() == [[1, 2], [3, 4]]
    np.testing.assert_array_equal(inputs([[1.0], None], "embeddings"), [[1.0], [np.nan]])
    for bad in ([[1.0, 2.0], [3.0]], [["a"], ["b"]]):
        with refuses("f.parquet", "unequal length or type"):
            inputs(bad, "embeddings")
    with refuses("f.parquet", "'x'"):
        inputs([1.0, 2.0], "embeddings")


# Images and class names in parquet

NAMES = ["pear", "apple", "fig"]


def rows_of(path: Path, labelled: bool = True, **options):
    return rows_of_table(read_table(path), DataConfig(source=str(path), **options), labelled)


def test_images_stay_encoded_and_out_of_the_frame(tmp_path: Path) -> None:
    table = read_table(image_parquet(tmp_path / "a.parquet", noise_images(5), [0, 1, 2, 0, 1]))
    assert list(table.frame) == ["label"]
    assert table.columns == ["image", "label"]
    assert len(table.images["image"]) == 5


def test_plain_bytes_are_images_too(tmp_path: Path, png) -> None:
    frame = pd.DataFrame({"img": [png((i, 0, 0)) for i in range(8)], "label": [0, 1] * 4})
    data = load(write(frame, tmp_path / "a.parquet"))
    assert sorted(x for part in data.splits().values() for x in part.inputs[:, 0, 0, 0]) == list(range(8))


def test_a_column_of_images_without_bytes(tmp_path: Path, refuses) -> None:
    path = write(pd.DataFrame({"image": ["a.png", "b.png"], "label": [0, 1]}), tmp_path / "a.parquet")
    with refuses(path, "no image bytes in the column 'image'"):
        rows_of(path)
    images = image_parquet(tmp_path / "i.parquet", noise_images(2), [0, 1])
    with refuses(images, "'image'", "labels"):
        rows_of(images, label_column="image")


def test_labels_have_the_names_of_the_schema_in_the_order_of_their_integers(tmp_path: Path) -> None:
    rows = rows_of(image_parquet(tmp_path / "a.parquet", noise_images(4), [2, 0, 1, 1], NAMES))
    assert rows.labels == ["fig", "pear", "apple", "apple"]
    assert rows.vocabulary == ("pear", "apple", "fig")
    path = image_parquet(tmp_path / "b.parquet", noise_images(12), [2, 0] * 6, NAMES)
    assert load(path).class_names == ("pear", "fig"), "a class that train lacks is no class"


def test_names_that_do_not_fit_are_not_used(tmp_path: Path) -> None:
    rows = rows_of(image_parquet(tmp_path / "a.parquet", noise_images(2), [0, 3], NAMES))
    assert (rows.labels, rows.vocabulary) == (["0", "3"], None)
    path = tmp_path / "b.parquet"
    frame = pd.DataFrame({"text": ["a", "b"], "label": ["x", "y"]})
    for metadata in (b"no json", b"[]", b'{"info": {"features": {"label": {"_type": "ClassLabel", "names": 3}}}}'):
        pq.write_table(pa.Table.from_pandas(frame).replace_schema_metadata({b"huggingface": metadata}), path)
        assert rows_of(path).labels == ["x", "y"]


def test_classes_of_one_name_are_told_apart(tmp_path: Path) -> None:
    rows = rows_of(image_parquet(tmp_path / "a.parquet", noise_images(3), [0, 1, 2], ["crane", "fig", "crane"]))
    assert rows.labels == ["crane (0)", "fig", "crane (2)"]


def test_hidden_labels_count_as_missing(tmp_path: Path, refuses) -> None:
    path = image_parquet(tmp_path / "a.parquet", noise_images(4), [0, -1, 1, -1], NAMES)
    with refuses(path, "2 of 4 rows", "2 without a label (row 1, row 3)"):
        read_rows(str(path), DataConfig())
    assert rows_of(path, labelled=False).labels == ["pear", "", "apple", ""]


def test_labels_may_be_absent_where_none_are_needed(tmp_path: Path, refuses) -> None:
    path = image_parquet(tmp_path / "a.parquet", noise_images(4))
    rows = rows_of(path, labelled=False)
    assert (rows.labels, len(rows.inputs)) == (None, 4)
    with refuses(path, "--label-column"):
        rows_of(path)
    with refuses(path, "'topic'"):
        rows_of(path, labelled=False, label_column="topic")


def test_label_columns_with_gaps() -> None:
    assert label_texts(pd.Series([1.0, np.nan, 2.0])) == ["1", "", "2"]
    assert label_texts(pd.Series(["a", None], dtype=object)) == ["a", ""]


def test_truncated_images_inside_a_sound_parquet_schema(tmp_path: Path, refuses) -> None:
    path = image_parquet(tmp_path / "a.parquet", noise_images(200, 16, 16), [0, 1] * 100, group=50)
    table = read_table(path)
    raw = bytearray(path.read_bytes())
    raw[1000:40_000] = bytes(39_000)
    path.write_bytes(raw)
    with refuses(path, "check that the file is whole"):
        list(table.images["image"].items(np.arange(200)))


# Several files


def three_files(folder: Path) -> tuple[list[Path], np.ndarray]:
    images = noise_images(12)
    names = ["x_train_0of2.parquet", "x_train_1of2.parquet", "x_test.parquet"]
    paths = [
        image_parquet(folder / name, images[4 * i : 4 * i + 4], [0, 1, 2, i], NAMES, group=3)
        for i, name in enumerate(names)
    ]
    return paths, images


def test_several_files_are_one_table_in_their_order(tmp_path: Path) -> None:
    paths, _ = three_files(tmp_path)
    table = read_tables(paths, "x")
    assert table.frame["label"].tolist() == [0, 1, 2, 0, 0, 1, 2, 1, 0, 1, 2, 2]
    assert table.splits == ["train"] * 8 + ["test"] * 4
    assert table.class_names == {"label": tuple(NAMES)}
    assert len(table.images["image"]) == 12


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (["train-00000-of-00002.parquet", "validation-00000-of-00001.parquet"], ["train", "validation"]),
        (["cifar100_train_0of2.parquet", "cifar100_test.parquet"], ["train", "test"]),
        (["a.train.parquet", "a.val.parquet", "a.dev.parquet"], ["train", "validation", "validation"]),
        (["TRAIN.parquet", "Test.parquet"], ["train", "test"]),
        (["train-00000-of-00001.parquet", "unsupervised-00000-of-00002.parquet"], ["train", "unsupervised"]),
        (["retrain.parquet", "contest.parquet"], None),
        (["train_0.parquet", "train_1.parquet"], None),
        (["a.parquet"], None),
    ],
)
def test_splits_by_file_names(tmp_path: Path, names: list[str], splits: list[str] | None) -> None:
    paths = [write(ROWS, tmp_path / name) for name in names]
    found = read_tables(paths, "x").splits
    assert found == (None if splits is None else [split for split in splits for _ in range(len(ROWS))])


def test_a_column_of_splits_comes_before_file_names(tmp_path: Path) -> None:
    paths = [write(ROWS.assign(split="dev"), tmp_path / name) for name in ("train.parquet", "test.parquet")]
    rows = rows_of_table(read_tables(paths, "x"), DataConfig(), True)
    assert rows.splits == ["dev"] * 6


def test_files_that_do_not_belong_together(tmp_path: Path, refuses) -> None:
    first = image_parquet(tmp_path / "a.parquet", noise_images(2), [0, 1], NAMES)
    other = image_parquet(tmp_path / "b.parquet", noise_images(2), [0, 1], NAMES[::-1])
    with refuses(first, other, "class names of 'label'"):
        read_tables([first, other], "x")
    more = image_parquet(tmp_path / "c.parquet", noise_images(2), [0, 1], NAMES, extra=[1, 2])
    table = read_tables([first, more], "x")
    assert (table.columns, table.messages) == (
        ["image", "label"],
        ["Some files of x lack the columns 'extra', which were ignored."],
    )
    unnamed = write(ROWS.rename(columns={"text": "words"}), tmp_path / "w.parquet")
    with refuses(unnamed, "'text'"):
        read_tables([write(ROWS, tmp_path / "t.parquet"), unnamed], "x")
