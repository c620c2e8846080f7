"""Sparse codes by chance, and the same as a matrix."""

import numpy as np
import torch
from torch import Tensor

from monosemy.functional.codes import SparseCodes


def some_codes(n: int, m: int, seed: int) -> tuple[SparseCodes, Tensor]:
    """Codes with uneven numbers of entries, stored zeros and shuffled latents among them, and the same as a matrix."""
    rng = np.random.default_rng(seed)
    dense, values, indices, starts = np.zeros((n, m)), [], [], [0]
    for i in range(n):
        latents = rng.permutation(m)[: rng.integers(0, m + 1)]
        row = rng.random(len(latents)) * (rng.random(len(latents)) < 0.8)
        dense[i, latents] = row
        values.append(row)
        indices.append(latents)
        starts.append(starts[-1] + len(latents))
    flat = torch.from_numpy(np.concatenate(values)), torch.from_numpy(np.concatenate(indices).astype(np.int64))
    return SparseCodes(*flat, torch.tensor(starts), m), torch.from_numpy(dense)
