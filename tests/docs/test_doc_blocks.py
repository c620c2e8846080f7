"""Every code block of README and docs runs, or says why not; every command in them, and in the help, exists."""

import contextlib
import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from doc_blocks import LANGUAGES, PAGES, ROOT, Block, blocks, check_command, commands, monosemy_words
from doc_kitchen import namespace, prepare
from typer.main import get_command

from monosemy import cli

RUN = ("bash", "python")


def by_page(pages: tuple[Path, ...] = PAGES) -> Any:
    return pytest.mark.parametrize("page", pages, ids=lambda page: page.stem)


@by_page()
def test_blocks_are_fenced_and_of_a_known_language(page: Path) -> None:
    for block in blocks(page):
        assert block.language in LANGUAGES, f"{block.place}: {block.language!r}"
        if block.language != "bash":
            hidden = re.search(r"^(\$ )?(monosemy|pip|torchrun) [a-z]+", block.text, re.MULTILINE)
            assert hidden is None, f"{block.place}: {hidden[0]!r} stands in no bash block"
    outside = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    indented = re.search(r"\n\n    \S.*", outside)
    assert indented is None, f"{page.name}: an indented block is not checked: {indented[0].strip()!r}"


@by_page()
def test_every_command_of_a_page_exists(page: Path) -> None:
    for block in blocks(page):
        for command in commands(block.text) if block.language == "bash" else []:
            try:
                check_command(command)
            except Exception as error:
                pytest.fail(f"{block.place}: {' '.join(command)}: {error}")


@by_page()
def test_commands_within_sentences_exist(page: Path) -> None:
    """`monosemy ...` in backticks; capital words and dots stand for something."""
    prose = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    known = get_command(cli.app)
    for text in re.findall(r"`monosemy ([a-z][^`]*)`", prose.replace("\n", " ")):
        words = text.split()
        command: Any = known.get_command(None, words[0])
        if hasattr(command, "commands") and len(words) > 1:
            command = command.commands.get(words[1])
        assert command is not None, f"{page.name}: monosemy {text}"
        options = {name for parameter in command.params for name in parameter.opts} | {"--help"}
        unknown = [word for word in words if word.startswith("--") and word not in options]
        assert not unknown, f"{page.name}: monosemy {text}"


@pytest.mark.parametrize(
    "line",
    ["monosemy stduy", "monosemy study --sedes 5", "monosemy study --seeds five", "monosemy sae", "conda install it",
     "pip install 'monosemy[magic]'", "make coffee", "torchrun -m monosemy study --magic"],
)  # fmt: skip
def test_a_command_that_does_not_exist_is_found(line: str) -> None:
    (command,) = commands(line)
    with pytest.raises(Exception, match=r"."):
        check_command(command)


def _examples() -> Iterator[str]:
    """The examples of all help texts."""
    todo: list[Any] = [get_command(cli.app)]
    while todo:
        command = todo.pop()
        if hasattr(command, "list_commands"):
            todo += [command.get_command(None, name) for name in command.list_commands(None)]
        yield from re.findall(r"`((?:monosemy|torchrun) [^`]*)`", f"{command.help} {command.epilog}")


def test_every_example_of_the_help_exists() -> None:
    examples = [example.replace("\n", " ") for example in _examples()]
    assert len(examples) > 30
    for example in examples:
        if "COMMAND" in example or "--install-completion" in example or example.endswith("..."):
            continue
        for command in commands(example):
            check_command(command)


def run_block(block: Block, names: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Run Python in the page's namespace, and commands of monosemy in this process; other programs are not run."""
    if block.language == "python":
        code = compile("\n" * block.line + block.text, str(block.page), "exec")
        with contextlib.redirect_stdout(io.StringIO()):
            exec(code, names)
        return
    for command in commands(block.text):
        words = monosemy_words(command)
        if words is None or command[0] == "torchrun":
            continue
        monkeypatch.setattr(sys, "argv", ["monosemy", *words])
        said, complained = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(complained):
            try:
                cli.main()
                code = 0
            except SystemExit as stop:
                code = int(stop.code or 0)
        assert code == 0, f"{block.place}: {' '.join(command)}: {complained.getvalue()}"
        silent = not said.getvalue().strip()
        assert silent == ("--quiet" in words), f"{block.place}: {' '.join(command)}: {said.getvalue()!r}"


def run_page(page: Path, marks: tuple[str | None, ...], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the blocks with these marks from top to bottom, as a reader would, in a folder with the files they name."""
    wanted = [block for block in blocks(page) if block.language in RUN and block.mark in marks]
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    text = "\n".join(block.text for block in wanted)
    prepare(text, folder)
    names = namespace(page.stem, text)
    for block in wanted:
        run_block(block, names, monkeypatch)


def with_marks(*marks: str | None) -> tuple[Path, ...]:
    return tuple(page for page in PAGES if any(block.mark in marks for block in blocks(page) if block.language in RUN))


@by_page(with_marks(None))
def test_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_page(page, (None,), tmp_path, monkeypatch)


@pytest.mark.slow
@by_page(with_marks("slow"))
def test_slow_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_page(page, (None, "slow"), tmp_path, monkeypatch)


def test_a_block_that_fails_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    page.write_text("```bash\nmonosemy measure no-such-file.npz\n```\n")
    with pytest.raises(AssertionError, match="no-such-file"):
        run_page(page, (None,), tmp_path, monkeypatch)


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if target.startswith("generated/"):
                continue  # made by `make docs`, which stops at a link that leads nowhere
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}, which is not there"
