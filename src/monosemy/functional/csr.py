"""Sparse matrices for torch's products."""

import warnings

import torch
from torch import Tensor

# torch says at the first use that its CSR tensors are in beta; only their matrix product is used here, and tested.
warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta", category=UserWarning)


def csr_tensor(starts: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    """A torch CSR matrix from its three arrays, which are shared and not checked."""
    return torch.sparse_csr_tensor(starts, columns, values, shape, check_invariants=False)
