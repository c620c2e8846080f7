"""The cache on disk: results named by the stage and the inputs that produced them, shared by all runs and processes.

An entry is a folder with files and a note that holds their checksums. Any number of processes read and write at once:
an entry appears whole, by one rename, or not at all.
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
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from monosemy.errors import disk_is_full

Array = np.typing.NDArray[np.float32]
_NOTE = "entry.json"
_ARRAY = "array.safetensors"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """One entry of a store."""

    name: str
    """`STAGE/KEY`."""
    folder: Path
    metadata: dict[str, Any]
    """The stage that made it, and what a listing shows of it."""
    made: str
    """Date and time, for a listing; nothing depends on it."""
    files: dict[str, dict[str, Any]]
    """Size and checksum by the file's name."""

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(int(file["bytes"]) for file in self.files.values())

    def damage(self, thorough: bool = True) -> str | None:
        """Return the first damage found, as half a sentence, or None.

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

    @classmethod
    def read(cls, name: str, folder: Path) -> "Entry | None":
        """Return the entry in a folder, or None if its note is missing or invalid."""
        try:
            note = json.loads((folder / _NOTE).read_text(encoding="utf-8"))
            files = {
                str(key): {"bytes": int(file["bytes"]), "sha256": str(file["sha256"])}
                for key, file in note["files"].items()
            }
            plain = all("\0" not in key and Path(key).name == key for key in files)  # no file of another folder
            return cls(name, folder, dict(note["about"]), str(note["made"]), files) if files and plain else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            return None


class Store:
    """Entries by name in a folder.

    A new entry is written under a temporary name and renamed when it is complete. If several processes make the same
    entry, the first wins and the work of the others is dropped. No process waits for another.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def find(self, name: str, thorough: bool = True) -> Path | None:
        """Return the folder of an entry, or None. A damaged entry is reported and removed, so it is made again."""
        folder = self.root / name
        if not folder.is_dir():  # checked before the note is read: an entry that appears later is whole
            return None
        entry = Entry.read(name, folder)
        damage = f"it has no {_NOTE}" if entry is None else entry.damage(thorough)
        if damage is None:
            return folder
        _log.warning("The entry %s is damaged (%s); it is made again.", folder, damage)
        self.remove(name)
        return None

    @contextmanager
    def new(self, name: str, metadata: Mapping[str, Any]) -> Iterator[Path]:
        """Yield a folder for the files of an entry, which gets its name when the block ends without an error.

        Raises:
            OSError: with ENOSPC if the disk is full.
        """
        target = self.root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
        try:
            yield temporary
            files = {
                path.name: {"bytes": path.stat().st_size, "sha256": _digest(path)}
                for path in sorted(temporary.iterdir())
                if path.is_file()
            }
            made = datetime.now(UTC).isoformat(timespec="seconds")
            note = {"about": dict(metadata), "made": made, "files": files}
            (temporary / _NOTE).write_text(json.dumps(note, indent=1) + "\n", encoding="utf-8")
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

    def array(self, name: str, metadata: Mapping[str, Any], compute: Callable[[], Array]) -> Array:
        """Return the array of an entry; compute and store it if the entry is missing or damaged."""
        folder = self.find(name)
        if folder is not None:
            with suppress(OSError, SafetensorError, KeyError):  # removed by another process in between
                return load_file(folder / _ARRAY)["array"]
        array = compute()
        self.put_array(name, metadata, array)
        return array

    def put_array(self, name: str, metadata: Mapping[str, Any], array: Array) -> None:
        """Store an array for :meth:`array`."""
        with self.new(name, metadata) as folder:
            save_file({"array": np.ascontiguousarray(array)}, folder / _ARRAY)

    def remove(self, name: str) -> None:
        """Remove an entry; processes that have its files open can still read them."""
        folder = self.root / name
        if not folder.is_dir():
            return
        aside = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")  # only a rename: a full disk has room for it
        with suppress(FileNotFoundError):  # another process was first
            folder.rename(aside)  # at once, so that no process sees half of it
        shutil.rmtree(aside, ignore_errors=True)

    def entries(self) -> list[Entry]:
        """Return all entries with a valid note, by name."""
        entries = (Entry.read(name, self.root / name) for name in self._names())
        return [entry for entry in entries if entry is not None]

    def without_note(self) -> list[str]:
        """Return the names of folders that should be entries, but have no valid note."""
        return [name for name in self._names() if Entry.read(name, self.root / name) is None]

    def unfinished(self) -> list[Path]:
        """Return the folders that killed processes left behind, or that running ones are writing."""
        return sorted(folder for folder in self.root.glob("[!.]*/.*") if folder.is_dir())

    def _names(self) -> list[str]:
        folders = (folder for folder in self.root.glob("[!.]*/[!.]*") if folder.is_dir())
        return sorted(folder.relative_to(self.root).as_posix() for folder in folders)


