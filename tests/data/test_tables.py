"""Reading files: each format gives the same table, each broken file gives one sentence."""

import gzip
import io
import pickle
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch

from monosemy import InputError
from monosemy.data.tables import (
    column,
    column_kind,
    decode_images,
    inputs_of,
    read_arrays,
    read_labels,
    read_table,
    table_kind,
)

ROWS = pd.DataFrame({"text": ["one, two", "drei ✓", "NA"], "label": ["x", "y", "x"]})


def write(frame: pd.DataFrame, path: Path) -> Path:
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    elif ".jsonl" in path.name:
        frame.to_json(path, orient="records", lines=True, force_ascii=False)
    else:
        frame.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    return path


TABLES = ["t.parquet", "t.csv", "t.tsv", "t.csv.gz", "t.jsonl", "t.jsonl.gz", "T.CSV"]


@pytest.mark.parametrize("name", TABLES)
def test_every_table_format_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    frame = read_table(write(ROWS, tmp_path / name))
    assert frame["text"].tolist() == ROWS["text"].tolist(), "'NA' is a text, not a missing value"
    assert frame["label"].tolist() == ROWS["label"].tolist()


def test_gzipped_tables_are_really_compressed(tmp_path: Path) -> None:
    assert write(ROWS, tmp_path / "t.jsonl.gz").read_bytes()[:2] == b"\x1f\x8b"


def test_labels_that_look_like_numbers_or_dates_stay_as_written(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("text,label\na,007\nb,1.50\n")
    assert read_table(tmp_path / "t.csv")["label"].tolist() == ["007", "1.50"]
    (tmp_path / "t.jsonl").write_text('{"text": "a", "date": "2020-01-01", "label": 7}\n')
    assert read_table(tmp_path / "t.jsonl").iloc[0].tolist() == ["a", "2020-01-01", 7]


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
    (tmp_path / "t.xlsx").write_bytes(b"x")
    with refuses(tmp_path / "t.xlsx", ".parquet"):
        read_table(tmp_path / "t.xlsx")


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
    frame = pd.DataFrame({"sentence": ["a"], "intent": ["x"], "other": ["y"]})
    assert column(frame, None, ("text", "sentence"), "input", "f.csv") == "sentence"
    assert column(frame, "other", ("intent",), "label", "f.csv") == "other"
    with refuses("f.csv", "'topic'", "label", "sentence, intent, other"):
        column(frame, "topic", ("intent",), "label", "f.csv")
    with refuses("f.csv", "given label", "looked for topic", "sentence, intent, other", "--given-label-column"):
        column(frame, None, ("topic",), "given label", "f.csv")


def test_kinds_by_column_name_and_by_value(refuses) -> None:
    for name, kind in (("embedding", "embeddings"), ("img", "images"), ("image", "images"), ("sentence", "texts")):
        assert table_kind(pd.DataFrame({name: [1]}), "f") == kind
    with refuses("f.csv", "topic", "--input-column"):
        table_kind(pd.DataFrame({"topic": [1]}), "f.csv")
    assert column_kind(pd.Series(["a"])) == "texts"
    assert column_kind(pd.Series([b"a"])) == column_kind(pd.Series([{"bytes": b"a"}])) == "images"
    assert column_kind(pd.Series([[1.0, 2.0]])) == "embeddings"


@pytest.mark.parametrize("missing", [None, float("nan"), "", "  "])
def test_empty_texts_are_counted(refuses, missing: object) -> None:
    with refuses("f.csv", "1 empty text"):
        inputs_of(pd.Series(["a", missing, "c"], dtype=object), "texts", "f.csv", None)


def test_embedding_columns(refuses) -> None:
    result = inputs_of(pd.Series([[1, 2], [3, 4]]), "embeddings", "f", None)
    assert result.dtype == np.float32
    assert result.tolist() == [[1, 2], [3, 4]]
    for bad in ([[1.0, 2.0], [3.0]], [[1.0], None], [["a"], ["b"]]):
        with refuses("f.parquet", "unequal length or type"):
            inputs_of(pd.Series(bad), "embeddings", "f.parquet", None)
    with refuses("f.parquet", "'age'"):
        inputs_of(pd.Series([1.0, 2.0], name="age"), "embeddings", "f.parquet", None)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "GIF", "TIFF"])
def test_images_are_decoded_to_the_unit_range(png, kind: str) -> None:
    options = {"size": (6, 4)}
    images = decode_images([png((255, 0, 51), kind=kind, **options), png((0, 0, 0), kind=kind, **options)], None, "f")
    assert images.shape == (2, 3, 4, 6)
    assert images.dtype == np.float32
    np.testing.assert_allclose(images[0, :, 2, 3], [1, 0, 0.2], atol=0.02)
    assert images[1].max() < 0.02


def test_pixels_keep_their_places() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    wanted = pixels.transpose(2, 0, 1).astype(np.float32) / np.float32(255)
    np.testing.assert_array_equal(decode_images([file.getvalue()], None, "f")[0], wanted)


def test_grey_and_transparent_images_become_colour() -> None:
    files = []
    for mode in ("L", "RGBA", "P", "1"):
        file = io.BytesIO()
        Image.new(mode, (8, 8)).save(file, "PNG")
        files.append(file.getvalue())
    assert decode_images(files, None, "f").shape == (4, 3, 8, 8)


