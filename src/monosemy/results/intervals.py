"""Means over seeds and test rows with their standard errors, and one rule that judges gains.

A mean over S seeds and N test rows varies with both: other seeds draw other noise and other starts, other test rows are
easier or harder. An interval over seeds alone would be too narrow where all seeds are tested on the same rows, and one
over rows alone where seeds differ.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from scipy import stats
from statsmodels.stats.multitest import multipletests

SIGNIFICANT = 0.05
CONFIDENCE = 1 - SIGNIFICANT
FEWEST_SEEDS = 3
"""Fewer seeds make no difference better or worse."""
MARGIN = 0.01
"""Accuracies that differ by less, one point, are equivalent in practice."""
RELATIVE_MARGIN = 0.01
"""Other quantities that differ by less than this share of the baseline's, one per cent, are equivalent in practice."""
_LEAST_ROW_SHARE = 0.3
_ROUNDING = 1e-9

Outcome = Literal["better", "worse", "equivalent", "undecided"]
Values = np.typing.NDArray[np.floating]


@dataclass(frozen=True)
class Estimate:
    """A mean with its standard error; NaN where the values do not tell the error."""

    mean: float
    se: float
    df: float
    """Degrees of freedom of Student's t."""
    seeds: int
    rows: int = 0
    """Test rows; 0 where only one value a seed is known."""

    def interval(self, confidence: float = CONFIDENCE) -> tuple[float, float]:
        """Return the two-sided interval."""
        half = self.se * float(stats.t.ppf((1 + confidence) / 2, self.df))
        return self.mean - half, self.mean + half

    @property
    def p(self) -> float:
        """The two-sided p-value that the mean is 0; NaN where the standard error is unknown or 0."""
        return float(2 * stats.t.sf(abs(self.mean) / self.se, self.df)) if self.se > 0 else float("nan")


def nearly_equal(values: Values) -> bool:
    """Return whether all values are equal but for rounding."""
    return bool(np.ptp(values) <= _ROUNDING * max(float(np.abs(values).max()), 1e-3))


def over_seeds(values: Values) -> Estimate:
    """Return the mean of one value a seed (S,), with the error over seeds alone.

    The error is unknown with one seed, and where all values are equal but for rounding: a quantity that does not depend
    on the seed (clean accuracy of deterministic features of a frozen encoder) was measured once, not repeatedly.
    """
    values = np.asarray(values, dtype=np.float64)
    mean, unknown = float(np.mean(values)), float("nan")
    if len(values) < 2 or nearly_equal(values):
        return Estimate(mean, unknown, unknown, len(values))
    return Estimate(mean, float(stats.sem(values)), len(values) - 1, len(values))


def over_seeds_and_rows(values: Values, unit: float = 0.0) -> Estimate:
    """Return the mean of values (S seeds, N rows) of the same test rows, for other seeds and other test rows.

    The two-way model is ``y[s, i] = mean + a[s] + b[i] + c[s, i]`` with independent effects. Of its mean squares

        V_seeds = var_s(mean_i y) / S       estimates (var a + var c / N) / S,
        V_rows  = var_i(mean_s y) / N       estimates (var b + var c / S) / N,
        V_both  = residual mean square / (S N)  estimates var c / (S N),

    the variance of the mean is V_seeds + max(V_rows - V_both, 0), here at least 0.3 V_rows (few seeds may agree by
    chance) and at least that of one row, ``(unit / N)^2`` (rows may agree by chance). With w = V_seeds / V,

        1 / df = min(c w, 1) / (S - 1) + (1 - w)^2 / (N - 1),    c = 1.8 for two seeds, else 1.

    Satterthwaite's w^2 in place of w falls to 87 % coverage for two seeds: small variances come with small errors by
    chance. Coverage in simulation is 93 to 97 % for 2 to 10 seeds and from 150 rows, over all shares of the effects.

    Args:
        unit: the largest change that a row can make to a seed's value; 1 for the difference of two hits.

    With one seed the error is that over rows alone, for this very seed.
    """
    values = np.asarray(values, dtype=np.float64)
    n_seeds, n_rows = values.shape
    mean, nan = float(values.mean()), float("nan")
    if n_rows < 2:
        return Estimate(mean, nan, nan, n_seeds, n_rows)
    of_seed, of_row = values.mean(axis=1), values.mean(axis=0)
    v_rows, least = float(of_row.var(ddof=1)) / n_rows, (unit / n_rows) ** 2
    if n_seeds == 1:
        return Estimate(mean, max(v_rows, least) ** 0.5, n_rows - 1, 1, n_rows)
    residual = values - of_seed[:, None] - of_row + mean
    v_both = float(np.square(residual).sum()) / ((n_seeds - 1) * (n_rows - 1)) / values.size
    v_seeds = float(of_seed.var(ddof=1)) / n_seeds
    variance = max(v_seeds + max(v_rows - v_both, 0.0), _LEAST_ROW_SHARE * v_rows, least)
    if variance == 0:
        return Estimate(mean, nan, nan, n_seeds, n_rows)
    share = v_seeds / variance
    inflation = 1.8 if n_seeds == 2 else 1.0
    df = 1 / (min(inflation * share, 1.0) / (n_seeds - 1) + (1 - share) ** 2 / (n_rows - 1))
    return Estimate(mean, variance**0.5, df, n_seeds, n_rows)


