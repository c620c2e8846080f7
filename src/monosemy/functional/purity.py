"""Class purity and class entropy: how much of a dimension's activation falls on one class?"""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from monosemy.functional.consistency import Codes


class Purity(NamedTuple):
    """Per dimension, with p_c the share of its activation that falls on class c; NaN where it is never active."""

    score: NDArray[np.float64]
    """(M,), max_c p_c."""
    entropy: NDArray[np.float64]
    """(M,), -sum_c p_c ln p_c in nats: 0 for one class, ln C for all alike."""

    def means(self) -> tuple[float, float]:
        """Mean purity and mean entropy over the dimensions that are active at all; NaN if there is none."""
        known = ~np.isnan(self.score)
        if not known.any():
            return float("nan"), float("nan")
        return float(self.score[known].mean()), float(self.entropy[known].mean())


def activation_mass(codes: Codes, labels: NDArray[np.integer], n_classes: int) -> NDArray[np.float64]:
    """S[c, m] = sum of |a_im| over the samples i of class c, in float64. Masses of disjoint samples add up.

    Args:
        codes: (N, M), dense or CSR.
        labels: (N,) in [0, n_classes).

    Returns: (n_classes, M).
    """
    n = len(labels)
    one_hot = sp.csr_array((np.ones(n), labels, np.arange(n + 1)), shape=(n, n_classes))
    mass = one_hot.T @ abs(codes).astype(np.float64)
    return np.asarray(mass.toarray() if sp.issparse(mass) else mass)


def class_purity(mass: NDArray[np.floating]) -> Purity:
    """Largest class share and entropy of every column of a table of class masses (or of counts).

    Unlike semantic consistency, which counts samples, a class with weak activations weighs little.

    Args:
        mass: (C, M), non-negative, from :func:`activation_mass`.

    Source: purity and entropy of clusters, here with samples weighted by activation. Wang et al. (arXiv 2403.12459)
    take the entropy of the counts in the same way.
    """
    total = mass.sum(axis=0)
    shares = np.divide(mass, total, out=np.zeros(mass.shape), where=total > 0)
    entropy = -(shares * np.log(np.where(shares > 0, shares, 1))).sum(axis=0)
    active = total > 0
    return Purity(np.where(active, shares.max(axis=0), np.nan), np.where(active, np.maximum(entropy, 0), np.nan))
