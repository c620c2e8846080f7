"""Streams of rows that need not fit into memory, with readers that resume at any row; streams of iterables."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch

from monosemy.core.cache import fingerprint
from monosemy.data.sources import check_missing
from monosemy.errors import InputError

State = dict[str, Any]
"""A position in a stream: plain values that JSON can store."""
CHUNK = 4096
"""Rows that readers of files read at a time, where the file has no blocks of its own."""


class Reader(ABC):
    """A position in one epoch of a stream; it moves forwards."""

    @abstractmethod
    def peek(self, n: int) -> torch.Tensor:
        """Return the next n rows, (n, D) float32, without moving on; fewer only where the stream ends."""

    @abstractmethod
    def skip(self, n: int) -> None:
        """Move on by n rows, or to the end."""

    @abstractmethod
    def state(self) -> State:
        """Return the position of the reader, for :meth:`RowStream.open`."""

    def read(self, n: int) -> torch.Tensor:
        """Read the next n rows, (n, D) float32; fewer only where the stream ends, none after that."""
        rows = self.peek(n)
        self.skip(len(rows))
        return rows


class RowStream(ABC):
    """Rows of D numbers, in one order for each epoch."""

    name: str
    """The name of the stream in messages."""
    width: int
    """Numbers of a row, D."""
    length: int | None
    """Rows of an epoch; None where it is unknown before the end."""
    repeatable: bool = True
    """Whether there can be a second epoch."""

    @abstractmethod
    def open(self, epoch: int = 0, state: State | None = None) -> Reader:
        """Open a reader at the start of an epoch, or where another reader of the same epoch was.

        Args:
            epoch: number of the pass over the data; shuffled streams have another order in each.
            state: the result of :meth:`Reader.state`; the new reader returns what that reader would have read next.
        """

    @abstractmethod
    def key(self) -> str:
        """Return a text that differs where the rows or their order differ: training resumes only on the same stream."""


class ChunkReader(Reader):
    """A reader that cuts pieces of any size out of chunks of any size.

    Args:
        chunks: (position before the chunk, its rows); the stream can yield its chunks from such a position on.
        skipped: rows to leave out at the start.
    """

    def __init__(self, chunks: Iterator[tuple[State, torch.Tensor]], width: int, skipped: int = 0) -> None:
        self._chunks, self._width = chunks, width
        self._pending: list[tuple[State, torch.Tensor]] = []
        self._place: State | None = None
        self._offset = 0
        """Rows of the first pending chunk that have been read; the last chunk's length where none is pending."""
        self.skip(skipped)

    def _pull(self) -> bool:
        chunk = next(self._chunks, None)
        if chunk is None:
            return False
        if not self._pending:
            self._place, self._offset = chunk[0], 0
        self._pending.append(chunk)
        return True

    def peek(self, n: int) -> torch.Tensor:
        while sum(len(rows) for _, rows in self._pending) - (self._offset if self._pending else 0) < n and self._pull():
            pass
        pieces, start, missing = [], self._offset, n
        for _, rows in self._pending:
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
        while n > 0 and (self._pending or self._pull()):
            here = min(n, len(self._pending[0][1]) - self._offset)
            self._offset += here
            n -= here
            if self._offset == len(self._pending[0][1]):
                del self._pending[0]
                if self._pending:
                    self._place, self._offset = self._pending[0][0], 0

    def state(self) -> State:
        return {"place": self._place, "skip": self._offset}


class ChunkedStream(RowStream):
    """A stream that is read chunk by chunk."""

    @abstractmethod
    def chunks(self, epoch: int, place: State | None) -> Iterator[tuple[State, torch.Tensor]]:
        """Yield each chunk with the position before it, from the start or from such a position on."""

    def open(self, epoch: int = 0, state: State | None = None) -> Reader:
        if state is None:
            return ChunkReader(self.chunks(epoch, None), self.width)
        return ChunkReader(self.chunks(epoch, state["place"]), self.width, state["skip"])


def float_rows(values: Any, what: str, numbers: Sequence[int] | np.typing.NDArray[np.int64]) -> torch.Tensor:
    """Return numbers (N, D) as a float32 tensor, checked.

    Args:
        what: what messages call them.
        numbers: numbers of the rows, for messages; N or more.

    Raises:
        InputError: they are not a matrix of real numbers, have no column, or a row holds NaN or infinity.
    """
    if isinstance(values, torch.Tensor):
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
        check_missing((~torch.isfinite(rows)).any(dim=1).numpy(), "with NaN or infinity", what, numbers)
    return rows


class IterableStream(ChunkedStream):
    """Arrays (n, D) or single rows (D,) of an iterable, concatenated.

    An iterator can be read only once. For several epochs, and to resume a training that was killed, give an iterable
    that can be restarted: a list, an object with ``__iter__``, or a function that returns an iterator.

    Args:
        source: the arrays.
        length: rows of an epoch, where it is known; another number of them is an error.

    Raises:
        InputError: there is no row, or the first is not a row of numbers.
    """

    def __init__(
        self, source: Iterable[Any] | Callable[[], Iterable[Any]], length: int | None = None, name: str = "the iterable"
    ) -> None:
        self.name, self.length = name, length
        self._source = source
        started = self._start()
        first = next(started, None)
        if first is None:
            raise InputError(f"{name} gives no rows; give at least two.")
        rows = self._matrix(first, 0)
        self.width, self._type, self._first = rows.shape[1], _type_name(first), rows[:1]
        self._once = chain([first], started) if started is source else None
        self.repeatable = started is not source

    def _start(self) -> Iterator[Any]:
        return iter(self._source() if callable(self._source) else self._source)

    def _arrays(self, epoch: int, place: State | None) -> Iterator[Any]:
        if self.repeatable:
            return self._start()
        if self._once is None or epoch > 0 or place is not None:
            raise InputError(
                f"{self.name} is an iterator, which can be read once only; give a function that returns a new one."
            )
        once, self._once = self._once, None
        return once

    def chunks(self, epoch: int, place: State | None) -> Iterator[tuple[State, torch.Tensor]]:
        skipped = 0 if place is None else place["rows"]
        seen, pending, n_pending = 0, list[torch.Tensor](), 0
        for values in self._arrays(epoch, place):
            rows = self._matrix(values, seen)
            if rows.shape[1] != self.width or _type_name(values) != self._type:
                raise InputError(
                    f"{self.name} gives rows of {rows.shape[1]} numbers of type {_type_name(values)} from row {seen} "
                    f"on, but first of {self.width} of type {self._type}; make them alike."
                )
            seen += len(rows)
            new = min(len(rows), seen - skipped)
            if new > 0:
                pending.append(rows[len(rows) - new :].clone())  # the source may write its next rows to the same memory
                n_pending += new
            if n_pending >= CHUNK:
                yield {"rows": seen - n_pending}, torch.cat(pending)
                pending, n_pending = [], 0
        if n_pending:
            yield {"rows": seen - n_pending}, torch.cat(pending)
        if self.length is not None and seen != self.length:
            raise InputError(
                f"{self.name} ended after {seen:,} of {self.length:,} promised rows; correct the length or the rows."
            )

    def _matrix(self, values: Any, first: int) -> torch.Tensor:
        values = values if isinstance(values, torch.Tensor) else np.asarray(values)
        matrix = values[None] if values.ndim == 1 else values
        return float_rows(matrix, self.name, range(first, first + len(matrix)))

    def key(self) -> str:
        return fingerprint("iterable", self.length, self._first.numpy())


def _type_name(values: Any) -> str:
    return str(values.dtype) if hasattr(values, "dtype") else str(np.asarray(values).dtype)
