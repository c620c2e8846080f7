"""Labels of rows that are streamed."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from monosemy.data.labels import stored_labels
from monosemy.errors import InputError

X = np.ones((4, 2), np.float32)
Y = np.array([10, 2, 2, 10])


def found(source: Path, file: Path | None = None, rows: str | None = None, label: str | None = None):
    result = stored_labels(str(source), file, rows, label)
    return None if result is None else (result[0].tolist(), result[1])


WANTED = ([1, 0, 0, 1], ("2", "10"))


def test_labels_lie_beside_the_rows(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", embeddings=X, labels=Y, other=np.array([1, 1, 2, 2]))
    assert found(tmp_path / "x.npz") == WANTED
    assert found(tmp_path / "x.npz", label="other") == ([0, 0, 1, 1], ("1", "2"))
    save_file({"embeddings": X, "y": Y}, tmp_path / "x.safetensors")
    assert found(tmp_path / "x.safetensors") == WANTED
    pd.DataFrame({"embedding": X.tolist(), "intent": ["b", "a", "a", "b"]}).to_parquet(tmp_path / "x.parquet")
    assert found(tmp_path / "x.parquet") == ([1, 0, 0, 1], ("a", "b"))


def test_labels_of_a_split_belong_to_it(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", X_test=X, y_test=Y, y_train=Y[::-1])
    assert found(tmp_path / "x.npz", rows="X_test") == WANTED
    assert found(tmp_path / "x.npz", rows="X_other") is None


def test_a_file_of_their_own_goes_first(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", embeddings=X, labels=1 - Y)
    np.save(tmp_path / "y.npy", Y)
    pd.DataFrame({"label": Y}).to_csv(tmp_path / "y.csv", index=False)
    for name in ("y.npy", "y.csv"):
        assert found(tmp_path / "x.npz", tmp_path / name) == WANTED


def test_labels_of_other_tables_and_files_without_a_header(tmp_path: Path) -> None:
    frame = pd.DataFrame(X, columns=["dim_0", "dim_1"]).assign(Label=Y)
    frame.to_csv(tmp_path / "x.csv", index=False)
    assert found(tmp_path / "x.csv") == WANTED
    (tmp_path / "y.txt").write_text("10\n2\n2\n10\n")
    assert found(tmp_path / "x.csv", tmp_path / "y.txt") == WANTED
    (tmp_path / "y.txt").write_text("3\n10\n2\n2\n10\n")
    messages: list[str] = []
    result = stored_labels("x", tmp_path / "y.txt", None, None, n_rows=4, messages=messages)
    assert result is not None
    assert (result[0].tolist(), result[1]) == WANTED
    assert messages == ["The first line of y.txt, '3', was read as its header."]


def test_no_labels(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    np.savez(tmp_path / "x.npz", embeddings=X)
    pd.DataFrame({"embedding": X.tolist()}).to_parquet(tmp_path / "x.parquet")
    for name in ("x.npy", "x.npz", "x.parquet", ""):
        assert found(tmp_path / name) is None
    with pytest.raises(InputError, match="has no labels 'mood'; name a file of labels with --labels"):
        found(tmp_path / "x.npz", label="mood")


def test_labels_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(b"PK\x03\x04 cut")
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    (tmp_path / "x.safetensors").write_bytes(b"")
    np.savez(tmp_path / "objects.npz", labels=np.array([{}, {}], dtype=object))
    for name in ("x.npz", "x.parquet", "x.safetensors", "objects.npz"):
        with pytest.raises(InputError, match=r"cannot be read as (a table|arrays)"):
            found(tmp_path / name)
    pd.DataFrame({"embedding": X.tolist(), "label": ["b", None, "a", "b"]}).to_parquet(tmp_path / "gap.parquet")
    with pytest.raises(InputError, match="has 1 of 4 rows without a label"):
        found(tmp_path / "gap.parquet")
