"""Equations of sparse autoencoders: codes, decoding, losses with closed-form gradients, and reconstruction metrics."""

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from monosemy.functional import consistency, monoscore, products
from monosemy.functional.codes import SparseCodes, latent_columns, latents_between, to_dense, top_k


class ReconstructionMoments(NamedTuple):
    """Moments of N samples that determine explained variance and normalised MSE."""

    n_samples: int
    mean: consistency.Array
    """(D,), of the targets z."""
    variation: float
    """sum_i |z_i - mean|^2."""
    error: float
    """sum_i |z_i - recon_i|^2."""


def reconstruction_moments(
    reconstruction: np.typing.NDArray[np.floating], target: np.typing.NDArray[np.floating]
) -> ReconstructionMoments:
    """Return the moments of pairs (N, D), in float64."""
    z = target.astype(np.float64)
    error = float(np.square(z - reconstruction).sum())
    mean = z.mean(axis=0) if len(z) else np.zeros(z.shape[1])
    z -= mean
    return ReconstructionMoments(len(z), mean, float(np.square(z).sum()), error)


def merge_reconstruction_moments(first: ReconstructionMoments, second: ReconstructionMoments) -> ReconstructionMoments:
    """Return the moments of two disjoint sets of samples together.

    Source: Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances"
    (1979): no difference of large sums of squares, so an offset of the data costs no digits.
    """
    count = first.n_samples + second.n_samples
    fraction = second.n_samples / max(count, 1)
    step = second.mean - first.mean
    return ReconstructionMoments(
        count,
        first.mean + fraction * step,
        first.variation + second.variation + first.n_samples * fraction * float(step @ step),
        first.error + second.error,
    )


def streamed_explained_variance(moments: ReconstructionMoments) -> float:
    """Return :func:`explained_variance` of all samples together: 1 - error / variation; NaN for constant data.

    The mean is that of all samples, so the mean predictor scores 0 however the samples came in.
    """
    return 1 - moments.error / moments.variation if moments.variation > 0 else float("nan")


def streamed_normalized_mse(moments: ReconstructionMoments) -> float:
    """Return :func:`normalized_mse` of all samples together: error / sum_i |z_i|^2; NaN where all targets are 0."""
    energy = moments.variation + moments.n_samples * float(moments.mean @ moments.mean)
    return moments.error / energy if energy > 0 else float("nan")


def normalized_mse(reconstruction: Tensor, target: Tensor) -> Tensor:
    """Return |recon - z|^2 / |z|^2, summed over the batch before dividing. Shapes (B, D), result a scalar >= 0.

    Source: Zhang et al., "Beyond Interpretability" (arXiv 2410.21331), section 3.1.
    """
    return (reconstruction - target).pow(2).sum() / target.pow(2).sum()


def explained_variance(reconstruction: Tensor, target: Tensor) -> float:
    """Return 1 - sum |z - recon|^2 / sum |z - mean(z)|^2 (one minus the fraction of variance unexplained).

    The mean predictor scores exactly 0. Shapes (N, D); accumulated in float64. NaN for constant data.

    Source: Gao et al. (arXiv 2406.04093), section 2.1.
    """
    z = target.double()
    variance = (z - z.mean(dim=0)).pow(2).sum()
    if variance == 0:
        return float("nan")
    return float(1 - (z - reconstruction.double()).pow(2).sum() / variance)


def aux_k(error: Tensor, dead_reconstruction: Tensor) -> Tensor:
    """Return AuxK, the normalised MSE of modelling the main reconstruction's error with the dead latents alone.

    loss = |e - W_d code_dead|^2 / |e|^2 with e = z - recon DETACHED. No decoder bias: the error has it subtracted
    already. Gradient flows to the encoder and the decoder of the dead latents.

    Args:
        error: (B, D), z - recon of the main code.
        dead_reconstruction: (B, D), the dead latents' own TopK code times the decoder.

    Source: Gao et al. (arXiv 2406.04093), appendix A.2.
    """
    target = error.detach()
    return (target - dead_reconstruction).pow(2).sum() / target.pow(2).sum().clamp(min=torch.finfo(error.dtype).tiny)


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


class Terms(NamedTuple):
    """Settings of the loss beside the reconstruction."""

    widths: Sequence[int]
    """Rising prefix widths, the last one M; each prefix of the latents reconstructs by itself. One width: the usual."""
    aux_latents: int
    """Dead latents that AuxK uses a sample, at most."""
    aux_weight: float
    """Weight of AuxK; 0 leaves it out."""
    aux_sparse_from: float
    """AuxK is computed by gathers from this many dead latents for each that it uses; densely below."""
    mono_weight: float
    """Weight of 1 - the mean MonoScore of the batch; 0 leaves it out."""
    total: Callable[[Tensor], Tensor] = lambda local: local
    """Maps a sum over the local samples to the sum over the whole batch, where several processes hold a part each.
    Loss and gradient are then those of the part, and their sums over the parts are those of the whole batch."""


