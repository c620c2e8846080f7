"""Memory maps of images: written once, whole or not at all, and never read whole."""

from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from joblib import Parallel, delayed

from monosemy.data import memory_map
from monosemy.data.dataset import take

ROWS = np.random.default_rng(0).integers(0, 256, (20, 3, 4, 5)).astype(np.uint8)


def blocks():
    yield ROWS[:7], list(range(7))
    yield ROWS[7:7], []
    yield ROWS[7:15], list(range(8, 16))


def test_fewer_rows_than_announced_are_a_shorter_array_and_named(cache: Path) -> None:
    found, kept, _ = memory_map.mapped(("a",), (100, 3, 4, 5), ROWS.dtype, blocks)
    np.testing.assert_array_equal(found, ROWS[:15])
    assert kept.tolist() == [*range(7), *range(8, 16)]
    again, _, _ = memory_map.mapped(("a",), (100, 3, 4, 5), ROWS.dtype, lambda: pytest.fail("written again"))
    assert isinstance(again, np.memmap)
    np.testing.assert_array_equal(again, ROWS[:15])
    assert memory_map.map_folder() == cache / "images"


def test_a_failing_writer_leaves_nothing(cache: Path) -> None:
    def failing():
        yield ROWS, list(range(20))
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        memory_map.mapped(("a",), ROWS.shape, ROWS.dtype, failing)
    assert list((cache / "images").iterdir()) == []


def test_a_full_disk_is_said_before_anything_is_written(refuses, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(memory_map.shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 1000, 1000))
    with refuses("GB", cache / "images", "MONOSEMY_CACHE"):
        memory_map.mapped(("a",), ROWS.shape, ROWS.dtype, lambda: pytest.fail("written"))


@pytest.fixture
def on_disk(tmp_path: Path) -> np.ndarray:
    np.save(tmp_path / "a.npy", ROWS)
    return np.load(tmp_path / "a.npy", mmap_mode="r")


def test_consecutive_rows_are_a_view(on_disk: np.ndarray) -> None:
    part = take(on_disk, np.arange(3, 9))
    assert np.shares_memory(part, on_disk)
    np.testing.assert_array_equal(part, ROWS[3:9])


@pytest.mark.parametrize("rows", [[3, 1, 1, 19], [0], [], list(range(19, -1, -1)), [4, 6]])
@pytest.mark.parametrize("limit", [2**30, 0])
def test_other_rows_are_copied_into_memory_or_another_map(
    on_disk: np.ndarray, monkeypatch: pytest.MonkeyPatch, rows: list[int], limit: int
) -> None:
    monkeypatch.setattr(memory_map, "MAX_IN_MEMORY", limit)
    monkeypatch.setattr(memory_map, "_IMAGES_AT_ONCE", 2 * ROWS[0].nbytes)
    found = take(on_disk, np.array(rows, dtype=np.int64))
    np.testing.assert_array_equal(found, ROWS[rows])
    large = limit == 0 and len(rows) > 1
    assert isinstance(found, np.memmap) == (large or len(rows) == 1)
    assert not (large and np.shares_memory(found, on_disk))


def _describe(images: np.ndarray) -> tuple[bool, int]:
    root = images
    while not isinstance(root, np.memmap) and getattr(root, "base", None) is not None:
        root = root.base
    return isinstance(root, np.memmap), int(images.astype(np.int64).sum())


def test_other_processes_get_the_file_and_not_a_copy(on_disk: np.ndarray) -> None:
    views = [on_disk, on_disk[5:9], on_disk.transpose(0, 2, 3, 1)[::2]]
    found = Parallel(n_jobs=2)(delayed(_describe)(view) for view in views)
    assert found == [(True, int(view.astype(np.int64).sum())) for view in views]
