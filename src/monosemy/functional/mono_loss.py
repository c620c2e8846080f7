"""MonoScore of a batch as a differentiable function, and the training term made from it."""

from typing import NamedTuple

import torch
from torch import Tensor


class MonoSums(NamedTuple):
    """Sums over a batch from which its score follows."""

    weighted_sum: Tensor
    """(M, D), w_m = sum_i a_im p_i."""
    sum: Tensor
    """(M,), u_m = sum_i a_im."""
    sum_of_squares: Tensor
    """(M,), v_m = sum_i a_im^2."""
    support: Tensor
    """(M,), number of samples with a_im > 0."""


def score_of_sums(sums: MonoSums) -> Tensor:
    """(|w_m|^2 - v_m) / (u_m^2 - v_m), shape (M,): the score of :func:`monosemy.functional.mono_score`.

    NaN, with gradient 0, where the batch has no two samples that activate the latent, or where one of them has all of
    its activation to rounding.
    """
    numerator = sums.weighted_sum.pow(2).sum(dim=1) - sums.sum_of_squares
    pairs = sums.sum.pow(2) - sums.sum_of_squares
    least = 8 * torch.finfo(pairs.dtype).eps * sums.sum_of_squares
    defined = (sums.support >= 2) & (pairs > least)
    # A division by what may be 0 would send NaN back even where its result is not used.
    return torch.where(defined, numerator / torch.where(defined, pairs, 1), torch.nan)


def directions(embeddings: Tensor) -> Tensor:
    """(B, D) rows of length 1; rows of length 0 stay 0."""
    lengths = embeddings.norm(dim=1, keepdim=True)
    return embeddings / torch.where(lengths > 0, lengths, 1)


def batch_mono_score(activations: Tensor, embeddings: Tensor) -> Tensor:
    """MonoScore of each latent on a batch, differentiable in the activations; see :func:`score_of_sums`.

    Args:
        activations: (B, M), non-negative.
        embeddings: (B, D), of any length; a sample whose embedding has length 0 has no direction and is left out.

    Returns: (M,), NaN where undefined.
    """
    unit = directions(embeddings)
    a = activations * unit.any(dim=1, keepdim=True)
    return score_of_sums(MonoSums(a.T @ unit, a.sum(dim=0), a.pow(2).sum(dim=0), (a > 0).sum(dim=0)))


def mono_loss(scores: Tensor) -> Tensor:
    """1 - mean score over the latents that have one; 0 where none has. Within [0, 2]."""
    known = scores[~scores.isnan()]
    return 1 - known.mean() if len(known) else scores.new_zeros(())
