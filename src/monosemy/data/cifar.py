"""CIFAR-10 and CIFAR-100 from their own files, the Python version (its pickles are not trusted) and the binary one."""

import io
import pickle
import pickletools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from monosemy.core.files import readable
from monosemy.data import dataset, sources
from monosemy.errors import InputError

_PIXELS = 3 * 32 * 32


@dataclass(frozen=True)
class _Version:
    """The layout of one of the four distributions."""

    splits: dict[str, str]
    """Split of each file, in the order of the rows."""
    label_columns: tuple[str, ...]
    """Kinds of labels in the order of a binary record; the last is the default."""
    names: dict[str, str]
    """File with the names of the classes by kind of label."""
    binary: bool = False


_BATCHES = [f"data_batch_{i}" for i in range(1, 6)]
_VERSIONS = (
    _Version(dict.fromkeys(_BATCHES, "train") | {"test_batch": "test"}, ("label",), {"label": "batches.meta"}),
    _Version(
        {f"{name}.bin": "train" for name in _BATCHES} | {"test_batch.bin": "test"},
        ("label",),
        {"label": "batches.meta.txt"},
        binary=True,
    ),
    _Version(
        {"train": "train", "test": "test"},
        ("coarse_label", "fine_label"),
        {"coarse_label": "meta", "fine_label": "meta"},
    ),
    _Version(
        {"train.bin": "train", "test.bin": "test"},
        ("coarse_label", "fine_label"),
        {"coarse_label": "coarse_label_names.txt", "fine_label": "fine_label_names.txt"},
        binary=True,
    ),
)


def rows_of_cifar(folder: Path, label_column: str | None) -> dataset.Rows:
    """Return all images of a folder of CIFAR's files, in the official order.

    Args:
        label_column: `fine_label` (default) or `coarse_label` for CIFAR-100; `label` for CIFAR-10.
    """
    version = next(version for version in _VERSIONS if (folder / next(iter(version.splits))).is_file())
    wanted = label_column or version.label_columns[-1]
    if wanted not in version.label_columns:
        raise InputError(
            f"{folder} has no labels {wanted!r}; choose {' or '.join(version.label_columns)} with --label-column."
        )
    read = _read_binary if version.binary else _read_pickled
    images, labels, splits = [], [], []
    for name, split in version.splits.items():
        if not (folder / name).is_file():
            raise InputError(f"The folder {folder} lacks CIFAR's file {name}; unpack the archive again.")
        pixels, numbers = read(folder / name, version.label_columns, wanted)
        images.append(pixels.reshape(-1, 3, 32, 32))
        labels += numbers
        splits += [split] * len(numbers)
    vocabulary = _class_names(folder, version, wanted)
    if vocabulary is not None and max(labels) >= len(vocabulary):
        raise InputError(
            f"{folder / version.names[wanted]} names {len(vocabulary)} classes, but there is the label {max(labels)}; "
            f"unpack the archive again."
        )
    return dataset.Rows(
        kind="images",
        inputs=np.concatenate(images),
        labels=[str(label) if vocabulary is None else vocabulary[label] for label in labels],
        splits=splits,
        vocabulary=vocabulary,
    )


def _read_binary(path: Path, columns: tuple[str, ...], wanted: str) -> tuple[np.typing.NDArray[np.uint8], list[int]]:
    """Read records of one byte for each label and 3,072 bytes of pixels, one colour after the other."""
    raw = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    length = len(columns) + _PIXELS
    if len(raw) == 0 or len(raw) % length:
        raise InputError(
            f"{path} has {len(raw)} bytes, not a multiple of the {length} of an image and its label; download it again."
        )
    records = raw.reshape(-1, length)
    return records[:, len(columns) :], records[:, columns.index(wanted)].tolist()


def _read_pickled(path: Path, columns: tuple[str, ...], wanted: str) -> tuple[np.typing.NDArray[np.uint8], list[int]]:
    content = read_pickle(path)
    pixels, labels = content.get(b"data"), content.get(f"{wanted}s".encode())
    good = (
        isinstance(pixels, np.ndarray)
        and pixels.ndim == 2
        and pixels.shape[1] == _PIXELS
        and pixels.dtype == np.uint8
        and isinstance(labels, list)
        and len(labels) == len(pixels) > 0
        and all(isinstance(label, int) and 0 <= label < 1000 for label in labels)
    )
    if not good:
        raise InputError(
            f"{path} is not a batch of CIFAR (bytes N x {_PIXELS} as data, N integers as {wanted}s); download it again."
        )
    assert pixels is not None
    assert labels is not None
    return pixels, labels


