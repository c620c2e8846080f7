"""Label noise and subsets of labels: labels and a generator in, new labels out; the bounds of informative noise.

Noise of the kinds symmetric, pair and matrix depends on the label alone, instance and cluster also on the features.
"""

from typing import NamedTuple

import numpy as np
from scipy import stats

from monosemy.errors import InputError

Labels = np.typing.NDArray[np.int64]
Vector = np.typing.NDArray[np.floating]


def informative_limit(n_classes: int) -> float:
    """Return (C - 1) / C, the rate of symmetric noise at which the true class is as frequent as any other.

    There the noisy label is independent of the true one, and no classifier can learn from it.
    """
    return (n_classes - 1) / n_classes


def informative_rates(rates: tuple[float, ...], kind: str, n_classes: int) -> tuple[float, ...]:
    """Return the rates that stay clearly (by 0.02) below the limit of a kind of noise."""
    # Under the last two a classifier can learn the wrong labels from the features: half of them is too many.
    limit = {"symmetric": informative_limit(n_classes), "pair": 0.5, "instance": 0.5, "cluster": 0.5}.get(kind, 1.0)
    return tuple(rate for rate in rates if rate < limit - 0.02)


def check_informative_rate(rate: float, kind: str, n_classes: int) -> None:
    """Raise unless the labels carry information about the true class at a rate of a kind of noise.

    Noise of the kinds instance and cluster spreads over several classes, so that the true class is mostly still the
    commonest label of a class at a rate of 0.5. Its limit is that of symmetric noise. The information of a matrix is
    that of its rows (:func:`check_transition_matrix`).

    Raises:
        InputError: the rate is outside [0, 1], or at the limit of the kind or above.
    """
    if kind in ("symmetric", "instance", "cluster"):
        check_symmetric_rate(rate, n_classes)
        return
    check_rate(rate)
    if kind == "pair" and rate >= 0.5:
        raise InputError(
            f"label_noise={rate:g} of the kind pair is not below 0.5, where the confusing class is as frequent as the "
            f"true one; choose a lower rate."
        )


def check_rate(rate: np.typing.ArrayLike) -> np.typing.NDArray[np.float64]:
    """Return one rate or several as an array.

    Raises:
        InputError: a rate is outside [0, 1].
    """
    rates = np.asarray(rate, dtype=np.float64)
    outside = rates[~((rates >= 0) & (rates <= 1))]
    if outside.size:
        raise InputError(f"label_noise={outside.flat[0]:g} is outside [0, 1]; give the fraction of labels to replace.")
    return rates


def check_symmetric_rate(rate: np.typing.ArrayLike, n_classes: int) -> np.typing.NDArray[np.float64]:
    """Return one rate of symmetric noise or several as an array.

    Raises:
        InputError: a rate is negative, or so high that the noise leaves no information about the true class.
    """
    rates = check_rate(rate)
    limit = informative_limit(n_classes)
    uninformative = rates[rates >= limit - 1e-9]
    if uninformative.size:
        raise InputError(
            f"label_noise={uninformative.flat[0]:g} is not below {limit:.3g}, where {n_classes} classes carry no "
            f"information; choose a lower rate."
        )
    return rates


def _positions(labels: Labels) -> Labels:
    """Return labels as an array, whatever list of whole numbers they are in.

    Raises:
        InputError: they are not whole numbers, one for each row.
    """
    positions = np.asarray(labels)
    if positions.ndim != 1 or positions.dtype.kind not in "iu":
        raise InputError(
            f"labels has the shape {positions.shape} and the type {positions.dtype}; give the positions of classes "
            f"(N,), such as np.unique(labels, return_inverse=True)[1]."
        )
    return positions.astype(np.int64)


def symmetric_noise(labels: Labels, rate: float, n_classes: int, rng: np.random.Generator) -> Labels:
    """Replace exactly round(rate * N) labels, each by a uniformly random OTHER class.

    P(noisy = c' | true = c) = rate / (C - 1) for c' != c.

    Source: Zhang et al. (arXiv 2410.21331), section 3.1, with the exact count and the exclusion of the true class
    made explicit.
    """
    check_symmetric_rate(rate, n_classes)
    labels = _positions(labels)
    noisy = labels.copy()
    rows = rng.permutation(len(labels))[: round(rate * len(labels))]
    noisy[rows] = (noisy[rows] + rng.integers(1, n_classes, len(rows))) % n_classes
    return noisy


def pair_noise(labels: Labels, rate: float, n_classes: int, rng: np.random.Generator) -> Labels:
    """Replace exactly round(rate * N) labels c by the one class c + 1 (mod C) that it is confused with.

    At rate 0.5 the confusing class is as frequent as the true one, so higher rates are refused.

    Source: Han et al., "Co-teaching" (arXiv 1804.06872), section 4 (pair flipping).
    """
    check_informative_rate(rate, "pair", n_classes)
    labels = _positions(labels)
    noisy = labels.copy()
    rows = rng.permutation(len(labels))[: round(rate * len(labels))]
    noisy[rows] = (noisy[rows] + 1) % n_classes
    return noisy


