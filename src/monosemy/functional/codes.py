"""Sparse codes: which latents are active in each sample, and how strongly.

Sparse matrices for torch's products.
"""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
import torch.distributed as dist
from torch import Tensor

from monosemy.core.distributed import all_gather
from monosemy.errors import InputError


class SparseCodes(NamedTuple):
    """N codes of ``n_latents`` numbers; only entries that may be active are stored, sample by sample.

    The layout is that of compressed sparse rows: sample i owns the entries ``starts[i]`` to ``starts[i + 1]``. One
    layout serves codes with the same number of entries a sample (TopK) and with different ones (BatchTopK, ReLU).
    """

    values: Tensor
    """(E,), non-negative activations; a stored entry may be 0."""
    indices: Tensor
    """(E,), int64, the latent that each value belongs to; no latent twice in a sample."""
    starts: Tensor
    """(N + 1,), int64, where the entries of each sample begin; the last is E."""
    n_latents: int
    """Width of the dense form."""

    @property
    def n_samples(self) -> int:
        return len(self.starts) - 1

    @property
    def samples(self) -> Tensor:
        """(E,), the sample that each entry belongs to."""
        numbers = torch.arange(self.n_samples, device=self.starts.device)
        return numbers.repeat_interleave(self.starts.diff(), output_size=len(self.values))


def top_k(pre_activations: Tensor, k: int) -> SparseCodes:
    """TopK(ReLU(a)): the k largest entries of each row, negative ones set to 0.

    Args:
        pre_activations: (N, M).
        k: 1 <= k <= M.

    Source: Gao et al., "Scaling and evaluating sparse autoencoders" (arXiv 2406.04093), equation 3.
    """
    n, m = pre_activations.shape
    values, indices = pre_activations.topk(k, dim=1, sorted=False)
    starts = torch.arange(0, n * k + 1, k, device=indices.device)
    return SparseCodes(values.clamp(min=0).reshape(-1), indices.reshape(-1), starts, m)


def batch_top_k(pre_activations: Tensor, k: int) -> SparseCodes:
    """BatchTopK(ReLU(a)): the N k largest entries of the whole batch, negative ones set to 0.

    A sample's code depends on its batch, so this is for training only; afterwards see :func:`above`.

    Args:
        pre_activations: (N, M).
        k: 1 <= k <= M, active latents a sample on average.

    Source: Bussmann et al., "BatchTopK sparse autoencoders" (arXiv 2412.06410), section 3.
    """
    n, m = pre_activations.shape
    flat = pre_activations.reshape(-1)
    places = flat.topk(n * k, sorted=False).indices.sort().values
    samples = places // m
    starts = torch.searchsorted(samples, torch.arange(n + 1, device=places.device))
    return SparseCodes(flat[places].clamp(min=0), places % m, starts, m)


def share_of_batch_top_k(pre_activations: Tensor, k: int) -> SparseCodes:
    """The part of :func:`batch_top_k` that lies in the rows at hand, of a batch of which W processes hold N each.

    Entries that equal the smallest one kept are kept too, however many they are; entries of 0 are not stored.

    Args:
        pre_activations: (N, M), of the same shape on every process.
        k: active latents a sample on average.
    """
    flat = pre_activations.reshape(-1)
    n_kept = dist.get_world_size() * len(pre_activations) * k
    # Nothing but the own largest can be among the largest of all.
    largest = all_gather(flat.topk(min(n_kept, len(flat)), sorted=False).values)
    threshold = largest.topk(n_kept, sorted=False).values.min()
    return _where(pre_activations, (pre_activations >= threshold) & (pre_activations > 0))


def above(pre_activations: Tensor, threshold: Tensor | float) -> SparseCodes:
    """The entries that are positive and greater than a threshold, which may differ by latent.

    Args:
        pre_activations: (N, M).
        threshold: a number, or (M,).
    """
    kept = (pre_activations > threshold) & (pre_activations > 0)
    return _where(pre_activations, kept)


def _where(dense: Tensor, kept: Tensor) -> SparseCodes:
    samples, indices = kept.nonzero(as_tuple=True)
    starts = torch.zeros(len(dense) + 1, dtype=torch.int64, device=dense.device)
    torch.cumsum(kept.sum(dim=1), dim=0, out=starts[1:])
    return SparseCodes(dense[samples, indices], indices, starts, dense.shape[1])


def to_dense(codes: SparseCodes) -> Tensor:
    """The (N, n_latents) matrix of the codes; differentiable in the values."""
    dense = codes.values.new_zeros(codes.n_samples, codes.n_latents)
    return dense.index_put((codes.samples, codes.indices), codes.values)


def from_dense(dense: Tensor) -> SparseCodes:
    """Codes of an (N, M) matrix without negative entries; its zeros are not stored."""
    if dense.ndim != 2 or bool((dense < 0).any()):
        raise InputError(f"codes of shape {tuple(dense.shape)} are no non-negative matrix; give (N, M) numbers >= 0.")
    return _where(dense, dense > 0)


def to_csr(codes: SparseCodes) -> sp.csr_array:
    """The codes as a SciPy CSR array (N, n_latents), explicit zeros dropped, indices sorted."""
    csr = sp.csr_array(
        (codes.values.detach().cpu().numpy(), codes.indices.cpu().numpy(), codes.starts.cpu().numpy()),
        shape=(codes.n_samples, codes.n_latents),
        copy=True,  # what follows works in place, and the codes are the caller's
    )
    csr.eliminate_zeros()
    csr.sort_indices()
    return csr


def from_csr(csr: sp.csr_array) -> SparseCodes:
    """Codes of a SciPy CSR array (N, M) without negative entries."""
    if csr.nnz and csr.data.min() < 0:
        raise InputError(f"codes hold the negative value {csr.data.min():g}; give activations >= 0.")
    return SparseCodes(
        torch.from_numpy(csr.data.copy()),
        torch.from_numpy(csr.indices.astype(np.int64)),
        torch.from_numpy(csr.indptr.astype(np.int64)),
        csr.shape[1],
    )


def stack_codes(pieces: Sequence[SparseCodes]) -> SparseCodes:
    """The codes of one batch after the other."""
    ends = torch.tensor([0, *(len(piece.values) for piece in pieces[:-1])]).cumsum(0).tolist()
    starts = [piece.starts[:-1] + offset for piece, offset in zip(pieces, ends, strict=True)]
    last = pieces[-1].starts[-1:] + ends[-1]
    return SparseCodes(
        torch.cat([piece.values for piece in pieces]),
        torch.cat([piece.indices for piece in pieces]),
        torch.cat([*starts, last]),
        pieces[0].n_latents,
    )


def latents_between(codes: SparseCodes, first: int, end: int) -> SparseCodes:
    """The part of the codes in the latents first, ..., end - 1, which are counted from 0 again."""
    kept = (codes.indices >= first) & (codes.indices < end)
    before = torch.zeros(len(kept) + 1, dtype=torch.int64, device=kept.device)
    torch.cumsum(kept, dim=0, out=before[1:])
    return SparseCodes(codes.values[kept], codes.indices[kept] - first, before[codes.starts], end - first)


# torch says at the first use that its CSR tensors are in beta; only their matrix product is used here, and tested.
warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta", category=UserWarning)


def csr_tensor(starts: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    """A torch CSR matrix from its three arrays, which are shared and not checked."""
    return torch.sparse_csr_tensor(starts, columns, values, shape, check_invariants=False)
