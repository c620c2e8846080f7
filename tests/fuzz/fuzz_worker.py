"""One reader against hostile files, in a process that may neither grow, hang, run anything nor look elsewhere.

    python fuzz_worker.py CASES SEED READER [READER ...]

Prints a JSON line a reader: cases, how many were read and how many refused, seconds, growth of memory in MB. A file
that does anything but give a value or one sentence of refusal ends the process with the case that shows it.
"""

import importlib
import json
import os
import re
import resource
import shutil
import signal
import sys
import sysconfig
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

from fuzz_data import Target
from fuzz_mutations import mutations
from fuzz_targets import ALL
from hypothesis import HealthCheck, Phase, given, seed, settings, strategies as st

from monosemy.errors import InputError

ROOM = 3 * 2**30
"""Bytes of addresses that a reader may ask for beyond what the process had before."""
GROWTH_MB = 400
"""Memory that may really be filled; the sound files are of a few kB."""
IN_MEMORY = Path("/dev/shm")
SECONDS = 20
"""Of computing, for one file."""
_FORBIDDEN = (
    "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.startfile", "subprocess.Popen", "pty.spawn",
    "socket.connect", "socket.bind", "ctypes.dlopen", "marshal.loads", "os.remove", "os.rmdir", "os.symlink", "os.link",
    "os.chmod", "os.chown", "shutil.rmtree",
)  # fmt: skip


class Broken(BaseException):
    """A file did what none may; no reader's ``except Exception`` takes it for its own."""


def memory_mb(what: str) -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{what}:")[1].split()[0]) / 1024


class Guard:
    """Notes what Python does while a file is read."""

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.broken: str | None = None
        places = [sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
        source = str(Path(sys.modules["monosemy"].__file__ or "").parent)
        self._known = tuple(
            {
                os.path.realpath(place)
                for place in (
                    *places,
                    source,
                    "/proc",
                    "/sys",
                    "/dev/null",
                    "/dev/urandom",
                    "/usr/share",
                    sys.base_prefix,
                )
            }
        )
        sys.addaudithook(self.hook)

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.folder is None:
            return
        if event == "open" and isinstance(arguments[0], str | bytes):
            path = os.path.realpath(os.fsdecode(arguments[0]))
            if not path.startswith(str(self.folder)) and not path.startswith(self._known):
                self.note(f"opened {path}")
        elif (event == "os.remove" and os.path.realpath(os.fsdecode(arguments[0])).startswith(str(self.folder))) or (
            event == "os.chmod" and os.path.realpath(os.fsdecode(arguments[0])).startswith(str(self.folder))
        ):
            return
        elif event == "marshal.loads" and sys._getframe(1).f_code.co_filename.startswith("<frozen importlib"):
            return  # a module of ours or of a library
        elif event in _FORBIDDEN:
            self.note(f"called {event}{arguments}"[:300])
        elif event == "exec" and not str(getattr(arguments[0], "co_filename", "")).startswith(
            (*self._known, "<frozen", "<string>", "<attrs")
        ):
            self.note(f"ran code of {getattr(arguments[0], 'co_filename', '?')}")

    def note(self, what: str) -> None:
        self.broken = self.broken or what


def check_sentence(error: InputError, name: str) -> None:
    text = str(error)
    if "\n" in text or not text.endswith(".") or re.search(r"[.!?]\s+[A-Z]", re.sub(r"\([^()]*\)|'[^']*'", "", text)):
        raise AssertionError(f"{name}: no plain sentence: {text!r}") from error
    if len(text) > 2000:
        raise AssertionError(f"{name}: a sentence of {len(text)} characters: {text[:200]!r}") from error


def on_alarm(*_: Any) -> None:
    raise Broken(f"took more than {SECONDS} seconds")


@st.composite
def hostile(draw: st.DrawFn, files: dict[str, st.SearchStrategy[bytes]]) -> tuple[str, bytes]:
    """A file of the folder and what it holds now."""
    name = draw(st.sampled_from(sorted(files)))
    return name, draw(files[name])


class Campaign:
    """All cases of one reader."""

    def __init__(self, name: str, target: Target, guard: Guard) -> None:
        self.name, self.target, self.guard = name, target, guard
        self.counts: Counter[str] = Counter()
        self.home = Path(tempfile.mkdtemp(prefix="fuzz-", dir=IN_MEMORY if IN_MEMORY.is_dir() else None)).resolve()
        self.folder = self.home / "case"
        self.folder.mkdir()
        target.make(self.folder)
        self.sound = {
            str(path.relative_to(self.folder)): path.read_bytes()
            for path in sorted(self.folder.rglob("*"))
            if path.is_file()
        }
        os.environ["MONOSEMY_CACHE"] = str(self.home / "cache")
        target.read(self.folder)  # sound files must be read; whatever is imported lazily is imported now
        self.dirty = {str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file()}

    def restore(self) -> None:
        """The sound files again, and no others."""
        for path in list(self.folder.rglob("*")):
            name = str(path.relative_to(self.folder))
            if path.is_file() and name not in self.sound:
                path.unlink()
        for name, content in self.sound.items():
            path = self.folder / name
            if not path.is_file() or path.read_bytes() != content:
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(content)

    def case(self, name: str, content: bytes) -> None:
        self.restore()
        (self.folder / name).write_bytes(content)
        self.guard.broken, self.guard.folder = None, self.home
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            self.target.read(self.folder)
            self.counts["read"] += 1
        except InputError as error:
            check_sentence(error, self.name)
            self.counts["refused"] += 1
            if isinstance(error.__cause__, MemoryError):
                self.counts["asked for too much memory"] += 1
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            self.guard.folder = None
        if self.guard.broken is not None:
            raise AssertionError(f"{self.name}: reading {name} {self.guard.broken}")

    def run(self, n: int, number: int) -> dict[str, Any]:
        names = [name for name in self.sound if not self.target.only or name.endswith(self.target.only)]

        @seed(number)
        @settings(
            max_examples=n,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.generate, Phase.shrink),
        )
        @given(hostile({name: mutations(name, self.sound[name]) for name in names}))
        def cases(found: tuple[str, bytes]) -> None:
            self.case(*found)

        before, started = memory_mb("VmRSS"), time.perf_counter()
        cases()
        grown = memory_mb("VmHWM") - before
        if grown > GROWTH_MB:
            raise AssertionError(f"{self.name}: the process grew by {grown:.0f} MB")
        shutil.rmtree(self.home)
        return {
            "reader": self.name, "cases": self.counts["read"] + self.counts["refused"], **self.counts,
            "seconds": round(time.perf_counter() - started, 2), "grown_mb": round(grown),
        }  # fmt: skip


def main() -> None:
    n, number, names = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGPROF, on_alarm)
    # They run code and open libraries when they are imported, which a hostile file may be the first to cause.
    for name in ("torch.distributed.nn", "torch.distributed.checkpoint", "pyarrow.pandas_compat", "transformers"):
        importlib.import_module(name)
    guard = Guard()
    campaigns = [Campaign(name, ALL[name], guard) for name in names]
    room = int(memory_mb("VmSize") * 2**20) + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (room, room))
    for campaign in campaigns:
        print(json.dumps(campaign.run(n, number)), flush=True)


if __name__ == "__main__":
    main()
