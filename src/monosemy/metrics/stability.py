"""Stability of features over seeds: does another training find the same latents again?

A feature that appears with one seed only says more of the seed than of the data. Latents of two dictionaries are
matched one to one, so that the sum of their similarities is largest, and the matched pairs are compared with those of
random dictionaries: among thousands of directions some always lie close by chance.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.optimize import linear_sum_assignment

from monosemy.data.containers import as_array, as_codes
from monosemy.data.memory_map import check_finite, row_blocks, take_rows
from monosemy.errors import InputError
from monosemy.functional import consistency, geometry
from monosemy.seeding import numpy_rng

Directions = np.typing.NDArray[np.floating]
"""(M, D)."""
Similarities = np.typing.NDArray[np.float64]
THRESHOLD = 0.7
"""A latent is found again above this similarity: cos^2 = 0.49, so about half of either direction is the other's."""
_LARGEST_CHANCE = 2048
"""Latents of the random dictionaries; the matching takes time cubic in them."""


@dataclass(frozen=True, repr=False)
class Stability:
    """The latents of one dictionary that are found again in another of M' latents."""

    match: np.typing.NDArray[np.int64]
    """(M,), the latent of the other dictionary; -1 for none, where the other has fewer."""
    similarity: Similarities
    """(M,), cosine or correlation of the pair; NaN for a latent without a match."""
    threshold: float
    chance: float
    """Mean similarity of the matched pairs of unrelated dictionaries or codes of the same shape."""
    chance_found: float
    """Fraction that would be found again among those."""

    def __repr__(self) -> str:
        return (
            f"Stability of {len(self.match):,} latents: {self.found:.1%} found again at similarity {self.threshold:g} "
            f"(chance {self.chance_found:.1%})\n  mean similarity {self.mean:.4g} (chance {self.chance:.4g})"
        )

    @property
    def found(self) -> float:
        """Fraction of ALL M latents that have a match of at least the threshold: one without a match is not found."""
        return float((np.nan_to_num(self.similarity, nan=-1.0) >= self.threshold).mean())

    @property
    def mean(self) -> float:
        """Mean similarity of the matched pairs."""
        matched = self.match >= 0
        return float(self.similarity[matched].mean()) if matched.any() else float("nan")


def match_latents(similarity: Similarities) -> tuple[np.typing.NDArray[np.int64], Similarities]:
    """Return the one-to-one matching of largest total similarity (the Hungarian method).

    Args:
        similarity: (M, M'), of latent m of the one and m' of the other.

    Returns: (M,) partner or -1, and (M,) its similarity or NaN.

    Source: Kuhn, "The Hungarian method for the assignment problem" (1955); as a measure of how far dictionaries agree
    over seeds: Paulo and Belrose, "Sparse Autoencoders Trained on the Same Data Learn Different Features"
    (arXiv 2501.16615).
    """
    one, other = linear_sum_assignment(similarity, maximize=True)
    match = np.full(len(similarity), -1, dtype=np.int64)
    value = np.full(len(similarity), np.nan)
    match[one], value[one] = other, similarity[one, other]
    return match, value


def decoder_stability(decoder: Directions, other: Directions, threshold: float = THRESHOLD, seed: int = 0) -> Stability:
    """Measure the latents of one decoder that are found again in another, by the cosine of their directions.

    The sign counts: a latent that adds the opposite direction is another feature.

    Args:
        decoder, other: (M, D) and (M', D), one direction a row; rows are brought to length 1.
        threshold: similarity from which a latent counts as found again, in (0, 1].
        seed: of the two random dictionaries that give the chance level. They have the same shapes, but at most 2,048
            latents each (fewer latents match a little worse by chance).

    Raises:
        InputError: the widths differ, a row has length 0, or the threshold is outside its range.
    """
    _check_threshold(threshold)
    one, two = (
        geometry.unit_rows(as_array(value, name), name) for value, name in ((decoder, "decoder"), (other, "other"))
    )
    if one.shape[1] != two.shape[1]:
        raise InputError(
            f"other has directions of {two.shape[1]} numbers but decoder of {one.shape[1]}; give dictionaries of one "
            f"space, or compare their codes."
        )
    rng = numpy_rng(seed, "stability")
    sizes = [min(len(rows), _LARGEST_CHANCE) for rows in (one, two)]
    random = [geometry.unit_rows(rng.standard_normal((size, one.shape[1])), "random") for size in sizes]
    _, by_chance = match_latents(random[0] @ random[1].T)
    return _stability(one @ two.T, by_chance, threshold)


