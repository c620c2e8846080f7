"""Files to measure: memory maps, sparse matrices, with labels and without; damaged and hostile ones."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from monosemy.data.codes import LoadedCodes, load_codes
from monosemy.data.config import DataConfig

MATRIX = np.array([[0, 1.5], [2, 0], [0, 0]], dtype=np.float32)


def load(path: Path, **settings: object) -> LoadedCodes:
    return load_codes(DataConfig.model_validate({"source": str(path), **settings}))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8])
def test_an_npy_is_mapped_and_not_loaded(tmp_path: Path, dtype) -> None:
    np.save(tmp_path / "a.npy", MATRIX.astype(dtype))
    found = load(tmp_path / "a.npy")
    assert isinstance(found.codes, np.memmap)
    assert found.codes.dtype == dtype
    assert found.labels is None
    assert found.class_names == ()


def test_labels_of_a_file_of_their_own(tmp_path: Path, refuses) -> None:
    np.save(tmp_path / "a.npy", MATRIX)
    pd.DataFrame({"label": ["dog", "cat", "dog"]}).to_csv(tmp_path / "l.csv", index=False)
    found = load(tmp_path / "a.npy", labels=tmp_path / "l.csv")
    assert found.class_names == ("cat", "dog")
    assert found.labels is not None
    assert found.labels.tolist() == [1, 0, 1]
    pd.DataFrame({"label": ["dog", "cat"]}).to_csv(tmp_path / "l.csv", index=False)
    with refuses(tmp_path / "a.npy", "3 embeddings but 2 labels"):
        load(tmp_path / "a.npy", labels=tmp_path / "l.csv")
    pd.DataFrame({"label": ["dog", "", "dog"]}).to_csv(tmp_path / "l.csv", index=False)
    with refuses("1 of 3 rows", "1 without a label (row 1)"):
        load(tmp_path / "a.npy", labels=tmp_path / "l.csv")


@pytest.mark.parametrize("kind", [sp.csr_array, sp.csr_matrix])
def test_a_saved_csr_matrix(tmp_path: Path, kind) -> None:
    sp.save_npz(tmp_path / "a.npz", kind(MATRIX))
    found = load(tmp_path / "a.npz")
    assert isinstance(found.codes, sp.csr_array)
    np.testing.assert_array_equal(found.codes.toarray(), MATRIX)


def test_a_csr_matrix_with_labels_beside_it(tmp_path: Path) -> None:
    codes = sp.csr_array(MATRIX)
    parts = {"data": codes.data, "indices": codes.indices, "indptr": codes.indptr, "shape": codes.shape}
    np.savez(tmp_path / "a.npz", format="csr", labels=np.array([4, 4, 7]), **parts)
    found = load(tmp_path / "a.npz")
    assert found.class_names == ("4", "7")


def test_other_formats_and_damaged_matrices_are_refused(tmp_path: Path, refuses) -> None:
    path = tmp_path / "a.npz"
    sp.save_npz(path, sp.csc_array(MATRIX))
    with refuses(path, "'csc'", "tocsr"):
        load(path)
    good = sp.csr_array(MATRIX)
    parts = {"data": good.data, "indices": good.indices, "indptr": good.indptr, "shape": np.array(good.shape)}
    for bad in (
        {"indices": np.array([9, 0])},
        {"indices": np.array([-1, 0])},
        {"indptr": np.array([0, 1, 2, 900])},
        {"indptr": np.array([0, 2, 1, 2])},
        {"indptr": good.indptr[:-1]},
        {"data": np.array(["x", "y"])},
        {"data": np.zeros(0)},
        {"shape": np.array([3])},
        {"shape": np.array(["a", "b"])},
    ):
        np.savez(path, format="csr", **(parts | bad))
        with refuses(path, "not a valid CSR matrix"):
            load(path)
    parts.pop("indices")
    np.savez(path, format="csr", **parts)
    with refuses(path, "not a valid CSR matrix"):
        load(path)


def test_npy_files_that_hold_no_embeddings(tmp_path: Path, refuses) -> None:
    path = tmp_path / "a.npy"
    with refuses(path, "does not exist"):
        load(path)
    for values, named in ((np.ones(3), "(3,)"), (np.array([["a"]]), "<U1"), (np.ones((0, 3)), "(0, 3)")):
        np.save(path, values)
        with refuses(path, named):
            load(path)
    np.save(path, np.random.default_rng(0).random((50, 4)))
    whole = path.read_bytes()
    for part in (b"", whole[:10], whole[: len(whole) // 2], b"something else"):
        path.write_bytes(part)
        with refuses(path, "cannot be read as an array"):
            load(path)
    np.save(path, np.array([{}, {}], dtype=object), allow_pickle=True)
    with refuses(path):
        load(path)
    np.savez(tmp_path / "b.npz", embeddings=MATRIX)
    (tmp_path / "b.npz").rename(path)
    with refuses(path, "it is not an array"):
        load(path)


def test_arrays_without_labels_are_taken_and_half_labelled_ones_not(tmp_path: Path, refuses) -> None:
    np.savez(tmp_path / "a.npz", embeddings=MATRIX)
    assert load(tmp_path / "a.npz").labels is None
    np.savez(tmp_path / "a.npz", X_train=MATRIX, X_test=MATRIX)
    assert load(tmp_path / "a.npz").codes.shape == (6, 2)
    np.savez(tmp_path / "a.npz", X_train=MATRIX, X_test=MATRIX, y_train=[0, 1, 1])
    with refuses("y_test"):
        load(tmp_path / "a.npz")
    pd.DataFrame({"embedding": list(MATRIX)}).to_parquet(tmp_path / "a.parquet")
    assert load(tmp_path / "a.parquet").labels is None
