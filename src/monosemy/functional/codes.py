"""Sparse codes: which latents are active in each sample, and how strongly; selection, conversion, torch CSR tensors."""

import warnings
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import scipy.sparse as sp
import torch

from monosemy.errors import InputError


class SparseCodes(NamedTuple):
    """N codes of ``n_latents`` numbers; only entries that may be active are stored, sample by sample.

    The layout is that of compressed sparse rows: sample i owns the entries ``starts[i]`` to ``starts[i + 1]``. One
    layout serves codes with the same number of entries a sample (TopK) and with different ones (BatchTopK, ReLU).
    """

    values: torch.Tensor
    """(E,), non-negative activations; a stored entry may be 0."""
    indices: torch.Tensor
    """(E,), int64, the latent that each value belongs to; no latent twice in a sample."""
    starts: torch.Tensor
    """(N + 1,), int64, where the entries of each sample begin; the last is E."""
    n_latents: int
    """Width of the dense form."""

    def __repr__(self) -> str:
        return f"SparseCodes of {self.n_samples:,} samples with {self.n_latents:,} latents, {len(self.values):,} stored"

    @property
    def n_samples(self) -> int:
        return len(self.starts) - 1

    @property
    def samples(self) -> torch.Tensor:
        """(E,), the sample that each entry belongs to."""
        numbers = torch.arange(self.n_samples, device=self.starts.device)
        return numbers.repeat_interleave(self.starts.diff(), output_size=len(self.values))


def top_k(pre_activations: torch.Tensor, k: int) -> SparseCodes:
    """Return TopK(ReLU(a)): the k largest entries of each row, negative ones set to 0.

    Args:
        pre_activations: (N, M).
        k: 1 <= k <= M.

    Source: Gao et al., "Scaling and evaluating sparse autoencoders" (arXiv 2406.04093), equation 3.
    """
    n, m = pre_activations.shape
    values, indices = pre_activations.topk(k, dim=1, sorted=False)
    starts = torch.arange(0, n * k + 1, k, device=indices.device)
    return SparseCodes(values.clamp(min=0).reshape(-1), indices.reshape(-1), starts, m)


def batch_top_k(pre_activations: torch.Tensor, k: int) -> SparseCodes:
    """Return BatchTopK(ReLU(a)): the N k largest entries of the whole batch, negative ones set to 0.

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


def above(pre_activations: torch.Tensor, threshold: torch.Tensor | float, *, inclusive: bool = False) -> SparseCodes:
    """Return the entries that are positive and greater than a threshold, which may differ by latent.

    Args:
        pre_activations: (N, M).
        threshold: a number, or (M,).
        inclusive: select entries that equal the threshold as well.
    """
    passes = pre_activations >= threshold if inclusive else pre_activations > threshold
    return _select(pre_activations, passes & (pre_activations > 0))


def _select(dense: torch.Tensor, selected: torch.Tensor) -> SparseCodes:
    samples, indices = selected.nonzero(as_tuple=True)
    starts = torch.zeros(len(dense) + 1, dtype=torch.int64, device=dense.device)
    torch.cumsum(selected.sum(dim=1), dim=0, out=starts[1:])
    return SparseCodes(dense[samples, indices], indices, starts, dense.shape[1])


def to_dense(codes: SparseCodes) -> torch.Tensor:
    """Return the (N, n_latents) matrix of the codes; differentiable in the values."""
    dense = codes.values.new_zeros(codes.n_samples, codes.n_latents)
    return dense.index_put((codes.samples, codes.indices), codes.values)


def from_dense(dense: torch.Tensor) -> SparseCodes:
    """Return the codes of an (N, M) matrix without negative entries; its zeros are not stored.

    Raises:
        InputError: the input is not a matrix or has negative entries.
    """
    if dense.ndim != 2 or bool((dense < 0).any()):
        raise InputError(
            f"Codes must be a non-negative matrix, but have shape {tuple(dense.shape)} and minimum "
            f"{float(dense.min()) if dense.numel() else 0:g}; give (N, M) numbers >= 0."
        )
    return _select(dense, dense > 0)


def to_csr(codes: SparseCodes) -> sp.csr_array:
    """Return the codes as a SciPy CSR array (N, n_latents), explicit zeros dropped, indices sorted.

    Indices have 32 bits where they suffice, as SciPy makes them: liblinear, saga, SGD and forests of scikit-learn
    refuse wider ones.
    """
    narrow = sp.get_index_dtype(maxval=max(len(codes.values), codes.n_latents))
    indices, starts = (values.cpu().numpy().astype(narrow) for values in (codes.indices, codes.starts))
    csr = sp.csr_array(
        (codes.values.detach().cpu().numpy(), indices, starts),
        shape=(codes.n_samples, codes.n_latents),
        copy=True,  # what follows works in place, and the codes are the caller's
    )
    csr.eliminate_zeros()
    csr.sort_indices()
    return csr


def stack_codes(pieces: Sequence[SparseCodes]) -> SparseCodes:
    """Concatenate the codes of several batches."""
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
    """Return the part of the codes in the latents first, ..., end - 1, which are renumbered from 0."""
    inside = (codes.indices >= first) & (codes.indices < end)
    before = torch.zeros(len(inside) + 1, dtype=torch.int64, device=inside.device)
    torch.cumsum(inside, dim=0, out=before[1:])
    return SparseCodes(codes.values[inside], codes.indices[inside] - first, before[codes.starts], end - first)


def latent_columns(codes: SparseCodes, latents: torch.Tensor) -> torch.Tensor:
    """Return the activations of S latents as a dense matrix (N, S); differentiable in the values.

    Args:
        latents: (S,), int64, in [0, n_latents), no latent twice.
    """
    places = torch.full((codes.n_latents,), -1, dtype=torch.int64, device=codes.indices.device)
    places[latents] = torch.arange(len(latents), device=places.device)
    chosen = (places[codes.indices] >= 0).nonzero().squeeze(1)
    columns = codes.values.new_zeros(codes.n_samples, len(latents))
    return columns.index_put((codes.samples[chosen], places[codes.indices[chosen]]), codes.values[chosen])


@cache
def _silence_beta_warning() -> None:
    """Make torch's one warning a process that CSR tensors are in beta; only their tested matrix product is used."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta", category=UserWarning)
        nothing = torch.zeros(0, dtype=torch.int64)
        torch.sparse_csr_tensor(torch.tensor([0, 0]), nothing, nothing.float(), (1, 1), check_invariants=False)


def csr_tensor(
    starts: torch.Tensor, columns: torch.Tensor, values: torch.Tensor, shape: tuple[int, int]
) -> torch.Tensor:
    """Return a torch CSR matrix of three arrays, which are shared and not checked."""
    _silence_beta_warning()
    return torch.sparse_csr_tensor(starts, columns, values, shape, check_invariants=False)
