"""Cached arrays by the content of each row, so that a few new rows cost no more than they are.

An entry holds the rows of one block and their digests; what is asked for is put together from the entries of its group,
the stage with its inputs.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from monosemy.core.cache import Array, Stage, Store, cache, fingerprint

_ROWS = "rows.safetensors"
_BLOCK = 16_384
"""Rows that are computed before they are stored: what a kill can lose."""
_DIGEST_BYTES = 16

Items = Sequence[str] | np.typing.NDArray[Any]
Digests = np.typing.NDArray[np.bytes_]


class RowCache:
    """The cached rows of a stage for the inputs that all rows share, such as an encoder's files.

    A row may come from a computation with other rows beside it, so values are equal up to the rounding of its batch.
    """

    def __init__(self, stage: Stage, *inputs: object) -> None:
        self.stage = stage
        self._group = stage.entry("rows", *inputs)

    def missing(self, items: Items) -> int:
        """Return the number of different items that are not stored."""
        wanted = np.unique(_digests(items))
        for digests, _ in self._stored(cache(), values=False):
            wanted = np.setdiff1d(wanted, digests)
        return len(wanted)

    def rows(
        self, items: Items, compute: Callable[[np.typing.NDArray[np.int64]], Array], metadata: Mapping[str, Any]
    ) -> Array:
        """Return the rows (N, D) of N items; compute and store those that are missing, a block at a time.

        Args:
            compute: returns the rows of the items with some positions.
            metadata: shown in a listing of the cache.
        """
        store = cache()
        digests, places = np.unique(_digests(items), return_inverse=True)
        first = np.full(len(digests), len(items), dtype=np.int64)
        np.minimum.at(first, places, np.arange(len(items)))
        found: Array | None = None
        known = np.zeros(len(digests), dtype=bool)
        for stored, values in self._stored(store):
            position = np.minimum(np.searchsorted(digests, stored), len(digests) - 1)
            ours = digests[position] == stored
            if ours.any():
                found = _room(found, len(digests), values) if found is None else found
                found[position[ours]] = values[ours]
                known[position[ours]] = True
        # In the order of the items, so that blocks take about equally long.
        missing = np.flatnonzero(~known)
        missing = missing[np.argsort(first[missing])]
        for start in range(0, len(missing), _BLOCK):
            block = missing[start : start + _BLOCK]
            values = compute(first[block])
            found = _room(found, len(digests), values) if found is None else found
            found[block] = values
            self._put(store, digests[block], values, metadata)
        assert found is not None
        return found[places]

    def _put(self, store: Store, digests: Digests, values: Array, metadata: Mapping[str, Any]) -> None:
        raw = digests.view(np.uint8).reshape(len(digests), _DIGEST_BYTES)
        with store.new(f"{self._group}-{fingerprint(raw)[:12]}", self.stage.metadata(**metadata)) as folder:
            save_file({"digests": np.ascontiguousarray(raw), "values": np.ascontiguousarray(values)}, folder / _ROWS)

    def _stored(self, store: Store, values: bool = True) -> Iterator[tuple[Digests, Array]]:
        """Yield digests and rows of every entry of the group; without their values the rows are not checked."""
        for folder in sorted(store.root.glob(f"{self._group}-*")):
            entry = store.find(folder.relative_to(store.root).as_posix(), thorough=values)
            if entry is None:
                continue
            with suppress(OSError, SafetensorError, KeyError):  # removed by another process in between
                arrays = load_file(entry / _ROWS)
                digests = np.ascontiguousarray(arrays["digests"]).view(f"S{_DIGEST_BYTES}").ravel()
                yield digests, arrays["values"]


def _room(found: Array | None, n_rows: int, values: Array) -> Array:
    return np.empty((n_rows, *values.shape[1:]), dtype=values.dtype)


def _digests(items: Items) -> Digests:
    """Return the digest of each item, (N,)."""
    if isinstance(items, np.ndarray):
        about = f"{items.dtype} {items.shape[1:]};".encode()
        raw = (about + np.ascontiguousarray(row).tobytes() for row in items)
    else:
        raw = (item.encode("utf-8", "surrogatepass") for item in items)
    joined = b"".join(hashlib.blake2b(item, digest_size=_DIGEST_BYTES).digest() for item in raw)
    return np.frombuffer(joined, dtype=f"S{_DIGEST_BYTES}")
