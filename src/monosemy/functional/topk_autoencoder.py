"""The TopK sparse autoencoder: forward pass, loss and gradient in closed form.

The only dense product is the encoder's, 2 D M FLOP a sample; everything behind the TopK touches k latents of M. The
gradient is written out instead of left to autograd because autograd would make the (B, M) gradient of the code and
its products with the data dense again.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from monosemy.functional.codes import SparseCodes, top_k
from monosemy.functional.csr import csr_tensor


class Weights(NamedTuple):
    """Weights of an autoencoder, and in the same shapes their gradient."""

    encoder: Tensor
    """(M, D), W_e."""
    encoder_bias: Tensor
    """(M,), c."""
    decoder: Tensor
    """(M, D), W_d^T: row m is what latent m adds to the reconstruction."""
    decoder_bias: Tensor
    """(D,), b."""


def encode(weights: Weights, x: Tensor, k: int) -> SparseCodes:
    """code = TopK(ReLU(W_e (x - b) + c)).

    Args:
        x: (B, D).
        k: number of latents kept a sample.

    Source: Gao et al. (arXiv 2406.04093), equation 3.
    """
    return top_k(_pre_activations(weights, x), k)


def _pre_activations(weights: Weights, x: Tensor) -> Tensor:
    shifted_bias = weights.encoder_bias - weights.encoder @ weights.decoder_bias
    return torch.addmm(shifted_bias, x, weights.encoder.T)


def decode(weights: Weights, codes: SparseCodes) -> Tensor:
    """recon = W_d code + b, shape (B, D), by gathering the k active rows of each sample."""
    active = torch.nn.functional.embedding_bag(
        codes.indices, weights.decoder, per_sample_weights=codes.values, mode="sum"
    )
    return active + weights.decoder_bias


def transposed_product(codes: SparseCodes, dense: Tensor) -> Tensor:
    """codes^T dense, shape (M, D), without a dense code: one sort by latent, then a CSR product.

    Args:
        codes: B codes of width M.
        dense: (B, D).
    """
    n, k = codes.values.shape
    latents, order = codes.indices.reshape(-1).sort(stable=True)
    starts = torch.searchsorted(latents, torch.arange(codes.n_latents + 1))
    values = codes.values.reshape(-1)[order]
    return csr_tensor(starts, order // k, values, (codes.n_latents, n)) @ dense


def loss_and_gradient(
    weights: Weights, x: Tensor, k: int, dead: Tensor, aux_latents: int, aux_weight: float
) -> tuple[float, Weights, SparseCodes]:
    """Normalised MSE plus weighted AuxK, its gradient, and the codes of the batch.

    loss = |r - x|^2 / |x|^2 + aux_weight |e - W_d a|^2 / |e|^2, with r the reconstruction, e = x - r without
    gradient, and a the TopK code of the dead latents alone.

    Args:
        x: (B, D).
        dead: (M,) bool, the latents counted as dead.
        aux_latents: how many dead latents a sample uses at most.

    Source: Gao et al. (arXiv 2406.04093), section 2.3 and appendix A.2.
    """
    centered = x - weights.decoder_bias
    pre = _pre_activations(weights, x)
    codes = top_k(pre, k)
    error = decode(weights, codes) - x
    energy = x.pow(2).sum()
    loss = float(error.pow(2).sum() / energy)
    gradient = _branch_gradient(weights, codes, centered, error * (2 / energy))
    # The main branch also reconstructs with b itself.
    gradient.decoder_bias.add_(error.sum(dim=0), alpha=float(2 / energy))
    n_dead = int(dead.sum())
    if aux_weight > 0 and n_dead > 0:
        rows = dead.nonzero().squeeze(1)
        among_dead = top_k(pre[:, rows], min(aux_latents, n_dead))
        aux_codes = SparseCodes(among_dead.values, rows[among_dead.indices], codes.n_latents)
        aux_error = decode(weights, aux_codes) - weights.decoder_bias + error
        aux_energy = error.pow(2).sum().clamp(min=1e-30)
        loss += aux_weight * float(aux_error.pow(2).sum() / aux_energy)
        aux = _branch_gradient(weights, aux_codes, centered, aux_error * (2 * aux_weight / aux_energy))
        gradient = Weights(*(main.add_(more) for main, more in zip(gradient, aux, strict=True)))
    return loss, gradient, codes


def _branch_gradient(weights: Weights, codes: SparseCodes, centered: Tensor, d_recon: Tensor) -> Weights:
    """Gradient through recon = W_d code, code = ReLU(W_e (x - b) + c) on the active latents; b as encoder input."""
    with torch.enable_grad():  # embedding_bag's own backward is the k dot products a sample, never B x k x D
        values = codes.values.detach().requires_grad_()
        active = torch.nn.functional.embedding_bag(
            codes.indices, weights.decoder.detach(), per_sample_weights=values, mode="sum"
        )
        (d_values,) = torch.autograd.grad(active, values, d_recon)
    d_values = d_values * (codes.values > 0)
    d_codes = SparseCodes(d_values, codes.indices, codes.n_latents)
    d_bias = torch.zeros_like(weights.encoder_bias)
    d_bias.index_add_(0, codes.indices.reshape(-1), d_values.reshape(-1))
    return Weights(
        encoder=transposed_product(d_codes, centered),
        encoder_bias=d_bias,
        decoder=transposed_product(codes, d_recon),
        decoder_bias=-(d_bias @ weights.encoder),
    )
