"""Bounds on what a file may grow to when it is read: compression makes a small one fill any memory."""

import gzip
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from monosemy.data.parquet_footer import ColumnChunk, column_chunks
from monosemy.errors import InputError

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
