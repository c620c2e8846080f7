"""Sparse codes: for every sample the k largest activations and where they stand."""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from torch import Tensor


class SparseCodes(NamedTuple):
    """N codes of ``n_latents`` numbers of which at most k are not zero."""

    values: Tensor
    """(N, k), non-negative activations."""
    indices: Tensor
    """(N, k), int64, the latent that each value belongs to; no latent twice in a row."""
    n_latents: int
    """Width of the dense form."""


def top_k(pre_activations: Tensor, k: int) -> SparseCodes:
    """TopK(ReLU(a)): the k largest entries of each row, negative ones set to 0.

    Args:
        pre_activations: (N, M).
        k: 1 <= k <= M.

    Source: Gao et al., "Scaling and evaluating sparse autoencoders" (arXiv 2406.04093), equation 3.
    """
    values, indices = pre_activations.topk(k, dim=1, sorted=False)
    return SparseCodes(values.clamp(min=0), indices, pre_activations.shape[1])


def to_dense(codes: SparseCodes) -> Tensor:
    """The (N, n_latents) matrix of the codes."""
    dense = codes.values.new_zeros(len(codes.values), codes.n_latents)
    return dense.scatter(1, codes.indices, codes.values)


def to_csr(codes: SparseCodes) -> sp.csr_array:
    """The codes as a SciPy CSR array (N, n_latents), explicit zeros dropped, indices sorted."""
    n, k = codes.values.shape
    starts = np.arange(0, n * k + 1, k)
    csr = sp.csr_array(
        (codes.values.detach().cpu().numpy().ravel(), codes.indices.cpu().numpy().ravel(), starts),
        shape=(n, codes.n_latents),
        copy=True,  # what follows works in place, and the codes are the caller's
    )
    csr.eliminate_zeros()
    csr.sort_indices()
    return csr