def test_sizes(png) -> None:
    small, large = png((9, 9, 9), (8, 8)), png((9, 9, 9), (40, 20))
    assert decode_images([large, large], None, "f").shape == (2, 3, 20, 40)
    assert decode_images([small, large], None, "f").shape == (2, 3, 32, 32)
    assert decode_images([small, large], 12, "f").shape == (2, 3, 12, 12)
    np.testing.assert_allclose(decode_images([large], 12, "f"), 9 / 255, atol=1e-3)


@pytest.mark.parametrize("damage", ["truncated", "empty", "foreign"])
def test_unreadable_images_are_named(png, refuses, damage: str) -> None:
    good = png((1, 2, 3))
    bad = {"truncated": good[:40], "empty": b"", "foreign": b"GIF? no"}[damage]
    with refuses("Image 1 of f.parquet"):
        decode_images([good, bad], None, "f.parquet")
    with refuses("Image cats/b.png of the folder x"):
        decode_images([good, bad], None, "the folder x", ["cats/a.png", "cats/b.png"])


def test_image_columns(png, refuses) -> None:
    raw = png((255, 255, 255))
    for value in (raw, {"bytes": raw, "path": None}):
        assert inputs_of(pd.Series([value]), "images", "f", None).min() == 1
    for value in (None, {"bytes": None, "path": "a.png"}, "a.png", 3):
        with refuses("f.parquet", "without image bytes"):
            inputs_of(pd.Series([{"bytes": raw}, value]), "images", "f.parquet", None)


MATRIX = np.arange(6, dtype=np.float32).reshape(3, 2)


def test_array_files(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", embeddings=MATRIX, labels=np.array(["x", "y", "x"]))
    save_file({"embeddings": MATRIX, "labels": np.array([0, 1, 0])}, tmp_path / "a.safetensors")
    np.save(tmp_path / "a.npy", MATRIX)
    for name in ("a.npz", "a.safetensors", "a.npy"):
        arrays = read_arrays(tmp_path / name)
        np.testing.assert_array_equal(arrays["embeddings"], MATRIX)
        assert set(arrays) <= {"embeddings", "labels"}
    assert read_arrays(tmp_path / "a.npz")["labels"].tolist() == ["x", "y", "x"]


@pytest.mark.parametrize("name", ["a.npz", "a.npy", "a.safetensors"])
def test_missing_empty_truncated_and_foreign_arrays(tmp_path: Path, refuses, name: str) -> None:
    path = tmp_path / name
    with refuses(f"{path} does not exist"):
        read_arrays(path)
    if name == "a.npz":
        np.savez(path, embeddings=np.random.default_rng(0).random((50, 4)))
    elif name == "a.npy":
        np.save(path, np.random.default_rng(0).random((50, 4)))
    else:
        save_file({"embeddings": np.random.default_rng(0).random((50, 4))}, path)
    whole = path.read_bytes()
    for part in (b"", whole[:3], whole[:10], whole[: len(whole) // 2], whole[:-5], b"something else entirely"):
        path.write_bytes(part)
        with refuses(path, "cannot be read as arrays"):
            read_arrays(path)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_with_damaged_content(tmp_path: Path, refuses, save) -> None:
    path = tmp_path / "a.npz"
    save(path, embeddings=np.random.default_rng(0).random((50, 4)))
    raw = bytearray(path.read_bytes())
    raw[200:230] = b"\xff" * 30
    path.write_bytes(raw)
    with refuses(path):
        read_arrays(path)


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_pickles_are_refused_and_never_run(tmp_path: Path, refuses) -> None:
    exploded = tmp_path / "exploded"
    objects = np.array([Bomb(exploded)], dtype=object)
    np.save(tmp_path / "a.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "a.npz", allow_pickle=True, embeddings=objects)
    (tmp_path / "b.npy").write_bytes(pickle.dumps(Bomb(exploded)))
    (tmp_path / "b.npz").write_bytes(pickle.dumps(Bomb(exploded)))
    for name in ("a.npy", "a.npz", "b.npy", "b.npz"):
        with refuses(tmp_path / name):
            read_arrays(tmp_path / name)
    assert not exploded.exists()
    np.load(tmp_path / "b.npy", allow_pickle=True)
    assert exploded.exists(), "the bomb is a real one"


def test_half_precision_is_read_and_bfloat16_refused(tmp_path: Path, refuses) -> None:
    path = tmp_path / "a.safetensors"
    save_torch({"embeddings": torch.ones(2, 2, dtype=torch.float16)}, path)
    assert read_arrays(path)["embeddings"].tolist() == [[1, 1], [1, 1]]
    save_torch({"embeddings": torch.ones(2, 2, dtype=torch.bfloat16)}, path)
    with refuses(path, "bfloat16"):
        read_arrays(path)


def test_label_files(tmp_path: Path, refuses) -> None:
    np.save(tmp_path / "l.npy", np.array([3, 1]))
    (tmp_path / "one.csv").write_text("topic\n3\n1\n")
    (tmp_path / "two.csv").write_text("id,label\n7,3\n8,1\n")
    for name in ("l.npy", "one.csv", "two.csv"):
        assert [str(label) for label in read_labels(tmp_path / name)] == ["3", "1"]
    (tmp_path / "bad.csv").write_text("id,topic\n7,3\n8,1\n")
    with refuses(tmp_path / "bad.csv", "id, topic"):
        read_labels(tmp_path / "bad.csv")
    with refuses(tmp_path / "none.csv"):
        read_labels(tmp_path / "none.csv")
