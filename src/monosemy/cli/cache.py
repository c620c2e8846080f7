"""`monosemy cache`: list, remove and verify what runs share."""

import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from monosemy.cli.options import Json, Quiet
from monosemy.core.console import json_text, make_console, print_line, print_table
from monosemy.errors import InputError

if TYPE_CHECKING:
    from monosemy.core.cache import Entry

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="List, check and remove what runs share: encoders, embeddings, judgements. MONOSEMY_CACHE names the folder.",
)
_KEY_SHOWN = 12
_MADE_BY = ("module", "version", "packages")


@app.command()
def ls(quiet: Quiet = False, json: Json = False) -> None:
    """List the entries: their content, their size, and whether this version would still use them.

    **Examples**

    `monosemy cache ls`
    """
    from monosemy.core.cache import cache, is_current

    console, store = make_console(quiet, json), cache()
    entries = store.entries()
    if json:
        values = [
            {"name": e.name, "bytes": e.size, "made": e.made, "current": is_current(e.metadata), "about": e.metadata}
            for e in entries
        ]
        print(json_text({"folder": store.root, "entries": values}))
    rows = []
    for entry in entries:
        stage, _, key = entry.name.partition("/")
        content = ", ".join(f"{name} {value}" for name, value in entry.metadata.items() if name not in _MADE_BY)
        current = "yes" if is_current(entry.metadata) else "no"
        rows.append((f"{stage}/{key[:_KEY_SHOWN]}", content, entry.made, f"{entry.size / 1e6:,.1f}", current))
    if rows:
        print_table(console, ("entry", "content", "made", "MB", "current"), rows, right=("MB",))
    total = sum(entry.size for entry in entries)
    print_line(console, f"{len(entries)} entries, {total / 1e6:,.1f} MB in {store.root}")


@app.command()
def rm(
    names: Annotated[list[str] | None, typer.Argument(help="Entries as `ls` names them, or whole stages.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Everything, with unfinished entries of killed runs.")] = False,
    stale: Annotated[bool, typer.Option("--stale", help="Entries of other versions of code or libraries.")] = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Remove entries; they are computed again when they are needed.

    **Examples**

    `monosemy cache rm --stale`

    `monosemy cache rm embeddings`
    """
    from monosemy.core.cache import cache, is_current
    from monosemy.core.executors import JOBS

    store = cache()
    if not (names or all_ or stale):
        raise InputError("rm got nothing to remove; name entries or stages of `monosemy cache ls`, or give --all.")
    entries = store.entries()
    chosen = {entry.name for entry in entries if all_ or (stale and not is_current(entry.metadata))}
    for name in names or ():
        chosen |= _named(name, entries)
    for name in sorted(chosen):
        store.remove(name)
    if all_:
        for folder in [*store.unfinished(), *(store.root / name for name in store.without_note()), store.root / JOBS]:
            shutil.rmtree(folder, ignore_errors=True)
    freed = sum(entry.size for entry in entries if entry.name in chosen)
    if json:
        print(json_text({"removed": sorted(chosen), "bytes": freed}))
    print_line(make_console(quiet, json), f"Removed {len(chosen)} entries, {freed / 1e6:,.1f} MB.")


def _named(name: str, entries: "Sequence[Entry]") -> set[str]:
    """Return the entries of a stage, or the one that begins with the name."""
    stage, slash, key = name.strip("/").partition("/")
    matches = {entry.name for entry in entries if entry.name.startswith(f"{stage}/{key}")}
    if not matches:
        raise InputError(f"The cache has no entry {name!r}; `monosemy cache ls` lists them.")
    if slash and len(matches) > 1:
        raise InputError(f"{len(matches)} entries begin with {name!r}; give more of the name.")
    return matches


@app.command()
def verify(quiet: Quiet = False, json: Json = False) -> None:
    """Compare every entry with its checksums; damaged ones are listed and removed, and the exit code is 1.

    **Examples**

    `monosemy cache verify`
    """
    from monosemy.core.cache import cache

    console, store = make_console(quiet, json), cache()
    entries = store.entries()
    damaged = {entry.name: damage for entry in entries if (damage := entry.damage()) is not None}
    damaged |= dict.fromkeys(store.without_note(), "it has no readable note")
    for name, damage in damaged.items():
        print_line(console, f"Damaged, removed: {name} ({damage}).")
        store.remove(name)
    unfinished = len(store.unfinished())
    if unfinished:
        print_line(
            console,
            f"{unfinished} more are being written, or left by killed runs; `monosemy cache rm --all` removes them.",
        )
    print_line(console, f"{len(entries)} entries checked, {len(damaged)} damaged.")
    if json:
        print(json_text({"entries": len(entries), "damaged": damaged, "unfinished": unfinished}))
    if damaged:
        raise typer.Exit(1)
