"""The one interface of rows that need not fit into memory: read on, know where one is, go on from there."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monosemy.errors import InputError

State = dict[str, Any]
"""A place in a stream: plain values, as JSON has them."""
CHUNK = 4096
"""Rows that readers of files take at a time, where the file does not say otherwise."""


class Reader(ABC):
    """A place in one pass over a stream; it moves forwards."""

    @abstractmethod
    def peek(self, n: int) -> Tensor:
        """The next n rows, (n, D) float32, without moving on; fewer only where the stream ends."""

    @abstractmethod
    def skip(self, n: int) -> None:
        """Move on by n rows, or to the end."""

    @abstractmethod
    def state(self) -> State:
        """Where the reader is, for :meth:`RowStream.open`."""

    def read(self, n: int) -> Tensor:
        """The next n rows, (n, D) float32; fewer only where the stream ends, none after that."""
        rows = self.peek(n)
        self.skip(len(rows))
        return rows


class RowStream(ABC):
    """Rows of D numbers, in one order a pass."""

    name: str
    """What messages call it."""
    width: int
    """D."""
    length: int | None
    """Rows of a pass; None where nobody knows before the end."""

    @abstractmethod
    def open(self, epoch: int = 0, state: State | None = None) -> Reader:
        """A reader of a pass, at its start or where another reader of the same pass was.

        Args:
            epoch: number of the pass; streams that are shuffled have an order of its own for each.
            state: of :meth:`Reader.state`. What follows is what that reader would have read next, number for number.
        """

    @abstractmethod
    def key(self) -> str:
        """A text that differs where the rows or their order differ: a training goes on only over the same."""


class ChunkReader(Reader):
    """Cuts pieces of any size out of chunks of any size.

    Args:
        chunks: (place before the chunk, its rows); the places are what ``chunks`` can be made from again.
        skipped: rows to leave out at the start.
    """

    def __init__(self, chunks: Iterator[tuple[State, Tensor]], width: int, skipped: int = 0) -> None:
        self._chunks, self._width = chunks, width
        self._held: list[tuple[State, Tensor]] = []
        self._place: State | None = None
        self._offset = 0
        """Rows of the first held chunk that have been read; the last chunk's length where none is held."""
        self.skip(skipped)

    def _pull(self) -> bool:
        chunk = next(self._chunks, None)
        if chunk is None:
            return False
        if not self._held:
            self._place, self._offset = chunk[0], 0
        self._held.append(chunk)
        return True

    def peek(self, n: int) -> Tensor:
        while sum(len(rows) for _, rows in self._held) - (self._offset if self._held else 0) < n and self._pull():
            pass
        pieces, start, missing = [], self._offset, n
        for _, rows in self._held:
            piece = rows[start : start + missing]
            pieces.append(piece)
            missing -= len(piece)
            start = 0
            if missing == 0:
                break
        if not pieces:
            return torch.empty(0, self._width)
        return torch.cat(pieces) if len(pieces) > 1 else pieces[0]

    def skip(self, n: int) -> None:
        while n > 0 and (self._held or self._pull()):
            here = min(n, len(self._held[0][1]) - self._offset)
            self._offset += here
            n -= here
            if self._offset == len(self._held[0][1]):
                del self._held[0]
                if self._held:
                    self._place, self._offset = self._held[0][0], 0

    def state(self) -> State:
        return {"place": self._place, "skip": self._offset}


class ChunkedStream(RowStream):
    """A stream that is read chunk by chunk."""

    @abstractmethod
    def chunks(self, epoch: int, place: State | None) -> Iterator[tuple[State, Tensor]]:
        """Each chunk with the place before it, from the start or from such a place on."""

    def open(self, epoch: int = 0, state: State | None = None) -> Reader:
        if state is None:
            return ChunkReader(self.chunks(epoch, None), self.width)
        return ChunkReader(self.chunks(epoch, state["place"]), self.width, state["skip"])


def float_rows(values: Any, what: str, numbers: Sequence[int] | NDArray[np.int64]) -> Tensor:
    """Numbers (N, D) as a float32 tensor, checked.

    Args:
        what: what messages call them.
        numbers: of the rows, for messages; N or more.

    Raises:
        InputError: they are no matrix of real numbers, have no column, or a row holds NaN or infinity.
    """
    if isinstance(values, Tensor):
        rows, real = values.detach(), not values.is_complex()
    else:
        array = np.asarray(values)
        real = array.dtype.kind in "fiub"
        rows = torch.from_numpy(np.require(array, requirements=["C", "W"])) if real else torch.empty(0)
    if not real or rows.ndim != 2 or rows.shape[1] == 0:
        kind = values.dtype if hasattr(values, "dtype") else type(values).__name__
        shape = tuple(values.shape) if hasattr(values, "shape") else np.shape(values)
        raise InputError(f"{what} holds rows of shape {shape} and type {kind}; give numbers (N, D) with D >= 1.")
    rows = rows.to(torch.float32)
    # A sum is cheap and NaN or infinite where any number is; it may also be where none is.
    if not torch.isfinite(rows.sum()):
        bad = (~torch.isfinite(rows)).any(dim=1).nonzero().squeeze(1)
        if len(bad):
            raise InputError(f"{what} has NaN or infinity in row {numbers[int(bad[0])]}; fill or remove such rows.")
    return rows
