"""Embeddings or codes to measure: any file of them, sparse or larger than memory, with labels or without."""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from safetensors import safe_open

from monosemy.data import digits
from monosemy.data.arrays import read_arrays, read_labels, read_npy
from monosemy.data.config import DataConfig
from monosemy.data.formats import read_rows
from monosemy.data.labelled import Kind, encode_labels
from monosemy.data.rows import label_texts, ordered_classes
from monosemy.errors import InputError, reason, shown
from monosemy.functional.consistency import Codes

_CSR_PARTS = ("data", "indices", "indptr", "shape")
_MOST_LATENTS = 2**26
"""Four times as many as the widest autoencoder that was ever published; what is measured of each fills memory."""


@dataclass(frozen=True)
class LoadedCodes:
    """Rows to measure."""

    codes: Codes
    """(N, M); a memory map if it is of an .npy file, CSR if the file holds that."""
    labels: NDArray[np.int64] | None
    """(N,), positions in ``class_names``; None where the source has no labels."""
    class_names: tuple[str, ...] = ()


def load_codes(config: DataConfig) -> LoadedCodes:
    """All rows of a source of embeddings or codes, whatever their split.

    Raises:
        InputError: what was named does not exist, cannot be read, or holds texts or images.
    """
    path, vocabulary = Path(config.source), None
    codes: Codes
    if config.source.lower().endswith(".npy"):
        codes, labels = _mapped(path), None
    elif _is_csr(path):
        arrays = read_arrays(path)
        codes = _csr(arrays, path)
        labels = label_texts(arrays["labels"]) if "labels" in arrays else None
    else:
        kind: Kind = "images"
        if config.source != digits.NAME:
            rows = read_rows(config.source, config, labelled=False)
            kind = rows.kind
        if kind != "embeddings":
            raise InputError(
                f"{config.source} holds {kind}, not embeddings or codes; embed them first, or run "
                f"`monosemy study --data {config.source}`, which embeds and measures them."
            )
        assert isinstance(rows.inputs, np.ndarray)
        codes, labels, vocabulary = rows.inputs, rows.labels, rows.vocabulary
    if config.labels is not None:
        labels = label_texts(read_labels(config.labels))
    if 0 in codes.shape:
        raise InputError(
            f"{config.source} has embeddings of shape {codes.shape}; give at least one row and one dimension."
        )
    if labels is None:
        return LoadedCodes(codes, None)
    if len(labels) != codes.shape[0]:
        raise InputError(
            f"{config.source} has {codes.shape[0]} embeddings but {len(labels)} labels; give one label for each."
        )
    missing = labels.count("")
    if missing:
        raise InputError(f"{config.source} has {missing} rows without a label; drop these rows.")
    names = ordered_classes(labels, vocabulary)
    return LoadedCodes(codes, encode_labels(labels, names), names)


def _mapped(path: Path) -> NDArray[np.floating]:
    """An .npy file as a memory map, read a page at a time."""
    values = read_npy(path, mapped=True)
    if values.ndim != 2 or values.dtype.kind not in "fiub":
        raise InputError(
            f"{path} holds embeddings of shape {values.shape} and type {values.dtype}; give numbers (N, D)."
        )
    return values


def _is_csr(path: Path) -> bool:
    """Whether a file is laid out as by ``scipy.sparse.save_npz``, or holds the same arrays as safetensors."""
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="np") as tensors:
                return set(_CSR_PARTS) <= set(tensors.keys())
        with zipfile.ZipFile(path) as file:
            return "shape.npy" in file.namelist() and "format.npy" in file.namelist()
    except Exception:  # damaged files raise nearly every type; whoever reads it says what is wrong
        return False


def _csr(arrays: dict[str, NDArray], path: Path) -> sp.csr_array:
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
            f"{path} is no sound CSR matrix ({reason(error)}); save it by scipy.sparse.save_npz."
        ) from error
    return codes