def pre_activations(weights: Weights, x: Tensor) -> Tensor:
    """Return W_e (x - b) + c, shape (B, M), for x (B, D)."""
    shifted_bias = weights.encoder_bias - weights.encoder @ weights.decoder_bias
    return torch.addmm(shifted_bias, x, weights.encoder.T)


def decode(weights: Weights, codes: SparseCodes) -> Tensor:
    """Return recon = W_d code + b, shape (B, D), by gathering the active rows of each sample."""
    return products.product(codes, weights.decoder) + weights.decoder_bias


def steering_shift(weights: Weights, codes: SparseCodes, latents: Tensor, values: Tensor) -> Tensor:
    """Return decode(code') - decode(code), shape (B, D): what a reconstruction changes by as latents are set to values.

    code' equals code but for code'_m = v_m, so that the shift is sum_m (v_m - code_m) W_d[m] over the latents that are
    set. All others, the bias and the error of the reconstruction cancel, so x + shift keeps them exactly.

    Args:
        latents: (S,), int64, no latent twice.
        values: (S,), v.
    """
    return (values - latent_columns(codes, latents)) @ weights.decoder[latents]


def loss_and_gradient(
    weights: Weights, x: Tensor, pre: Tensor, codes: SparseCodes, dead: Tensor, terms: Terms
) -> tuple[float, Weights]:
    """Return the loss of a code that was selected from ReLU(pre), and its gradient.

    loss = sum_p |r_p - x|^2 / |x|^2 + aux_weight |e - W_d a|^2 / |e|^2 + mono_weight (1 - mean_m score_m), with r_p the
    reconstruction from the first p latents, e = x - r_M without gradient, and a the TopK code of the dead latents
    alone. The gradient passes to the selected entries of ``pre`` that are positive; the selection has none.

    Args:
        x: (B, D).
        pre: (B, M), of :func:`pre_activations`.
        codes: entries of ReLU(pre), by TopK or BatchTopK.
        dead: (M,) bool, the latents counted as dead.

    Source: Gao et al. (arXiv 2406.04093), section 2.3 and appendix A.2; prefixes: Bussmann et al., "Learning
    multi-level features with Matryoshka sparse autoencoders" (arXiv 2503.17547), section 3.
    """
    centered = x - weights.decoder_bias
    energy = terms.total(x.pow(2).sum())
    errors = _prefix_errors(weights, x, codes, terms.widths)
    loss = sum(float(error.pow(2).sum() / energy) for error in errors)
    d_mono = None
    if terms.mono_weight > 0:
        mono, d_mono = _mono_term(codes, x, terms.mono_weight)
        loss += mono
    # A latent is part of the reconstructions of its own prefix and of all longer ones.
    behind = list(accumulate(reversed(errors)))[::-1]
    gradient = _prefix_gradient(weights, codes, centered, [e * (2 / energy) for e in behind], terms.widths, d_mono)
    # The main branch also reconstructs with b itself.
    gradient.decoder_bias.add_(behind[0].sum(dim=0), alpha=float(2 / energy))
    n_dead = int(dead.sum())
    if terms.aux_weight > 0 and n_dead > 0:
        rows = dead.nonzero().squeeze(1)
        aux_loss, aux = _aux_term(weights, pre, centered, errors[-1], rows, terms)
        loss += aux_loss
        for main, more in zip(gradient[:3], aux[:3], strict=True):
            main.index_add_(0, rows, more)
        gradient.decoder_bias.add_(aux.decoder_bias)
    return loss, gradient


def _prefix_errors(weights: Weights, x: Tensor, codes: SparseCodes, widths: Sequence[int]) -> list[Tensor]:
    """Return r_p - x for each prefix; block after block is added to the bias."""
    if len(widths) == 1:
        return [decode(weights, codes) - x]
    recon, errors = weights.decoder_bias, []
    for first, end in pairwise((0, *widths)):
        recon = recon + products.product(latents_between(codes, first, end), weights.decoder[first:end])
        errors.append(recon - x)
    return errors