def cache_folder() -> Path:
    """Return ``MONOSEMY_CACHE``, or the user's cache folder."""
    return Path(os.environ.get("MONOSEMY_CACHE") or platformdirs.user_cache_dir("monosemy"))


def cache() -> Store:
    """Return the store in :func:`cache_folder`."""
    return Store(cache_folder())


@dataclass(frozen=True)
class Stage:
    """A step whose results are cached under its version, the versions of its libraries and its inputs.

    Define it at the top of the module that computes the results. Raise ``version`` by one in every change after which
    the step returns other values for equal inputs: another formula or order of operations, other random draws, a
    default that is not among the inputs. Leave it for a rename, a comment or a faster way to equal values.
    """

    name: str
    """Name of its folder in the cache."""
    version: int
    packages: tuple[str, ...]
    """Libraries whose versions the results depend on."""
    module: str
    """The module that defines the stage, ``__name__``."""

    def entry(self, *inputs: object) -> str:
        """Return the name of the entry for inputs and configuration, see :func:`fingerprint`."""
        return f"{self.name}/{fingerprint(*self.metadata().values(), *inputs)}"

    def metadata(self, **more: Any) -> dict[str, Any]:
        """Return the metadata of an entry: the stage's versions, and ``more`` for a listing."""
        packages = {name: _installed_version(name) for name in self.packages}
        return {"module": self.module, "version": self.version, "packages": packages} | more


def cached_array(
    stage: Stage, inputs: tuple[object, ...], metadata: Mapping[str, Any], compute: Callable[[], Array]
) -> Array:
    """Return the cached array of a stage for inputs; compute and store it if it is missing or damaged.

    Args:
        metadata: shown in a listing.
    """
    return cache().array(stage.entry(*inputs), stage.metadata(**metadata), compute)


def is_current(metadata: Mapping[str, Any]) -> bool:
    """Return whether the installed code and libraries would still read an entry with this metadata."""
    module = str(metadata.get("module"))
    if not module.startswith("monosemy."):
        return False
    try:
        defined = vars(import_module(module)).values()
    except ImportError:
        return False
    return any(
        all(metadata.get(name) == value for name, value in stage.metadata().items())
        for stage in defined
        if isinstance(stage, Stage)
    )


def fingerprint(*parts: object) -> str:
    """Return a hex digest of arrays (type, shape and bytes), sequences of texts, files' contents and plain values."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"array {part.dtype} {part.shape};".encode())
            digest.update(np.ascontiguousarray(part).data)
        elif isinstance(part, Path):
            for file in sorted(part.rglob("*")) if part.is_dir() else [part]:
                if file.is_file():
                    digest.update(f"file {file.relative_to(part) if part.is_dir() else ''};".encode())
                    digest.update(bytes.fromhex(_digest(file)))
        elif isinstance(part, tuple):
            digest.update(f"tuple {len(part)};".encode())
            for item in part:
                raw = str(item).encode("utf-8", "surrogatepass")
                digest.update(f"{len(raw)}:".encode() + raw)
        else:
            digest.update(f"value {part!r};".encode())
    return digest.hexdigest()[:32]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _installed_version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"
