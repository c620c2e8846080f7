"""Linear classifiers in closed form for many label vectors: nearest class mean, shrunk LDA, ridge regression.

Notation: N rows x_i of D features, centred; C classes; J label vectors, each with counts n_c, class means mu_c (C, D)
and frequencies pi_c = n_c / N. Under sample weights all sums are weighted, and N is the sum of the weights.
S = X^T X / N = U diag(lambda) U^T is decomposed once; every label vector, shrinkage and penalty then costs products
with C columns. All is computed in float64. Each classifier predicts the class with the largest ``x^T W_c + b_c``, and
never one that has no row.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg
import scipy.sparse as sp
import torch

from monosemy.classifiers.engine import Probes
from monosemy.data.memory_map import row_blocks
from monosemy.functional.consistency import Codes

Labels = np.typing.NDArray[np.integer]
Matrix = np.typing.NDArray[np.float64]

SHRINKAGES = (0.01, 0.03, 0.1, 0.3, 0.6, 0.9)
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Of ridge regression, in units of the mean eigenvalue of S."""


@dataclass(frozen=True)
class Moments:
    """Mean and covariance of features, decomposed, with the sums of classes."""

    n: float
    """N, or the sum of the sample weights."""
    mean: Matrix
    """(D,)."""
    eigenvalues: Matrix
    """(D,), lambda, rising; of the covariance S, divided by N."""
    vectors: Matrix
    """(D, D), U; columns are eigenvectors."""
    counts: Matrix
    """(J, C), n_c."""
    means: Matrix
    """(J, C, D), mu_c less the mean of all rows; 0 for a class without rows."""

    @property
    def scale(self) -> float:
        """The mean eigenvalue of S, tr(S) / D; 1 where the features do not vary."""
        scale = float(self.eigenvalues.mean())
        return scale if scale > 0 else 1.0


def moments(features: Codes, labels: Labels, n_classes: int, sample_weight: Matrix | None = None) -> Moments:
    """Return the moments of features (N, D), dense, CSR or a memory map, for label vectors (N, J) in [0, C).

    Args:
        sample_weight: (N,), > 0, one by default; a row of weight 2 counts as two rows.
    """
    n, width = features.shape
    mean, second = np.zeros(width), np.zeros((width, width))
    jobs = labels.shape[1]
    column = np.arange(jobs) * n_classes
    sums, counts = np.zeros((jobs * n_classes, width)), np.zeros(jobs * n_classes)
    for block in row_blocks(features):
        x = _float64(features[block])
        weight = np.ones(x.shape[0]) if sample_weight is None else sample_weight[block]
        weighted = x if sample_weight is None else _scaled_rows(x, weight)
        mean += np.asarray(weighted.sum(axis=0)).ravel()
        second += _dense(x.T @ weighted)
        places = (labels[block] + column).T.ravel()
        rows = np.tile(np.arange(x.shape[0]), jobs)
        members = sp.csr_array((np.tile(weight, jobs), (places, rows)), shape=(len(counts), x.shape[0]))
        sums += _dense(members @ x)
        counts += np.bincount(places, np.tile(weight, jobs), minlength=len(counts))
    total = n if sample_weight is None else float(sample_weight.sum())
    mean /= total
    values, vectors = scipy.linalg.eigh(second / total - np.outer(mean, mean))
    means = sums / np.where(counts > 0, counts, 1)[:, None] - mean
    means = np.where(counts[:, None] > 0, means, 0.0)
    shape = (jobs, n_classes)
    return Moments(total, mean, np.maximum(values, 0), vectors, counts.reshape(shape), means.reshape(*shape, width))


def _scaled_rows(rows: Codes, factors: Matrix) -> Codes:
    return rows * factors[:, None] if isinstance(rows, np.ndarray) else sp.csr_array(sp.diags_array(factors) @ rows)


def _float64(rows: Codes) -> Codes:
    return sp.csr_array(rows, dtype=np.float64) if sp.issparse(rows) else np.asarray(rows, dtype=np.float64)


def _dense(product: Codes) -> Matrix:
    dense: Matrix = np.asarray(product if isinstance(product, np.ndarray) else product.toarray(), dtype=np.float64)
    return dense


def centroid(of: Moments) -> Probes:
    """Return the nearest class mean by Euclidean distance: W_c = mu_c, b_c = -|mu_c|^2 / 2."""
    return _probes(of, of.means, -0.5 * np.square(of.means).sum(axis=2))


