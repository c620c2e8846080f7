"""CIFAR's own files: four layouts hold the same rows, and a pickle that wants anything else is refused and not run."""

import io
import os
import pickle
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st
from made_files import load

from monosemy.data.cifar import read_pickle, rows_of_cifar
from monosemy.data.config import DataConfig
from monosemy.data.images import decode_parts
from monosemy.data.load import load_unlabelled
from monosemy.data.sources import classify
from monosemy.data.tables import ParquetImages
from monosemy.errors import InputError

N = 30
RNG = np.random.default_rng(0)
PIXELS = {part: RNG.integers(0, 256, (n, 3072)).astype(np.uint8) for part, n in (("train", 5 * N), ("test", N))}
FINE = {part: (np.arange(len(x)) % 7).tolist() for part, x in PIXELS.items()}
COARSE = {part: (np.arange(len(x)) % 3).tolist() for part, x in PIXELS.items()}
FINE_NAMES = [f"fine_{name}" for name in "zyxwvut"]
COARSE_NAMES = [f"coarse_{name}" for name in "cba"]


class _Python2Pickler(pickle._Pickler):
    """Writes what Python 2 wrote with protocol 2: bytes as short and long strings, arrays by their state."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_bytes(self, raw: bytes) -> None:
        if len(raw) < 256:
            self.write(pickle.SHORT_BINSTRING + bytes([len(raw)]) + raw)
        else:
            self.write(pickle.BINSTRING + len(raw).to_bytes(4, "little") + raw)

    dispatch[bytes] = save_bytes

    def save_str(self, text: str) -> None:
        self.save_bytes(text.encode())

    dispatch[str] = save_str

    def save_array(self, array: np.ndarray) -> None:
        self.write(pickle.GLOBAL + b"numpy.core.multiarray\n_reconstruct\n")
        self.write(pickle.GLOBAL + b"numpy\nndarray\n")
        self.save((0,))
        self.save(b"b")
        self.write(pickle.TUPLE3 + pickle.REDUCE + pickle.MARK)
        self.save(1)
        self.save(array.shape)
        self.write(pickle.GLOBAL + b"numpy\ndtype\n")
        self.save(("u1", 0, 1))
        self.write(pickle.REDUCE)
        self.save((3, "|", None, None, None, -1, -1, 0))
        self.write(pickle.BUILD)
        self.save(False)
        self.save(array.tobytes())
        self.write(pickle.TUPLE + pickle.BUILD)

    dispatch[np.ndarray] = save_array


def python2(content: dict) -> bytes:
    file = io.BytesIO()
    _Python2Pickler(file, 2).dump(content)
    return file.getvalue()


DUMPS = {
    "python2": python2,
    "protocol2": lambda content: pickle.dumps(content, 2),
    "protocol4": lambda content: pickle.dumps(content, 4),
    "protocol5": lambda content: pickle.dumps(content, 5),
}


def cifar10_python(folder: Path, dumps=python2) -> Path:
    folder.mkdir(parents=True)
    for i in range(5):
        here = slice(i * N, (i + 1) * N)
        content = {b"batch_label": b"x", b"labels": FINE["train"][here], b"data": PIXELS["train"][here]}
        (folder / f"data_batch_{i + 1}").write_bytes(dumps(content | {b"filenames": [b"a.png"] * N}))
    (folder / "test_batch").write_bytes(dumps({b"data": PIXELS["test"], b"labels": FINE["test"]}))
    names = [name.encode() for name in FINE_NAMES]
    (folder / "batches.meta").write_bytes(dumps({b"num_vis": 3072, b"label_names": names}))
    return folder


def cifar100_python(folder: Path, dumps=python2) -> Path:
    folder.mkdir(parents=True)
    for part, pixels in PIXELS.items():
        content = {"data": pixels, "fine_labels": FINE[part], "coarse_labels": COARSE[part], "batch_label": "x"}
        (folder / part).write_bytes(dumps(content))
    (folder / "meta").write_bytes(dumps({"fine_label_names": FINE_NAMES, "coarse_label_names": COARSE_NAMES}))
    return folder


def _records(part: str, rows: slice, *labels: list[int]) -> bytes:
    columns = [np.array(y[rows], dtype=np.uint8)[:, None] for y in labels]
    return np.concatenate([*columns, PIXELS[part][rows]], axis=1).tobytes()


def cifar10_binary(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for i in range(5):
        raw = _records("train", slice(i * N, (i + 1) * N), FINE["train"])
        (folder / f"data_batch_{i + 1}.bin").write_bytes(raw)
    (folder / "test_batch.bin").write_bytes(_records("test", slice(None), FINE["test"]))
    (folder / "batches.meta.txt").write_text("\n".join(FINE_NAMES) + "\n\n")
    return folder


def cifar100_binary(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for part in PIXELS:
        (folder / f"{part}.bin").write_bytes(_records(part, slice(None), COARSE[part], FINE[part]))
    (folder / "fine_label_names.txt").write_text("\n".join(FINE_NAMES) + "\n")
    (folder / "coarse_label_names.txt").write_text("\n".join(COARSE_NAMES) + "\n")
    return folder


MAKERS = [cifar10_python, cifar10_binary, cifar100_python, cifar100_binary]


def check_rows(folder: Path, labels: dict, names: list[str], column: str | None = None) -> None:
    rows = rows_of_cifar(folder, column)
    assert rows.splits == ["train"] * 5 * N + ["test"] * N
    assert rows.vocabulary == tuple(names)
    assert rows.labels == [names[y] for part in ("train", "test") for y in labels[part]]
    assert rows.inputs.dtype == np.uint8
    wanted = np.concatenate([PIXELS["train"], PIXELS["test"]]).reshape(-1, 3, 32, 32)
    np.testing.assert_array_equal(rows.inputs, wanted)


@pytest.mark.parametrize("make", MAKERS)
def test_every_layout_gives_the_same_rows(tmp_path: Path, make) -> None:
    folder = make(tmp_path / "c")
    assert classify(folder).kind == "cifar"
    check_rows(folder, FINE, FINE_NAMES)


@pytest.mark.parametrize("make", [cifar10_python, cifar100_python])
@pytest.mark.parametrize("dumps", DUMPS.values(), ids=DUMPS)
def test_pickles_of_every_protocol(tmp_path: Path, make, dumps) -> None:
    check_rows(make(tmp_path / "c", dumps), FINE, FINE_NAMES)


@pytest.mark.parametrize("make", [cifar100_python, cifar100_binary])
def test_coarse_labels(tmp_path: Path, make) -> None:
    folder = make(tmp_path / "c")
    check_rows(folder, COARSE, COARSE_NAMES, "coarse_label")
    data = load(folder, label_column="coarse_label", image_size=8)
    assert data.class_names == tuple(COARSE_NAMES), "in the order of the integers, not of the alphabet"


@pytest.mark.parametrize("make", MAKERS)
def test_without_names_the_classes_are_numbers(tmp_path: Path, make) -> None:
    folder = make(tmp_path / "c")
    for name in ("meta", "batches.meta", "batches.meta.txt", "fine_label_names.txt"):
        (folder / name).unlink(missing_ok=True)
    assert load(folder).class_names == tuple("0123456")


def test_a_study_and_pretraining_read_them(tmp_path: Path) -> None:
    folder = cifar100_python(tmp_path / "cifar-100-python")
    data = load(folder)
    assert (data.name, data.kind, data.notices) == ("cifar-100-python", "images", ())
    assert (len(data.train) + len(data.validation), len(data.test)) == (5 * N, N)
    np.testing.assert_array_equal(data.test.inputs.reshape(N, -1), PIXELS["test"])
    images = load_unlabelled(DataConfig(source=str(folder)))
    assert (images.train.shape, images.held_out.shape) == ((135, 3, 32, 32), (15, 3, 32, 32))
    assert images.class_names == tuple(FINE_NAMES)


def test_what_is_no_cifar(tmp_path: Path) -> None:
    for name in ("train", "test"):
        (tmp_path / name).mkdir()
    assert classify(tmp_path).kind == "images"


def test_wrong_columns_and_missing_files(tmp_path: Path, refuses) -> None:
    ten, hundred = cifar10_python(tmp_path / "10"), cifar100_binary(tmp_path / "100")
    with refuses(ten, "'coarse_label'", "label"):
        load(ten, label_column="coarse_label")
    with refuses(hundred, "'label'", "coarse_label or fine_label"):
        load(hundred, label_column="label")
    (ten / "data_batch_4").unlink()
    with refuses(ten, "lacks CIFAR's file data_batch_4"):
        load(ten)
    (hundred / "test.bin").unlink()
    with refuses(hundred, "test.bin"):
        load(hundred)


def test_binary_files_of_another_length(tmp_path: Path, refuses) -> None:
    folder = cifar100_binary(tmp_path / "c")
    whole = (folder / "train.bin").read_bytes()
    for raw in (b"", whole[:-1], whole + b"x"):
        (folder / "train.bin").write_bytes(raw)
        with refuses("train.bin", len(raw), "3074"):
            load(folder)


def test_labels_beyond_the_names(tmp_path: Path, refuses) -> None:
    folder = cifar100_binary(tmp_path / "c")
    (folder / "fine_label_names.txt").write_text("one\ntwo\n")
    with refuses("fine_label_names.txt", "2 classes", "label 6"):
        load(folder)


GOOD = {b"data": PIXELS["test"], b"fine_labels": FINE["test"], b"coarse_labels": COARSE["test"]}


@pytest.mark.parametrize(
    "change",
    [
        {b"data": PIXELS["test"][:, :-1]},
        {b"data": PIXELS["test"][0]},
        {b"data": [1, 2]},
        {b"data": PIXELS["test"][:0], b"fine_labels": []},
        {b"fine_labels": FINE["test"][1:]},
        {b"fine_labels": None},
        {b"fine_labels": ["a"] * N},
        {b"fine_labels": [-1] * N},
        {b"fine_labels": [1.5] * N},
    ],
)
def test_batches_of_another_content(tmp_path: Path, refuses, change: dict) -> None:
    folder = cifar100_python(tmp_path / "c")
    (folder / "test").write_bytes(pickle.dumps(GOOD | change))
    with refuses(folder / "test", "not a batch of CIFAR"):
        load(folder)


def test_names_of_another_content(tmp_path: Path, refuses) -> None:
    folder = cifar100_python(tmp_path / "c")
    for names in (None, [1, 2], "abc"):
        (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": names}))
        with refuses(folder / "meta", "fine_label_names"):
            load(folder)


# Pickles that want to run something


class Call:
    """Calls a function when it is unpickled by pickle.load."""

    def __init__(self, function, *arguments) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def _bombs(exploded: Path) -> dict[str, bytes]:
    return {
        "path": pickle.dumps({b"data": Call(Path.touch, exploded)}),
        "system": pickle.dumps({b"data": Call(os.system, f"touch {exploded}")}),
        "eval": pickle.dumps(Call(eval, f"open({str(exploded)!r}, 'w')")),
        "subprocess": pickle.dumps({b"data": [Call(subprocess.call, ["touch", str(exploded)])]}, 2),
        "getattr": pickle.dumps(Call(getattr, "x", "upper")),
        "load": pickle.dumps(Call(np.load, str(exploded))),
        # A dotted name behind one that is allowed, as protocol 4 resolves it.
        "dotted": b"\x80\x04\x8c\x05numpy\x8c\x10ndarray.tofile.x\x93.",
        "dtype of objects": pickle.dumps({b"data": np.array([Call(Path.touch, exploded)], dtype=object)}),
    }


@pytest.mark.parametrize("name", list(_bombs(Path("x"))))
def test_pickles_are_refused_and_never_run(tmp_path: Path, refuses, name: str) -> None:
    exploded = tmp_path / "exploded"
    folder = cifar100_python(tmp_path / "c")
    (folder / "train").write_bytes(_bombs(exploded)[name])
    with refuses(folder / "train", "cannot be read as a CIFAR pickle"):
        load(folder)
    assert not exploded.exists()


@pytest.mark.parametrize("kept", [b"p1000000000\n", b"r\x00\xca\x9a\x3b", b"q\x09"])
def test_a_pickle_cannot_ask_for_room_by_a_number(tmp_path: Path, refuses, kept: bytes) -> None:
    """Python's unpickler makes a table as long as the number under which a value is kept."""
    (tmp_path / "a").write_bytes(b"}" + kept + b".")
    with refuses(tmp_path / "a", "is stored as number"):
        read_pickle(tmp_path / "a")
    (tmp_path / "a").write_bytes(b"}q\x01.")
    assert read_pickle(tmp_path / "a") == {}


