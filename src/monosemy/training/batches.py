"""Batches of a training: which images a step sees, and how they reach the device in time."""

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch

from monosemy.core.distributed import Processes
from monosemy.seeding import torch_rng
from monosemy.training.config import steps_in_epoch

_TORCH = {"uint8": torch.uint8, "float32": torch.float32}
_BLOCK = 4096
_SMALL = 2**31
"""Bytes up to which images of a file are read into memory whole."""
_AHEAD = 4
"""Number of batches that are read ahead if the images are not on the device."""


def row_batches(n: int, batch_size: int, seed: int, steps: range, processes: Processes) -> Iterator[torch.Tensor]:
    """Yield the rows of each step's batch, or this process's part of it: a permutation of all rows an epoch.

    The order depends on the seed and the epoch alone, so training resumes exactly from any step, and the parts of all
    processes together are the batch of one process.
    """
    per_epoch, taken = steps_in_epoch(n, batch_size), min(batch_size, n)
    epoch, order = -1, torch.empty(0, dtype=torch.long)
    for step in steps:
        if step // per_epoch != epoch:
            epoch = step // per_epoch
            order = torch.randperm(n, generator=torch_rng("row-order", seed, epoch))
        start = (step % per_epoch) * batch_size
        yield order[start : start + taken].chunk(processes.world_size)[processes.rank]


class ResidentImages:
    """Images that are all on the device: a batch costs one gather."""

    def __init__(self, images: np.typing.NDArray[Any], device: torch.device) -> None:
        self._images = torch.empty(images.shape, dtype=_TORCH[images.dtype.name], device=device)
        for start in range(0, len(images), _BLOCK):  # a memory map is never in memory whole beside its copy
            block = np.array(images[start : start + _BLOCK])
            self._images[start : start + _BLOCK] = torch.from_numpy(block).to(device)

    def __len__(self) -> int:
        return len(self._images)

    def batches(self, rows: Iterable[torch.Tensor]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield (rows, images) for each batch of rows, both on the device."""
        for batch in rows:
            on_device = batch.to(self._images.device)
            yield on_device, self._images[on_device]


class MappedImages:
    """Images on disk: a thread reads the next batches while the device works on this one."""

    def __init__(self, images: np.typing.NDArray[Any], device: torch.device) -> None:
        self._images = images
        self._device = device

    def __len__(self) -> int:
        return len(self._images)

    def batches(self, rows: Iterable[torch.Tensor]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield (rows, images) for each batch of rows, both on the device."""
        ready: queue.Queue[tuple[torch.Tensor, torch.Tensor] | BaseException | None] = queue.Queue(_AHEAD)
        stopped = threading.Event()

        def hand_over(item: tuple[torch.Tensor, torch.Tensor] | BaseException | None) -> None:
            while not stopped.is_set():
                try:
                    return ready.put(item, timeout=0.1)
                except queue.Full:
                    continue

        def read() -> None:
            try:
                for batch in rows:
                    if stopped.is_set():
                        return
                    hand_over((batch, self._read(batch)))
                hand_over(None)
            except BaseException as error:  # raised again in the thread that uses the batches
                hand_over(error)

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        try:
            while (item := ready.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                batch, images = item
                yield batch.to(self._device), images.to(self._device, non_blocking=True)
        finally:
            stopped.set()
            reader.join()

    def _read(self, rows: torch.Tensor) -> torch.Tensor:
        order = np.argsort(rows.numpy())  # in the file's order, so that the disk reads forwards
        picked = np.empty((len(rows), *self._images.shape[1:]), self._images.dtype)
        for place in order:
            picked[place] = self._images[int(rows[place])]
        images = torch.from_numpy(picked)
        return images.pin_memory() if self._device.type == "cuda" else images


ImageRows = ResidentImages | MappedImages
"""Images to take batches from."""


def image_rows(images: np.typing.NDArray[Any], device: torch.device) -> ImageRows:
    """Return the images on the device if they fit into half of its free memory, else read ahead from their file."""
    fits = not isinstance(images, np.memmap) or images.nbytes < _SMALL
    if device.type == "cuda" and not fits:
        fits = images.nbytes < torch.cuda.mem_get_info(device)[0] / 2
    return ResidentImages(images, device) if fits else MappedImages(images, device)
