"""Separability J of a score: how far apart two classes lie along one dimension, clean and under noise.

J(v) = (mu_1 - mu_0) / (sd_0 sd_1), with mu and sd the mean and standard deviation of the score v in each class. The
definition is that of Zhang et al. (arXiv 2410.21331), section 4. J has a UNIT, one over that of v: halving a score
doubles its J, so J compares scores only on a common scale. The scale-free form J sqrt(sd_0 sd_1) is offered beside it.

This module holds the model of two sparse features, in closed form; :mod:`monosemy.functional.separability`
measures J on embeddings. Derivations stand in docs/theory.md and, by computer algebra, in
tests/theory/derivation.py.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np

from monosemy.corruptions.labels import check_symmetric_rate
from monosemy.errors import InputError

MONO = (1.0, 0.0)
"""Weights of the monosemantic score v = x_1."""
POLY = (1.0, 1.0)
"""Weights of the polysemantic score v = x_1 - x_2."""

Array = np.typing.NDArray[np.float64]


class ScoreMoments(NamedTuple):
    """Mean and variance of a score in each of two equally frequent classes; all of one shape."""

    mean_0: Array
    mean_1: Array
    variance_0: Array
    variance_1: Array

    @property
    def gap(self) -> Array:
        """mu_1 - mu_0, in the unit of the score."""
        return self.mean_1 - self.mean_0


def check_sparsity(sparsity: np.typing.ArrayLike) -> Array:
    """The sparsities as an array; raise unless all lie in [0, 1)."""
    values = np.asarray(sparsity, dtype=np.float64)
    bad = values[~((values >= 0) & (values < 1))]
    if bad.size:
        raise InputError(f"sparsity is {bad.flat[0]:g}; give the probability of a zero, at least 0 and below 1.")
    return values


def check_weights(weights: Sequence[float]) -> tuple[float, float]:
    """The two weights of a score; raise unless they are two finite numbers, not both 0."""
    values = np.asarray(weights, dtype=np.float64).ravel()
    if len(values) != 2:
        raise InputError(f"weights has length {len(values)}; give two, w1 and w2 of w1 x1 - w2 x2.")
    if not np.isfinite(values).all():
        raise InputError(f"weights is ({values[0]:g}, {values[1]:g}); give finite numbers.")
    if not values.any():
        raise InputError("weights is (0, 0), a score that is always 0; make one of them different from 0.")
    return float(values[0]), float(values[1])


def check_input_noise(input_noise: np.typing.ArrayLike) -> Array:
    """The standard deviations as an array; raise unless all are finite and not negative."""
    values = np.asarray(input_noise, dtype=np.float64)
    bad = values[~(np.isfinite(values) & (values >= 0))]
    if bad.size:
        raise InputError(f"input_noise is {bad.flat[0]:g}; give a finite standard deviation of at least 0.")
    return values


def two_feature_moments(
    sparsity: np.typing.ArrayLike, weights: Sequence[float] = MONO, input_noise: np.typing.ArrayLike = 0.0
) -> ScoreMoments:
    """Exact moments of v = w1 x1 - w2 x2 in the two classes "x1 is larger" (1) and "x2 is larger" (0).

    x1, x2 are independent, 0 with probability S, else U[0, 1]; ties (both 0) are left out. The larger feature M and
    the smaller L have, with Z = 18 (1 + S)^2,

        E M = (2 + S) / (3 (1 + S)),   Var M = (1 + 4 S + S^2) / Z,
        E L = (1 - S) / (3 (1 + S)),   Var L = (1 - S)(1 + 5 S) / Z = 2 Cov(M, L),

    and v = w1 M - w2 L in class 1, v = w1 L - w2 M in class 0. Hence mu_1 - mu_0 = (w1 + w2)(E M - E L),
    Var_1 v = w1^2 Var M + w2 (w2 - w1) Var L and Var_0 v = w2^2 Var M + w1 (w1 - w2) Var L. Gaussian noise N(0, s^2)
    on both features, drawn after the label, adds (w1^2 + w2^2) s^2 to both variances.

    Args:
        sparsity: S in [0, 1), any shape.
        weights: (w1, w2); (1, 0) is monosemantic, (1, 1) the polysemantic score of the paper.
        input_noise: s >= 0, broadcast against ``sparsity``.

    Raises: InputError for values outside these ranges.

    Source: the model of Zhang et al. (arXiv 2410.21331), section 4; closed forms derived here (docs/theory.md).
    """
    s = check_sparsity(sparsity)
    w1, w2 = check_weights(weights)
    noise = (w1 * w1 + w2 * w2) * check_input_noise(input_noise) ** 2
    z = 18 * (1 + s) ** 2
    larger, smaller = (2 + s) / (3 * (1 + s)), (1 - s) / (3 * (1 + s))
    var_larger, var_smaller = (1 + 4 * s + s * s) / z, (1 - s) * (1 + 5 * s) / z
    moments = (
        w1 * smaller - w2 * larger,
        w1 * larger - w2 * smaller,
        w2 * w2 * var_larger + w1 * (w1 - w2) * var_smaller + noise,
        w1 * w1 * var_larger + w2 * (w2 - w1) * var_smaller + noise,
    )
    return ScoreMoments(*np.broadcast_arrays(*moments))


def noisy_moments(moments: ScoreMoments, label_noise: np.typing.ArrayLike) -> ScoreMoments:
    """Moments of the classes as the noisy labels name them: each a mixture of the two true classes.

    With a share eta of either class's labels flipped, and classes equally frequent, mu_1' = (1 - eta) mu_1 + eta mu_0
    and Var_1' = (1 - eta) Var_1 + eta Var_0 + eta (1 - eta) (mu_1 - mu_0)^2; class 0 likewise. So the gap shrinks to
    (1 - 2 eta) of itself, and both variances gain eta (1 - eta) gap^2.

    Args:
        label_noise: eta in [0, 1/2), broadcast against the moments.

    Source: Zhang et al. (arXiv 2410.21331), theorem 4.2.
    """
    eta = check_symmetric_rate(label_noise, 2)
    mean_0, mean_1, var_0, var_1 = moments
    between = eta * (1 - eta) * moments.gap**2
    return ScoreMoments(
        (1 - eta) * mean_0 + eta * mean_1,
        (1 - eta) * mean_1 + eta * mean_0,
        (1 - eta) * var_0 + eta * var_1 + between,
        (1 - eta) * var_1 + eta * var_0 + between,
    )


def score_separability(moments: ScoreMoments, label_noise: np.typing.ArrayLike = 0.0) -> Array:
    """J = (mu_1 - mu_0) / (sd_0 sd_1) under label noise, in units of 1 / score; the sign is only the direction."""
    noisy = noisy_moments(moments, label_noise)
    return noisy.gap / np.sqrt(noisy.variance_0 * noisy.variance_1)


def scale_free_separability(moments: ScoreMoments, label_noise: np.typing.ArrayLike = 0.0) -> Array:
    """d = (mu_1 - mu_0) / sqrt(sd_0 sd_1) under label noise: J made independent of the score's scale, no unit."""
    noisy = noisy_moments(moments, label_noise)
    return noisy.gap / (noisy.variance_0 * noisy.variance_1) ** 0.25


