"""Hostile variants of any file (damaged bytes) and of texts: JSON, YAML, tables."""

import gzip
import json
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import strategies as st

Bytes = st.SearchStrategy[bytes]

_MARKS = {
    "@deep": "[" * 20_000 + "]" * 20_000,
    "@deep-map": '{"a":' * 20_000 + "1" + "}" * 20_000,
    "@digits": "9" * 5_000,
    "@long": '"' + "x" * 50_000 + '"',
}
"""What `json.dumps` cannot write, or only slowly; put in for its mark."""
ODD: tuple[Any, ...] = (
    None, True, -1, 0, 1, 3, 2**31, 2**62, 10**30, -0.5, 1e308, float("nan"), float("inf"), "", " ", "0", "nan",
    "\x00",
    "\ud800", "../../../../etc/passwd", "/etc/passwd", "a\nb", "{0.__class__}", "[bold]x", [], {}, [[]],
    [1, "a", None],
    {"a": {"b": 1}}, [0.5] * 3, [{"role": "user", "content": "x"}], *_MARKS,
)  # fmt: skip
_SMALL = st.integers(0, 255)


def damaged(original: bytes) -> Bytes:
    """Bytes flipped, cut, put in, doubled or overwritten, at one to three places."""

    def apply(edits: list[tuple[str, int, int, int]]) -> bytes:
        data = bytearray(original)
        for kind, place, length, value in edits:
            at = place % (len(data) + 1)
            if kind == "flip" and at < len(data):
                data[at] ^= value or 1
            elif kind == "cut":
                del data[at:]
            elif kind == "drop":
                del data[at : at + length]
            elif kind == "insert":
                data[at:at] = bytes([value]) * length
            elif kind == "double":
                data[at:at] = data[at : at + length]
            elif kind == "number":  # a length or an offset that is huge, or negative
                data[at : at + 4] = (b"\xff\xff\xff\x7f", b"\xff" * 4, b"\x00" * 4, b"\x00\x00\x00\x80")[value % 4]
        return bytes(data)

    kinds = st.sampled_from(["flip", "flip", "cut", "drop", "insert", "double", "number", "number"])
    edit = st.tuples(kinds, st.integers(0, max(1, len(original))), st.integers(1, 64), _SMALL)
    return st.lists(edit, min_size=1, max_size=3).map(apply)


