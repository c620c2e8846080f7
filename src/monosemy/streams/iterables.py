"""Rows that a Python iterator gives."""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor

from monosemy.cache import fingerprint
from monosemy.errors import InputError
from monosemy.streams.rows import CHUNK, ChunkedStream, State, float_rows


class IterableStream(ChunkedStream):
    """Arrays (n, D) or single rows (D,) of an iterable, below each other.

    An iterator can be read once only. To pass over the rows again, and to go on where a killed training was, give what
    can be started again: a list, an object with ``__iter__``, or a function that returns an iterator.

    Args:
        source: the arrays.
        length: rows of a pass, where it is known; another number of them is an error.

    Raises:
        InputError: there is no row, or the first is no row of numbers.
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
        rows = _matrix(first, name, 0)
        self.width, self._kind, self._first = rows.shape[1], _kind(first), rows[:1]
        self._once = chain([first], started) if started is source else None
        self._again = started is not source

    def _start(self) -> Iterator[Any]:
        return iter(self._source() if callable(self._source) else self._source)

    def _arrays(self, epoch: int, place: State | None) -> Iterator[Any]:
        if self._again:
            return self._start()
        if self._once is None or epoch > 0 or place is not None:
            raise InputError(
                f"{self.name} is an iterator, which can be read once only; give a function that returns a new one."
            )
        once, self._once = self._once, None
        return once

    def chunks(self, epoch: int, place: State | None) -> Iterator[tuple[State, Tensor]]:
        skipped = 0 if place is None else place["rows"]
        seen, held, n_held = 0, list[Tensor](), 0
        for values in self._arrays(epoch, place):
            rows = self._checked(values, seen)
            seen += len(rows)
            new = min(len(rows), seen - skipped)
            if new > 0:
                held.append(rows[len(rows) - new :].clone())  # the giver may write the next rows into the same memory
                n_held += new
            if n_held >= CHUNK:
                yield {"rows": seen - n_held}, torch.cat(held)
                held, n_held = [], 0
        if n_held:
            yield {"rows": seen - n_held}, torch.cat(held)
        if self.length is not None and seen != self.length:
            raise InputError(
                f"{self.name} ended after {seen:,} of {self.length:,} promised rows; correct the length or the rows."
            )

    def _checked(self, values: Any, first: int) -> Tensor:
        rows = _matrix(values, self.name, first)
        if rows.shape[1] != self.width or _kind(values) != self._kind:
            raise InputError(
                f"{self.name} gives rows of {rows.shape[1]} numbers of type {_kind(values)} from row {first} on, but "
                f"first of {self.width} of type {self._kind}; make them alike."
            )
        return rows

    def key(self) -> str:
        return fingerprint("iterable", self.length, self._first.numpy())


def _kind(values: Any) -> str:
    return str(values.dtype) if hasattr(values, "dtype") else str(np.asarray(values).dtype)


def _matrix(values: Any, name: str, first: int) -> Tensor:
    values = values if isinstance(values, Tensor) else np.asarray(values)
    matrix = values[None] if values.ndim == 1 else values
    return float_rows(matrix, name, range(first, first + len(matrix)))
