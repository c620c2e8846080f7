"""Open a stream of rows from any source, and shuffle it: a true permutation where possible, else a bounded buffer."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from monosemy.core.cache import fingerprint
from monosemy.data.file_streams import (
    FileTable,
    MemoryTable,
    ParquetStream,
    Table,
    TableReader,
    TableStream,
    table_of_array_file,
)
from monosemy.data.memory_map import memory_map
from monosemy.data.row_stream import ChunkedStream, IterableStream, Reader, RowStream, State
from monosemy.data.sources import classify
from monosemy.errors import InputError
from monosemy.seeding import torch_rng

INDEX_FILE = "activations.json"
"""The file in a folder of cached activations that describes them and tells whether they are complete."""
_EXPECTED = "a .parquet, .safetensors, .npy or .npz file, a folder or pattern of such files, or a Hugging Face data set"


def open_stream(source: Any, column: str | None = None, *, length: int | None = None) -> RowStream:
    """Open a stream of the rows of a source; see :func:`monosemy.data.shuffled` for random order.

    Args:
        source: an array, tensor or memory map (N, D); a path of .npy, .npz, .safetensors or .parquet, of a folder of
            such files, or a pattern; the name of a Hugging Face data set; a ``datasets.Dataset`` or
            ``IterableDataset``; an iterable of arrays, or a function that returns one.
        column: the column of parquet and data sets, the array of .npz, the tensor of safetensors; None for the first
            of `embeddings`, `embedding`, `activations`, `X`, `features`, or the only one.
        length: rows that an iterable gives, where that is known.

    Raises:
        InputError: the source does not exist, cannot be read, or holds no rows of numbers.
    """
    if isinstance(source, RowStream):
        return source
    if isinstance(source, str | Path):
        return _open_named(source, column)
    if isinstance(source, np.ndarray | Tensor):
        table: Table = _mapped_file(source) or MemoryTable(source)
        return TableStream([table], table.name)
    if type(source).__module__.split(".")[0] == "datasets":
        from monosemy.data.hub_streams import stream_of_dataset

        return stream_of_dataset(source, column)
    if isinstance(source, Iterable) or callable(source):
        return IterableStream(source, length)
    raise InputError(f"A source of type {type(source).__name__} holds no rows; give an array, a path or an iterable.")


def _mapped_file(values: Any) -> FileTable | None:
    """Return consecutive rows of a read-only memory map as a part of its file, which takes no memory."""
    whole = memory_map(values)
    if whole is None or whole.filename is None or values.ndim != 2 or 0 in values.shape:
        return None
    if not values.flags.c_contiguous or values.dtype.kind not in "fiu":
        return None
    start = whole.offset + values.ctypes.data - whole.ctypes.data  # of a part, NumPy gives the offset of the whole
    return FileTable(Path(whole.filename), start, (values.shape[0], values.shape[1]), values.dtype.str)


def _open_named(name: str | Path, column: str | None) -> RowStream:
    source = classify(name)
    if source.is_folder:
        _check_complete(Path(name))
    if source.kind in ("hub", "dataset"):
        from monosemy.data.hub_streams import saved_dataset, stream_of_dataset, stream_of_hub

        if source.kind == "hub":
            return stream_of_hub(source.name, column)
        return stream_of_dataset(saved_dataset(source.paths[0]), column)
    suffixes = sorted({path.suffix.lower() for path in source.paths})
    if suffixes == [".parquet"]:
        return ParquetStream(source.paths, column, source.name)
    if source.kind != "array":
        raise source.unsupported(_EXPECTED)
    if len(suffixes) > 1:
        raise InputError(f"{name} holds files of several kinds ({', '.join(suffixes)}); give those of one.")
    if column is not None and suffixes == [".npy"]:
        raise InputError(f"column={column!r} has no meaning for {name}, whose files hold one array; leave it out.")
    return TableStream([table_of_array_file(path, column) for path in source.paths], source.name)


def _check_complete(folder: Path) -> None:
    index = folder / INDEX_FILE
    if not index.exists():
        return
    try:
        finished = bool(json.loads(index.read_text(encoding="utf-8"))["finished"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{index} cannot be read; compute the activations again, or remove it.") from error
    if not finished:
        raise InputError(
            f"The activations in {folder} are not finished; run the command that computes them again, or give "
            f"'{folder}/*.safetensors' to use those that exist."
        )


_BY_BLOCKS_FROM = 2**32
"""Bytes of a file from which rows are read in blocks: it may not fit the operating system's cache, and reading single
rows from all over a disk is ten times slower than reading consecutive ones."""
_BLOCK = 2**20
"""Bytes of a block."""
_BUFFER = 2**28
"""Bytes of the rows that are shuffled together at a time."""


def shuffled(stream: RowStream, seed: int = 0) -> RowStream:
    """Return a stream of the same rows in another random order in each epoch.

    - Arrays, and files of up to 4 GiB: a permutation of all rows.
    - Larger files: a permutation of blocks of 1 MiB, and of the rows of 256 blocks together.
    - Parquet: a permutation of its row groups, then a buffer.
    - Everything else: a buffer of 256 MiB.
    """
    row = 4 * stream.width
    n_buffer = max(1024, _BUFFER // row)
    if isinstance(stream, TableStream):
        on_disk = any(isinstance(table, FileTable) for table in stream.tables)
        if not on_disk or stream.length * row <= _BY_BLOCKS_FROM:
            return Permuted(stream, seed)
        return BlockPermuted(stream, seed, max(1, _BLOCK // row), _BUFFER // _BLOCK)
    if isinstance(stream, ParquetStream):
        stream = stream.with_seed(seed)
    return Buffered(stream, seed, n_buffer)


class Permuted(RowStream):
    """Rows that can be read in any order, in a random one in each epoch. The permutation takes 8 bytes for each row."""

    def __init__(self, stream: TableStream, seed: int) -> None:
        self.name, self.width, self.length = stream.name, stream.width, stream.length
        self._stream, self._seed = stream, seed

    def open(self, epoch: int = 0, state: State | None = None) -> Reader:
        order = torch.randperm(self._stream.length, generator=torch_rng("row-order", self._seed, epoch))
        return TableReader(self._stream, order, 0 if state is None else state["row"])

    def key(self) -> str:
        return fingerprint("permuted", self._seed, self._stream.key())


class BlockPermuted(ChunkedStream):
    """Blocks of consecutive rows in a random order in each epoch, the rows of several blocks permuted together.

    Args:
        block: rows of a block.
        n_together: blocks whose rows are permuted together.
    """

    def __init__(self, stream: TableStream, seed: int, block: int, n_together: int) -> None:
        self.name, self.width, self.length = stream.name, stream.width, stream.length
        self._stream, self._seed, self._block, self._n_together = stream, seed, block, n_together

    def chunks(self, epoch: int, place: State | None) -> Iterator[tuple[State, Tensor]]:
        n = self._stream.length
        order = torch.randperm(-(-n // self._block), generator=torch_rng("block-order", self._seed, epoch)).tolist()
        for first in range(0 if place is None else place["block"], len(order), self._n_together):
            together = sorted(order[first : first + self._n_together])  # so that a disk reads forwards
            starts = [number * self._block for number in together]
            rows = torch.cat([self._stream.between(start, min(start + self._block, n)) for start in starts])
            mixed = torch.randperm(len(rows), generator=torch_rng("rows-of-blocks", self._seed, epoch, first))
            yield {"block": first}, rows[mixed]

    def key(self) -> str:
        return fingerprint("blocks", self._seed, self._block, self._n_together, self._stream.key())


class Buffered(ChunkedStream):
    """Any stream, shuffled through a buffer.

    Windows of ``size`` rows are permuted. The second half of each is concatenated with the first half of the next, and
    permuted again: so rows cross the borders of windows, and two windows suffice to resume from a position.

    Args:
        size: rows of a window; about three times as many are in memory.
    """

    def __init__(self, stream: RowStream, seed: int, size: int) -> None:
        if size < 2:
            raise InputError(f"size={size!r} is too small to shuffle; give a buffer of at least 2 rows.")
        self.name, self.width, self.length = stream.name, stream.width, stream.length
        self._stream, self._seed, self._size = stream, seed, size

    def chunks(self, epoch: int, place: State | None) -> Iterator[tuple[State, Tensor]]:
        """Yield chunks; their position is that of the window before the one whose first half comes next."""
        number = 0 if place is None else place["window"]
        reader = self._stream.open(epoch, None if place is None else place["source"])
        before: State = {"window": 0, "source": None}
        second_half = torch.empty(0, self.width)
        if number > 0:
            before = {"window": number, "source": reader.state()}
            window = self._window(reader, epoch, number - 1)
            second_half = window[len(window) // 2 :]
        while True:
            here = reader.state()
            window = self._window(reader, epoch, number)
            last = len(window) < self._size
            half = len(window) if last else len(window) // 2
            mixed = torch.cat([second_half, window[:half]])
            if len(mixed):
                yield before, mixed[torch.randperm(len(mixed), generator=self._rng("mixed", epoch, number))]
            if last:
                return
            second_half = window[half:]
            number += 1
            before = {"window": number, "source": here}

    def _window(self, reader: Reader, epoch: int, number: int) -> Tensor:
        rows = reader.read(self._size)
        return rows[torch.randperm(len(rows), generator=self._rng("window", epoch, number))]

    def _rng(self, what: str, epoch: int, number: int) -> torch.Generator:
        return torch_rng(what, self._seed, epoch, number)

    def key(self) -> str:
        return fingerprint("buffer", self._seed, self._size, self._stream.key())
