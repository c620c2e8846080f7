"""Files that appear whole or not at all, folders that one run at a time writes into, and model files.

A model file is safetensors weights with JSON metadata. Nothing in it is ever executed.
"""

import errno
import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout
from safetensors import safe_open

from monosemy.errors import InputError, disk_is_full, reason

if TYPE_CHECKING:
    import torch

    Tensors = dict[str, torch.Tensor]

_HALF_WRITTEN = re.compile(r"\..+(\.[^.]+)\.[a-z0-9_]{8}\1")
"""Names that :func:`atomic_path` gives: `.results.parquet.k3v_90ab.parquet`."""


@contextmanager
def readable(path: Path, kind: str, remedy: str = "check that the file is whole") -> Iterator[None]:
    """Raise one ``InputError`` for whatever goes wrong in a block that reads an untrusted file.

    Parsers raise nearly every type on damaged files (``struct.error``, ``KeyError``, ``RecursionError``, ...), so every
    ``Exception`` is caught; an ``InputError`` of the block passes unchanged.

    Args:
        kind: what the file is read as, such as "a table".
        remedy: what the user can do; it ends the message.

    Raises:
        InputError: the file does not exist, or the block raised.
    """
    if not path.is_file():
        raise InputError(f"The file {path} does not exist; give the path of a file.")
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{path} cannot be read as {kind} ({reason(error)}); {remedy}.") from error


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that is renamed to it when the block ends without an error.

    A killed or failing writer leaves the old file, or none, never half of one.

    Raises:
        OSError: with the path and ENOSPC if the disk is full, whatever error the writing library raised.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        os.chmod(temporary, 0o644)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())  # else a power cut may leave the new name on an empty file
        os.replace(temporary, path)
    except Exception as error:
        if disk_is_full(error):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def valid_text(name: str) -> str:
    """Return a name of a file as text that UTF-8 can store: bytes that were none in it become escapes, `\\xe9`."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text through :func:`atomic_path`."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def append_line(path: Path, line: str) -> None:
    """Append to a file of lines; an incomplete last line of a killed writer is removed first."""
    with path.open("a+b") as file:
        end = file.tell()
        whole = end
        while whole > 0:
            file.seek(whole - 1)
            if file.read(1) == b"\n":
                break
            whole -= 1
        if whole < end:
            file.truncate(whole)
        file.write(line.encode() + b"\n")


def sweep(folder: Path) -> None:
    """Remove the incomplete files of killed writers from a folder that no other process writes into."""
    for path in folder.glob(".*"):
        if _HALF_WRITTEN.fullmatch(path.name) and path.is_file():
            path.unlink(missing_ok=True)


class FolderLock:
    """A lock on a folder; the system frees it when this process ends, however it ends."""

    def __init__(self, folder: Path) -> None:
        """Take the lock; the folder is created if it does not exist, and swept if it does.

        Raises:
            InputError: another run holds it.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(folder / ".lock", thread_local=False)
        try:
            self._lock.acquire(blocking=False)
        except Timeout as error:
            raise InputError(
                f"Another run is writing into {folder}; wait until it has ended, or choose another --out."
            ) from error
        sweep(folder)

    def release(self) -> None:
        """Free the lock."""
        self._lock.release()


_KEY = "monosemy"


def write_model_file(
    path: Path, file_format: str, metadata: dict[str, Any], tensors: "dict[str, torch.Tensor]"
) -> None:
    """Write tensors with metadata and the name of the format, whole or not at all."""
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        from safetensors.torch import save_file  # torch takes seconds to import, and most files need none

        save_file(whole, temporary, metadata={_KEY: json.dumps({"format": file_format} | metadata)})


def read_metadata(path: Path, file_format: str) -> dict[str, Any]:
    """Return the metadata of a file of :func:`write_model_file`; the tensors stay on the disk.

    Raises:
        InputError: the file is missing, damaged, or of another format.
    """
    return read_model_file(path, file_format, tensors=False)[0]


def read_model_file(
    path: Path, file_format: str, tensors: bool = True
) -> tuple[dict[str, Any], "dict[str, torch.Tensor]"]:
    """Return metadata and tensors of a file of :func:`write_model_file`.

    Raises:
        InputError: the file is missing, damaged, or of another format.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = json.loads((file.metadata() or {}).get(_KEY, "{}"))
            read = {name: file.get_tensor(name) for name in file.keys()} if tensors else {}  # noqa: SIM118
    except Exception as error:  # damaged files raise nearly every type; each means just that
        raise InputError(f"{path} is not a readable safetensors file ({reason(error)}); give a saved model.") from error
    if not isinstance(metadata, dict) or metadata.get("format") != file_format:
        raise InputError(f"{path} is not a {file_format} file; give one that monosemy wrote.")
    return metadata, read
