"""A cache on disk whose entries are named by the content that they were made from."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import platformdirs
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from monosemy.files import atomic_path


def cache_folder() -> Path:
    """``MONOSEMY_CACHE``, or the user's cache folder."""
    return Path(os.environ.get("MONOSEMY_CACHE") or platformdirs.user_cache_dir("monosemy"))


def fingerprint(*parts: object) -> str:
    """A hex digest of arrays (type, shape and bytes), sequences of texts, paths' contents and plain values."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"array {part.dtype} {part.shape};".encode())
            digest.update(np.ascontiguousarray(part).data)
        elif isinstance(part, Path):
            _update_with_files(digest, part)
        elif isinstance(part, tuple):
            digest.update(f"tuple {len(part)};".encode())
            for item in part:
                raw = str(item).encode("utf-8", "surrogatepass")
                digest.update(f"{len(raw)}:".encode() + raw)
        else:
            digest.update(f"value {part!r};".encode())
    return digest.hexdigest()[:32]


def _update_with_files(digest: "hashlib._Hash", path: Path) -> None:
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            digest.update(f"file {file.relative_to(path) if path.is_dir() else ''};".encode())
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())


def cached_array(kind: str, key: str, compute: Callable[[], NDArray[np.float32]]) -> NDArray[np.float32]:
    """The array stored under ``key``, or the computed one, which is stored. A damaged entry is made again."""
    return stored_array(cache_folder() / kind / f"{key}.safetensors", compute)


def stored_array(path: Path, compute: Callable[[], NDArray[np.float32]]) -> NDArray[np.float32]:
    """As :func:`cached_array` for a file of one's own."""
    try:
        return load_file(path)["array"]
    except (OSError, SafetensorError, KeyError):
        array = compute()
        store_array(path, array)
        return array


def store_array(path: Path, array: NDArray[np.float32]) -> None:
    """Write what :func:`stored_array` reads."""
    with atomic_path(path) as temporary:
        save_file({"array": np.ascontiguousarray(array)}, temporary)
