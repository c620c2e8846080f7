"""Batches: every row once an epoch, shares that make the whole, images that come in the order asked for."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from monosemy.core.distributed import SINGLE_PROCESS, Processes
from monosemy.training import batches
from monosemy.training.batches import MappedImages, ResidentImages, image_rows, row_batches
from monosemy.training.config import steps_in_epoch

CPU = torch.device("cpu")
IMAGES = np.arange(10 * 3 * 2 * 2, dtype=np.uint8).reshape(10, 3, 2, 2)


@given(n=st.integers(2, 40), batch_size=st.integers(2, 50), seed=st.integers(0, 5), start=st.integers(0, 30))
def test_epochs_are_permutations_from_any_step_on(n: int, batch_size: int, seed: int, start: int) -> None:
    per_epoch = steps_in_epoch(n, batch_size)
    assert per_epoch == max(1, n // batch_size)
    steps = list(row_batches(n, batch_size, seed, range(3 * per_epoch), SINGLE_PROCESS))
    assert all(len(batch) == min(n, batch_size) for batch in steps)
    for epoch in range(3):
        seen = torch.cat(steps[epoch * per_epoch : (epoch + 1) * per_epoch]).tolist()
        assert len(set(seen)) == len(seen) <= n
        assert set(seen) <= set(range(n))
    later = list(row_batches(n, batch_size, seed, range(start, 3 * per_epoch), SINGLE_PROCESS))
    assert all(torch.equal(a, b) for a, b in zip(later, steps[start:], strict=True))


def test_epochs_and_seeds_differ() -> None:
    first, second = row_batches(50, 50, 0, range(2), SINGLE_PROCESS)
    (other,) = row_batches(50, 50, 1, range(1), SINGLE_PROCESS)
    assert not torch.equal(first, second)
    assert not torch.equal(first, other)


def test_the_processes_shares_are_the_batch_of_one() -> None:
    (whole,) = row_batches(50, 12, 0, range(1), SINGLE_PROCESS)
    shares = [next(row_batches(50, 12, 0, range(1), Processes(rank, 3, CPU))) for rank in range(3)]
    assert [len(share) for share in shares] == [4, 4, 4]
    assert torch.equal(torch.cat(shares), whole)


@pytest.mark.parametrize("mapped", [False, True])
def test_images_come_as_asked_for(tmp_path: Path, mapped: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "_SMALL", 10)
    source = IMAGES
    if mapped:
        np.save(tmp_path / "images.npy", IMAGES)
        source = np.load(tmp_path / "images.npy", mmap_mode="r")
    rows = image_rows(source, CPU)
    assert isinstance(rows, MappedImages if mapped else ResidentImages)
    assert len(rows) == 10
    wanted = [torch.tensor([3, 0, 9]), torch.tensor([1, 1])] * 6
    for (asked, images), batch in zip(rows.batches(iter(wanted)), wanted, strict=True):
        assert torch.equal(asked, batch)
        assert torch.equal(images, torch.from_numpy(IMAGES[batch.numpy()]))


def test_small_files_are_read_whole(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", IMAGES)
    rows = image_rows(np.load(tmp_path / "images.npy", mmap_mode="r"), CPU)
    assert isinstance(rows, ResidentImages)
    ((_, images),) = rows.batches([torch.tensor([9, 0])])
    assert torch.equal(images, torch.from_numpy(IMAGES[[9, 0]]))


def test_a_failing_reader_fails_where_the_batches_are_used() -> None:
    rows = MappedImages(IMAGES, CPU).batches(iter([torch.tensor([0]), torch.tensor([10])]))
    next(rows)
    with pytest.raises(IndexError):
        next(rows)


def test_a_reader_that_is_left_stops() -> None:
    taken: list[int] = []

    def endless():
        for number in range(1_000_000):
            taken.append(number)
            yield torch.tensor([0])

    running = MappedImages(IMAGES, CPU).batches(endless())
    next(running)
    running.close()
    assert len(taken) < 50
