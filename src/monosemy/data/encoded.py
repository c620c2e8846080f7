"""Images that are still encoded in their files: as many as there are, at the memory of a few."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from monosemy.errors import InputError, reason

Encoded = bytes | Path | None
"""One encoded image, or the file that holds it; None where a row has none."""
_BATCH = 256
"""Rows of parquet in memory at a time."""


class EncodedImages(Protocol):
    """A list of images that are decoded when they are used."""

    def __len__(self) -> int: ...

    def describe(self, row: int) -> str:
        """Which image this is, to begin a message with."""

    def stamps(self, rows: NDArray[np.int64]) -> tuple[str, ...]:
        """Texts that differ where these images differ: names, sizes and times of change of their files."""

    def items(self, rows: NDArray[np.int64]) -> Iterator[Encoded]:
        """The images of the given rows, which stand in rising order."""


def stamp(path: Path) -> str:
    """Name, size and time of change of a file."""
    status = path.stat()
    return f"{path.absolute()} {status.st_size} {status.st_mtime_ns}"


class FileImages:
    """An image a file.

    Args:
        folder: what the message about an image that cannot be read names beside it.
    """

    def __init__(self, folder: Path, paths: Sequence[Path]) -> None:
        self.folder, self.paths = folder, paths

    def __len__(self) -> int:
        return len(self.paths)

    def describe(self, row: int) -> str:
        return f"Image {self.paths[row].relative_to(self.folder).as_posix()} of the folder {self.folder}"

    def stamps(self, rows: NDArray[np.int64]) -> tuple[str, ...]:
        return tuple(stamp(self.paths[row]) for row in rows)

    def items(self, rows: NDArray[np.int64]) -> Iterator[Encoded]:
        return (self.paths[row] for row in rows)


class ParquetImages:
    """A column of images in one or several parquet files, in Hugging Face's layout {bytes, path} or as plain bytes."""

    def __init__(self, paths: Sequence[Path], column: str) -> None:
        self.paths, self.column = paths, column
        self._starts = np.cumsum([0, *(pq.read_metadata(path).num_rows for path in paths)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def describe(self, row: int) -> str:
        file = int(np.searchsorted(self._starts, row, side="right")) - 1
        return f"Image {row - self._starts[file]} of {self.paths[file]}"

    def stamps(self, rows: NDArray[np.int64]) -> tuple[str, ...]:
        return (self.column, *map(stamp, self.paths))

    def items(self, rows: NDArray[np.int64]) -> Iterator[Encoded]:
        for path, start, end in zip(self.paths, self._starts[:-1], self._starts[1:], strict=True):
            wanted = _between(rows, start, end)
            if len(wanted):
                yield from self._of_file(path, wanted)

    def _of_file(self, path: Path, wanted: NDArray[np.int64]) -> Iterator[Encoded]:
        try:
            with pq.ParquetFile(path) as file:
                start = 0
                for group in range(file.num_row_groups):
                    end = start + file.metadata.row_group(group).num_rows
                    inside = _between(wanted, start, end)
                    if len(inside):
                        yield from self._of_group(file, group, inside)
                    start = end
        except (OSError, pa.ArrowException) as error:
            raise InputError(
                f"{path} cannot be read as a table ({reason(error)}); check that the file is whole."
            ) from error

    def _of_group(self, file: Any, group: int, wanted: NDArray[np.int64]) -> Iterator[Encoded]:
        start = 0
        for batch in file.iter_batches(_BATCH, [group], [self.column]):
            inside = _between(wanted, start, start + len(batch))
            start += len(batch)
            if len(inside):
                images = batch.column(0).take(pa.array(inside))
                yield from _encoded_bytes(images).to_pylist()


def _between(rows: NDArray[np.int64], start: int, end: int) -> NDArray[np.int64]:
    """Of rows in rising order those from start to before end, counted from start."""
    first, last = np.searchsorted(rows, [start, end])
    return rows[first:last] - start


def _encoded_bytes(images: Any) -> Any:
    return pc.struct_field(images, "bytes") if pa.types.is_struct(images.type) else images


def is_image_type(kind: Any) -> bool:
    """Whether an Arrow type is that of encoded images."""
    if pa.types.is_struct(kind):
        return any(field.name == "bytes" for field in kind)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
