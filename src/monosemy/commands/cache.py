"""`monosemy cache`: list, remove and verify what is kept between runs."""

import json
import shutil
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from monosemy.core.cache import Entry, cache, is_current
from monosemy.core.executors import JOBS
from monosemy.errors import InputError

_KEY_SHOWN = 12
_MADE_BY = ("module", "version", "packages")


def list_entries(console: Console, *, as_json: bool) -> None:
    """One line an entry."""
    store = cache()
    entries = store.entries()
    if as_json:
        values = [
            {"name": e.name, "bytes": e.size, "made": e.made, "current": is_current(e.metadata), "about": e.metadata}
            for e in entries
        ]
        print(json.dumps({"folder": str(store.root), "entries": values}, indent=1))
    table = Table(box=None, pad_edge=False)
    for title in ("entry", "what", "made"):
        table.add_column(title)
    table.add_column("MB", justify="right")
    table.add_column("current")
    for entry in entries:
        stage, _, key = entry.name.partition("/")
        table.add_row(
            escape(f"{stage}/{key[:_KEY_SHOWN]}"), escape(_what(entry)), escape(entry.made), f"{entry.size / 1e6:,.1f}",
            "yes" if is_current(entry.metadata) else "no",
        )  # fmt: skip
    if entries:
        console.print(table, highlight=False)
    total = sum(entry.size for entry in entries)
    _say(console, f"{len(entries)} entries, {total / 1e6:,.1f} MB in {store.root}")


def _say(console: Console, line: str) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)


def _what(entry: Entry) -> str:
    return ", ".join(f"{name} {value}" for name, value in entry.metadata.items() if name not in _MADE_BY)


def remove_entries(
    names: Sequence[str], console: Console, *, everything: bool, stale: bool, as_json: bool = False
) -> None:
    """Remove the named entries and stages, those of other code, or all.

    Raises:
        InputError: nothing is named, or a name fits no entry, or several.
    """
    store = cache()
    if not (names or everything or stale):
        raise InputError("rm is told nothing to remove; name entries or stages of `monosemy cache ls`, or give --all.")
    entries = store.entries()
    chosen = {entry.name for entry in entries if everything or (stale and not is_current(entry.metadata))}
    for name in names:
        chosen |= _named(name, entries)
    for name in sorted(chosen):
        store.remove(name)
    if everything:
        without_note = [store.root / name for name in store.without_note()]
        for folder in [*store.unfinished(), *without_note, store.root / JOBS]:
            shutil.rmtree(folder, ignore_errors=True)
    freed = sum(entry.size for entry in entries if entry.name in chosen)
    if as_json:
        print(json.dumps({"removed": sorted(chosen), "bytes": freed}, indent=1))
    _say(console, f"Removed {len(chosen)} entries, {freed / 1e6:,.1f} MB.")


def _named(name: str, entries: Sequence[Entry]) -> set[str]:
    """A stage's entries, or the one that begins so."""
    stage, slash, key = name.strip("/").partition("/")
    found = {entry.name for entry in entries if entry.name.startswith(f"{stage}/{key}")}
    if not found:
        raise InputError(f"The cache has no entry {name!r}; `monosemy cache ls` names them.")
    if slash and len(found) > 1:
        raise InputError(f"{len(found)} entries begin with {name!r}; give more of the name.")
    return found


def verify_entries(console: Console, *, as_json: bool = False) -> bool:
    """Whether all entries are whole; those that are not are named and removed."""
    store = cache()
    entries = store.entries()
    damaged = {entry.name: damage for entry in entries if (damage := entry.damage()) is not None}
    damaged |= dict.fromkeys(store.without_note(), "it has no readable note")
    for name, damage in damaged.items():
        _say(console, f"Damaged, removed: {name} ({damage}).")
        store.remove(name)
    unfinished = len(store.unfinished())
    if unfinished:
        _say(
            console,
            f"{unfinished} more are being written, or left by killed runs; `monosemy cache rm --all` takes them.",
        )
    _say(console, f"{len(entries)} entries looked at, {len(damaged)} damaged.")
    if as_json:
        print(json.dumps({"entries": len(entries), "damaged": damaged, "unfinished": unfinished}, indent=1))
    return not damaged
