"""Products of sparse codes with dense matrices, and the one place that decides how they are computed.

Nothing with N x M or E x D numbers is stored. Where :func:`triton_runs` is true (on a GPU, if Triton works there) the
products are Triton kernels, elsewhere torch's own operators; both agree to rounding, and so do their gradients. A
training step is sparse behind the encoder from :func:`sparse_from` latents for each active one, and dense below. The
environment variable MONOSEMY_SPARSE=0 makes training dense and turns the Triton kernels off.
"""

import importlib.util
import os
import warnings
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from monosemy.errors import InputError, MonosemyWarning, reason
from monosemy.functional.codes import SparseCodes, csr_tensor

SPARSE_FROM = {"cpu": 10, "cuda": 200}
"""Latents for each active one from which gathers beat dense products, measured by kind of device. That of CUDA was
measured with torch's gathers; with the Triton kernels it has not been measured yet (benchmarks/autoencoder_gpu.py)."""
TRITON_DEVICES = ("cuda",)
"""Kinds of device that Triton compiles for; torch calls AMD's GPUs cuda too."""
_SWITCH = "MONOSEMY_SPARSE"


def switched_on() -> bool:
    """Return whether MONOSEMY_SPARSE leaves sparse forms on."""
    switch = os.environ.get(_SWITCH, "1")
    if switch not in ("0", "1"):
        raise InputError(f"{_SWITCH}={switch!r} is unknown; set it to 0 or 1.")
    return switch == "1"


def sparse_from(device: torch.device) -> int:
    """Return the number of latents for each active one from which gathers beat dense products on a device."""
    return SPARSE_FROM.get(device.type, SPARSE_FROM["cpu"])


def sparse_pays(n_latents: int, k: int, device: torch.device) -> bool:
    """Return whether codes with k active of ``n_latents`` are trained by gathers on a device."""
    return switched_on() and n_latents >= sparse_from(device) * k


def triton_runs(device: torch.device) -> bool:
    """Return whether products of sparse codes on a device are computed by Triton."""
    return device.type in TRITON_DEVICES and switched_on() and _triton_works(device)


@cache
def _triton_works(device: torch.device) -> bool:
    """Try Triton once for each device: it also needs a C compiler, and a GPU that is not too old."""
    if importlib.util.find_spec("triton") is None:
        return False
    try:
        from monosemy.functional.triton_csr import csr_product

        one = torch.ones(1, 1, device=device)
        csr_product(torch.arange(2, device=device), torch.zeros(1, dtype=torch.int64, device=device), one[0], one)
    except Exception as error:  # the compilers raise many types; each means that the kernels are unavailable
        warnings.warn(
            f"Triton does not compute on {device} ({reason(error)}); sparse codes use torch's own operators there.",
            MonosemyWarning,
            stacklevel=2,
        )
        return False
    return True


class ByLatent(NamedTuple):
    """The entries of codes sorted by latent: the layout of their transpose, whatever the values."""

    order: Tensor
    """(E,), the entries in their new order."""
    samples: Tensor
    """(E,), the sample of each."""
    starts: Tensor
    """(M + 1,), where the entries of each latent begin."""


def by_latent(codes: SparseCodes) -> ByLatent:
    """Sort the entries once for all products with the transpose of these codes or of others at the same places."""
    latents, order = codes.indices.sort(stable=True)
    starts = torch.searchsorted(latents, torch.arange(codes.n_latents + 1, device=latents.device))
    return ByLatent(order, codes.samples[order], starts)


class _Product(torch.autograd.Function):
    """The product codes table, by Triton."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, table: Tensor, indices: Tensor, starts: Tensor) -> Tensor:
        from monosemy.functional.triton_csr import csr_product

        ctx.save_for_backward(values, table, indices, starts)
        return csr_product(starts, indices, values, table)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        values, table, indices, starts = ctx.saved_tensors
        codes = SparseCodes(values, indices, starts, len(table))
        d_values = entry_products(codes, table, grads[0]) if ctx.needs_input_grad[0] else None
        d_table = transposed_product(codes, grads[0]) if ctx.needs_input_grad[1] else None
        return d_values, d_table, None, None


class _TransposedProduct(torch.autograd.Function):
    """The product codes^T dense, by Triton."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, dense: Tensor, codes: SparseCodes, places: ByLatent) -> Tensor:
        from monosemy.functional.triton_csr import csr_product

        ctx.save_for_backward(values, dense, codes.indices, codes.starts)
        return csr_product(places.starts, places.samples, values[places.order], dense)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        values, dense, indices, starts = ctx.saved_tensors
        codes = SparseCodes(values, indices, starts, len(grads[0]))
        d_values = entry_products(codes, grads[0], dense) if ctx.needs_input_grad[0] else None
        d_dense = product(codes, grads[0]) if ctx.needs_input_grad[1] else None
        return d_values, d_dense, None, None


def product(codes: SparseCodes, table: Tensor) -> Tensor:
    """Return codes table, shape (N, D), by gathering the active rows of the table (M, D) for each sample."""
    if triton_runs(table.device):
        result: Tensor = _Product.apply(codes.values, table, codes.indices, codes.starts)
        return result
    return torch.nn.functional.embedding_bag(
        codes.indices, table, codes.starts, per_sample_weights=codes.values, mode="sum", include_last_offset=True
    )


def transposed_product(codes: SparseCodes, dense: Tensor, places: ByLatent | None = None) -> Tensor:
    """Return codes^T dense, shape (M, D), without a dense code: each latent's entries are added up in the samples'
    order.

    Args:
        codes: N codes of width M.
        dense: (N, D).
        places: of :func:`by_latent`, where it is known already.
    """
    places = by_latent(codes) if places is None else places
    if triton_runs(dense.device):
        result: Tensor = _TransposedProduct.apply(codes.values, dense, codes, places)
        return result
    order, samples, starts = places
    return csr_tensor(starts, samples, codes.values[order], (codes.n_latents, codes.n_samples)) @ dense


def entry_products(codes: SparseCodes, table: Tensor, dense: Tensor) -> Tensor:
    """Return table[latent] . dense[sample] for each entry of the codes, shape (E,).

    Args:
        table: (M, D).
        dense: (N, D).
    """
    if triton_runs(table.device):
        from monosemy.functional.triton_csr import csr_sampled_product

        return csr_sampled_product(codes.starts, codes.indices, dense, table)
    with torch.enable_grad():  # embedding_bag's own backward is these products, and never E x D numbers
        values = codes.values.detach().requires_grad_()
        gathered = product(codes._replace(values=values), table.detach())
        (products,) = torch.autograd.grad(gathered, values, dense)
    return products


def latent_sums(codes: SparseCodes, places: ByLatent) -> Tensor:
    """Return the sum of each latent's values, shape (M,), in a fixed order, unlike index_add_ on a GPU.

    Args:
        places: of :func:`by_latent`.
    """
    return transposed_product(codes, codes.values.new_ones(codes.n_samples, 1), places).squeeze(1)
