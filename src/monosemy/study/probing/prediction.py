"""Separability as a prediction: does it rank feature sets as their accuracies do?"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from monosemy.report.tables import Section
from monosemy.study import probing
from monosemy.study.probing import pairs

FEWEST_SETS = 5
"""With four feature sets even a perfect order has p = 2 / 4! = 0.08."""
_SIGNIFICANT = 0.05
_RESAMPLES = 2000
_SEED = 0


@dataclass(frozen=True)
class Prediction:
    """Rank correlation, over feature sets, of a separability with the accuracy gain at the same label noise."""

    metric: str
    level: float
    n_sets: int
    correlation: float
    """Spearman's, of means over seeds; NaN where all feature sets are equal."""
    low: float
    high: float
    """95 % bootstrap interval over seeds for these very feature sets; NaN with one seed."""
    p: float
    """Permutation p-value, two-sided: the chance of such a correlation if the order of the sets meant nothing."""


def predict_gains(results: pd.DataFrame, metric: str, level: float) -> Prediction | None:
    """Return how the separability of feature sets at a level of symmetric label noise ranks with their accuracy there.

    Accuracy is that of cross-entropy; its ranks are those of the mean gain over dense, which itself stands among them
    with gain 0. The interval resamples seeds, the p-value permutes feature sets: the seeds of a set are no independent
    evidence on whether separability orders SETS.

    Args:
        results: tidy table of a study.
        metric: `separability_d` or `separability`.
        level: 0 for clean labels.

    Returns: None where fewer than ``FEWEST_SETS`` sets were measured.
    """
    scenario = "clean" if level == 0 else "label-noise"
    cell = results[(results["scenario"] == scenario) & (results["level"] == level)]
    wanted = ((metric, ""), ("accuracy", probing.BASELINE_CLASSIFIER))
    separability, accuracy = (
        cell[(cell["metric"] == name) & (cell["classifier"] == classifier) & ~cell["variant"].isin(pairs.RULES)].pivot(
            index="features", columns="seed", values="value"
        )
        for name, classifier in wanted
    )
    both = pd.concat([separability, accuracy], axis=1, keys=[metric, "accuracy"], join="inner").dropna()
    if len(both) < FEWEST_SETS:
        return None
    x, y = both[metric].to_numpy(dtype=np.float64), both["accuracy"].to_numpy(dtype=np.float64)
    mean_x, mean_y = x.mean(axis=1), y.mean(axis=1)
    observed = float(_rank_correlation(mean_x, mean_y, axis=0))
    if np.isnan(observed):
        return Prediction(metric, level, len(both), observed, observed, observed, observed)
    low, high = _seed_interval(x, y)
    p = stats.permutation_test(
        (mean_x,),
        lambda order, axis: _rank_correlation(order, np.broadcast_to(mean_y, order.shape), axis),
        permutation_type="pairings",
        vectorized=True,
        random_state=np.random.default_rng(_SEED),
    ).pvalue
    return Prediction(metric, level, len(both), observed, low, high, float(p))


def prediction_sections(results: pd.DataFrame) -> list[Section]:
    """Return the section of a report on separability; none where too few feature sets were measured."""
    sentences = describe_prediction(results)
    return [Section("Does separability predict the gains?", note=" ".join(sentences))] if sentences else []


def describe_prediction(results: pd.DataFrame) -> list[str]:
    """Return one sentence, or none: at the most label noise d first, for J has a unit; then d at other levels."""
    measured = results[(results["metric"] == "separability_d") & (results["scenario"] == "label-noise")]
    if measured.empty:
        return []
    level = float(measured["level"].max())
    d, j = (predict_gains(results, metric, level) for metric in ("separability_d", "separability"))
    if d is None or j is None or not np.isfinite(d.correlation):
        return []
    if not d.p < _SIGNIFICANT:
        verb = "does not clearly predict"
    else:
        verb = "predicts" if d.correlation > 0 else "predicts the opposite of"
    return [
        f"Separability d of the train codes {verb} the gains at {100 * level:.3g} % label noise: rank correlation over "
        f"the {d.n_sets} feature sets {_correlation(d)}; J, which has a unit and favours small scales, "
        f"{_correlation(j)}. {_elsewhere(results, level)}With {d.n_sets} feature sets this is weak evidence."
    ]


def _elsewhere(results: pd.DataFrame, hardest: float) -> str:
    """d at all other levels: who reads the hardest alone thinks too well of it."""
    levels = results.loc[results["metric"] == "separability_d", "level"].unique()
    found = [predict_gains(results, "separability_d", float(level)) for level in sorted(levels) if level != hardest]
    parts = [
        f"{f'at {100 * other.level:.3g} %' if other.level else 'clean'} {other.correlation:+.2f}"
        for other in found
        if other is not None and np.isfinite(other.correlation)
    ]
    return f"Elsewhere d: {', '.join(parts)}. " if parts else ""


def _correlation(prediction: Prediction) -> str:
    interval = ""
    if np.isfinite(prediction.low):
        interval = f"{prediction.low:+.2f} to {prediction.high:+.2f} over seeds, "
    return f"{prediction.correlation:+.2f} ({interval}permutation p {prediction.p:.2g})"


def _seed_interval(x: np.typing.NDArray[np.float64], y: np.typing.NDArray[np.float64]) -> tuple[float, float]:
    """Percentile bootstrap over seeds, the same seeds for all sets; x and y are (sets, seeds)."""
    n_seeds = x.shape[1]
    if n_seeds < 2:
        return float("nan"), float("nan")

    def correlation(seeds: np.typing.NDArray[np.floating], axis: int) -> np.typing.NDArray[np.float64]:
        chosen = seeds.astype(np.int64)  # (resamples, seeds)
        return _rank_correlation(x[:, chosen].mean(axis=-1), y[:, chosen].mean(axis=-1), axis=0)

    found = stats.bootstrap(
        (np.arange(n_seeds),),
        correlation,
        n_resamples=_RESAMPLES,
        method="percentile",
        vectorized=True,
        random_state=np.random.default_rng(_SEED),
    ).confidence_interval
    return float(found.low), float(found.high)


def _rank_correlation(
    x: np.typing.NDArray[np.float64], y: np.typing.NDArray[np.float64], axis: int
) -> np.typing.NDArray[np.float64]:
    """Spearman's correlation along an axis; NaN where either is constant."""
    ranks = [stats.rankdata(values, axis=axis) for values in (x, y)]
    a, b = (r - r.mean(axis=axis, keepdims=True) for r in ranks)
    scale = np.sqrt((a * a).sum(axis=axis) * (b * b).sum(axis=axis))
    return np.where(scale > 0, (a * b).sum(axis=axis) / np.where(scale > 0, scale, 1), np.nan)