def _prefix_gradient(
    weights: Weights,
    codes: SparseCodes,
    centered: Tensor,
    d_recons: list[Tensor],
    widths: Sequence[int],
    d_more: Tensor | None,
) -> Weights:
    """Return the gradient through the code, block by block.

    Args:
        d_recons: ``d_recons[p]`` is the gradient by all reconstructions that block p is part of.
    """
    if len(widths) == 1:
        return _branch_gradient(weights, codes, centered, d_recons[0], d_more)
    blocks = []
    for (first, end), d_recon in zip(pairwise((0, *widths)), d_recons, strict=True):
        rows = weights._replace(
            encoder=weights.encoder[first:end],
            encoder_bias=weights.encoder_bias[first:end],
            decoder=weights.decoder[first:end],
        )
        more = None if d_more is None else latents_between(codes._replace(values=d_more), first, end).values
        blocks.append(_branch_gradient(rows, latents_between(codes, first, end), centered, d_recon, more))
    return Weights(
        encoder=torch.cat([block.encoder for block in blocks]),
        encoder_bias=torch.cat([block.encoder_bias for block in blocks]),
        decoder=torch.cat([block.decoder for block in blocks]),
        decoder_bias=torch.stack([block.decoder_bias for block in blocks]).sum(dim=0),
    )


def _aux_term(
    weights: Weights, pre: Tensor, centered: Tensor, error: Tensor, rows: Tensor, terms: Terms
) -> tuple[float, Weights]:
    """Return AuxK of the dead latents ``rows``, and its gradient by their weights."""
    k = min(terms.aux_latents, len(rows))
    dead = Weights(weights.encoder[rows], weights.encoder_bias[rows], weights.decoder[rows], weights.decoder_bias)
    codes = top_k(pre[:, rows], k)
    # So many of few latents are active that gathers may lose to dense products, however sparse the code itself is.
    dense = to_dense(codes) if len(rows) < terms.aux_sparse_from * k else None
    aux_error = error + (products.product(codes, dead.decoder) if dense is None else dense @ dead.decoder)
    aux_energy = terms.total(error.pow(2).sum()).clamp(min=1e-30)
    loss = terms.aux_weight * float(aux_error.pow(2).sum() / aux_energy)
    d_recon = aux_error * (2 * terms.aux_weight / aux_energy)
    if dense is None:
        return loss, _branch_gradient(dead, codes, centered, d_recon)
    return loss, _dense_branch_gradient(dead, dense, centered, d_recon)


def _mono_term(codes: SparseCodes, x: Tensor, weight: float) -> tuple[float, Tensor]:
    """Return weight (1 - mean MonoScore), and its gradient by the entries of the codes, (E,)."""
    unit = monoscore.unit_rows(x)
    directed = unit.any(dim=1)[codes.samples]
    values, indices = codes.values * directed, codes.indices
    places = products.by_latent(codes)

    def total(entries: Tensor) -> Tensor:
        return products.latent_sums(codes._replace(values=entries), places)

    sums = monoscore.MonoSums(
        products.transposed_product(codes, unit, places),
        total(values),
        total(values * values),
        total((values > 0).to(values.dtype)),
    )
    score = monoscore.score_of_sums(sums)
    defined = ~score.isnan()
    known = torch.where(defined, score, 0)
    pairs = torch.where(defined, sums.sum**2 - sums.sum_of_squares, 1)
    factor = torch.where(defined, 2 / (pairs * defined.sum().clamp(min=1)), 0)
    others = sums.sum[indices] - values  # what the latent's other samples add up to
    d_values = products.entry_products(codes, sums.weighted_sum, unit) - values - known[indices] * others
    return weight * float(monoscore.mono_loss(score)), -weight * factor[indices] * d_values * directed


def _branch_gradient(
    weights: Weights, codes: SparseCodes, centered: Tensor, d_recon: Tensor, d_more: Tensor | None = None
) -> Weights:
    """Return the gradient through recon = W_d code, code = ReLU(W_e (x - b) + c) on the active latents; b as encoder
    input.

    Args:
        d_more: (E,), further gradient by the entries of the codes.
    """
    d_values = products.entry_products(codes, weights.decoder, d_recon)
    if d_more is not None:
        d_values = d_values + d_more
    d_values = d_values * (codes.values > 0)
    d_codes, places = codes._replace(values=d_values), products.by_latent(codes)
    d_bias = products.latent_sums(d_codes, places)
    return Weights(
        encoder=products.transposed_product(d_codes, centered, places),
        encoder_bias=d_bias,
        decoder=products.transposed_product(codes, d_recon, places),
        decoder_bias=-(d_bias @ weights.encoder),
    )


def _dense_branch_gradient(weights: Weights, code: Tensor, centered: Tensor, d_recon: Tensor) -> Weights:
    """Return :func:`_branch_gradient` for a dense (B, M) code."""
    d_code = (d_recon @ weights.decoder.T).mul_(code > 0)
    d_bias = d_code.sum(dim=0)
    return Weights(
        encoder=d_code.T @ centered,
        encoder_bias=d_bias,
        decoder=code.T @ d_recon,
        decoder_bias=-(d_bias @ weights.encoder),
    )


def rectangle(u: Tensor) -> Tensor:
    """Return K(u) = 1 where |u| < 1/2, else 0: the kernel of the straight-through gradients below."""
    return (u.abs() < 0.5).to(u.dtype)


