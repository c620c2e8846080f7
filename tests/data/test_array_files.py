"""Embeddings and labels from .npz, .npy and .safetensors: what is read, and what is refused and never run."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch

from monosemy.data.arrays import read_arrays
from monosemy.data.labels import read_labels

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


def test_half_precision_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_torch({"embeddings": torch.ones(2, 2, dtype=torch.float16)}, path)
    assert read_arrays(path)["embeddings"].tolist() == [[1, 1], [1, 1]]
    for kind in (torch.bfloat16, torch.float8_e4m3fn):
        save_torch({"embeddings": torch.tensor([[1, -2.5]]).to(kind)}, path)
        array = read_arrays(path)["embeddings"]
        assert (array.dtype, array.tolist()) == (np.float32, [[1, -2.5]])


def test_label_files(tmp_path: Path, refuses) -> None:
    np.save(tmp_path / "l.npy", np.array([3, 1]))
    (tmp_path / "one.csv").write_text("topic\n3\n1\n")
    (tmp_path / "two.csv").write_text("id,label\n7,3\n8,1\n")
    for name in ("l.npy", "one.csv", "two.csv"):
        assert read_labels(tmp_path / name) == ["3", "1"]
    (tmp_path / "bad.csv").write_text("id,topic\n7,3\n8,1\n")
    with refuses(tmp_path / "bad.csv", "'id', 'topic'"):
        read_labels(tmp_path / "bad.csv")
    with refuses(tmp_path / "none.csv"):
        read_labels(tmp_path / "none.csv")
