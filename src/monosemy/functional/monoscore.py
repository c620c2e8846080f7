"""MonoScore: do the samples that activate a feature look alike? As a streamed metric and as a differentiable loss."""

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
import torch

from monosemy.functional.consistency import Array, Codes, row_lengths


class MonoMoments(NamedTuple):
    """Sums that determine the score of N samples with activations a_im and embeddings p_i of length 1."""

    n_samples: int
    weighted_sum: Array
    """(M, D), w_m = sum_i a_im p_i."""
    sum: Array
    """(M,), u_m = sum_i a_im."""
    sum_of_squares: Array
    """(M,), v_m = sum_i a_im^2."""
    positive: np.typing.NDArray[np.int64]
    """(M,), number of samples with a_im > 0."""
    lowest: Array
    """(M,), min_i a_im; infinite without samples."""
    at_lowest: np.typing.NDArray[np.int64]
    """(M,), number of samples with that activation."""
    embedding_sum: Array
    """(D,), sum_i p_i."""


def mono_moments(activations: Codes, embeddings: Codes) -> MonoMoments:
    """Return the sums of :class:`MonoMoments`, in float64: 2 N M D FLOP, or for CSR activations with k entries a row 2
    N k D.

    Args:
        activations: (N, M), dense or CSR, of any sign.
        embeddings: (N, D), dense or CSR, of any length; they are L2-normalised here. A sample whose embedding has
            length 0 has no direction and is left out.
    """
    unit, lengths = unit_samples(embeddings)
    directed = lengths > 0
    if not directed.all():
        activations, unit = activations[directed], unit[directed]
    n, width = activations.shape
    a = activations.astype(np.float64)
    weighted: Any = a.T @ unit
    weighted = np.asarray(weighted.toarray() if sp.issparse(weighted) else weighted)
    embedding_sum = np.asarray(unit.sum(axis=0)).ravel()
    if isinstance(a, np.ndarray):
        lowest = a.min(axis=0, initial=np.inf)
        squares, at_lowest = np.einsum("nm,nm->m", a, a), (a == lowest).sum(axis=0)
        return MonoMoments(n, weighted, a.sum(axis=0), squares, (a > 0).sum(axis=0), lowest, at_lowest, embedding_sum)
    columns, values = a.indices, np.asarray(a.data)
    lowest = np.full(width, np.inf)
    np.minimum.at(lowest, columns, values)
    stored = np.bincount(columns, minlength=width)
    lowest = np.where(stored < n, np.minimum(lowest, 0), lowest)
    at_lowest = np.bincount(columns[values == lowest[columns]], minlength=width)
    return MonoMoments(
        n,
        weighted,
        np.bincount(columns, weights=values, minlength=width).astype(np.float64, copy=False),
        np.bincount(columns, weights=values**2, minlength=width).astype(np.float64, copy=False),
        np.bincount(columns[values > 0], minlength=width),
        lowest,
        at_lowest + np.where(lowest == 0, n - stored, 0),
        embedding_sum,
    )


def unit_samples(embeddings: Codes) -> tuple[Codes, Array]:
    """Return the rows at length 1 in float64 (0 where the length is 0), and the lengths."""
    unit = embeddings.astype(np.float64)
    lengths = row_lengths(unit)
    divisors = np.where(lengths > 0, lengths, 1)
    if isinstance(unit, np.ndarray):
        unit /= divisors[:, None]
    else:
        unit.data /= np.repeat(divisors, np.diff(unit.indptr))
    return unit, lengths


def merge_mono_moments(first: MonoMoments, second: MonoMoments) -> MonoMoments:
    """Return the moments of two disjoint sets of samples together."""
    lowest = np.minimum(first.lowest, second.lowest)
    return MonoMoments(
        first.n_samples + second.n_samples,
        first.weighted_sum + second.weighted_sum,
        first.sum + second.sum,
        first.sum_of_squares + second.sum_of_squares,
        first.positive + second.positive,
        lowest,
        np.where(first.lowest == lowest, first.at_lowest, 0) + np.where(second.lowest == lowest, second.at_lowest, 0),
        first.embedding_sum + second.embedding_sum,
    )


