"""Random seeds that depend on what they are for, never on the order in which things run."""

import hashlib

import numpy as np
import torch


def derive_seed(*purpose: object) -> int:
    """A 63-bit seed from a description such as ``(7, "label-noise", 0.9)``.

    Equal descriptions give equal seeds on every machine and in every process; a study that is killed and resumed,
    or whose cells run in another order, therefore draws the same numbers.
    """
    digest = hashlib.sha256(repr(purpose).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def numpy_rng(*purpose: object) -> np.random.Generator:
    """A NumPy generator seeded by :func:`derive_seed`."""
    return np.random.default_rng(derive_seed(*purpose))


def torch_rng(*purpose: object) -> torch.Generator:
    """A CPU torch generator seeded by :func:`derive_seed`."""
    return torch.Generator().manual_seed(derive_seed(*purpose))
