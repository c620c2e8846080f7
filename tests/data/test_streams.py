"""Rows from every kind of source: the same numbers, any place to go on from, one sentence for what is no row."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, strategies as st
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch_file

from monosemy.data import file_streams
from monosemy.data.file_streams import FileTable, TableStream
from monosemy.data.row_stream import RowStream
from monosemy.data.streams import BlockPermuted, Buffered, Permuted, open_stream, shuffled
from monosemy.errors import InputError

datasets = pytest.importorskip("datasets")
N, D = 61, 5
ROWS = np.random.default_rng(0).normal(size=(N, D)).astype(np.float32)
CUTS = (0, 17, 18, 40, N)


def pieces(rows: np.ndarray = ROWS) -> list[np.ndarray]:
    return [rows[a:b] for a, b in itertools.pairwise(CUTS)]


def npy(folder: Path) -> Any:
    np.save(folder / "rows.npy", ROWS)
    return folder / "rows.npy"


def mapped(folder: Path) -> Any:
    return np.load(npy(folder), mmap_mode="r")


def npz(folder: Path) -> Any:
    np.savez(folder / "rows.npz", embeddings=ROWS, labels=np.arange(N))
    return folder / "rows.npz"


def shards(folder: Path) -> Any:
    for number, piece in enumerate(pieces()):
        save_file({"labels": np.arange(3), "activations": piece}, folder / f"{number}.safetensors")
    return str(folder)


def parquet(folder: Path) -> Any:
    for number, piece in enumerate(pieces()):
        table = pa.table({"id": range(len(piece)), "embedding": piece.tolist()})
        table = table.set_column(1, "embedding", table["embedding"].cast(pa.list_(pa.float32())))
        pq.write_table(table, folder / f"{number}.parquet", row_group_size=7)
    return str(folder / "*.parquet")


def fixed_lists(folder: Path) -> Any:
    column = pa.FixedSizeListArray.from_arrays(pa.array(ROWS.ravel()), D)
    pq.write_table(pa.table({"vector": column}), folder / "rows.parquet", row_group_size=20)
    return folder / "rows.parquet"


def dataset(folder: Path) -> Any:
    return datasets.Dataset.from_dict({"text": ["a"] * N, "embedding": ROWS})


def saved_dataset(folder: Path) -> Any:
    dataset(folder).save_to_disk(folder / "saved")
    return folder / "saved"


def streaming(folder: Path) -> Any:
    return datasets.load_dataset("parquet", data_files=str(parquet(folder)), split="train", streaming=True)


def buffered_streaming(folder: Path) -> Any:
    return streaming(folder).shuffle(seed=3, buffer_size=9)


def generator(folder: Path) -> Any:
    def fresh():
        memory = np.empty((40, D), np.float32)  # written over again and again
        for piece in pieces():
            memory[: len(piece)] = piece
            yield memory[: len(piece)]

    return fresh


SOURCES: dict[str, Callable[[Path], Any]] = {
    "array": lambda folder: ROWS,
    "float64 array": lambda folder: ROWS.astype(np.float64),
    "columns first": lambda folder: np.asfortranarray(ROWS),
    "tensor": lambda folder: torch.from_numpy(ROWS),
    "npy": npy,
    "memory map": mapped,
    "part of a memory map": lambda folder: np.load(_longer(folder), mmap_mode="r")[3:],
    "npz": npz,
    "shards": shards,
    "parquet": parquet,
    "fixed lists": fixed_lists,
    "dataset": dataset,
    "saved dataset": saved_dataset,
    "streaming": streaming,
    "list": lambda folder: pieces(),
    "single rows": lambda folder: list(ROWS),
    "function": generator,
    "iterator": lambda folder: iter(pieces()),
}


def _longer(folder: Path) -> Path:
    np.save(folder / "longer.npy", np.concatenate([np.zeros((3, D), np.float32), ROWS]))
    return folder / "longer.npy"


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("row_stream",):
        monkeypatch.setattr(f"monosemy.data.{module}.CHUNK", 6)


def read(stream: RowStream, n: int, epoch: int = 0, state: Any = None) -> np.ndarray:
    reader = stream.open(epoch, state)
    read = [reader.read(n)]
    while len(read[-1]) == n:
        read.append(reader.read(n))
    assert len(reader.read(n)) == 0
    assert all(piece.dtype == torch.float32 for piece in read)
    return torch.cat(read).numpy()


@pytest.mark.parametrize("kind", SOURCES)
def test_every_source_gives_the_rows(kind: str, tmp_path: Path) -> None:
    stream = open_stream(SOURCES[kind](tmp_path))
    assert stream.width == D
    assert stream.length in (N, None)
    rows = ROWS
    np.testing.assert_array_equal(read(stream, 8), rows)
    if kind != "iterator":
        again = read(stream, 13, epoch=4)
        if kind == "streaming":  # the library takes the files in another order each pass
            again, rows = np.sort(again, axis=0), np.sort(ROWS, axis=0)
        np.testing.assert_array_equal(again, rows)
        assert open_stream(SOURCES[kind](tmp_path)).key() == stream.key()


@pytest.mark.parametrize("kind", [*SOURCES, "buffered streaming"])
@pytest.mark.parametrize("shuffle", [False, True])
def test_a_stream_goes_on_from_every_place(
    kind: str, shuffle: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datasets.config.SLEEP_TIME_ON_THREADS_SHUTDOWN", 0.05)  # it sleeps 5 s after each reading
    if kind == "iterator":
        pytest.skip("an iterator cannot be started again; see below")
    stream = open_stream(buffered_streaming(tmp_path) if kind == "buffered streaming" else SOURCES[kind](tmp_path))
    if shuffle:
        stream = Buffered(stream, 1, 10) if stream.length is None else shuffled(stream, 1)
    whole = read(stream, N + 1, 1)
    reader, done = stream.open(1), 0
    for n in (0, 1, 2, 3, 5, 8, 13, 21, 34):
        rest = read(stream, 11, 1, json.loads(json.dumps(reader.state())))
        np.testing.assert_array_equal(rest, whole[done:])
        np.testing.assert_array_equal(reader.peek(n).numpy(), whole[done : done + n])
        done += len(reader.read(n))
    assert done == N


@given(
    n=st.integers(0, 50),
    size=st.integers(2, 30),
    chunk=st.integers(1, 20),
    at=st.integers(0, 50),
    epoch=st.integers(0, 2),
)
def test_a_buffer_gives_each_row_once_and_goes_on_exactly(n: int, size: int, chunk: int, at: int, epoch: int) -> None:
    rows = torch.arange(n + 2.0)[:, None]
    stream = Buffered(open_stream(list(rows.split(chunk))), 5, size)
    mixed = read(stream, 7, epoch)
    np.testing.assert_array_equal(np.sort(mixed, axis=0), rows.numpy())
    reader = stream.open(epoch)
    reader.skip(at)
    np.testing.assert_array_equal(read(stream, 7, epoch, reader.state()), mixed[at:])
    # A row leaves with its own window or the next.
    early = mixed[:, 0] // size - np.arange(n + 2) // size
    assert early.min() >= -2
    assert early.max() <= 1


@pytest.mark.parametrize("kind", ["array", "npy", "parquet", "function", "blocks"])
def test_orders_are_of_the_seed_and_the_pass(kind: str, tmp_path: Path) -> None:
    def ordered(seed: int, epoch: int) -> list[float]:
        if kind == "blocks":
            stream: RowStream = BlockPermuted(open_stream(ROWS), seed, 7, 3)
        else:
            stream = shuffled(open_stream(SOURCES[kind](tmp_path)), seed)
        rows = read(stream, 10, epoch)
        np.testing.assert_array_equal(np.sort(rows[:, 0]), np.sort(ROWS[:, 0]))
        return rows[:, 0].tolist()

    orders = [ordered(seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert orders[0] == ordered(0, 0)
    assert all(a != b for a, b in itertools.combinations([*orders, ROWS[:, 0].tolist()], 2))


def test_a_permutation_is_uniform() -> None:
    stream = Permuted(open_stream(np.arange(4.0)[:, None]), 0)
    orders = [tuple(read(stream, 4, epoch)[:, 0]) for epoch in range(2400)]
    counts = np.array([orders.count(order) for order in itertools.permutations(np.arange(4.0))])
    assert counts.sum() == 2400
    assert ((counts - 100) ** 2 / 100).sum() < 49.7  # chi-squared with 23 degrees of freedom, p = 0.001


def test_blocks_reach_the_whole_file(tmp_path: Path) -> None:
    rows = read(BlockPermuted(open_stream(np.arange(1000.0)[:, None]), 0, 10, 10), 100)
    assert np.corrcoef(rows[:, 0], np.arange(1000))[0, 1] < 0.2


@pytest.mark.parametrize("kind", ["bfloat16", "float16"])
def test_half_precision_shards(kind: str, tmp_path: Path) -> None:
    rows = torch.from_numpy(ROWS).to(getattr(torch, kind))
    save_torch_file({"x": rows}, tmp_path / "rows.safetensors")
    np.testing.assert_array_equal(read(open_stream(tmp_path), 9), rows.float().numpy())


def test_only_one_column_of_parquet_is_read(tmp_path: Path) -> None:
    parquet(tmp_path)
    assert file_streams.ParquetStream(sorted(tmp_path.glob("*.parquet")))._column == "embedding"


def damaged(kind: str, folder: Path) -> Any:
    bad = ROWS.copy()
    bad[42, 3] = np.nan
    other = np.ones((4, D + 1), np.float32)
    if kind == "nan in an array":
        return bad
    if kind == "infinite when float32":
        return np.where(np.isnan(bad), 1e300, bad.astype(np.float64))
    if kind == "nan in a permuted file":
        np.save(folder / "a.npy", bad[:40])
        np.save(folder / "b.npy", bad[40:])
        return folder
    if kind == "nan in shards":
        save_file({"x": bad[:40]}, folder / "a.safetensors")
        save_file({"x": bad[40:]}, folder / "b.safetensors")
        return folder
    if kind == "widths of shards":
        save_file({"x": ROWS}, folder / "a.safetensors")
        save_file({"x": other}, folder / "b.safetensors")
        return folder
    if kind == "types of shards":
        save_file({"x": ROWS}, folder / "a.safetensors")
        save_file({"x": ROWS.astype(np.float16)}, folder / "b.safetensors")
        return folder
    if kind == "truncated shard":
        path = Path(shards(folder)) / "2.safetensors"
        path.write_bytes(path.read_bytes()[:-1])
        return folder
    if kind == "truncated npy":
        path = npy(folder)
        path.write_bytes(path.read_bytes()[:-1])
        return path
    if kind == "truncated parquet":
        path = fixed_lists(folder)
        path.write_bytes(path.read_bytes()[:-9])
        return path
    if kind == "foreign":
        (folder / "rows.safetensors").write_text("hello")
        return folder
    if kind == "pickled":
        np.save(folder / "rows.npy", np.array([{}]), allow_pickle=True)
        return folder
    if kind == "ragged parquet":
        pq.write_table(pa.table({"x": [[1.0, 2.0], [3.0]]}), folder / "rows.parquet")
        return folder
    if kind == "missing in parquet":
        pq.write_table(pa.table({"x": [[1.0, 2.0], None]}), folder / "rows.parquet")
        return folder
    if kind == "nan in parquet":
        pq.write_table(pa.table({"x": [[1.0, 2.0], [3.0, None]]}), folder / "rows.parquet")
        return folder
    if kind == "two columns":
        pq.write_table(pa.table({"x": [[1.0]], "y": [[1.0]], "z": ["a"]}), folder / "rows.parquet")
        return folder
    if kind == "texts":
        pq.write_table(pa.table({"text": ["a"]}), folder / "rows.parquet")
        return folder
    if kind == "no rows in parquet":
        pq.write_table(pa.table({"x": pa.array([], pa.list_(pa.float32()))}), folder / "rows.parquet")
        return folder
    return {
        "width 0": np.zeros((4, 0)),
        "no rows": np.zeros((0, 4)),
        "one axis": np.zeros(4),
        "words": np.array([["a"]]),
        "complex": torch.zeros(2, 2, dtype=torch.complex64),
        "widths of a list": [ROWS, other],
        "types of a list": [ROWS, ROWS.astype(np.float64)],
        "empty list": [],
        "no file": folder / "none.npy",
        "no match": str(folder / "*.npy"),
        "no rows in a folder": folder,
        "a number": 7,
        "ragged list": datasets.IterableDataset.from_generator(lambda: iter([{"x": [1.0]}, {"x": [1.0, 2.0]}])),
        "splits": datasets.DatasetDict({"train": dataset(folder)}),
    }[kind]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("nan in an array", "the array has rows with NaN or infinity \\(first: row 42\\); drop or repair"),
        ("infinite when float32", "the array has rows with NaN or infinity \\(first: row 42\\)"),
        ("nan in a permuted file", r"b\.npy has rows with NaN or infinity \(first: row 2\)"),
        ("nan in shards", r"b\.safetensors has rows with NaN or infinity \(first: row 2\)"),
        ("widths of shards", "rows of 6 numbers of type <f4, but .*a.safetensors of 5 of type <f4; make them alike"),
        ("types of shards", "rows of 5 numbers of type <f2"),
        ("truncated shard", r"2\.safetensors cannot be read as safetensors"),
        ("truncated npy", r"rows\.npy cannot be read as an array"),
        ("truncated parquet", "cannot be read as parquet"),
        ("foreign", "cannot be read as safetensors"),
        ("pickled", "cannot be read as an array"),
        ("ragged parquet", "a list of 1 numbers in row 1, but of 2 before"),
        ("missing in parquet", r"has rows without numbers \(first: row 1\)"),
        ("nan in parquet", r"has rows with NaN or infinity \(first: row 1\)"),
        ("two columns", "has 2 columns with lists of numbers among 'x', 'y', 'z'; name the one"),
        ("texts", "holds texts, not embeddings or activations; embed them"),
        ("no rows in parquet", "has no rows"),
        ("width 0", r"shape \(4, 0\) and the type float64; give numbers \(N, D\) with a row and a column"),
        ("no rows", r"shape \(0, 4\)"),
        ("one axis", r"shape \(4,\)"),
        ("words", r"the type <U1; give numbers"),
        ("complex", "the type complex64"),
        ("widths of a list", "rows of 6 numbers of type float32 from row 61 on, but first of 5"),
        ("types of a list", "type float64 from row 61 on"),
        ("empty list", "gives no rows"),
        ("no file", "none.npy does not exist"),
        ("no match", "No file matches"),
        ("no rows in a folder", "is a folder of images that holds nothing; give a .parquet"),
        ("a number", "type int holds no rows"),
        ("ragged list", "unequal length or type after row 0"),
        ("splits", "has the splits 'train'; give one of them"),
    ],
)
def test_what_is_no_row_is_said(kind: str, message: str, tmp_path: Path) -> None:
    def everything() -> None:
        read(shuffled(open_stream(damaged(kind, tmp_path))), 9)

    with pytest.raises(InputError, match=message):
        everything()


def test_an_iterator_is_read_once() -> None:
    stream = open_stream(iter(pieces()))
    reader = stream.open()
    reader.read(3)
    state = reader.state()
    for epoch, place in ((1, None), (0, state), (0, None)):
        with pytest.raises(InputError, match="can be read once only; give a function"):
            stream.open(epoch, place).read(1)


@pytest.mark.parametrize("length", [N - 1, N + 1])
def test_a_promised_number_of_rows(length: int) -> None:
    assert read(open_stream(pieces(), length=N), 7).shape == (N, D)
    with pytest.raises(InputError, match=f"ended after 61 of {length} promised rows"):
        read(open_stream(pieces(), length=length), 7)


def test_a_data_set_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split = streaming(tmp_path)
    for splits in ({"train": split, "test": split}, {"rows": split}):
        monkeypatch.setattr(datasets, "load_dataset", lambda name, streaming, splits=splits: splits)
        np.testing.assert_array_equal(read(open_stream("owner/rows"), 8), ROWS)
    monkeypatch.setattr(datasets, "load_dataset", lambda name, streaming: {"a": split, "b": split})
    with pytest.raises(InputError, match="has the splits 'a', 'b', but no train"):
        open_stream("owner/rows")

    def missing(name: str, streaming: bool) -> Any:
        raise FileNotFoundError("no such thing")

    monkeypatch.setattr(datasets, "load_dataset", missing)
    with pytest.raises(
        InputError, match=r"owner/rows is not a file or folder, and loading it as a Hugging Face data set failed"
    ):
        open_stream("owner/rows")


def test_a_column_by_name(tmp_path: Path) -> None:
    save_file({"a": ROWS, "b": 2 * ROWS}, tmp_path / "rows.safetensors")
    np.testing.assert_array_equal(read(open_stream(tmp_path, "b"), 7), 2 * ROWS)
    with pytest.raises(InputError, match="has no tensor 'c' for the embedding; its tensors are 'a', 'b'"):
        open_stream(tmp_path, "c")
    with pytest.raises(InputError, match=r"has no tensor for the embedding .* its tensors are 'a', 'b'"):
        open_stream(tmp_path)
    pq.write_table(pa.table({"x": ROWS.tolist(), "y": (2 * ROWS).tolist()}), tmp_path / "rows.parquet")
    np.testing.assert_array_equal(read(open_stream(tmp_path / "rows.parquet", "y"), 7), 2 * ROWS)
    with pytest.raises(InputError, match="has no column 'z'; its columns are 'x', 'y'"):
        open_stream(tmp_path / "rows.parquet", "z")


def test_a_part_of_a_memory_map_is_read_from_its_file(tmp_path: Path) -> None:
    values = np.arange(120, dtype=np.float32).reshape(40, 3)
    np.save(tmp_path / "rows.npy", values)
    whole = np.load(tmp_path / "rows.npy", mmap_mode="r")
    for part in (whole[5:30], np.asarray(whole)[5:30], whole[10:]):
        stream = open_stream(part)
        assert isinstance(stream, TableStream)
        assert isinstance(stream.tables[0], FileTable)
        np.testing.assert_array_equal(stream.open().read(100), part)
    assert open_stream(whole[5:30]).key() != open_stream(whole[5:31]).key()
    assert open_stream(whole).key() == open_stream(tmp_path / "rows.npy").key()
    columns = open_stream(whole[:, :2])  # its rows are no neighbours in the file
    np.testing.assert_array_equal(columns.open().read(100), values[:, :2])
