"""Files that are whole or not there."""

import errno
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors import SafetensorError

from monosemy.core.files import FolderLock, append_line, atomic_path, write_text
from monosemy.errors import InputError, as_resource_error


def test_writes_into_folders_that_do_not_exist_yet(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file.txt"
    write_text(path, "grüße ✓\n")
    assert path.read_bytes() == "grüße ✓\n".encode()


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_text(path, "old")

    def write_half() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("hal")
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_leaves_no_file_where_none_was(tmp_path: Path) -> None:
    def write_half() -> None:
        with atomic_path(tmp_path / "new.txt") as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert list(tmp_path.iterdir()) == []


def test_the_old_file_stands_until_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "file.npz"
    path.write_text("old")
    with atomic_path(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.parent == path.parent, "renaming needs the same file system"
        assert temporary.suffix == path.suffix, "writers choose the format by it"
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "said",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        OSError("160000 requested and 16352 written"),  # numpy.save
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534"),  # torch.save
    ],
)
def test_a_full_disk_is_named_whatever_a_library_made_of_it(tmp_path: Path, said: Exception) -> None:
    path = tmp_path / "file.bin"

    def write() -> None:
        with atomic_path(path):
            raise said

    with pytest.raises(OSError, match="No space left") as caught:
        write()
    assert caught.value.errno == errno.ENOSPC
    assert str(as_resource_error(caught.value)).startswith(f"The disk is full, so {path} could not be written; ")
    assert list(tmp_path.iterdir()) == []


def test_other_errors_are_no_full_disk() -> None:
    for error in (OSError(errno.EROFS, "Read-only file system"), RuntimeError("shapes differ"), KeyError("x")):
        assert as_resource_error(error) is None


@pytest.mark.parametrize("left", [b"", b'{"event": "sta', '{"ü'.encode()[:-1], b"x" * 5000])
def test_half_a_last_line_is_replaced(tmp_path: Path, left: bytes) -> None:
    path = tmp_path / "log.jsonl"
    append_line(path, "one")
    with path.open("ab") as file:
        file.write(left)
    append_line(path, "zwei ü")
    assert path.read_text(encoding="utf-8") == "one\nzwei ü\n"


HOLD = """
import sys, time
from pathlib import Path
from monosemy.core.files import FolderLock
lock = FolderLock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def test_a_folder_is_one_process_own_until_that_ends_however_it_ends(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "run")], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(InputError, match=r"^Another run is writing into .*; wait until it has ended"):
        FolderLock(tmp_path / "run")
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    lock = FolderLock(tmp_path / "run")  # the file of the lock is still there
    lock.release()
    FolderLock(tmp_path / "run").release()


def test_two_runs_of_one_process_are_kept_apart_too(tmp_path: Path) -> None:
    first = FolderLock(tmp_path)
    with pytest.raises(InputError, match="Another run is writing into"):
        FolderLock(tmp_path)
    first.release()
    FolderLock(tmp_path).release()


KILLED = """
import os, signal, sys
from pathlib import Path
from monosemy.core.files import atomic_path
with atomic_path(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("name", ["results.parquet", "log.jsonl", "activations-00000.safetensors", "a.b c.csv"])
def test_the_next_run_removes_what_a_killed_one_left_half_written(tmp_path: Path, name: str) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / name)], check=False)
    (left,) = tmp_path.iterdir()
    assert left.read_text() == "half"
    FolderLock(tmp_path).release()
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_hidden_files_of_the_user_stay(tmp_path: Path) -> None:
    mine = [".gitignore", ".notes.settings", ".results.parquet", ".results.parquet.old_copy", "x.csv.abcdefgh.csv"]
    for name in mine:
        (tmp_path / name).touch()
    (tmp_path / ".a.csv.abcdefgh.csv").mkdir()
    FolderLock(tmp_path).release()
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*mine, ".a.csv.abcdefgh.csv", ".lock"])