def lda(of: Moments, shrinkage: float | Matrix) -> Probes:
    """Return linear discriminant analysis with a shrunk covariance.

    W_c = Sigma^-1 mu_c and b_c = -mu_c^T Sigma^-1 mu_c / 2 + log pi_c, where
    Sigma = (1 - s) S_w + s tr(S_w) / D I and S_w = S - sum_c pi_c mu_c mu_c^T is the covariance within classes.
    Sigma = A - B B^T with A diagonal in U and B = sqrt((1 - s) pi_c) mu_c, so that Woodbury's identity gives the
    inverse by a system of C equations.

    Args:
        shrinkage: 0 < s <= 1, one or (J,); that of :func:`ledoit_wolf`, or chosen on validation rows.
    """
    jobs, n_classes, width = of.means.shape
    weight = np.zeros((jobs, n_classes, width))
    for job, s in enumerate(np.broadcast_to(np.asarray(shrinkage, dtype=np.float64), jobs)):
        if not 0 < s <= 1:
            raise ValueError(f"shrinkage={s} is outside (0, 1]")
        frequency = of.counts[job] / of.n
        turned = of.means[job] @ of.vectors  # (C, D), in the axes of U
        within = max(float(of.eigenvalues.sum() - (frequency * np.square(turned).sum(axis=1)).sum()), 0.0) / width
        # Rows that equal their class means leave no covariance: any multiple of the identity then serves.
        diagonal = (1 - s) * of.eigenvalues + s * max(within, 1e-9 * of.scale)
        factor = np.sqrt((1 - s) * frequency)[:, None] * turned
        solved, solved_factor = turned / diagonal, factor / diagonal
        inner = np.eye(n_classes) - factor @ solved_factor.T
        solved += (solved_factor.T @ scipy.linalg.solve(inner, factor @ solved.T, assume_a="pos")).T
        weight[job] = solved @ of.vectors.T
    with np.errstate(divide="ignore"):
        prior = np.log(of.counts / of.n)
    return _probes(of, weight, prior - 0.5 * (weight * of.means).sum(axis=2))


def ledoit_wolf(of: Moments, features: Codes, labels: Labels, sample_weight: Matrix | None = None) -> Matrix:
    """Return the shrinkage (J,) with the least expected squared error of the covariance within classes.

    s = min(b, d) / d with d = |S_w - m I|_F^2, m = tr(S_w) / D and b = (mean_i |r_i|^4 - |S_w|_F^2) / N, where
    r_i = x_i - mu_(y_i).

    Source: Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance matrices" (2004).
    """
    jobs, _, width = of.means.shape
    fourth = np.zeros(jobs)
    for block in row_blocks(features):
        x = _float64(features[block])
        lengths = np.asarray((np.square(x) if isinstance(x, np.ndarray) else x.multiply(x)).sum(axis=1)).ravel()
        for job in range(jobs):
            centres = of.means[job] + of.mean
            given = labels[block, job]
            along = np.asarray(x @ centres.T)[np.arange(len(given)), given]
            square = np.square(lengths - 2 * along + np.square(centres).sum(axis=1)[given])
            fourth[job] += square.sum() if sample_weight is None else sample_weight[block] @ square
    result = np.empty(jobs)
    for job in range(jobs):
        frequency, turned = of.counts[job] / of.n, of.means[job] @ of.vectors
        between = np.sqrt(np.outer(frequency, frequency)) * (turned @ turned.T)
        energy = float((frequency[:, None] * np.square(turned) * of.eigenvalues).sum())
        square = float(np.square(of.eigenvalues).sum()) - 2 * energy + float(np.square(between).sum())
        trace = float(of.eigenvalues.sum() - np.trace(between))
        distance = square - trace**2 / width
        error = (fourth[job] / of.n - square) / of.n
        result[job] = min(error, distance) / distance if distance > 0 else 1.0
    return np.clip(result, 1e-6, 1.0)


def ridge(of: Moments, penalty: float) -> Probes:
    """Return ridge regression on one-hot labels: the minimum of sum_i |e_(y_i) - W^T x_i - b|^2 + N a |W|_F^2.

    W_c = pi_c (S + a I)^-1 mu_c, b_c = pi_c; a = penalty times the mean eigenvalue of S.
    """
    if not penalty > 0:
        raise ValueError(f"penalty={penalty} is not positive")
    frequency = of.counts / of.n
    turned = of.means @ of.vectors / (of.eigenvalues + penalty * of.scale)
    weight = frequency[:, :, None] * (turned @ of.vectors.T)
    return _probes(of, weight, np.where(of.counts > 0, frequency, -np.inf))


def _probes(of: Moments, weight: Matrix, bias: Matrix) -> Probes:
    """Return weights (J, C, D) and biases (J, C) of centred features for features as they come."""
    bias = np.where(of.counts > 0, bias - weight @ of.mean, -np.inf)
    joined = weight.reshape(-1, weight.shape[2]).T
    return Probes(torch.from_numpy(np.ascontiguousarray(joined, dtype=np.float32)), torch.from_numpy(bias).float())


def best_of(accuracies: Sequence[np.typing.NDArray[np.floating]], values: Sequence[float]) -> float:
    """Return the value with the highest mean accuracy over label vectors that share the choice; of equals the largest.

    Args:
        accuracies: for each value (J,), on validation rows as noisy as those of train.
    """
    means = [float(np.mean(accuracy)) for accuracy in accuracies]
    return max(zip(means, values, strict=True))[1]
