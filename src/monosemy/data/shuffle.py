"""Another order each pass, by a seed: a true permutation where rows can be read in any order, else a bounded buffer."""

from collections.abc import Iterator

import torch
from torch import Tensor

from monosemy.core.cache import fingerprint
from monosemy.data.array_stream import FileTable, TableReader, TableStream
from monosemy.data.parquet_stream import ParquetStream
from monosemy.data.row_stream import ChunkedStream, Reader, RowStream, State
from monosemy.errors import InputError
from monosemy.seeding import torch_rng

_BY_BLOCKS_FROM = 2**32
"""Bytes of a file from which rows are read in blocks: it may not stay in the operating system's cache, and single rows
from all over a disk come at a tenth of the speed of neighbours."""
_BLOCK = 2**20
"""Bytes of a block."""
_BUFFER = 2**28
"""Bytes of the rows that are shuffled among each other at a time."""


def shuffled(stream: RowStream, seed: int = 0) -> RowStream:
    """The rows of a stream in another order each pass.

    Arrays, and files of up to 4 GiB, get a true permutation of all rows; larger files one of blocks of 1 MiB, the rows
    of 256 blocks permuted among each other; parquet one of its row groups, then a buffer; everything else a buffer of
    256 MiB.
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
    """Rows that can be read in any order, in a random one each pass. Its memory: 8 bytes a row."""

    def __init__(self, stream: TableStream, seed: int) -> None:
        self.name, self.width, self.length = stream.name, stream.width, stream.length
        self._stream, self._seed = stream, seed

    def open(self, epoch: int = 0, state: State | None = None) -> Reader:
        order = torch.randperm(self._stream.length, generator=torch_rng("row-order", self._seed, epoch))
        return TableReader(self._stream, order, 0 if state is None else state["row"])

    def key(self) -> str:
        return fingerprint("permuted", self._seed, self._stream.key())


class BlockPermuted(ChunkedStream):
    """Blocks of neighbouring rows in a random order each pass, the rows of several blocks permuted among each other.

    Args:
        block: rows of a block.
        n_together: blocks whose rows are permuted among each other.
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
    """Any stream through a buffer that mixes its rows.

    Windows of ``size`` rows are permuted. The second half of each is put together with the first half of the next, and
    permuted again: so rows cross the borders of windows, and two windows are all that is needed to go on from a place.

    Args:
        size: rows of a window; about three times as many are held at a time.
    """

    def __init__(self, stream: RowStream, seed: int, size: int) -> None:
        if size < 2:
            raise InputError(f"size={size!r} mixes nothing; give a buffer of at least 2 rows.")
        self.name, self.width, self.length = stream.name, stream.width, stream.length
        self._stream, self._seed, self._size = stream, seed, size

    def chunks(self, epoch: int, place: State | None) -> Iterator[tuple[State, Tensor]]:
        """A place is that of the window before the one whose first half comes next."""
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
