"""One thread for a piece of work, whatever library does it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch, BLAS and OpenMP on one thread within the block; as before after it.

    Sums come out in an order that depends on the number of threads: with one, numbers repeat bit for bit on any number
    of cores, also where joblib runs a single task in the calling process.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)
