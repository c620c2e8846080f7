"""Bounds on the memory that an untrusted file takes when it is read: compression lets a small one fill any memory.

The sizes of a parquet file are read from its footer here, not by pyarrow: where a column's metadata contradict
themselves, ``pyarrow`` aborts the whole process as soon as they are asked for, which no ``try`` catches.
Thrift's compact protocol: https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md. Fields:
https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift.
"""

import gzip
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monosemy.errors import InputError

_ROW_GROUPS, _COLUMNS, _META_DATA = 4, 1, 3
_TYPE, _NUM_VALUES, _UNCOMPRESSED_SIZE = 1, 5, 6
"""Numbers of fields in FileMetaData, RowGroup and ColumnChunk, and of three in ColumnMetaData."""
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)
_TRAILER = 8
"""Bytes after the footer: its length and the magic number."""


@dataclass(frozen=True)
class ColumnChunk:
    """One column of one group of rows."""

    type: int
    """Physical type: 0 BOOLEAN, 1 INT32, 2 INT64, 3 INT96, 4 FLOAT, 5 DOUBLE, 6 BYTE_ARRAY, 7 FIXED_LEN_BYTE_ARRAY."""
    num_values: int
    """Number of values, those inside lists and nulls included."""
    uncompressed_size: int
    """Bytes of all pages after decompression, still encoded."""


def column_chunks(path: Path) -> list[ColumnChunk]:
    """Return every column chunk whose metadata the footer holds unencrypted.

    Raises:
        ValueError, IndexError, RecursionError, AttributeError, TypeError: the footer is damaged.
    """
    with path.open("rb") as file:
        file.seek(-_TRAILER, 2)
        length = int.from_bytes(file.read(4), "little")
        file.seek(-_TRAILER - length, 2)
        footer = _Compact(file.read(length)).struct()
    columns = [chunk for group in footer.get(_ROW_GROUPS, ()) for chunk in group.get(_COLUMNS, ())]
    # Without metadata the chunk is encrypted, and pyarrow refuses it when it is read.
    described = [chunk[_META_DATA] for chunk in columns if _META_DATA in chunk]
    return [ColumnChunk(int(d[_TYPE]), int(d[_NUM_VALUES]), int(d[_UNCOMPRESSED_SIZE])) for d in described]


class _Compact:
    """A reader of Thrift's compact protocol: structs become dictionaries by the fields' numbers."""

    def __init__(self, raw: bytes) -> None:
        self._raw, self._at = raw, 0

    def struct(self) -> dict[int, Any]:
        fields: dict[int, Any] = {}
        number = 0
        while header := self._byte():
            kind, step = header & 15, header >> 4
            number = number + step if step else self._zigzag()
            fields[number] = kind == _TRUE if kind in (_TRUE, _FALSE) else self._value(kind)
        return fields

    def _value(self, kind: int) -> Any:
        if kind in (_I16, _I32, _I64):
            return self._zigzag()
        if kind == _BINARY:
            return self._skip(self._varint())
        if kind in (_LIST, _SET):
            return self._list()
        if kind == _STRUCT:
            return self.struct()
        if kind in (_TRUE, _FALSE, _BYTE):  # in lists and maps truth takes a byte
            return self._skip(1)
        if kind == _DOUBLE:
            return self._skip(8)
        if kind == _MAP:
            return self._map()
        raise ValueError(f"the type {kind} in its footer is unknown")

    def _list(self) -> list[Any]:
        header = self._byte()
        length = header >> 4
        return [self._value(header & 15) for _ in range(self._varint() if length == 15 else length)]

    def _map(self) -> None:
        length = self._varint()
        kinds = self._byte() if length else 0
        for _ in range(length):
            self._value(kinds >> 4)
            self._value(kinds & 15)

    def _byte(self) -> int:
        self._at += 1
        return self._raw[self._at - 1]

    def _skip(self, n_bytes: int) -> None:
        """Skip texts and other values that are not needed."""
        if n_bytes > len(self._raw) - self._at:
            raise ValueError("its footer ends early")
        self._at += n_bytes

    def _varint(self) -> int:
        value = shift = 0
        while (byte := self._byte()) & 128:
            value |= (byte & 127) << shift
            shift += 7
            if shift > 63:
                raise ValueError("its footer has a number of more than 64 bits")
        return value | byte << shift

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)


_ALWAYS = 2**30
"""Bytes that any file may grow to."""
_TIMES = 100
"""A larger file may grow to this multiple of its size; real data does not come near."""
_PIECE = 2**20
"""Bytes of a compressed text that are decompressed at a time."""
_WIDTHS = {0: 1, 1: 4, 2: 8, 3: 12, 4: 4, 5: 8}
"""Bytes of a value by parquet's physical type."""


def check_growth(path: Path, n_bytes: int) -> None:
    """Raise where a file would take so much memory that it was probably built to exhaust it."""
    size = path.stat().st_size
    if n_bytes > max(_ALWAYS, _TIMES * size):
        raise InputError(
            f"{path} has {size:,} bytes but grows to more than {n_bytes / 1e9:.1f} GB when it is read; save it with "
            f"less compression where you trust it."
        )


def check_zip(path: Path) -> None:
    """Apply :func:`check_growth` to an archive of arrays."""
    with zipfile.ZipFile(path) as archive:
        check_growth(path, sum(member.file_size for member in archive.infolist()))


def check_gzip(path: Path) -> None:
    """Apply :func:`check_growth` to a compressed text, by decompressing it: the size in its trailer may be forged."""
    n_bytes = 0
    with gzip.open(path) as file:
        while piece := file.read(_PIECE):
            n_bytes += len(piece)
            check_growth(path, n_bytes)


def check_parquet(path: Path) -> None:
    """Apply :func:`check_growth` to the numbers of a parquet file; of texts, only the size of the pages is known."""
    sizes = (max(c.uncompressed_size, c.num_values * _WIDTHS.get(c.type, 1)) for c in column_chunks(path))
    check_growth(path, sum(sizes))


def checked_batches(path: Path, batches: Iterable[Any]) -> list[Any]:
    """Read all Arrow batches of a file, applying :func:`check_growth` after each."""
    read, n_bytes = [], 0
    for batch in batches:
        n_bytes += batch.nbytes
        check_growth(path, n_bytes)
        read.append(batch)
    return read
