"""Tables of texts, images or embeddings with a label each, from parquet, CSV, JSON lines, npz, npy, safetensors."""

import io
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from safetensors import SafetensorError
from safetensors.numpy import load_file

from monosemy.data.labelled import Kind
from monosemy.errors import InputError, reason

TABLE_SUFFIXES = (".parquet", ".csv", ".tsv", ".jsonl", ".jsonl.gz", ".csv.gz")
ARRAY_SUFFIXES = (".npz", ".safetensors", ".npy")
CANDIDATES: dict[Kind, tuple[str, ...]] = {
    "embeddings": ("embedding", "embeddings"),
    "images": ("image", "img"),
    "texts": ("text", "sentence"),
}
LABEL_CANDIDATES = ("label", "labels", "fine_label", "intent", "class")


def read_table(path: Path) -> pd.DataFrame:
    """A parquet, CSV, TSV or JSON-lines file as a table; gzip where the name ends in .gz."""
    if not path.is_file():
        raise InputError(f"The file {path} does not exist; give the path of a data file.")
    name = path.name.lower()
    try:
        if name.endswith(".parquet"):
            frame = pd.read_parquet(path)
        elif name.endswith((".jsonl", ".jsonl.gz")):
            frame = pd.read_json(path, lines=True, dtype=False)
        elif name.endswith((".csv", ".csv.gz", ".tsv")):
            frame = pd.read_csv(path, sep="\t" if name.endswith(".tsv") else ",", keep_default_na=False, dtype=str)
        else:
            raise InputError(f"{path} has none of the known endings {', '.join(TABLE_SUFFIXES)}; convert it to one.")
    except (OSError, EOFError, ValueError, KeyError, zlib.error, pa.ArrowException) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path} cannot be read as a table ({reason(error)}); check that the file is whole."
        ) from error
    if not isinstance(frame.index, pd.RangeIndex):  # pandas took the surplus first fields of a CSV's rows as an index
        raise InputError(f"{path} has rows with more fields than its header; quote the fields that hold a separator.")
    if frame.empty:
        raise InputError(f"{path} has no rows; give a table with at least one.")
    return frame


def column(frame: pd.DataFrame, wanted: str | None, candidates: Sequence[str], role: str, where: object) -> str:
    """The column that plays a role: the one the user named, or the first candidate that is there."""
    if wanted is not None:
        if wanted not in frame.columns:
            raise InputError(
                f"{where} has no column {wanted!r} for the {role}; its columns are {', '.join(map(str, frame))}."
            )
        return wanted
    for name in candidates:
        if name in frame.columns:
            return name
    raise InputError(
        f"{where} has no column for the {role} (looked for {', '.join(candidates)}); its columns are "
        f"{', '.join(map(str, frame))}; name yours with --{role.replace(' ', '-')}-column."
    )


def table_kind(frame: pd.DataFrame, where: object) -> Kind:
    """Whether a table holds embeddings, images or texts, by the names of its columns."""
    for kind, names in CANDIDATES.items():
        if any(name in frame.columns for name in names):
            return kind
    known = ", ".join(name for names in CANDIDATES.values() for name in names)
    raise InputError(
        f"{where} has no input column (looked for {known}); its columns are {', '.join(map(str, frame))}; name yours "
        f"with --input-column."
    )


def column_kind(values: pd.Series) -> Kind:
    """What a named input column holds, by its first value."""
    first = values.iloc[0]
    if isinstance(first, dict | bytes):
        return "images"
    return "texts" if isinstance(first, str) else "embeddings"


def inputs_of(values: pd.Series, kind: Kind, where: object, image_size: int | None) -> Any:
    """The inputs of a column: texts as a tuple, images and embeddings as one array."""
    if kind == "texts":
        texts = tuple("" if pd.isna(value) else str(value) for value in values)
        empty = sum(not text.strip() for text in texts)
        if empty:
            raise InputError(f"{where} has {empty} empty texts; drop these rows.")
        return texts
    if kind == "images":
        return decode_images([_image_bytes(value, where) for value in values], image_size, str(where))
    try:
        stacked = np.stack([np.asarray(value, dtype=np.float32) for value in values])
    except (ValueError, TypeError) as error:
        raise InputError(f"{where} has embeddings of unequal length or type; give equal lists of numbers.") from error
    if stacked.ndim != 2:
        raise InputError(
            f"{where} has {stacked.ndim - 1}-dimensional values in the column {values.name!r}; give one list of "
            f"numbers a row."
        )
    return stacked


def _image_bytes(value: Any, where: object) -> bytes:
    if isinstance(value, dict):
        value = value.get("bytes")
    if not isinstance(value, bytes):
        raise InputError(f"{where} has a row without image bytes; give Hugging Face's layout {{bytes, path}}.")
    return value


def decode_images(
    files: Sequence[bytes], size: int | None, where: str, names: Sequence[object] | None = None
) -> NDArray[np.float32]:
    """Decoded images (N, 3, H, W) in [0, 1].

    Args:
        files: encoded images.
        size: side of the square that every image is resized to; None takes the first image's size if all share it,
            else 32.
        where, names: of the source and of each image, for the message about one that cannot be read.
    """
    images = []
    for row, raw in enumerate(files):
        try:
            with Image.open(io.BytesIO(raw)) as image:
                images.append(image.convert("RGB"))
        except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
            name = row if names is None else names[row]
            raise InputError(f"Image {name} of {where} cannot be read; replace or remove it.") from error
    sizes = {image.size for image in images}
    target = (size, size) if size else (sizes.pop() if len(sizes) == 1 else (32, 32))
    resized = [image if image.size == target else image.resize(target, Image.Resampling.BICUBIC) for image in images]
    pixels = np.stack([np.asarray(image) for image in resized])
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2), dtype=np.float32) / 255.0


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Named arrays of an .npz, .safetensors or .npy file; nothing is ever unpickled."""
    if not path.is_file():
        raise InputError(f"The file {path} does not exist; give the path of a data file.")
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"embeddings": loaded}
        with loaded:
            return {name: loaded[name] for name in loaded.files}
    except (
        OSError,
        EOFError,
        ValueError,
        KeyError,
        TypeError,
        zipfile.BadZipFile,
        zlib.error,
        SafetensorError,
    ) as error:
        raise InputError(f"{path} cannot be read as arrays ({reason(error)}); save plain numbers or texts.") from error


def read_labels(path: Path) -> NDArray[Any]:
    """Labels in the order of the embeddings: .npy, or a table with a label column or a single column."""
    if path.suffix == ".npy":
        return next(iter(read_arrays(path).values()))
    frame = read_table(path)
    name = frame.columns[0] if frame.shape[1] == 1 else column(frame, None, LABEL_CANDIDATES, "label", path)
    return frame[name].to_numpy()
