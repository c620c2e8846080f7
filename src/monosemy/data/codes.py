"""Files of embeddings or codes: read to be measured, sparse or larger than memory; and written while codes arrive."""

import json
import shutil
import struct
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.sparse as sp
from safetensors import safe_open

from monosemy.core.files import atomic_path
from monosemy.data import dataset, load, sources
from monosemy.data.arrays import read_arrays, read_npy
from monosemy.data.config import DataConfig
from monosemy.data.containers import as_labels
from monosemy.data.findings import DataReport
from monosemy.data.inspection import report_on_labels
from monosemy.data.labels import encoded_labels, read_labels
from monosemy.data.memory_map import finite_rows, row_blocks
from monosemy.data.quality import kept_rows
from monosemy.errors import InputError, reason, shown
from monosemy.functional.consistency import Codes

_CSR_PARTS = ("data", "indices", "indptr", "shape")
_MOST_LATENTS = 2**26
"""Four times the width of the widest published autoencoder; the metrics of each latent take memory."""


@dataclass(frozen=True)
class LoadedCodes:
    """Rows to measure, with their labels where the source has any."""

    codes: Codes
    """(N, M); a memory map of an .npy file, CSR where the file holds that."""
    labels: np.typing.NDArray[np.int64] | None
    """(N,), positions in ``class_names``; None where the source has no labels."""
    class_names: tuple[str, ...] = ()
    report: DataReport | None = None
    """What was found in the labels; None where the source has none."""
    kept: np.typing.NDArray[np.int64] | None = None
    """Positions of the rows in the source where some were left out."""

    @property
    def messages(self) -> tuple[str, ...]:
        """Messages of the reader to the user."""
        return () if self.report is None else self.report.messages()


def load_codes(config: DataConfig) -> LoadedCodes:
    """Load all rows of a source of embeddings or codes, whatever their split.

    The array or column is the first of `embeddings`, `embedding`, `activations`, `X` and `features`.

    Raises:
        InputError: the source does not exist, cannot be read, or holds texts or images.
    """
    source = sources.classify(config.source)
    path = source.paths[0] if source.kind == "array" and len(source.paths) == 1 else None
    path = path if path is not None and (path.suffix.lower() == ".npy" or _is_csr(path)) else None
    codes: Codes
    labels, vocabulary, messages, describe = None, None, list[str](), _row_name
    if path is not None and path.suffix.lower() == ".npy":
        codes = _mapped(path)
    elif path is not None:
        arrays = read_arrays(path)
        codes = _csr(arrays, path)
        if usual := sources.usual_columns(arrays, "label"):
            labels = dataset.label_texts(as_labels(arrays[usual[0]]), config.missing_labels, messages)
    else:
        rows = None if source.kind == "digit pairs" else load.all_rows(config.source, config, labelled=False)
        if rows is None or rows.kind != "embeddings":
            raise InputError(
                f"{config.source} holds {'images' if rows is None else rows.kind}, not embeddings or codes; embed them "
                f"first, or run `monosemy study --data {config.source}`, which embeds and measures them."
            )
        assert isinstance(rows.inputs, np.ndarray)
        codes, labels, vocabulary, messages = rows.inputs, rows.labels, rows.vocabulary, [*rows.messages]
        describe = rows.describe
    if 0 in codes.shape:
        raise InputError(
            f"{config.source} has embeddings of shape {codes.shape}; give at least one row and one dimension."
        )
    if config.labels is not None and path is not None:
        labels = read_labels(config.labels, config.missing_labels, messages, n_rows=codes.shape[0])
    if labels is not None and len(labels) != codes.shape[0]:
        raise InputError(
            f"{config.source} has {codes.shape[0]} embeddings but {len(labels)} labels; give one label for each."
        )
    kept, more = _kept_rows(codes, labels, config, describe)
    if kept is not None:
        codes, labels = codes[kept], None if labels is None else [labels[i] for i in kept]
    report = report_on_labels(load.source_name(config.source), codes.shape[0], labels, (*messages, *more))
    if labels is None:
        return LoadedCodes(codes, None, report=report, kept=kept)
    return LoadedCodes(codes, *encoded_labels(labels, config.source, vocabulary), report, kept)


def _row_name(row: int) -> str:
    return f"row {row}"