@pytest.mark.parametrize("name", ["path", "system", "eval", "subprocess", "dtype of objects"])
def test_the_bombs_are_real(tmp_path: Path, name: str) -> None:
    exploded = tmp_path / "exploded"
    pickle.loads(_bombs(exploded)[name])
    assert exploded.exists()


@pytest.mark.parametrize("target", [b"numpy\nndarray", b"numpy\ndtype", b"_codecs\nencode"])
def test_a_pickle_cannot_change_what_it_is_given(tmp_path: Path, target: bytes) -> None:
    """BUILD sets attributes of any object without a ``__setstate__``; here it would poison later reads."""
    path = tmp_path / "a"
    attributes = pickle.dumps({"array": 1, "code": 2}, 2)[2:-1]
    path.write_bytes(b"\x80\x02c" + target + b"\n" + b"N" + attributes + b"\x86b.")
    with pytest.raises(InputError, match="cannot be read"):
        read_pickle(path)
    path.write_bytes(pickle.dumps(GOOD))
    np.testing.assert_array_equal(read_pickle(path)[b"data"], PIXELS["test"])


@given(seed=st.integers(0, 10_000))
def test_damaged_pickles_are_read_or_refused_and_nothing_else(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    raw = bytearray(python2({b"data": PIXELS["test"][:2], b"fine_labels": [1, 2]}))
    for place in rng.integers(0, min(len(raw), 300), 4):
        raw[place] = rng.integers(256)
    (tmp_path / "a").write_bytes(raw)
    with suppress(InputError):
        read_pickle(tmp_path / "a")


@pytest.mark.shared_data
def test_the_official_layout_of_real_images(shared_data: Path, tmp_path: Path) -> None:
    """The first 1,000 real test images, written as the authors of CIFAR did, are what the parquet file holds."""
    rows = pd.read_parquet(shared_data / "cifar100_test.parquet").iloc[:1000]
    rows.to_parquet(tmp_path / "a.parquet")
    images = ParquetImages([tmp_path / "a.parquet"], "img")
    decoded = decode_parts(images, {"all": np.arange(1000)}, None).parts["all"].images
    folder = tmp_path / "c"
    folder.mkdir()
    for part in ("train", "test"):
        content = {"data": decoded.reshape(1000, -1), "fine_labels": rows["fine_label"].tolist()}
        (folder / part).write_bytes(python2(content | {"coarse_labels": rows["coarse_label"].tolist()}))
    found = rows_of_cifar(folder, None)
    np.testing.assert_array_equal(found.inputs[1000:], decoded)
    assert found.labels == [str(label) for label in [*rows["fine_label"], *rows["fine_label"]]]