def check_transition_matrix(matrix: np.typing.NDArray[np.floating], n_classes: int) -> None:
    """Raise unless ``matrix`` is (C, C), non-negative, rows summing to 1, and largest on its diagonal."""
    if matrix.shape != (n_classes, n_classes):
        raise InputError(
            f"The noise matrix has shape {matrix.shape}; {n_classes} classes need {(n_classes, n_classes)}."
        )
    if not np.isfinite(matrix).all() or (matrix < 0).any() or np.abs(matrix.sum(axis=1) - 1).max() > 1e-6:
        raise InputError("The noise matrix has a row that is not a distribution; give rows >= 0 that sum to 1.")
    weak = np.flatnonzero(matrix.diagonal() <= (matrix - np.diag(matrix.diagonal())).max(axis=1))
    if len(weak):
        raise InputError(
            f"Row {weak[0]} of the noise matrix makes a wrong class at least as likely as the true one; "
            f"lower its noise."
        )


def matrix_noise(labels: Labels, matrix: np.typing.NDArray[np.floating], rng: np.random.Generator) -> Labels:
    """Draw asymmetric noise with exact counts: of class c's N_c labels, about N_c * matrix[c, c'] become c'.

    The counts are the largest-remainder rounding of N_c * matrix[c], so that they add up to N_c; which rows change is
    random.

    Args:
        matrix: (C, C), row c the distribution of the noisy label of class c.
    """
    check_transition_matrix(matrix, len(matrix))
    labels = _positions(labels)
    noisy = labels.copy()
    for c in range(len(matrix)):
        rows = rng.permutation(np.flatnonzero(labels == c))
        expected = len(rows) * matrix[c]
        counts = np.floor(expected + 1e-9).astype(np.int64)
        missing = len(rows) - counts.sum()
        counts[np.argsort(counts - expected, kind="stable")[:missing]] += 1
        noisy[rows] = np.repeat(np.arange(len(matrix)), counts)
    return noisy


def few_labels(labels: Labels, fraction: float, rng: np.random.Generator) -> np.typing.NDArray[np.bool_]:
    """Return the mask of a stratified fraction: of each class round(fraction * N_c) rows, at least one.

    For one generator state a smaller fraction's rows are a subset of a larger one's, so that more labels only add.
    """
    if not 0 < fraction <= 1:
        raise InputError(f"The fraction of labels {fraction:g} is outside (0, 1]; give the fraction to keep.")
    labels = np.asarray(labels)
    keep = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        keep[rows[: max(1, round(fraction * len(rows)))]] = True
    return keep


def labels_per_class(labels: Labels, k: int, rng: np.random.Generator) -> np.typing.NDArray[np.bool_]:
    """Return the mask of k rows of each class, all of a class that has fewer.

    For one generator state the rows of a smaller k are a subset of those of a larger one.
    """
    if k < 1:
        raise InputError(f"{k} labels a class leave nothing to learn from; give at least 1.")
    keep = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        keep[rng.permutation(np.flatnonzero(labels == label))[:k]] = True
    return keep


def imbalanced(labels: Labels, ratio: float, n_classes: int, rng: np.random.Generator) -> np.typing.NDArray[np.bool_]:
    """Return the mask of rows that leaves classes with exponentially falling sizes, in a random order of the classes.

    Of the class at rank r = 0 ... C - 1, round(N_c ratio^(-r / (C - 1))) rows stay, at least one: of equal classes the
    largest ends ``ratio`` times as large as the smallest. For one generator state the rows of a larger ratio are a
    subset of those of a smaller one.

    Raises:
        InputError: the ratio is below 1.

    Source: Cui et al., "Class-balanced loss" (arXiv 1901.05555), section 5.1 (long-tailed CIFAR).
    """
    if not 1 <= ratio < np.inf:
        raise InputError(
            f"The imbalance ratio {ratio:g} is not at least 1; give largest over smallest class, such as 10."
        )
    rank = rng.permutation(n_classes)
    keep = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        fraction = ratio ** -(rank[label] / max(n_classes - 1, 1))
        keep[rows[: max(1, round(fraction * len(rows)))]] = True
    return keep


_INSTANCE_SD = 0.1