Outcome = Literal["always", "crosses", "never", "reverses", "twice"]


class Overtaking(NamedTuple):
    """The label noise at which |J| of a score passes that of another."""

    outcome: Outcome
    """The first score is ahead ``always``; from a crossing on; ``never``; up to a crossing (``reverses``); or changes
    place with the other ``twice``."""
    crossings: tuple[float, ...]
    """The rates in (0, 1/2) where the two are equal, rising."""
    leads_at_last: bool
    """Whether the first is ahead just below 1/2."""

    @property
    def threshold(self) -> float:
        """The label noise from which on the first score stays ahead: 0 for always, NaN where it does not."""
        if not self.leads_at_last:
            return math.nan
        return self.crossings[-1] if self.crossings else 0.0


def overtaking(first: ScoreMoments, second: ScoreMoments) -> Overtaking:
    """Exact label noise at which |J(first)| = |J(second)|, moments being scalars.

    With q = eta (1 - eta) and g the clean gap, J^2 = (1 - 4 q) g^2 / P(q), where
    P(q) = Var_0' Var_1' = V_0 V_1 + q [(V_1 - V_0)^2 + g^2 (V_0 + V_1)] + q^2 g^4. So the first is ahead where
    f(q) = g_1^2 P_2(q) - g_2^2 P_1(q) > 0: a quadratic on 0 < q < 1/4, solved in closed form, and
    eta = (1 - sqrt(1 - 4 q)) / 2.
    """
    c, b, a = (
        float(first.gap) ** 2 * over - float(second.gap) ** 2 * under
        for over, under in zip(_variance_product(second), _variance_product(first), strict=True)
    )
    scale = max(abs(a), abs(b), abs(c), 1e-300)
    inside = sorted(q for q in _real_roots(a / scale, b / scale, c / scale) if 1e-12 < q < 0.25 - 1e-12)
    edges = [0.0, *inside, 0.25]
    # Signs between the roots, not at them: there rounding would decide.
    ahead = [a * q * q + b * q + c > 1e-12 * scale for q in ((x + y) / 2 for x, y in pairwise(edges))]
    crossings = tuple(
        (1 - math.sqrt(1 - 4 * q)) / 2 for q, (x, y) in zip(inside, pairwise(ahead), strict=True) if x != y
    )
    outcomes: tuple[Outcome, ...] = ("always" if ahead[0] else "never", "reverses" if ahead[0] else "crosses", "twice")
    return Overtaking(outcomes[len(crossings)], crossings, ahead[-1])


def _variance_product(moments: ScoreMoments) -> tuple[float, float, float]:
    """Coefficients of P(q), constant first."""
    v0, v1, gap = float(moments.variance_0), float(moments.variance_1), float(moments.gap)
    return v0 * v1, (v1 - v0) ** 2 + gap**2 * (v0 + v1), gap**4


def _real_roots(a: float, b: float, c: float) -> list[float]:
    """Real roots of a q^2 + b q + c, without cancellation."""
    if abs(a) < 1e-14:
        return [] if abs(b) < 1e-14 else [-c / b]
    discriminant = b * b - 4 * a * c
    if discriminant < 0:
        return []
    half = -(b + math.copysign(math.sqrt(discriminant), b)) / 2
    return [half / a, *([c / half] if half != 0 else [])]


ALWAYS_AHEAD_SPARSITY = (2 + math.sqrt(11)) / 7
"""0.7595: the sparsity from which on x1 beats x1 - x2 without any noise; below it, and above 0, there is a crossing.
There Var M = 4 Var L, that is 7 S^2 - 4 S - 1 = 0."""
