"""Sizes from a parquet file's footer, read here because pyarrow ends the process where a column's metadata is damaged.

Thrift's compact protocol: https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md. Fields:
https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift.

Bounds on what a file may grow to when it is read: compression makes a small one fill any memory.
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
"""Numbers of fields: of FileMetaData, RowGroup, ColumnChunk, and three of ColumnMetaData."""
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)
_TRAILER = 8
"""Bytes behind the footer: its length and the magic number."""


@dataclass(frozen=True)
class ColumnChunk:
    """One column of one group of rows."""

    type: int
    """Physical type: 0 BOOLEAN, 1 INT32, 2 INT64, 3 INT96, 4 FLOAT, 5 DOUBLE, 6 BYTE_ARRAY, 7 FIXED_LEN_BYTE_ARRAY."""
    num_values: int
    """Also those inside of lists, and nulls."""
    uncompressed_size: int
    """Bytes of all pages, still encoded."""


def column_chunks(path: Path) -> list[ColumnChunk]:
    """Every column chunk that the footer describes in the open.

    Raises:
        ValueError, IndexError, RecursionError, AttributeError, TypeError: the footer is no such metadata.
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
    """Values of Thrift's compact protocol, one after the other: structs are dictionaries by the fields' numbers."""

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
        """Texts and the like, which nobody asks for."""
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
"""Bytes that every file may grow to."""
_TIMES = 100
"""Larger files may grow to so many times their size; real data does not come near."""
_PIECE = 2**20
_WIDTHS = {0: 1, 1: 4, 2: 8, 3: 12, 4: 4, 5: 8}
"""Bytes of a value by the physical type of parquet's numbers."""


def check_growth(path: Path, n_bytes: int) -> None:
    """Raise where a file would fill so many bytes of memory that it was made to do just that."""
    size = path.stat().st_size
    if n_bytes > max(_ALWAYS, _TIMES * size):
        raise InputError(
            f"{path} has {size:,} bytes but grows to more than {n_bytes / 1e9:.1f} GB when it is read; save it with "
            f"less compression where you trust it."
        )


def check_zip(path: Path) -> None:
    """:func:`check_growth` for an archive of arrays."""
    with zipfile.ZipFile(path) as archive:
        check_growth(path, sum(member.file_size for member in archive.infolist()))


def check_gzip(path: Path) -> None:
    """:func:`check_growth` for a compressed text: read once, for its end says what it likes."""
    n_bytes = 0
    with gzip.open(path) as file:
        while piece := file.read(_PIECE):
            n_bytes += len(piece)
            check_growth(path, n_bytes)


def check_parquet(path: Path) -> None:
    """:func:`check_growth` for the numbers of a parquet file; of texts, only what the pages hold is known before."""
    check_growth(path, sum(_chunk_size(chunk) for chunk in column_chunks(path)))


def checked_batches(path: Path, batches: Iterable[Any]) -> list[Any]:
    """Arrow batches of a file, read while they are not too much for it."""
    found, n_bytes = [], 0
    for batch in batches:
        n_bytes += batch.nbytes
        check_growth(path, n_bytes)
        found.append(batch)
    return found


def _chunk_size(chunk: ColumnChunk) -> int:
    return max(chunk.uncompressed_size, chunk.num_values * _WIDTHS.get(chunk.type, 1))
