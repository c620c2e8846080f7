"""The verdict on feature sets in words, and whether their separability predicts their gains."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
import pandas as pd
from scipy import stats

from monosemy.corruptions import common
from monosemy.report import tables
from monosemy.results import statistics, wording
from monosemy.results.result import StudyResult, Verdict, role_of, with_role
from monosemy.study import probing, scenarios

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

    Ranks of the mean accuracy are ranks of the mean gain over dense, which itself stands among them with gain 0. The
    interval resamples seeds, the p-value permutes feature sets: the seeds of a set are no independent evidence on
    whether separability orders SETS.

    Args:
        results: tidy table of a study.
        metric: `separability_d` or `separability`.
        level: 0 for clean labels.

    Returns: None where fewer than ``FEWEST_SETS`` sets were measured.
    """
    scenario = "clean" if level == 0 else "label-noise"
    cell = results[(results["scenario"] == scenario) & (results["level"] == level)]
    separability, accuracy = (
        cell[cell["metric"] == name].pivot(index="features", columns="seed", values="value")
        for name in (metric, "accuracy")
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


def describe_prediction(results: pd.DataFrame) -> list[str]:
    """One sentence, or none: on the most symmetric label noise d first, for J has a unit; then d at other levels."""
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


_NOTHING = "No monosemantic feature set was in the study, so there is nothing to judge."


def probing_verdict(result: StudyResult) -> Verdict:
    """Judge every monosemantic set in the hardest cell of each scenario, against dense and the closest control."""
    summary = result.summary
    present = tables.feature_names(summary)
    monosemantic, controls = with_role(present, "monosemantic"), with_role(present, "control")
    sentences = []
    single = statistics.single_kinds(summary["scenario"])
    for scenario in dict.fromkeys(summary["scenario"]):
        if scenario == "clean" or scenario in single:
            continue
        for name in monosemantic:
            sentences.append(
                wording.compared(result, name, controls, scenario, wording.hardest_level(summary, scenario))
            )
            sentences += _milder_levels(name, scenario, summary)
            sentences += _kinds(name, scenario, summary)
    sentences += [wording.compared(result, name, None, "clean", 0.0, "On clean data") for name in monosemantic]
    sentences += [] if monosemantic else [_NOTHING]
    sentences += describe_prediction(result.results)
    headline = _headline(result, monosemantic, controls)
    return Verdict(tuple(sentences), tuple(_warnings(result, monosemantic)), headline)


def _headline(result: StudyResult, monosemantic: Sequence[str], controls: Sequence[str]) -> tuple[str, str]:
    """Return the best monosemantic set in the hardest cell, and its cost on clean data and outcomes elsewhere.

    The cell is that of label noise if it was run, else of the first scenario. The best of several sets was chosen by
    the number that is quoted: the first sentence tells among how many, the second how the others compare.
    """
    summary = result.summary
    if not monosemantic:
        n_sets = summary["features"].nunique()
        return _NOTHING, f"The tables below hold the {n_sets} feature set{'s' * (n_sets > 1)} of the study."
    hidden = statistics.single_kinds(summary["scenario"]) | {"clean"}
    noisy = summary[~summary["scenario"].isin(hidden) & summary["features"].isin(monosemantic)]
    if noisy.empty:
        best = _best(monosemantic, summary, "clean", 0.0)
        return "The study holds only clean data, so it cannot judge robustness.", f"{_on_clean_data(best, summary)}."
    present = list(dict.fromkeys(noisy["scenario"]))
    scenario = "label-noise" if "label-noise" in present else present[0]
    level = wording.hardest_level(summary, scenario)
    best = _best(monosemantic, summary, scenario, level)
    aside = f", the best of {len(monosemantic)} monosemantic feature sets," if len(monosemantic) > 1 else ""
    first = wording.compared(result, best, controls, scenario, level, aside=aside)
    here = (noisy["scenario"] == scenario) & (noisy["level"] == level)
    clauses = [_on_clean_data(best, summary)]
    elsewhere = noisy[~here & (noisy["features"] == best)]
    if len(elsewhere) == 1:
        cell = elsewhere.iloc[0]
        clauses.append(f"under {wording.describe_cell(cell['scenario'], cell['level'])}: {_counted(elsewhere)}")
    elif len(elsewhere):
        clauses.append(f"in the {len(elsewhere)} other noisy conditions: {_counted(elsewhere)}")
    others = noisy[here & (noisy["features"] != best)]
    if len(others):
        whose = f"{len(others)} other monosemantic sets" if len(others) > 1 else "other monosemantic set"
        clauses.append(f"the {whose} under {wording.describe_cell(scenario, level)}: {_counted(others)}")
    return first, f"{'; '.join(clauses)}."


def _best(names: Sequence[str], summary: pd.DataFrame, scenario: str, level: float) -> str:
    return max(names, key=lambda name: float(wording.cell_of(summary, name, scenario, level)["gain"]))


def _on_clean_data(name: str, summary: pd.DataFrame) -> str:
    return f"On clean data it {wording.difference(wording.cell_of(summary, name, 'clean', 0.0), probing.BASELINE)}"


def _counted(rows: pd.DataFrame) -> str:
    """Return the number of rows of a summary with each outcome."""
    if len(rows) == 1:
        return f"{wording.outcomes(rows)[0][0]} ({wording.in_points(rows.iloc[0]['gain'])})"
    return ", ".join(f"{len(part)} {word}" for word, part in wording.outcomes(rows))


def _milder_levels(name: str, scenario: str, summary: pd.DataFrame) -> list[str]:
    """Return the outcomes at milder levels: the hardest level must not mislead readers who have little noise."""
    rows = summary[(summary["features"] == name) & (summary["scenario"] == scenario)]
    milder = rows[(rows["level"] != wording.hardest_level(summary, scenario)) & rows["gain"].notna()]
    if milder.empty:
        return []
    parts = []
    for word, chosen in wording.outcomes(milder):
        levels = [wording.describe_cell(scenario, level) for level in chosen["level"]]
        low, high = chosen["gain"].min(), chosen["gain"].max()
        span = wording.in_points(low) if len(chosen) == 1 else f"{100 * low:+.1f} to {wording.in_points(high)}"
        parts.append(f"{word} under {', '.join(levels)} ({span})")
    return [f"At other levels, {name} against {probing.BASELINE}: {'; '.join(parts)}."]


def _kinds(name: str, scenario: str, summary: pd.DataFrame) -> list[str]:
    """Return the outcomes behind a mean over kinds at its hardest level, with the smallest and the largest gain."""
    if not statistics.is_mean(scenario):
        return []
    level = wording.hardest_level(summary, scenario)
    family = statistics.family_of(scenario)
    kinds = [kind for kind in statistics.single_kinds(summary["scenario"]) if statistics.family_of(kind) == family]
    rows = summary[
        (summary["features"] == name) & summary["scenario"].isin(kinds) & (summary["level"] == level)
    ].sort_values("gain", kind="stable")
    counts = [f"{word} on {len(chosen)}" for word, chosen in wording.outcomes(rows)]
    ends = [
        f"{wording.kind_in_words(row['scenario'])} ({wording.in_points(row['gain'])})"
        for _, row in rows.iloc[[0, -1]].iterrows()
    ]
    return [f"Of the {len(rows)} kinds there, {name}: {', '.join(counts)}; gains run from {ends[0]} to {ends[1]}."]


def _warnings(result: StudyResult, monosemantic: Sequence[str]) -> list[str]:
    plan: probing.ProbingPlan = result.plan
    warnings = wording.few_seeds(plan.n_seeds)
    for name in monosemantic:
        cell = wording.cell_of(result.summary, name, "clean", 0.0)
        if cell["outcome"] == "worse":
            warnings.append(f"{name} loses {-100 * cell['gain']:.1f} points on clean data.")
    means = result.results.groupby(["features", "metric"], sort=False)["value"].mean()
    for name in dict.fromkeys(result.results["features"]):
        if role_of(name) != "monosemantic":
            continue
        explained = means.get((name, "explained_variance"), np.nan)
        if explained < 0.95:
            warnings.append(
                f"{name} does not explain {100 * (1 - explained):.0f} % of the variance of test embeddings."
            )
        dead = means.get((name, "dead"), 0.0)
        if dead > 0.01:
            warnings.append(f"{100 * dead:.0f} % of the dimensions of {name} never fire on train.")
    if "corruptions" in plan.scenarios and "frost" in (plan.corruptions.kinds or common.KINDS):
        warnings.append(
            "Frost is drawn here, where the published sets show photographs: its accuracy, and so the mean over kinds, "
            "is not comparable with published numbers."
        )
    return warnings + _grid_warnings(result.results, plan)


def _grid_warnings(results: pd.DataFrame, plan: probing.ProbingPlan) -> list[str]:
    """A weight decay chosen at the grid's upper edge may be too small still; the lower edge, 0, is a natural end."""
    top = max(plan.probe.weight_decays)
    # All other scenarios test the clean probe, with its weight decay.
    trained = results["scenario"].isin(["clean", *get_args(scenarios.LabelScenario)])
    chosen = results[trained & (results["metric"] == "weight_decay") & (results["value"] == top)]
    if len(plan.probe.weight_decays) < 2 or chosen.empty:
        return []
    names = ", ".join(dict.fromkeys(chosen["features"]))
    return [
        f"The largest weight decay of the grid ({top:g}) was chosen in {len(chosen)} cells ({names}); a wider grid may "
        f"serve them better."
    ]
