"""Our reading of a footer against pyarrow's, and a damage by which pyarrow's ends the process."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, strategies as st

from monosemy.data.safety import column_chunks
from monosemy.data.tables import read_table

TYPES = (
    "BOOLEAN",
    "INT32",
    "INT64",
    "INT96",
    "FLOAT",
    "DOUBLE",
    "BYTE_ARRAY",
    "FIXED_LEN_BYTE_ARRAY",
)  # in the order of parquet.thrift
N = 300
COLUMNS = {
    "truth": pa.array(np.arange(N) % 2 == 0),
    "small": pa.array(np.arange(N), pa.int32()),
    "large": pa.array(np.arange(N), pa.int64()),
    "float": pa.array(np.arange(N), pa.float32()),
    "double": pa.array([None, *range(N - 1)], pa.float64()),
    "text": pa.array([f"text {i}" for i in range(N)]),
    "fixed": pa.array([bytes(3)] * N, pa.binary(3)),
    "list": pa.array([[0.5] * (i % 4) for i in range(N)], pa.list_(pa.float32())),
    "nested": pa.array([{"a": i, "b": str(i)} for i in range(N)]),
    "when": pa.array(np.arange(N), pa.timestamp("us")),
}


def by_pyarrow(path: Path) -> list[tuple[str, int, int]]:
    found = pq.ParquetFile(path).metadata
    groups = [found.row_group(number) for number in range(found.num_row_groups)]
    chunks = [group.column(number) for group in groups for number in range(group.num_columns)]
    return [(chunk.physical_type, chunk.num_values, chunk.total_uncompressed_size) for chunk in chunks]


def by_us(path: Path) -> list[tuple[str, int, int]]:
    return [(TYPES[chunk.type], chunk.num_values, chunk.uncompressed_size) for chunk in column_chunks(path)]


@given(
    names=st.lists(st.sampled_from(list(COLUMNS)), min_size=1, unique=True),
    group_size=st.integers(10, N),
    compression=st.sampled_from(["none", "snappy", "zstd"]),
    version=st.sampled_from(["1.0", "2.6"]),
    old_times=st.booleans(),
    statistics=st.booleans(),
)
def test_the_chunks_are_those_that_pyarrow_finds(
    tmp_path: Path, names, group_size, compression, version, old_times, statistics
) -> None:
    path = tmp_path / "t.parquet"
    table = pa.table({name: COLUMNS[name] for name in names}).replace_schema_metadata({"a": "b" * 300})
    pq.write_table(
        table, path, row_group_size=group_size, compression=compression, version=version,
        use_deprecated_int96_timestamps=old_times, write_statistics=statistics, sorting_columns=[pq.SortingColumn(0)],
    )  # fmt: skip
    assert by_us(path) == by_pyarrow(path)


def damaged(path: Path) -> None:
    """A table that says of a column without lists that its lists have two lengths, so that pyarrow aborts."""
    pq.write_table(pa.table({"text": [f"text {i}" for i in range(40)], "label": ["a"] * 40}), path)
    raw = path.read_bytes()
    none, two = b"\x19\x06", b"\x19\x26\x00\x50"  # the fields 2 and 3 of SizeStatistics: no number, and 0 and 40
    assert none + two in raw
    path.write_bytes(raw.replace(none + two, two + none, 1))


def test_sizes_that_contradict_each_other_are_refused(tmp_path: Path, refuses) -> None:
    path = tmp_path / "t.parquet"
    damaged(path)
    assert len(column_chunks(path)) == 2
    with refuses(path, "cannot be read as a table", "histogram"):
        read_table(path)


def test_encrypted_columns_are_left_out(tmp_path: Path) -> None:
    """Their chunk has no metadata; here a footer of one group with one such chunk, by hand."""
    chunk = bytes([0x26, 8, 0])  # field 2, an offset of 4; end
    group = bytes([0x19, 0x1C]) + chunk + bytes([0])  # field 1, a list of one struct; end
    footer = bytes([0x49, 0x1C]) + group + bytes([0])  # field 4, a list of one struct; end
    path = tmp_path / "t.parquet"
    path.write_bytes(b"PAR1" + footer + len(footer).to_bytes(4, "little") + b"PAR1")
    assert column_chunks(path) == []


@pytest.mark.parametrize(
    ("footer", "message"),
    [
        (b"\x18\xff\xff\x01ab\x00", "ends early"),  # a text longer than the footer
        (b"\x16" + b"\xff" * 11 + b"\x00", "64 bits"),
        (b"\x1e\x00", "unknown"),
        (b"\x19\xfc\xff\xff\x7f", "index"),  # a list of two million structs
        (b"\x1c" * 100_000, "recursion"),
    ],
)
def test_footers_that_are_none(tmp_path: Path, footer: bytes, message: str) -> None:
    path = tmp_path / "t.parquet"
    path.write_bytes(b"PAR1" + footer + len(footer).to_bytes(4, "little") + b"PAR1")
    with pytest.raises((ValueError, IndexError, RecursionError), match=message):
        column_chunks(path)