class _Threshold(torch.autograd.Function):
    """a H(a - t), or H(a - t) alone where the entries are only counted."""

    @staticmethod
    def forward(ctx: Any, pre: Tensor, threshold: Tensor, bandwidth: float, counted: bool) -> Tensor:
        ctx.save_for_backward(pre, threshold)
        ctx.bandwidth, ctx.counted = bandwidth, counted
        return (pre > threshold).to(pre.dtype) if counted else pre * (pre > threshold)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor, None, None]:
        pre, threshold = ctx.saved_tensors
        near = (rectangle((pre - threshold) / ctx.bandwidth) * grads[0]).sum(dim=0)
        if ctx.counted:
            return None, -near / ctx.bandwidth, None, None
        return grads[0] * (pre > threshold), -(threshold / ctx.bandwidth) * near, None, None


def jump_relu(pre_activations: Tensor, threshold: Tensor, bandwidth: float) -> Tensor:
    """Return a H(a - t): entries above their latent's threshold unchanged, else 0.

    The gradient by a is the true one, H(a - t). The gradient by t, which is 0 almost everywhere, is replaced by the
    straight-through estimate -(t / e) K((a - t) / e), with e the bandwidth.

    Args:
        pre_activations: (N, M).
        threshold: (M,), positive.

    Source: Rajamanoharan et al., "Jumping ahead" (arXiv 2407.14435), sections 3 and 4.
    """
    code: Tensor = _Threshold.apply(pre_activations, threshold, bandwidth, False)
    return code


def step_count(pre_activations: Tensor, threshold: Tensor, bandwidth: float) -> Tensor:
    """Return the L0 of a JumpReLU code: the number of entries above their threshold in the batch; a scalar.

    The gradient by the threshold is the straight-through estimate -K((a - t) / e) / e; none goes to a.

    Args:
        pre_activations: (N, M).
        threshold: (M,).

    Source: Rajamanoharan et al. (arXiv 2407.14435), sections 3 and 4.
    """
    steps: Tensor = _Threshold.apply(pre_activations, threshold, bandwidth, True)
    return steps.sum()


def gated(pre_activations: Tensor, gate_bias: Tensor, log_scale: Tensor, magnitude_bias: Tensor) -> Tensor:
    """Return 1[a > 0] ReLU(exp(r) (a - c) + m): one path decides whether a latent is active, the other how strongly.

    Both paths share their directions; no gradient passes through the gate.

    Args:
        pre_activations: (N, M), a, of the gate, its bias c included.
        gate_bias: (M,), c.
        log_scale: (M,), r.
        magnitude_bias: (M,), m.

    Source: Rajamanoharan et al., "Improving dictionary learning with gated sparse autoencoders" (arXiv 2404.16014),
    section 3.
    """
    magnitude = torch.relu(log_scale.exp() * (pre_activations - gate_bias) + magnitude_bias)
    return torch.where(pre_activations > 0, magnitude, torch.zeros_like(magnitude))


def geometric_median(points: Tensor, *, max_steps: int = 200, tolerance: float = 1e-6) -> Tensor:
    """Return argmin_m sum_i |p_i - m|, a centre that few outliers do not move, by Weiszfeld's iteration from the mean.

    m <- sum_i w_i p_i / sum_i w_i with w_i = 1 / |p_i - m|. Where m meets points, they are left out of the sums and
    hold it back in proportion to their number, so that the iteration does not stop at a point that is not the median.

    Args:
        points: (N, D), N >= 1.
        tolerance: the iteration ends when a step is shorter than this fraction of the points' mean distance.

    Returns: (D,).

    Source: Weiszfeld (1937); at the points Vardi and Zhang, "The multivariate L1-median and associated data depth"
    (PNAS 97, 2000), equation 2.6.
    """
    center = points.mean(dim=0)
    tiny = torch.finfo(points.dtype).tiny
    for _ in range(max_steps):
        # Exact differences: |p|^2 - 2 p.m + |m|^2 has no digits left near m.
        distances = torch.cdist(points, center[None], compute_mode="donot_use_mm_for_euclid_dist")[:, 0]
        apart = distances > tiny
        if not apart.any():
            break
        weights = torch.where(apart, 1 / distances.clamp(min=tiny), 0)
        # Relative to the centre, for the digits of data that lies far from the origin.
        towards = (weights / weights.sum()) @ (points - center)
        pull = float(towards.norm() * weights.sum())
        n_at_center = int((~apart).sum())
        fraction = 1.0 if n_at_center == 0 else max(0.0, 1 - n_at_center / pull) if pull > 0 else 0.0
        center = center + fraction * towards
        if float(fraction * towards.norm()) <= tolerance * float(distances.mean()):
            break
    return center