def instance_noise(labels: Labels, features: Vector, rate: float, n_classes: int, rng: np.random.Generator) -> Labels:
    """Replace exactly round(rate * N) labels by classes that depend on the features of their rows.

    Row i is replaced with a probability in proportion to q_i, from a normal distribution about ``rate`` with standard
    deviation 0.1, truncated to [0, 1]. Its new class is drawn from the softmax of x_i W over the other classes, where x
    is standardised by column and W (D, C), with entries from N(0, 1), belongs to the true class: for D features the
    scores vary by about sqrt(D), so that similar rows of a class take the same wrong label.

    Rows of train and validation must be drawn together, for they share W.

    Args:
        features: (N, D), dense.

    Source: Xia et al., "Part-dependent label noise" (arXiv 2006.07836), appendix (algorithm 2), with the exact count.
    """
    check_rate(rate)
    noisy, count = labels.copy(), round(rate * len(labels))
    if count == 0:
        return noisy
    lower, upper = (0 - rate) / _INSTANCE_SD, (1 - rate) / _INSTANCE_SD
    q = stats.truncnorm.rvs(lower, upper, loc=rate, scale=_INSTANCE_SD, size=len(labels), random_state=rng)
    replaced = _exactly(q, count, rng)
    spread = features.std(axis=0, dtype=np.float64)
    mean, scale = features.mean(axis=0, dtype=np.float64), np.where(spread > 0, spread, 1)
    uniform = rng.random(len(labels))
    for c in range(n_classes):
        directions = rng.standard_normal((features.shape[1], n_classes))
        rows = np.flatnonzero(replaced & (labels == c))
        scores = ((features[rows] - mean) / scale) @ directions
        scores[:, c] = -np.inf
        chance = np.exp(scores - scores.max(axis=1, keepdims=True, initial=-1e300))
        reached = np.cumsum(chance, axis=1)
        noisy[rows] = (reached < uniform[rows, None] * reached[:, -1:]).sum(axis=1)
        noisy[rows[noisy[rows] == c]] = (c + 1) % n_classes  # a draw of exactly 0
    return noisy


def _exactly(weights: Vector, count: int, rng: np.random.Generator) -> np.typing.NDArray[np.bool_]:
    """Return a random mask of ``count`` rows, each True with a probability in proportion to its weight, at most 1."""
    chosen = np.zeros(len(weights), dtype=bool)
    if count == 0:
        return chosen
    chance = np.asarray(weights, dtype=np.float64)
    for _ in range(100):
        certain = chance >= 1
        rest = count - certain.sum()
        chance = np.where(certain, 1.0, chance * rest / max(chance[~certain].sum(), 1e-300))
        if chance.max() <= 1 + 1e-12:
            break
    order = rng.permutation(len(weights))
    # Systematic sampling: one row wherever the running sum passes a whole number plus a random offset.
    passed = np.floor(np.cumsum(chance[order]) + rng.random())
    passed[-1] = count
    chosen[order] = np.diff(passed, prepend=0) > 0
    return chosen


class Clusters(NamedTuple):
    """Rows in clusters of their features."""

    of_row: np.typing.NDArray[np.int64]
    """(N,), the number of each row's cluster."""
    centres: Vector
    """(K, D)."""
    distances: Vector
    """(N,), of each row to the centre of its cluster."""


def find_clusters(features: Vector, n_clusters: int, seed: int) -> Clusters:
    """Return k-means clusters of features (N, D), those of train and validation rows together."""
    from sklearn.cluster import KMeans  # takes a while, and other kinds of noise do without

    kmeans = KMeans(min(n_clusters, len(features)), n_init=1, max_iter=30, random_state=seed % 2**31).fit(features)
    of_row = kmeans.labels_.astype(np.int64)
    distances = np.linalg.norm(features - kmeans.cluster_centers_[of_row], axis=1)
    return Clusters(of_row, kmeans.cluster_centers_, distances)


def cluster_count(n_rows: int, n_classes: int) -> int:
    """Return the usual number of clusters: five a class, of ten rows at least on average."""
    return max(2, min(5 * n_classes, n_rows // 10))


def cluster_noise(labels: Labels, clusters: Clusters, rate: float, n_classes: int, rng: np.random.Generator) -> Labels:
    """Replace exactly round(rate * N) labels, whole clusters at a time, all of a cluster by one wrong class.

    Clusters come in a random order. The wrong class of a cluster is the commonest class of the nearest cluster where
    another class is the commonest. Of the last cluster only the rows nearest to its centre are replaced.

    Raises:
        InputError: so many labels cannot be replaced, because rows that are of the wrong class stay right.

    Source: after Lim et al., "Robust testing for deep learning using human label noise" (arXiv 2412.00244), which moves
    the rows around random points to the nearest other class.
    """
    check_rate(rate)
    noisy, missing = labels.copy(), round(rate * len(labels))
    members = np.zeros((len(clusters.centres), n_classes))
    np.add.at(members, (clusters.of_row, labels), 1)
    commonest = members.argmax(axis=1)
    for cluster in rng.permutation(len(members)):
        if missing == 0:
            break
        apart = np.linalg.norm(clusters.centres - clusters.centres[cluster], axis=1)
        apart[commonest == commonest[cluster]] = np.inf
        if np.isinf(apart).all():
            continue
        wrong = commonest[apart.argmin()]
        rows = np.flatnonzero((clusters.of_row == cluster) & (labels != wrong))
        rows = rows[np.argsort(clusters.distances[rows], kind="stable")][:missing]
        noisy[rows] = wrong
        missing -= len(rows)
    if missing:
        raise InputError(
            f"label_noise={rate:g} of the kind cluster is more than the clusters allow, "
            f"{(noisy != labels).mean():.3g}; choose a lower rate."
        )
    return noisy
