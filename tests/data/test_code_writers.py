"""Files of codes, written piece by piece, read by the libraries that own the formats."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import scipy.sparse as sp
from hypothesis import given, strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file

from monosemy.data.codes import code_writer, load_codes
from monosemy.data.config import DataConfig
from monosemy.errors import InputError


def random_codes(n: int, m: int, seed: int = 0) -> sp.csr_array:
    rng = np.random.default_rng(seed)
    dense = rng.random((n, m)) * (rng.random((n, m)) < 0.2)
    return sp.csr_array(dense.astype(np.float32))


def written(path: Path, codes: sp.csr_array, pieces: list[int]) -> Path:
    with code_writer(path, codes.shape[1], {"source": "here"}) as writer:
        start = 0
        for size in pieces:
            writer.write(codes[start : start + size])
            start += size
    return path


def of_parquet(path: Path, m: int) -> np.ndarray:
    table = pq.read_table(path)
    dense = np.zeros((len(table), m), np.float32)
    for row, (indices, values) in enumerate(
        zip(table["indices"].to_pylist(), table["values"].to_pylist(), strict=True)
    ):
        dense[row, indices] = values
    return dense


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@given(sizes=st.lists(st.integers(0, 9), min_size=1, max_size=5), m=st.integers(1, 30), seed=st.integers(0, 99))
def test_pieces_are_one_matrix(
    suffix: str, sizes: list[int], m: int, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    codes = random_codes(sum(sizes), m, seed)
    path = written(tmp_path_factory.mktemp("codes") / f"codes{suffix}", codes, sizes)
    if suffix == ".npz":
        back = sp.load_npz(path)
    else:
        arrays = load_file(path)
        back = sp.csr_array((arrays["data"], arrays["indices"], arrays["indptr"]), shape=tuple(arrays["shape"]))
    assert back.shape == codes.shape
    assert back.dtype == np.float32
    np.testing.assert_array_equal(back.toarray(), codes.toarray())
    assert [file.name for file in path.parent.iterdir()] == [path.name], "nothing temporary is left"


@given(sizes=st.lists(st.integers(0, 9), min_size=1, max_size=5), m=st.integers(1, 30))
def test_pieces_are_one_table(sizes: list[int], m: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    codes = random_codes(sum(sizes), m)
    path = written(tmp_path_factory.mktemp("codes") / "codes.parquet", codes, sizes)
    np.testing.assert_array_equal(of_parquet(path, m), codes.toarray())
    about = json.loads(pq.read_schema(path).metadata[b"monosemy"])
    assert about == {"n_latents": m, "source": "here"}


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_measure_reads_them(suffix: str, tmp_path: Path) -> None:
    codes = random_codes(20, 8)
    path = written(tmp_path / f"codes{suffix}", codes, [20])
    loaded = load_codes(DataConfig(source=str(path)))
    assert sp.issparse(loaded.codes)
    np.testing.assert_array_equal(loaded.codes.toarray(), codes.toarray())


def test_safetensors_say_where_they_come_from(tmp_path: Path) -> None:
    path = written(tmp_path / "codes.safetensors", random_codes(5, 4), [5])
    with safe_open(path, framework="np") as file:
        assert json.loads(file.metadata()["monosemy"]) == {"n_latents": 4, "source": "here"}


def test_more_entries_than_32_bits_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    codes = random_codes(30, 10)
    monkeypatch.setattr("monosemy.data.codes._WIDE", 5)
    monkeypatch.setattr("monosemy.data.codes._COPIED", 8)
    path = written(tmp_path / "codes.npz", codes, [10, 20])
    with np.load(path) as arrays:
        assert arrays["indices"].dtype == arrays["indptr"].dtype == np.int64
    np.testing.assert_array_equal(sp.load_npz(path).toarray(), codes.toarray())


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".parquet"])
def test_an_error_leaves_the_old_file_and_nothing_else(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"codes{suffix}"
    path.write_text("precious")

    def fail() -> None:
        with code_writer(path, 4, {}) as writer:
            writer.write(random_codes(5, 4))
            raise InputError("row 3 is bad.")

    with pytest.raises(InputError, match="row 3"):
        fail()
    assert path.read_text() == "precious"
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(InputError, match=r"which cannot be written .*; give another"),
        code_writer(tmp_path / "file" / "codes.npz", 3, {}),
    ):
        pass
    with (
        pytest.raises(InputError, match=r"out is 'codes.csv', which has none of the endings \.npz"),
        code_writer(Path("codes.csv"), 3, {}),
    ):
        pass