def _kept_rows(
    codes: Codes, labels: list[str] | None, config: DataConfig, describe: Callable[[int], str]
) -> tuple[np.typing.NDArray[np.int64] | None, tuple[str, ...]]:
    """Return the rows with numbers and a label, and a message about the others; None where all have them.

    The numbers are read only where a label is missing or rows may be left out: what reads them later checks them too.
    """
    unlabelled = np.array([not label for label in labels or ()], dtype=bool)
    faults = {}
    if unlabelled.any() or config.on_bad_row == "skip":
        infinite = np.concatenate([~finite_rows(codes[block]) for block in row_blocks(codes)])
        faults = {"with NaN or infinity": infinite} if infinite.any() else {}
    if unlabelled.any():
        faults["without a label"] = unlabelled
    return kept_rows(faults, codes.shape[0], describe, config.on_bad_row, config.source)


def _mapped(path: Path) -> np.typing.NDArray[np.floating]:
    """Open an .npy file as a memory map, read a page at a time."""
    values = read_npy(path, mapped=True)
    if values.ndim != 2 or values.dtype.kind not in "fiub":
        raise InputError(
            f"{path} holds embeddings of shape {values.shape} and type {values.dtype}; give numbers (N, D)."
        )
    return values


def _is_csr(path: Path) -> bool:
    """Return whether a file has the layout of ``scipy.sparse.save_npz``, or the same arrays as safetensors."""
    try:
        if path.suffix.lower() == ".pt":
            return False
        if path.suffix.lower() == ".safetensors":
            with safe_open(path, framework="np") as tensors:
                return set(_CSR_PARTS) <= set(tensors.keys())
        with zipfile.ZipFile(path) as file:
            return "shape.npy" in file.namelist() and "format.npy" in file.namelist()
    except Exception:  # damaged files raise nearly every type; the reader will report what is wrong
        return False


def _csr(arrays: dict[str, np.typing.NDArray], path: Path) -> sp.csr_array:
    form = arrays["format"].tolist() if "format" in arrays else "csr"
    if form not in (b"csr", "csr"):
        name = form.decode(errors="replace") if isinstance(form, bytes) else form
        raise InputError(f"{path} holds a sparse matrix of format {shown(name)}; save its .tocsr().")
    try:
        data, indices, indptr, shape = (arrays[name] for name in _CSR_PARTS)
        n_rows, width = (int(size) for size in shape)
        if width > _MOST_LATENTS:
            raise ValueError(f"it is {width:,} latents wide")
        codes = sp.csr_array((data, indices, indptr), shape=(n_rows, width))
        codes.check_format(full_check=True)  # an index outside the matrix would read foreign memory later
        if codes.dtype.kind not in "fiub":
            raise ValueError(f"type {codes.dtype}")
    except (KeyError, ValueError, TypeError, IndexError, OverflowError) as error:
        raise InputError(
            f"{path} is not a valid CSR matrix ({reason(error)}); save it by scipy.sparse.save_npz."
        ) from error
    return codes


SUFFIXES = (".npz", ".safetensors", ".parquet")
_COPIED = 2**22
"""Bytes that are copied at a time."""
_WIDE = 2**31
"""Stored entries from which SciPy needs 64-bit indices."""


class CodeWriter(Protocol):
    """A file that takes codes piece by piece, in the order of their rows."""

    def write(self, codes: sp.csr_array) -> None: ...


