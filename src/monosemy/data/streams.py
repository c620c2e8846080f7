"""Streams of rows: shuffling, iterables, Hugging Face data sets, and the one way to open any of them."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from monosemy.core.cache import fingerprint
from monosemy.data import containers, file_streams, hub, load, row_stream, sources
from monosemy.data.config import DataConfig
from monosemy.data.memory_map import memory_map
from monosemy.errors import InputError, names, reason
from monosemy.seeding import torch_rng


def stream_of_hub(source: str, column: str | None) -> row_stream.RowStream:
    """Stream the train split (or the only one) of a data set by its name; nothing is downloaded ahead."""
    splits = hub.hub_splits(source, streaming=True)
    if "train" not in splits and len(splits) > 1:
        raise InputError(f"{source} has the splits {names(splits)}, but no train; load the one you mean in Python.")
    return stream_of_dataset(splits["train" if "train" in splits else next(iter(splits))], column)


def stream_of_dataset(dataset: Any, column: str | None) -> row_stream.RowStream:
    """Stream a column of a ``datasets.Dataset`` or ``IterableDataset``."""
    if isinstance(dataset, dict):
        raise InputError(f"The data set has the splits {names(dataset)}; give one of them.")
    name = f"the data set {getattr(dataset.info, 'dataset_name', None) or ''}".strip()
    if hasattr(dataset, "__len__"):
        return file_streams.TableStream([DatasetTable(dataset, column, name)], name)
    return HubStream(dataset, column, name)


class DatasetTable:
    """A column with lists of numbers of a ``datasets.Dataset``; its rows stay in its memory-mapped files."""

    def __init__(self, dataset: Any, column: str | None, name: str) -> None:
        if len(dataset) == 0:
            raise InputError(f"{name} has no rows; give a data set with at least two.")
        schema = dataset.features.arrow_schema
        self._column = file_streams.rows_column(schema, column, name)
        self.kind = str(file_streams.number_type(schema.field(self._column).type, f"{name}: {self._column}"))
        self.name = name
        self._dataset = dataset.select_columns([self._column]).with_format("arrow")
        self.width = int(self.between(0, 1).shape[1])

    def __len__(self) -> int:
        return len(self._dataset)

    def take(self, rows: np.typing.NDArray[np.int64]) -> torch.Tensor:
        return self._matrix(self._dataset[rows], int(rows[0]))

    def between(self, start: int, end: int) -> torch.Tensor:
        return self._matrix(self._dataset[start:end], start)

    def _matrix(self, table: Any, first: int) -> torch.Tensor:
        matrix = file_streams.matrix_of(table.column(self._column).combine_chunks(), self.name, first)
        return torch.from_numpy(np.array(matrix))

    def key(self) -> str:
        return fingerprint(str(self._dataset._fingerprint))


class HubStream(row_stream.ChunkedStream):
    """A column with lists of numbers of a ``datasets.IterableDataset``; nothing is downloaded ahead.

    The library reads the files of a data set in another order in each epoch.
    """

    def __init__(self, dataset: Any, column: str | None, name: str) -> None:
        self.name, self.length = name, None
        self._dataset = dataset
        first = self._first()
        self._column = column or file_streams.rows_column(_schema_of(first), None, name)
        if self._column not in first:
            raise InputError(f"{name} has no column {self._column!r}; its columns are {names(first)}.")
        row = _column_matrix([first[self._column]], name, 0)
        self.width, self._first_row = row.shape[1], row
        # The library does not store the content of its shuffle buffers: after them a position is found by counting.
        self._counted = _has_buffer(dataset)

    def _first(self) -> dict[str, Any]:
        try:
            return dict(next(iter(self._dataset)))
        except StopIteration:
            raise InputError(f"{self.name} has no rows; give a data set with at least two.") from None

    def chunks(self, epoch: int, place: row_stream.State | None) -> Iterator[tuple[row_stream.State, torch.Tensor]]:
        dataset = self._dataset.select_columns([self._column])
        dataset.set_epoch(epoch)
        seen = 0 if place is None else place["rows"]
        skipped = seen if self._counted else 0
        if place is not None and not self._counted:
            dataset.load_state_dict(place["dataset"])
        here: row_stream.State = place or {"rows": 0} | ({} if self._counted else {"dataset": dataset.state_dict()})
        pending: list[Any] = []
        for example in dataset:
            if skipped:
                skipped -= 1
                continue
            pending.append(example[self._column])
            if len(pending) == row_stream.CHUNK:
                yield here, self._checked(pending, seen)
                seen, pending = seen + len(pending), []
                here = {"rows": seen} | ({} if self._counted else {"dataset": dataset.state_dict()})
        if pending:
            yield here, self._checked(pending, seen)

    def _checked(self, values: list[Any], first: int) -> torch.Tensor:
        rows = _column_matrix(values, self.name, first)
        if rows.shape[1] != self.width:
            raise InputError(
                f"{self.name} has a list of {rows.shape[1]} numbers in row {first}, but of {self.width} in its first; "
                f"give lists of one length."
            )
        return rows

    def key(self) -> str:
        return fingerprint("hub", self._column, self._first_row.numpy())


def _has_buffer(dataset: Any) -> bool:
    part = dataset._ex_iterable
    while part is not None:
        if type(part).__name__.startswith("BufferShuffled"):
            return True
        part = getattr(part, "ex_iterable", None)
    return False


def _schema_of(example: dict[str, Any]) -> Any:
    """Return the Arrow schema of the lists in an example; empty where they are no lists of one type."""
    try:
        lists = [(name, value) for name, value in example.items() if isinstance(value, list | np.ndarray)]
        return pa.schema([(name, pa.array([value]).type) for name, value in lists])
    except (pa.ArrowException, TypeError, ValueError):
        return pa.schema([])


def _column_matrix(values: list[Any], name: str, first: int) -> torch.Tensor:
    try:
        matrix = np.array([np.asarray(value, dtype=np.float64) for value in values])
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{name} has lists of unequal length or type after row {first} ({reason(error)}); give equal lists of "
            f"numbers."
        ) from error
    return row_stream.float_rows(matrix, name, range(first, first + len(values)))


INDEX_FILE = "activations.json"
"""The file in a folder of cached activations that describes them and tells whether they are complete."""
_EXPECTED = "a .parquet, .safetensors, .npy or .npz file, a folder or pattern of such files, or a Hugging Face data set"


def open_stream(source: Any, column: str | None = None, *, length: int | None = None) -> row_stream.RowStream:
    """Open a stream of the rows of a source; see :func:`monosemy.data.shuffled` for random order.

    Args:
        source: an array, tensor, memory map or data frame (N, D); a path of .npy, .npz, .safetensors, .pt or a table,
            of a folder of such files, or a pattern; the name of a Hugging Face data set; a ``datasets.Dataset`` or
            ``IterableDataset``; an iterable of arrays, or a function that returns one. Tables other than parquet with
            a column of lists, .npz and .pt are loaded whole.
        column: the column of parquet and data sets, the array of .npz, the tensor of safetensors; None for the first
            of `embeddings`, `embedding`, `activations`, `X`, `features`, or the only one.
        length: rows that an iterable gives, where that is known.

    Raises:
        InputError: the source does not exist, cannot be read, or holds no rows of numbers.
    """
    if isinstance(source, row_stream.RowStream):
        return source
    if isinstance(source, str | Path):
        return _open_named(source, column)
    if isinstance(source, np.ndarray | torch.Tensor):
        table: file_streams.Table = _mapped_file(source) or file_streams.MemoryTable(source)
        return file_streams.TableStream([table], table.name)
    library = type(source).__module__.split(".")[0]
    if library == "datasets":
        return stream_of_dataset(source, column)
    if library in ("pandas", "polars", "pyarrow", "scipy"):
        table = file_streams.MemoryTable(containers.as_matrix(source, "The source"))
        return file_streams.TableStream([table], table.name)
    if isinstance(source, Iterable) or callable(source):
        return row_stream.IterableStream(source, length)
    raise InputError(f"A source of type {type(source).__name__} holds no rows; give an array, a path or an iterable.")


def _mapped_file(values: Any) -> file_streams.FileTable | None:
    """Return consecutive rows of a read-only memory map as a part of its file, which takes no memory."""
    whole = memory_map(values)
    if whole is None or whole.filename is None or values.ndim != 2 or 0 in values.shape:
        return None
    if not values.flags.c_contiguous or values.dtype.kind not in "fiu":
        return None
    start = whole.offset + values.ctypes.data - whole.ctypes.data  # of a part, NumPy gives the offset of the whole
    return file_streams.FileTable(Path(whole.filename), start, (values.shape[0], values.shape[1]), values.dtype.str)


def _open_named(name: str | Path, column: str | None) -> row_stream.RowStream:
    source = sources.classify(name)
    if source.is_folder:
        _check_complete(Path(name))
    if source.kind in ("hub", "dataset"):
        if source.kind == "hub":
            return stream_of_hub(source.name, column)
        return stream_of_dataset(hub.saved_dataset(source.paths[0]), column)
    suffixes = sorted({path.suffix.lower() for path in source.paths})
    if suffixes == [".parquet"] and file_streams.has_lists(source.paths[0]):
        return file_streams.ParquetStream(source.paths, column, source.name)
    if source.kind == "table":
        return _loaded(source, column)
    if source.kind != "array":
        raise source.unsupported(_EXPECTED)
    if len(suffixes) > 1:
        raise InputError(f"{name} holds files of several kinds ({', '.join(suffixes)}); give those of one.")
    if column is not None and suffixes == [".npy"]:
        raise InputError(f"column={column!r} has no meaning for {name}, whose files hold one array; leave it out.")
    return file_streams.TableStream(
        [file_streams.table_of_array_file(path, column) for path in source.paths], source.name
    )


def _loaded(source: sources.Source, column: str | None) -> row_stream.RowStream:
    """Stream the embeddings of a table that is loaded whole: a CSV, or a parquet file with a column a dimension."""
    config = DataConfig(source=source.name, input_column=column)
    rows = load.read_rows(source.name, config, labelled=False)
    if rows.kind != "embeddings":
        raise InputError(f"{source.name} holds {rows.kind}, not embeddings or activations; embed them first.")
    return file_streams.TableStream(
        [file_streams.MemoryTable(containers.as_matrix(rows.inputs), source.name)], source.name
    )


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


def shuffled(stream: row_stream.RowStream, seed: int = 0) -> row_stream.RowStream:
    """Return a stream of the same rows in another random order in each epoch.

    - Arrays, and files of up to 4 GiB: a permutation of all rows.
    - Larger files: a permutation of blocks of 1 MiB, and of the rows of 256 blocks together.
    - Parquet: a permutation of its row groups, then a buffer.
    - Everything else: a buffer of 256 MiB.
    """
    row = 4 * stream.width
    n_buffer = max(1024, _BUFFER // row)
    if isinstance(stream, file_streams.TableStream):
        on_disk = any(isinstance(table, file_streams.FileTable) for table in stream.tables)
        if not on_disk or stream.length * row <= _BY_BLOCKS_FROM:
            return Permuted(stream, seed)
        return BlockPermuted(stream, seed, max(1, _BLOCK // row), _BUFFER // _BLOCK)
    if isinstance(stream, file_streams.ParquetStream):
        stream = stream.with_seed(seed)
    return Buffered(stream, seed, n_buffer)


class Permuted(row_stream.RowStream):
    """Rows that can be read in any order, in a random one in each epoch. The permutation takes 8 bytes for each row."""

    def __init__(self, stream: file_streams.TableStream, seed: int) -> None:
        self.name, self.width, self.length = stream.name, stream.width, stream.length
        self._stream, self._seed = stream, seed

    def open(self, epoch: int = 0, state: row_stream.State | None = None) -> row_stream.Reader:
        order = torch.randperm(self._stream.length, generator=torch_rng("row-order", self._seed, epoch))
        return file_streams.TableReader(self._stream, order, 0 if state is None else state["row"])

    def key(self) -> str:
        return fingerprint("permuted", self._seed, self._stream.key())


class BlockPermuted(row_stream.ChunkedStream):
    """Blocks of consecutive rows in a random order in each epoch, the rows of several blocks permuted together.

    Args:
        block: rows of a block.
        n_together: blocks whose rows are permuted together.
    """

    def __init__(self, stream: file_streams.TableStream, seed: int, block: int, n_together: int) -> None:
        self.name, self.width, self.length = stream.name, stream.width, stream.length
        self._stream, self._seed, self._block, self._n_together = stream, seed, block, n_together

    def chunks(self, epoch: int, place: row_stream.State | None) -> Iterator[tuple[row_stream.State, torch.Tensor]]:
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


class Buffered(row_stream.ChunkedStream):
    """Any stream, shuffled through a buffer.

    Windows of ``size`` rows are permuted. The second half of each is concatenated with the first half of the next, and
    permuted again: so rows cross the borders of windows, and two windows suffice to resume from a position.

    Args:
        size: rows of a window; about three times as many are in memory.
    """

    def __init__(self, stream: row_stream.RowStream, seed: int, size: int) -> None:
        if size < 2:
            raise InputError(f"size={size!r} is too small to shuffle; give a buffer of at least 2 rows.")
        self.name, self.width, self.length = stream.name, stream.width, stream.length
        self.repeatable = stream.repeatable
        self._stream, self._seed, self._size = stream, seed, size

    def chunks(self, epoch: int, place: row_stream.State | None) -> Iterator[tuple[row_stream.State, torch.Tensor]]:
        """Yield chunks; their position is that of the window before the one whose first half comes next."""
        number = 0 if place is None else place["window"]
        reader = self._stream.open(epoch, None if place is None else place["source"])
        before: row_stream.State = {"window": 0, "source": None}
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

    def _window(self, reader: row_stream.Reader, epoch: int, number: int) -> torch.Tensor:
        rows = reader.read(self._size)
        return rows[torch.randperm(len(rows), generator=self._rng("window", epoch, number))]

    def _rng(self, what: str, epoch: int, number: int) -> torch.Generator:
        return torch_rng(what, self._seed, epoch, number)

    def key(self) -> str:
        return fingerprint("buffer", self._seed, self._size, self._stream.key())