def holm(p_values: Values) -> np.typing.NDArray[np.float64]:
    """Return Holm-corrected p-values; NaN stays NaN and does not count as a comparison."""
    corrected = np.full(len(p_values), np.nan)
    known = np.isfinite(p_values)
    if known.any():
        corrected[known] = multipletests(p_values[known], method="holm")[1]
    return corrected


def holm_levels(p_values: Values, level: float = SIGNIFICANT) -> np.typing.NDArray[np.float64]:
    """Return the level that Holm's procedure holds each p-value against; the given one for NaN.

    In rising order p-value r (from 0) of m is held against level / (m - r), up to and with the first that is not below
    its own; all later ones are held against that. Intervals of confidence 1 - level therefore exclude 0 exactly where
    Holm rejects.
    """
    levels = np.full(len(p_values), level)
    known = np.flatnonzero(np.isfinite(p_values))
    order = known[np.argsort(p_values[known], kind="stable")]
    steps = level / np.arange(len(order), 0, -1)
    failed = np.flatnonzero(p_values[order] >= steps)
    if len(failed):
        steps[failed[0] :] = steps[failed[0]]
    levels[order] = steps
    return levels


class Judgement(NamedTuple):
    """A gain by the one rule of all studies."""

    p: float
    """Two-sided; NaN where nothing can be tested."""
    p_holm: float
    """Corrected over the claims; of a gain that is no claim, ``p``."""
    low: float
    high: float
    """The interval at the level that the rule holds the gain against."""
    outcome: Outcome


def judge(
    gains: Sequence[Estimate],
    claims: Sequence[bool] | None = None,
    margin: Sequence[float | None] | float | None = MARGIN,
) -> list[Judgement]:
    """Return each gain as better, worse, equivalent or undecided.

    A gain is better or worse where its interval lies on one side of 0; else equivalent where the interval lies within
    the margin (two one-sided tests, TOST) or the gain is 0 in all seeds; else undecided. The intervals of the claims
    hold together at 95 % (Holm), any other by itself. Fewer than three seeds decide nothing.

    Args:
        gains: paired differences to a baseline.
        claims: which gains are claims, the others being controls; all by default.
        margin: the half width of equivalence, in the unit of the gains, for all or for each; None tests none.
    """
    tested = np.array([gain.p if gain.seeds >= FEWEST_SEEDS else np.nan for gain in gains], dtype=np.float64)
    is_claim = np.ones(len(gains), dtype=bool) if claims is None else np.asarray(claims, dtype=bool)
    corrected, levels = tested.copy(), np.full(len(gains), SIGNIFICANT)
    corrected[is_claim], levels[is_claim] = holm(tested[is_claim]), holm_levels(tested[is_claim])
    margins = margin if isinstance(margin, Sequence) else [margin] * len(gains)
    judgements = []
    for gain, p, p_holm, level, half in zip(gains, tested, corrected, levels, margins, strict=True):
        low, high = gain.interval(1 - level)
        outcome: Outcome = "undecided"
        if gain.seeds >= FEWEST_SEEDS:
            if low > 0 or high < 0:
                outcome = "better" if low > 0 else "worse"
            elif half is not None and ((-half < low and high < half) or (gain.mean == 0 and not gain.se > 0)):
                outcome = "equivalent"
        judgements.append(Judgement(float(p), float(p_holm), low, high, outcome))
    return judgements


def p_text(p: float) -> str:
    """Return a p-value with two significant digits, or as many as keep it on its side of 5 %."""
    if np.isnan(p):
        return "–"
    if p < 0.001:
        return "< 0.001"
    texts = (f"{p:.{digits}g}" for digits in range(2, 17))
    return next(text for text in texts if (float(text) < SIGNIFICANT) == (p < SIGNIFICANT))