def mono_support(moments: MonoMoments) -> np.typing.NDArray[np.int64]:
    """Return (M,), the number of samples that activate the dimension, after the shift of :func:`mono_score`."""
    return np.where(moments.lowest < 0, moments.n_samples - moments.at_lowest, moments.positive)


def mono_score(moments: MonoMoments) -> Array:
    """Return the activation-weighted mean cosine similarity over pairs of different samples, per dimension.

    score_m = sum_{i != j} a_im a_jm p_i . p_j / sum_{i != j} a_im a_jm = (|w_m|^2 - v_m) / (u_m^2 - v_m).

    Linear in the number of samples. Undefined (NaN) where fewer than two samples activate the dimension. A dimension
    with negative activations is shifted by its minimum over all samples, a' = a + s, as the definition asks for; the
    shift is made in the sums: w' = w + s sum_i p_i, u' = u + N s, v' = v + 2 s u + N s^2.

    Returns: (M,), within [-1, 1].

    Source: the linear-time form of the MonoScore of Pach et al. (arXiv 2504.02821), equation 6.
    """
    shift = np.maximum(-moments.lowest, 0.0)  # 0 also without samples
    n = moments.n_samples
    weighted = moments.weighted_sum
    if shift.any():
        weighted = weighted + shift[:, None] * moments.embedding_sum
    total = moments.sum + n * shift
    squares = moments.sum_of_squares + 2 * shift * moments.sum + n * shift**2
    numerator = np.einsum("md,md->m", weighted, weighted) - squares
    denominator = total**2 - squares
    defined = (mono_support(moments) >= 2) & (denominator > 0)  # a shift can round the smallest denominators to 0
    score = np.divide(numerator, denominator, out=np.full(len(defined), np.nan), where=defined)
    return np.clip(score, -1.0, 1.0)


class MonoSums(NamedTuple):
    """Sums over a batch from which its score follows."""

    weighted_sum: torch.Tensor
    """(M, D), w_m = sum_i a_im p_i."""
    sum: torch.Tensor
    """(M,), u_m = sum_i a_im."""
    sum_of_squares: torch.Tensor
    """(M,), v_m = sum_i a_im^2."""
    support: torch.Tensor
    """(M,), number of samples with a_im > 0."""


def score_of_sums(sums: MonoSums) -> torch.Tensor:
    """Return (|w_m|^2 - v_m) / (u_m^2 - v_m), shape (M,): the score of :func:`mono_score`.

    NaN, with gradient 0, where the batch has no two samples that activate the latent, or where one of them has all of
    its activation to rounding.
    """
    numerator = sums.weighted_sum.pow(2).sum(dim=1) - sums.sum_of_squares
    pairs = sums.sum.pow(2) - sums.sum_of_squares
    least = 8 * torch.finfo(pairs.dtype).eps * sums.sum_of_squares
    defined = (sums.support >= 2) & (pairs > least)
    # A division by 0 would send NaN back even where its result is not used.
    return torch.where(defined, numerator / torch.where(defined, pairs, 1), torch.nan)


def unit_rows(embeddings: torch.Tensor) -> torch.Tensor:
    """Return (B, D) rows of length 1; a row of length 0 has no direction and stays 0, with a gradient of ordinary size.

    Dividing by a small constant instead, as F.normalize does, would give such a row a gradient of 1e12.
    """
    lengths = embeddings.norm(dim=1, keepdim=True)
    return embeddings / torch.where(lengths > 0, lengths, 1)


def batch_mono_score(activations: torch.Tensor, embeddings: torch.Tensor) -> torch.Tensor:
    """Return the MonoScore of each latent on a batch, differentiable in the activations; see :func:`score_of_sums`.

    Args:
        activations: (B, M), non-negative.
        embeddings: (B, D), of any length; a sample whose embedding has length 0 has no direction and is left out.

    Returns: (M,), NaN where undefined.
    """
    unit = unit_rows(embeddings)
    a = activations * unit.any(dim=1, keepdim=True)
    return score_of_sums(MonoSums(a.T @ unit, a.sum(dim=0), a.pow(2).sum(dim=0), (a > 0).sum(dim=0)))


def mono_loss(scores: torch.Tensor) -> torch.Tensor:
    """Return 1 - the mean score over the latents that have one; 0 where none has. Within [0, 2]."""
    known = scores[~scores.isnan()]
    return 1 - known.mean() if len(known) else scores.new_zeros(())
