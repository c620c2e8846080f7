"""Faults that hostile tables and arrays were found to cause; tests/fuzz finds such."""

import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_files import EMBEDDINGS, LABELS, TEXTS, load, texts, write

from monosemy.data.arrays import read_arrays, read_npy
from monosemy.data.codes import load_codes
from monosemy.data.config import DataConfig
from monosemy.data.dataset import label_texts, ordered_classes
from monosemy.data.labels import read_labels, stored_labels
from monosemy.data.safety import check_growth
from monosemy.data.streams import open_stream


def test_labels_of_thousands_of_digits_are_names() -> None:
    digits = "9" * 5000
    assert ordered_classes([digits, "10", "9", "b"], None) == ("9", "10", digits, "b")


def test_one_number_is_no_list_of_labels(tmp_path: Path, refuses) -> None:
    with refuses("one value 3"):
        label_texts(np.array(3))


def test_a_column_that_is_there_twice(tmp_path: Path, refuses) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(
        pa.Table.from_arrays([pa.array(TEXTS), pa.array(LABELS), pa.array(LABELS)], ["text", "label", "label"]), path
    )
    with refuses(path, "'label' twice"):
        load(path)
    rows = pa.array([row.tolist() for row in EMBEDDINGS])
    pq.write_table(pa.Table.from_arrays([rows, rows], ["embedding", "embedding"]), path)
    with refuses(path, "twice"):
        open_stream(path)


@pytest.mark.parametrize(("column", "named"), [([[["a"]]] * 40, "should hold texts"), ([b"\xff"] * 40, "should hold")])
def test_texts_that_are_none(column: list, named: str, tmp_path: Path, refuses) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"text": column, "label": LABELS}), path)
    if isinstance(column[0], bytes):
        pq.write_table(pa.table({"text": TEXTS, "label": column}), path)
    with refuses(path, named):
        load(path)


def test_texts_that_are_no_utf8(tmp_path: Path, refuses) -> None:
    path = tmp_path / "t.parquet"
    broken = pa.array([b"\x80abc"] * 40).view(pa.string())
    pq.write_table(pa.table({"text": broken, "label": LABELS}), path)
    with refuses(path, "cannot be read as a table"):
        load(path)


@pytest.mark.parametrize("text", ["null", "3", "[1]", '{"text": "x", "label": "a"}\nnull'])
def test_json_lines_that_are_no_rows(text: str, tmp_path: Path, refuses) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(text + "\n")
    with refuses(path):
        load(path)


def test_label_files_whose_column_holds_bytes(tmp_path: Path, refuses) -> None:
    np.save(tmp_path / "e.npy", EMBEDDINGS)
    pq.write_table(pa.table({"label": [b"\xff"] * 40}), tmp_path / "labels.parquet")
    with refuses("should hold labels"):
        read_labels(tmp_path / "labels.parquet")
    write(texts(), tmp_path / "t.csv")
    pq.write_table(pa.table({"index": range(40), "noisy_label": [b"\xff"] * 40}), tmp_path / "given.parquet")
    with refuses("should hold noisy labels"):
        load(tmp_path / "t.csv", noisy_labels=tmp_path / "given.parquet")


@pytest.mark.parametrize("format", [np.array(["csr", "csc"]), np.array(3)])
def test_csr_files_of_no_format(format: np.ndarray, tmp_path: Path, refuses) -> None:
    path = tmp_path / "codes.npz"
    np.savez(path, data=[1.0], indices=[0], indptr=[0, 1], shape=[1, 1], format=format)
    with refuses(path, "sparse matrix of format"):
        load_codes(DataConfig(source=str(path)))


def test_arrays_that_are_none(tmp_path: Path, refuses) -> None:
    path = tmp_path / "e.npy"
    text = np.array(["ab"])
    np.save(path, text)
    path.write_bytes(path.read_bytes()[:-8] + b"\xff" * 8)  # no character has such a number
    with refuses(path, "it has invalid characters"):
        read_npy(path)
    path.write_bytes(b"\x93NUMPY\x01\x00v\x00{'descr': '<i8', 'shape'" + b"(" * 50 + b" " * 200)
    with refuses(path):  # the parser of headers raises errors of a kind of its own
        read_npy(path)
    pd.DataFrame({"x": [1]}).to_csv(tmp_path / "inside.csv")
    np.savez(tmp_path / "e.npz", embeddings=EMBEDDINGS)
    (tmp_path / "e.npz").rename(path)
    with refuses(path, "is not an array"):
        read_npy(path)


@pytest.mark.parametrize("dtype", ["<U0", "|S0", "|V0"])
def test_values_of_no_size(dtype: str, tmp_path: Path, refuses) -> None:
    """An empty file holds any number of them."""
    path = tmp_path / "e.npy"
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": (3_000_000_000,)})
    with refuses(path, "values of 0 bytes"):
        read_npy(path)
    with zipfile.ZipFile(tmp_path / "e.npz", "w") as archive:
        archive.write(path, "labels.npy")
    with refuses(tmp_path / "e.npz", "values of 0 bytes"):
        read_arrays(tmp_path / "e.npz")
    with refuses(tmp_path / "e.npz", "values of 0 bytes"):
        stored_labels(str(tmp_path / "e.npz"), None, None, None)


def test_values_of_any_size(tmp_path: Path, refuses) -> None:
    """An array without values can promise them; NumPy makes room for one where it converts."""
    path = tmp_path / "e.npy"
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<U100000000", "fortran_order": False, "shape": (0,)})
    with refuses(path, "values of 400,000,000 bytes"):
        read_npy(path)


def test_what_a_file_may_grow_to(tmp_path: Path, refuses) -> None:
    path = tmp_path / "x"
    path.write_bytes(bytes(1000))
    check_growth(path, 2**30)
    with refuses(path, "1.1 GB"):
        check_growth(path, 2**30 + 2**26)
    with path.open("wb") as file:
        file.truncate(2**27)  # a hole: no space on the disk
    check_growth(path, 100 * 2**27)
