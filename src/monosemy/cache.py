"""The cache on disk: results named by what they were made from, shared by all runs and processes."""

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
from numpy.typing import NDArray

from monosemy.code_version import code_version
from monosemy.store import Store


def cache_folder() -> Path:
    """``MONOSEMY_CACHE``, or the user's cache folder."""
    return Path(os.environ.get("MONOSEMY_CACHE") or platformdirs.user_cache_dir("monosemy"))


def cache() -> Store:
    """The entries in :func:`cache_folder`."""
    return Store(cache_folder())


@dataclass(frozen=True)
class Stage:
    """A step whose results are kept; they are named by its code, its libraries and its inputs."""

    name: str
    """Also of the folder in the cache."""
    module: str
    """Whose code, with all that it imports from this package, makes the results."""
    packages: tuple[str, ...] = ()
    """Libraries whose version they depend on."""

    def entry(self, *inputs: object) -> str:
        """The name of the entry for inputs and configuration, see :func:`fingerprint`."""
        return f"{self.name}/{fingerprint(*self._made_by().values(), *inputs)}"

    def about(self, **more: Any) -> dict[str, Any]:
        """What an entry's note says: who made it, and ``more``."""
        return self._made_by() | more

    def _made_by(self) -> dict[str, Any]:
        packages = {name: _version(name) for name in self.packages}
        return {"module": self.module, "code": code_version(self.module), "packages": packages}


def cached_array(
    stage: Stage, inputs: tuple[object, ...], about: Mapping[str, Any], compute: Callable[[], NDArray[np.float32]]
) -> NDArray[np.float32]:
    """The array that the cache holds for inputs, or the computed one, which is stored. A damaged one is made again.

    Args:
        about: what to say of it in a listing.
    """
    return cache().array(stage.entry(*inputs), stage.about(**about), compute)


def is_current(about: Mapping[str, Any]) -> bool:
    """Whether an entry with this note was made by the present code and libraries."""
    try:
        packages = {name: _version(name) for name in about["packages"]}
        return bool(packages == about["packages"] and code_version(str(about["module"])) == about["code"])
    except (KeyError, TypeError, ValueError):
        return False


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


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"