def _class_names(folder: Path, version: _Version, wanted: str) -> tuple[str, ...] | None:
    path = folder / version.names[wanted]
    if not path.is_file():
        return None
    if version.binary:
        return dataset.distinct_names(sources.read_lines(path, "list of classes"))
    names = read_pickle(path).get(f"{wanted}_names".encode())
    if not isinstance(names, list) or not all(isinstance(name, bytes) for name in names):
        raise InputError(f"{path} does not hold a list {wanted}_names; unpack the archive again.")
    return dataset.distinct_names(name.decode("utf-8", "replace") for name in names)


def read_pickle(path: Path) -> dict[bytes, Any]:
    """Read a dictionary of plain values and arrays of bytes from a pickle without running anything in it.

    Every global that the pickle names is refused except those that rebuild an array, and these are replaced by classes
    of this module, so no foreign code is called and NumPy sees only a checked type, shape and bytes. Texts of
    Python 2 and 3 are both bytes.

    Raises:
        InputError: the pickle names anything else, or is damaged.
    """
    with readable(path, "a CIFAR pickle", "download it again"):
        raw = path.read_bytes()
        _check_memo(raw)
        content = _Unpickler(io.BytesIO(raw), encoding="bytes").load()
        if not isinstance(content, dict):
            raise pickle.UnpicklingError("it does not hold a dictionary")
        return {_as_bytes(key): _plain(value) for key, value in content.items()}


def _check_memo(raw: bytes) -> None:
    """Raise where a pickle stores a value under a number that no writer could have reached.

    The unpickler allocates memory up to that number, so six bytes of a file would fill 64 GB.
    """
    for count, (opcode, number, _) in enumerate(pickletools.genops(raw)):
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and number is not None and number > count:
            raise pickle.UnpicklingError(f"value {count} is stored as number {number}")


def _as_bytes(value: Any) -> Any:
    return value.encode("utf-8") if isinstance(value, str) else value


def _plain(value: Any) -> Any:
    if isinstance(value, _Array):
        return value.array()
    return [_as_bytes(item) for item in value] if isinstance(value, list) else _as_bytes(value)


class _Type:
    """A stand-in for numpy.dtype that keeps only its code."""

    def __init__(self, code: Any = None, *_: Any) -> None:
        self.code = code.decode("ascii") if isinstance(code, bytes) else code

    def __setstate__(self, state: Any) -> None:
        """Ignore the byte order and the like, which single bytes do not have."""


class _Array:
    """A stand-in for numpy.ndarray, described by its state: (version, shape, type, Fortran order, bytes)."""

    def __init__(self, *_: Any) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def array(self) -> np.typing.NDArray[np.uint8]:
        _, shape, kind, fortran, raw = self.state
        if not isinstance(kind, _Type) or kind.code not in ("u1", "|u1") or not isinstance(raw, bytes):
            raise pickle.UnpicklingError("an array does not hold unsigned bytes")
        return np.frombuffer(raw, dtype=np.uint8).reshape(shape, order="F" if fortran else "C")


class _ArrayOfBuffer(_Array):
    """A stand-in for an array as protocol 5 writes it."""

    def __init__(self, raw: Any, kind: Any, shape: Any, order: Any) -> None:
        super().__init__()
        if not isinstance(raw, bytes | bytearray | pickle.PickleBuffer):
            raise pickle.UnpicklingError("an array is not made of bytes")  # bytes(10**12) would fill the memory
        self.state = (1, shape, kind, order in ("F", b"F"), bytes(raw))


class _Latin1:
    """A stand-in for bytes as protocol 2 of Python 3 writes them: a text to encode."""

    def __new__(cls, text: str, encoding: Any) -> bytes:  # type: ignore[misc]  # the call makes bytes
        if encoding not in ("latin1", b"latin1"):
            raise pickle.UnpicklingError(f"bytes are encoded as {encoding!r}")
        return text.encode("latin1")

    def __setstate__(self, state: Any) -> None:
        """Ignore a state, which bytes do not have."""


_ALLOWED: dict[tuple[str, str], type] = {
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Array for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _ArrayOfBuffer for core in ("core", "_core")},
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Type,
    ("_codecs", "encode"): _Latin1,
}
"""All of these classes define ``__setstate__``: a pickle may set any attribute of an object whose class does not."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which a batch of CIFAR does not")
        return _ALLOWED[module, name]
