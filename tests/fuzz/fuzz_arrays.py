"""Hostile variants of binary files by those who know the format: arrays, models, parquet."""

import io
import json
import struct
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from fuzz_texts import ODD, Bytes, damaged, json_text, trees
from hypothesis import strategies as st

_SHAPES = (
    "()", "(0,)", "(3,)", "(0, 3)", "(4, 0)", "(-1, 3)", "(1099511627776, 1024)", "(4294967296, 4294967296)",
    "(10**3,)", "(1000000000000000000000000000000, 3)", "(2, 3, 4)", "(2.5, 3)", "[4, 3]", "None", "(True, 3)",
    "(1,) * 70", "(" + "1," * 70 + ")", "(" * 200 + ")" * 200, "(4, 3)", "(40, 3)", "(4000000000,)",
)  # fmt: skip
_TYPES = (
    "'|O'", "'<f8'", "'<c16'", "'|V8'", "'<U10'", "'<M8[ns]'", "[('a', '<f4')]", "'<f2'", "'|b1'", "'<m8'", "'|S0'",
    "'<U0'", "'garbage'", "3", "None", "'>f4'", "'<f4'", "'<i8'", "'|u1'", "'<f16'", "'<U100000000'", "[('a', '|O')]",
    "'(100000,100000)<f4'", "'<f4,' * 3", "[('a', ('<f4', (2, 2)))]",
)  # fmt: skip
_PICKLED = b"\x80\x04cos\nsystem\n\x8c\x0ctouch pwned.x\x85R."


def npy_files(original: bytes) -> Bytes:
    """Headers that promise other shapes and types than there are, pickles, and damaged bytes."""

    def build(found: tuple[str, str, str, int, bool]) -> bytes:
        descr, order, shape, n, pickled = found
        text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}".encode("latin1")
        text += b" " * (-(len(text) + 11) % 64) + b"\n"
        content = _PICKLED if pickled else original[-n:]
        return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + content

    header = st.tuples(
        st.sampled_from(_TYPES), st.sampled_from(["False", "True", "None", "2"]), st.sampled_from(_SHAPES),
        st.integers(0, 1024), st.booleans(),
    )  # fmt: skip
    kinds = (np.float64, np.int8, np.bool_, np.float16, np.complex64, "U3", "S3", "M8[s]", np.uint64)
    odd = st.tuples(st.sampled_from(kinds), st.sampled_from([(40,), (40, 3), (1, 3), (0, 3), (40, 1), (4, 10, 3)]))
    special = st.sampled_from([np.nan, np.inf, -np.inf, 1e308, 0.0, -1.0])

    def values(found: tuple[Any, float]) -> bytes:
        (kind, shape), value = found
        with np.errstate(all="ignore"):
            return npy_bytes(
                np.full(shape, value).astype(kind) if kind not in ("U3", "S3") else np.full(shape, "ab", kind)
            )

    return st.one_of(header.map(build), st.tuples(odd, special).map(values), damaged(original))