def _places(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(tree, dict):
        for key in tree:
            yield from _places(tree[key], (*path, key))
    elif isinstance(tree, list):
        for number, value in enumerate(tree[:4]):
            yield from _places(value, (*path, number))


def _changed(tree: Any, path: tuple[Any, ...], how: str, value: Any) -> Any:
    if not path:
        return {"replace": value, "wrap": [tree], "drop": {}, "rename": {"x": tree}}[how]
    key, rest = path[0], path[1:]
    copy = dict(tree) if isinstance(tree, dict) else list(tree)
    if rest or how in ("replace", "wrap"):
        copy[key] = _changed(tree[key], rest, how, value)
    elif how == "drop" or not isinstance(copy, dict):
        del copy[key]
    else:
        copy[value if isinstance(value, str) else "x"] = copy.pop(key)
    return copy


def trees(original: Any) -> st.SearchStrategy[Any]:
    """Plain values with one or two of them replaced, wrapped, left out or renamed."""
    places = list(_places(original))
    edit = st.tuples(
        st.sampled_from(places), st.sampled_from(["replace", "replace", "wrap", "drop", "rename"]), st.sampled_from(ODD)
    )

    def apply(edits: list[tuple[tuple[Any, ...], str, Any]]) -> Any:
        tree = original
        for path, how, value in edits:
            try:
                tree = _changed(tree, path, how, value)
            except (KeyError, IndexError, TypeError):  # the place went with the edit before
                continue
        return tree

    return st.lists(edit, min_size=1, max_size=2).map(apply)


def json_text(tree: Any, **options: Any) -> str:
    """JSON with what :data:`_MARKS` stand for."""
    text = json.dumps(tree, **options)
    for mark, meant in _MARKS.items():
        text = text.replace(f'"{mark}"', meant)
    return text


def json_files(original: bytes) -> Bytes:
    """Of a JSON document."""
    tree = json.loads(original)
    return st.one_of(trees(tree).map(lambda found: json_text(found).encode()), damaged(original))


def json_lines(original: bytes) -> Bytes:
    """Of JSON lines: a row or two changed among sound ones."""
    rows = original.splitlines()

    def put(changes: list[tuple[int, Any]]) -> bytes:
        lines = list(rows)
        for number, tree in changes:
            lines[number] = json_text(tree).encode()
        return b"\n".join(lines)

    changes = st.tuples(st.integers(0, len(rows) - 1), trees(json.loads(rows[0])))
    everywhere = trees(json.loads(rows[0])).map(lambda tree: b"\n".join([json_text(tree).encode()] * len(rows)))
    return st.one_of(st.lists(changes, min_size=1, max_size=2).map(put), everywhere, damaged(original))


ALIASES = "a: &a [x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(['*' + before] * 9)}]\n"
    for before, name in zip("abcdefghij", "bcdefghijk", strict=True)
)
"""Each list holds the one before nine times: few bytes in memory, 3 billion when they are printed."""
YAML_TRICKS = (
    ALIASES,
    "x: !!python/object/apply:os.system ['touch pwned']\n",
    "x: !!python/name:os.system\n",
    "x: &x [*x]\n", "&x {<<: *x}\n", "<<: 3\n", "x: 2024-99-99\n", "x: !!binary '%%%'\n", "x: !!int ''\n",
    "x: !!float x\n",
    "x: 1:99:99\n", "? [a]\n: b\n", "- a\nb: c\n", "x: !!timestamp x\n", "x: 0b2\n", "x: .inf\n", "x: 0x\n", "\x00",
    "%YAML 9.9\n---\n",
    "--- a\n--- b\n", "x: !<tag:yaml.org,2002:set> {a, b}\n", "x: !!omap [a]\n", "x: !!pairs [1]\n",
    "x: " + "9" * 5000 + "\n",
    "x: 1e999999\n", "x: 0o" + "7" * 9000 + "\n", "x: 9999-12-31T23:59:59-23:59\n", "x: !!bool maybe\n",
    "x: !!null y\n",
)  # fmt: skip


def yaml_files(original: bytes) -> Bytes:
    """Of a plan: changed values, and what only YAML has (JSON is YAML too)."""
    import yaml

    tree = yaml.safe_load(original)
    keys = [*tree] if isinstance(tree, dict) else ["x"]
    tricks = st.tuples(st.sampled_from(YAML_TRICKS), st.sampled_from(keys), st.booleans())

    def trick(found: tuple[str, str, bool]) -> bytes:
        text, key, alone = found
        text = text.replace("x:", f"{key}:", 1)
        if text.startswith("a: &a"):
            text += f"{key}: *k\n"
        return (text if alone else original.decode() + "\n" + text).encode()

    changed = trees(tree).map(lambda found: json_text(found).encode())
    return st.one_of(changed, changed, tricks.map(trick), damaged(original))


_CELLS = (
    "",
    '"',
    '""',
    "\n",
    "\r",
    "\x00",
    ",,,,",
    '"a\nb',
    "1e999",
    "nan",
    "9" * 5000,
    "/etc/passwd",
    "=cmd()",
    "\ufeff",
    "a,b,c,d,e,f",
)


def text_files(original: bytes) -> Bytes:
    """Of CSV and plain lists: odd cells in the places of others."""
    cells = original.decode().split(",")

    def put(found: list[tuple[int, str]]) -> bytes:
        changed = list(cells)
        for number, cell in found:
            changed[number % len(changed)] = cell
        return ",".join(changed).encode("utf-8", "surrogatepass")

    odd = st.tuples(st.integers(0, len(cells)), st.sampled_from(_CELLS))
    return st.one_of(st.lists(odd, min_size=1, max_size=3).map(put), damaged(original))


def gz_files(inner: Callable[[bytes], Bytes]) -> Callable[[bytes], Bytes]:
    def strategy(original: bytes) -> Bytes:
        whole = inner(gzip.decompress(original)).map(lambda data: gzip.compress(data, 1, mtime=0))
        return st.one_of(whole, whole, damaged(original))

    return strategy
