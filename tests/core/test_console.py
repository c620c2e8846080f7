"""Progress in a real terminal of 80 columns, a line now and then elsewhere, and JSON of any result."""

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from monosemy.core.console import json_text, progress

SCRIPT = """
import time
from rich.console import Console
from monosemy.core.console import progress
with progress(Console(quiet={quiet})) as tell:
    for done in range(0, 30_001, 3_000):
        time.sleep(0.15)
        tell("Images seen by a method with a long name", done, 30_001, "explained variance 0.123 to 0.456")
"""


def in_terminal(code: str, columns: int = 80) -> list[str]:
    """The lines that a program's streams show in a pseudo-terminal."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR")} | {"TERM": "xterm"}
    process = subprocess.Popen([sys.executable, "-c", code], stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 65_536):
            shown += piece
    except OSError:  # the other side is closed
        pass
    os.close(ours)
    assert process.wait() == 0, shown.decode()
    return [line for line in re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())) if line]


def test_a_line_has_count_rate_and_time_left_and_fits_80_columns() -> None:
    lines = in_terminal(SCRIPT.format(quiet=False))
    assert max(map(len, lines)) <= 80
    last = lines[-1]
    assert re.search(r"30\.0k/30\.0k \d+\.\dk/s", last), last
    assert re.search(r"\d\d:\d\d$", last.strip()), last


def test_a_wider_terminal_has_a_longer_bar() -> None:
    lines = in_terminal(SCRIPT.format(quiet=False), 120)
    assert 110 < max(map(len, lines)) <= 120
    assert re.search(r"\d+\.\dk/s", lines[-1]), lines[-1]


def test_quiet_is_quiet_in_a_terminal_too() -> None:
    assert in_terminal(SCRIPT.format(quiet=True)) == []


def test_a_line_now_and_then_where_there_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    now = 100.0
    monkeypatch.setattr("monosemy.core.console.time.monotonic", lambda: now)
    with progress(Console()) as tell:
        for seconds, done in ((0, 100), (10, 200), (29, 390), (31, 410), (40, 500), (62, 720)):
            now = 100.0 + seconds
            tell("Encoding texts", done, 1_410, "block 1")
    lines = capfd.readouterr().err.splitlines()
    assert lines == [
        "Encoding texts: 410/1.4k, 10/s, about 0:01:40 left block 1",
        "Encoding texts: 720/1.4k, 10/s, about 0:01:09 left block 1",
    ]
    with progress(Console(quiet=True)) as tell:
        now += 100
        tell("Encoding texts", 1, 2)
    assert capfd.readouterr() == ("", "")


NESTED = """
from rich.console import Console
from monosemy.core.console import progress
with progress(Console()) as tell:
    tell("Before", 3, 3)
    tell("Models", 0, 1)
    tell("Steps", 1, 2)
    tell("Steps", 2, 2)
    tell("Models", 1, 1)
"""


def test_bars_of_parts_disappear_when_they_are_complete() -> None:
    shown = [line.split()[0] for line in in_terminal(NESTED)]
    assert shown[-2:] == ["Before", "Models"]


@dataclass(frozen=True)
class _Model:
    name: str
    score: float


class _Pair(NamedTuple):
    one: int
    two: float


def test_everything_a_command_finds_becomes_plain_json() -> None:
    answer = {
        "table": pd.DataFrame({"level": [0.3, float("nan")], "name": ["a", 'b"<']}),
        "array": np.array([[1.5, np.inf]], dtype=np.float32),
        "number": np.int64(3),
        "model": _Model("sae", float("-inf")),
        "pair": _Pair(1, 2.0),
        "folder": Path("runs/demo"),
        "none": None,
        3: (True, "ü"),
    }
    assert json.loads(json_text(answer)) == {
        "table": [{"level": 0.3, "name": "a"}, {"level": None, "name": 'b"<'}],
        "array": [[1.5, None]],
        "number": 3,
        "model": {"name": "sae", "score": None},
        "pair": {"one": 1, "two": 2.0},
        "folder": "runs/demo",
        "none": None,
        "3": [True, "ü"],
    }