def npy_bytes(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def zipped(members: list[tuple[str, bytes]], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content, compression)
    return file.getvalue()


_NAMES = (
    "../../evil.npy",
    "/tmp/evil.npy",
    "a\\..\\b.npy",
    "",
    "embeddings.npy",
    "labels.npy",
    "X_train.npy",
    "x.txt",
    "shape.npy",
    "format.npy",
)


def _zip_files(original: bytes, member: Callable[[bytes], Bytes], compression: int) -> Bytes:
    with zipfile.ZipFile(io.BytesIO(original)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]

    @st.composite
    def changed(draw: st.DrawFn) -> bytes:
        number = draw(st.integers(0, len(members) - 1))
        name, content = members[number]
        found = list(members)
        how = draw(st.sampled_from(["content", "content", "name", "drop", "twice"]))
        if how == "content":
            found[number] = (name, draw(member(content)))
        elif how == "name":
            found[number] = (draw(st.sampled_from(_NAMES)), content)
        elif how == "drop":
            del found[number]
        else:
            found.append((name, draw(member(content))))
        return zipped(found, compression)

    return st.one_of(changed(), changed(), damaged(original))


def npz_files(original: bytes) -> Bytes:
    return _zip_files(original, npy_files, zipfile.ZIP_DEFLATED)


def torch_files(original: bytes) -> Bytes:
    """Of a torch archive: its pickle and its storages."""
    return _zip_files(original, damaged, zipfile.ZIP_STORED)


def safetensors_files(original: bytes) -> Bytes:
    """Headers with other types, shapes and places, other metadata, and damaged bytes."""
    (size,) = struct.unpack("<Q", original[:8])
    header, content = json.loads(original[8 : 8 + size]), original[8 + size :]
    about = header.get("__metadata__", {})

    def build(tree: Any) -> bytes:
        text = json_text(tree).encode("utf-8", "surrogatepass")
        return struct.pack("<Q", len(text)) + text + content

    def resized(found: tuple[str, Any, str]) -> bytes:
        """A tensor of another shape and type in a file that is sound all the same."""
        name, shape, kind = found
        item = {"F32": 4, "F64": 8, "I64": 8, "I32": 4, "U8": 1, "BOOL": 1, "F16": 2, "BF16": 2, "F8_E4M3": 1}[kind]
        tree, parts, end = dict(header), [], 0
        tree[name] = header[name] | {"shape": shape, "dtype": kind}
        for key, entry in tree.items():
            if key != "__metadata__":
                first, last = header[key]["data_offsets"]
                length = item * int(np.prod(shape)) if key == name else last - first
                parts.append(content[first:last].ljust(length, b"\0")[:length])
                tree[key] = entry | {"data_offsets": [end, end + length]}
                end += length
        text = json.dumps(tree).encode()
        return struct.pack("<Q", len(text)) + text + b"".join(parts)

    names = [name for name in header if name != "__metadata__"]
    shapes = st.sampled_from(
        [[], [0], [1], [4], [3, 4], [4, 3], [0, 3], [3, 0], [2**33, 0], [0, 2**33], [1, 1, 1], [64], [40, 3]]
    )
    kinds = st.sampled_from(["F32", "F64", "I64", "I32", "U8", "BOOL", "F16", "BF16", "F8_E4M3"])
    choices = [
        trees(header).map(build),
        st.tuples(st.sampled_from(names), shapes, kinds).map(resized),
        damaged(original),
    ]
    for key, text in about.items():
        try:
            note = json.loads(text)
        except ValueError:
            continue
        choices += [
            trees(note).map(lambda tree, key=key: build(header | {"__metadata__": about | {key: json_text(tree)}}))
        ] * 2
    return st.one_of(choices)


_LISTS: tuple[Any, ...] = (
    [1, 2], [None, 1], ["a", None], ["", " "], [1.5, float("nan")], [[1.0, 2.0], [3.0]], [[1.0], None], [[], []],
    [[[1.0]], [[2.0]]], [b"x", None], [{"bytes": b"x", "path": "/etc/passwd"}, {"bytes": None, "path": "../x"}],
    [True, False],
    [{"a": 1}, None], ["9" * 5000, "1"], ["\x00", "train"], [["a"], ["b"]], [10**18, -1],
    [{"role": "user", "content": "x"}, None],
    [[{"role": "user", "content": "x"}], [{"role": "assistant", "content": None}]], [None, None],
)  # fmt: skip
_KINDS = (
    None, pa.int8(), pa.float16(), pa.float32(), pa.date32(), pa.timestamp("ns"), pa.decimal128(5, 2),
    pa.large_string(),
    pa.binary(), pa.list_(pa.float16()), pa.list_(pa.float64(), 2), pa.dictionary(pa.int8(), pa.string()),
    pa.duration("s"), pa.time64("us"),
)  # fmt: skip


def parquet_files(original: bytes) -> Bytes:
    """Tables with columns of other types and contents, renamed, doubled or missing; other metadata; damaged bytes."""
    table = pq.read_table(io.BytesIO(original))

    def build(found: tuple[int, str, Any, Any, Any]) -> bytes:
        number, how, values, kind, name = found
        columns, names = list(table.columns), list(table.column_names)
        number %= len(columns)
        if how == "values":
            try:
                columns[number] = pa.array([values[i % len(values)] for i in range(len(table))], kind, from_pandas=True)
            except (pa.ArrowException, TypeError, ValueError, OverflowError):
                columns[number] = pa.array([values[i % len(values)] for i in range(len(table))])
        elif how == "name":
            names[number] = name if isinstance(name, str) and "\ud800" not in name else "x"
        elif how == "twice":
            columns.append(columns[number])
            names.append(names[number])
        elif how == "drop" and len(columns) > 1:
            del columns[number], names[number]
        elif how == "empty":
            columns = [column.slice(0, 0) for column in columns]
        metadata = dict(table.schema.metadata or {})
        if how == "note":
            metadata = {key: json_text(values).encode("utf-8", "replace") for key in (*metadata, b"huggingface")}
            columns, names = list(table.columns), list(table.column_names)
        file = io.BytesIO()
        try:
            pq.write_table(pa.Table.from_arrays(columns, names, metadata=metadata), file)
        except (pa.ArrowException, UnicodeEncodeError):
            return original
        return file.getvalue()

    hows = st.sampled_from(["values", "values", "values", "name", "twice", "drop", "empty"])
    names = st.sampled_from(
        [x for x in ODD if isinstance(x, str)] + ["label", "split", "index", "text", "embedding", "image"]
    )
    changed = st.tuples(st.integers(0, 9), hows, st.sampled_from(_LISTS), st.sampled_from(_KINDS), names).map(build)
    choices = [changed, changed, damaged(original)]
    hugging = (table.schema.metadata or {}).get(b"huggingface")
    if hugging is not None:
        notes = trees(json.loads(hugging))
        choices.append(notes.map(lambda tree: build((0, "note", tree, None, ""))))
    return st.one_of(choices)