@contextmanager
def code_writer(path: Path, n_latents: int, metadata: dict[str, Any]) -> Iterator[CodeWriter]:
    """Open a writer whose file appears, whole, when the block ends without an error; its ending chooses the format.

    - .npz: as ``scipy.sparse.save_npz`` writes it, without compression.
    - .safetensors: the same arrays ``data``, ``indices``, ``indptr`` and ``shape``.
    - .parquet: a row for each sample with the lists ``indices`` and ``values``.

    The number of entries is known only at the end, and each array is stored in one piece. So entries are spooled to
    temporary files and then copied block by block: the writers of NumPy and safetensors need whole arrays in memory.
    Only 8 bytes for each row stay in memory.

    Args:
        metadata: plain values that describe the origin of the codes; stored in safetensors and parquet.

    Raises:
        InputError: another ending, or nothing can be written there.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"out is {str(path)!r}, which has none of the endings {', '.join(SUFFIXES)}; choose one.")
    metadata = {"n_latents": n_latents} | metadata
    try:
        with atomic_path(path) as temporary, ExitStack() as stack:
            if suffix == ".parquet":
                yield stack.enter_context(_Parquet(temporary, metadata))
            else:
                data, indices = (stack.enter_context(tempfile.TemporaryFile(dir=path.parent)) for _ in range(2))
                spool = _Spool(n_latents, data, indices)
                yield spool
                finish = _write_npz if suffix == ".npz" else _write_safetensors
                finish(temporary, spool, metadata)
    except OSError as error:
        raise InputError(f"out is {str(path)!r}, which cannot be written ({reason(error)}); give another.") from error


class _Parquet:
    """A parquet file with a row group for each piece."""

    def __init__(self, path: Path, metadata: dict[str, Any]) -> None:
        fields = [("indices", pa.list_(pa.int32())), ("values", pa.list_(pa.float32()))]
        self._schema = pa.schema(fields, metadata={"monosemy": json.dumps(metadata)})
        self._writer = pq.ParquetWriter(path, self._schema)

    def __enter__(self) -> "_Parquet":
        return self

    def __exit__(self, *error: object) -> None:
        self._writer.close()

    def write(self, codes: sp.csr_array) -> None:
        starts = pa.array(codes.indptr.astype(np.int32))
        lists = [
            pa.ListArray.from_arrays(starts, pa.array(values))
            for values in (codes.indices.astype(np.int32), codes.data.astype(np.float32))
        ]
        self._writer.write_table(pa.Table.from_arrays(lists, schema=self._schema))


class _Spool:
    """Entries in temporary files, and the number of each row's."""

    def __init__(self, n_latents: int, data: IO[bytes], indices: IO[bytes]) -> None:
        self.n_latents, self.n_entries = n_latents, 0
        self.data, self.indices = data, indices
        self._lengths: list[np.typing.NDArray[np.int64]] = []

    def write(self, codes: sp.csr_array) -> None:
        self.data.write(codes.data.astype("<f4").tobytes())
        self.indices.write(codes.indices.astype("<i4").tobytes())
        self._lengths.append(np.diff(codes.indptr).astype(np.int64))
        self.n_entries += codes.nnz

    def starts(self) -> np.typing.NDArray[np.int64]:
        """Return SciPy's ``indptr``, (N + 1,)."""
        return np.concatenate([np.zeros(1, np.int64), *self._lengths]).cumsum()


def _write_npz(path: Path, spool: _Spool, metadata: dict[str, Any]) -> None:
    starts = spool.starts()
    kind = "<i8" if spool.n_entries >= _WIDE else "<i4"
    small = {
        "indptr": starts.astype(kind),
        "format": np.array(b"csr"),
        "shape": np.array([len(starts) - 1, spool.n_latents]),
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, values in small.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, values, allow_pickle=False)
        for name, source, stored, wanted in (
            ("data", spool.data, "<f4", "<f4"),
            ("indices", spool.indices, "<i4", kind),
        ):
            header = {"descr": wanted, "fortran_order": False, "shape": (spool.n_entries,)}
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array_header_2_0(file, header)
                source.seek(0)
                while piece := source.read(_COPIED):
                    file.write(np.frombuffer(piece, stored).astype(wanted, copy=False).tobytes())


def _write_safetensors(path: Path, spool: _Spool, metadata: dict[str, Any]) -> None:
    starts = spool.starts()
    n = spool.n_entries
    small = {"indptr": starts.astype("<i8"), "shape": np.array([len(starts) - 1, spool.n_latents], "<i8")}
    header: dict[str, Any] = {"__metadata__": {"monosemy": json.dumps(metadata)}}
    end = 0
    sizes = {name: ("I64", values.shape, values.nbytes) for name, values in small.items()}
    for name, (kind, shape, size) in (sizes | {"data": ("F32", (n,), 4 * n), "indices": ("I32", (n,), 4 * n)}).items():
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for values in small.values():
            file.write(values.tobytes())
        for source in (spool.data, spool.indices):
            source.seek(0)
            shutil.copyfileobj(source, file, _COPIED)
