"""The code blocks of README and docs, and whether the lines of a shell block are commands that exist."""

import re
import shlex
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.main import get_command

from monosemy.cli import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
LANGUAGES = ("bash", "python", "diff", "text", "yaml", "math", "{include}", "{toctree}", "{eval-rst}")
"""Shell and Python are run; nothing can be run in the others."""

_FENCE = re.compile(r"^```(\S*)")
_MARK = re.compile(r"^<!-- (slow|not run): (\S.*) -->$")


@dataclass(frozen=True)
class Block:
    """A fenced block; ``mark`` is ``slow`` or ``not run`` if the comment above it says so, with a reason."""

    page: Path
    line: int
    language: str
    text: str
    mark: str | None

    @property
    def place(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page, in order.

    Raises:
        AssertionError: a fence is not closed.
    """
    found, above = [], ""
    lines = iter(enumerate(page.read_text(encoding="utf-8").splitlines(), start=1))
    for number, line in lines:
        fence = _FENCE.match(line)
        if fence is None:
            above = line.strip() or above
            continue
        inside = []
        for _, text in lines:
            if text == "```":
                break
            inside.append(text)
        else:
            raise AssertionError(f"{page.name}:{number}: the fence is not closed")
        mark = _MARK.match(above)
        found.append(Block(page, number, fence[1], "\n".join(inside), mark[1] if mark else None))
        above = ""
    return found


def commands(text: str) -> list[list[str]]:
    """The commands of a shell block as words: comments and where output goes to are left out, ``&&`` starts anew."""
    found: list[list[str]] = []
    for line in text.replace("\\\n", " ").splitlines():
        command: list[str] = []
        for word in shlex.split(line, comments=True):
            if word == "&&":
                found.append(command)
                command = []
            elif word == ">":
                break
            else:
                command.append(word)
        found.append(command)
    return [command for command in found if command]


def monosemy_words(command: list[str]) -> list[str] | None:
    """What follows ``monosemy``, also as ``torchrun ... -m monosemy``; None for another program."""
    if command[0] == "monosemy":
        return command[1:]
    if command[0] == "torchrun" and "monosemy" in command:
        return command[command.index("monosemy") + 1 :]
    return None


def check_command(command: list[str]) -> None:
    """Whether the command would start: the program is known, and all its words are.

    Raises:
        Exception: what the command line parser says, or what is not there.
    """
    words = monosemy_words(command)
    if words is not None:
        parse(words)
    elif command[:2] == ["pip", "install"]:
        _check_extras(command)
    elif command[0] == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert set(command[1:]) <= set(targets), f"{command} is no target of the Makefile"
    else:
        assert command[0] in ("source", "hf"), f"{command[0]} is no program that the docs speak of"


def parse(words: list[str]) -> None:
    """Read the words as the command line does, without running anything."""
    command: Any = get_command(app)
    rest = list(words)
    if rest[:1] in (["--help"], ["--version"], ["--install-completion"]):
        return
    while hasattr(command, "list_commands") and rest and not rest[0].startswith("-"):
        name = rest.pop(0)
        assert name in command.list_commands(None), f"monosemy has no command {name!r}"
        command = command.get_command(None, name)
    assert not hasattr(command, "list_commands") or rest[:1] == ["--help"], f"{words} names no command"
    if rest[:1] != ["--help"]:
        command.make_context(words[0], rest)


def _check_extras(command: list[str]) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = re.search(r"\[(.*?)\]", " ".join(command))
    unknown = set(named[1].split(",")) - set(extras) if named else set()
    assert not unknown, f"{command}: no such extras: {sorted(unknown)}"