def activation_stability(codes: Any, other: Any, threshold: float = THRESHOLD, seed: int = 0) -> Stability:
    """Measure the latents of one set of codes that are found again in another, by correlation on the same rows.

    Use it for dictionaries of different spaces, such as of two encoders, whose directions cannot be compared. A latent
    that does not vary correlates with nothing: its similarity is 0. The chance level is that of the same codes with the
    rows of the other in random order.

    Args:
        codes, other: (N, M) and (N, M') of the same N samples, in any form that codes come in.
        threshold, seed: as for :func:`decoder_stability`.

    Raises:
        InputError: the numbers of rows differ, there are fewer than two, or a row has NaN.
    """
    _check_threshold(threshold)
    one, two = as_codes(codes), as_codes(other)
    if one.ndim != 2 or two.ndim != 2 or one.shape[0] != two.shape[0] or one.shape[0] < 2:
        raise InputError(
            f"codes has shape {one.shape} and other {two.shape}; give codes of the same samples, at least two of them."
        )
    for name, part in (("codes", one), ("other", two)):
        check_finite(part, name)
    sizes = [min(part.shape[1], _LARGEST_CHANCE) for part in (one, two)]
    order = numpy_rng(seed, "stability").permutation(two.shape[0])
    _, by_chance = match_latents(correlations(one[:, : sizes[0]], two[order][:, : sizes[1]]))
    return _stability(correlations(one, two), by_chance, threshold)


def correlations(codes: consistency.Codes, other: consistency.Codes) -> Similarities:
    """Return (M, M'), the Pearson correlation of every latent of one with every one of the other; 0 for one that does
    not vary.

    Args:
        codes, other: (N, M) and (N, M'), dense or CSR.
    """
    n = codes.shape[0]
    means = [np.asarray(part.sum(axis=0, dtype=np.float64)).ravel() / n for part in (codes, other)]
    product = np.zeros((codes.shape[1], other.shape[1]))
    squares = [np.zeros(part.shape[1]) for part in (codes, other)]
    # Subtracting the mean makes codes dense: for two sparse ones it is subtracted from the sums instead.
    sparse = sp.issparse(codes) and sp.issparse(other)
    for block in row_blocks(codes, other):
        rows: list[Any] = [take_rows(part, block).astype(np.float64) for part in (codes, other)]
        if not sparse:
            rows = [(x.toarray() if sp.issparse(x) else x) - mean for x, mean in zip(rows, means, strict=True)]
        together = rows[0].T @ rows[1]
        product += together.toarray() if sparse else together
        for total, x in zip(squares, rows, strict=True):
            total += np.asarray((x.multiply(x) if sparse else x * x).sum(axis=0)).ravel()
    if sparse:
        product -= n * np.outer(*means)
        squares = [total - n * mean**2 for total, mean in zip(squares, means, strict=True)]
    scales = []
    for total, mean in zip(squares, means, strict=True):
        varies = total > 1e-12 * n * mean**2  # smaller values are rounding
        scales.append(np.where(varies, 1 / np.sqrt(np.where(varies, total, 1)), 0))
    return np.asarray(np.clip(product * scales[0][:, None] * scales[1], -1, 1))


def _check_threshold(threshold: float) -> None:
    if not 0 < threshold <= 1:
        raise InputError(f"threshold={threshold} is outside (0, 1]; choose a similarity such as {THRESHOLD}.")


def _stability(similarity: Similarities, by_chance: Similarities, threshold: float) -> Stability:
    match, value = match_latents(similarity)
    known = by_chance[~np.isnan(by_chance)]
    chance_found = float((np.nan_to_num(by_chance, nan=-1.0) >= threshold).mean())
    return Stability(match, value, threshold, float(known.mean()), chance_found)
