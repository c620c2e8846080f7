"""A folder of entries that many processes read and write at once: each is whole, with checksums, or not there.

The cache on disk: results named by what they were made from, shared by all runs and processes.
"""

import errno
import hashlib
import json
import logging
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from monosemy.core.code_version import code_version
from monosemy.errors import disk_is_full

_NOTE = "entry.json"
_ARRAY = "array.safetensors"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """One entry of a store, as its note says."""

    name: str
    """`STAGE/KEY`."""
    folder: Path
    about: dict[str, Any]
    """What its maker said of it."""
    made: str
    """When, as text; nothing depends on it."""
    files: dict[str, dict[str, Any]]
    """Size and checksum by the file's name."""

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(int(file["bytes"]) for file in self.files.values())

    def damage(self, thorough: bool = True) -> str | None:
        """What is wrong with it, as half a sentence; None if nothing.

        Args:
            thorough: compare checksums; otherwise only sizes, which costs nothing for files that are mapped.
        """
        for name, known in self.files.items():
            path = self.folder / name
            try:
                size = path.stat().st_size
                if size != known["bytes"]:
                    return f"{name} has {size:,} bytes, not {known['bytes']:,}"
                if thorough and _digest(path) != known["sha256"]:
                    return f"the checksum of {name} differs"
            except OSError as error:
                return f"{name} cannot be read: {error.strerror}"
        return None


class Store:
    """Entries by name, each a folder with its files and a note on them.

    A new entry is made under another name and renamed when it is whole. Of several processes that make the same one,
    the first wins; the others' work is dropped. No process waits for another.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def find(self, name: str, thorough: bool = True) -> Path | None:
        """The folder of an entry, or None. One that is damaged is said and removed, so that it is made again."""
        folder = self.root / name
        if not folder.is_dir():  # before its note is read: what appears after this is whole
            return None
        entry = _read(name, folder)
        damage = f"it has no {_NOTE}" if entry is None else entry.damage(thorough)
        if damage is None:
            return folder
        _log.warning("The entry %s is damaged (%s); it is made again.", folder, damage)
        self.remove(name)
        return None

    @contextmanager
    def new(self, name: str, about: Mapping[str, Any]) -> Iterator[Path]:
        """A folder to put the files of an entry into; it gets its name when the block ends without an error.

        Raises:
            OSError: with ENOSPC where the disk is full.
        """
        target = self.root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
        try:
            yield temporary
            _write_note(temporary, about)
            temporary.chmod(0o755)
            try:
                temporary.rename(target)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
        except Exception as error:
            if disk_is_full(error):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target)) from error
            raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def array(
        self, name: str, about: Mapping[str, Any], compute: Callable[[], NDArray[np.float32]]
    ) -> NDArray[np.float32]:
        """The array of an entry, or the computed one, which is stored."""
        folder = self.find(name)
        if folder is not None:
            with suppress(OSError, SafetensorError, KeyError):  # removed by another process in between
                return load_file(folder / _ARRAY)["array"]
        array = compute()
        self.put_array(name, about, array)
        return array

    def put_array(self, name: str, about: Mapping[str, Any], array: NDArray[np.float32]) -> None:
        """Store what :meth:`array` reads."""
        with self.new(name, about) as folder:
            save_file({"array": np.ascontiguousarray(array)}, folder / _ARRAY)

    def remove(self, name: str) -> None:
        """Take an entry away; whoever has its files open keeps them."""
        folder = self.root / name
        if not folder.is_dir():
            return
        aside = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")  # only a rename: a full disk has room for it
        with suppress(FileNotFoundError):  # another process was first
            folder.rename(aside)  # at once, so that nobody finds half of it
        shutil.rmtree(aside, ignore_errors=True)

    def entries(self) -> list[Entry]:
        """All whose note can be read, by name."""
        found = (_read(self._name(folder), folder) for folder in self._folders())
        return sorted((entry for entry in found if entry is not None), key=lambda entry: entry.name)

    def without_note(self) -> list[str]:
        """Names of folders that should be entries, but have no readable note."""
        return sorted(self._name(folder) for folder in self._folders() if _read("", folder) is None)

    def unfinished(self) -> list[Path]:
        """What killed processes left, or running ones are writing."""
        return sorted(folder for folder in self.root.glob("[!.]*/.*") if folder.is_dir())

    def _folders(self) -> Iterator[Path]:
        return (folder for folder in self.root.glob("[!.]*/[!.]*") if folder.is_dir())

    def _name(self, folder: Path) -> str:
        return folder.relative_to(self.root).as_posix()


def _write_note(folder: Path, about: Mapping[str, Any]) -> None:
    files = {
        path.name: {"bytes": path.stat().st_size, "sha256": _digest(path)}
        for path in sorted(folder.iterdir())
        if path.is_file()
    }
    made = datetime.now(UTC).isoformat(timespec="seconds")
    note = {"about": dict(about), "made": made, "files": files}
    (folder / _NOTE).write_text(json.dumps(note, indent=1) + "\n", encoding="utf-8")


def _read(name: str, folder: Path) -> Entry | None:
    try:
        note = json.loads((folder / _NOTE).read_text(encoding="utf-8"))
        files = {str(key): {"bytes": int(v["bytes"]), "sha256": str(v["sha256"])} for key, v in note["files"].items()}
        plain = all("\0" not in key and Path(key).name == key for key in files)  # no file of another folder
        return Entry(name, folder, dict(note["about"]), str(note["made"]), files) if files and plain else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
