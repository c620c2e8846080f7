"""Statistics over seeds: means, intervals, paired tests (SciPy) and Holm's correction (statsmodels).

Families of scenarios are kinds of corruption that are tested one by one and quoted by their mean.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd
from scipy import stats

from monosemy.results.intervals import CONFIDENCE, holm

MEAN = "mean"


def family_of(scenario: str) -> str | None:
    """Return the part before the kind in ``corruption:KIND`` and ``shift:GROUP/KIND``, delimiter included; else None.

    The mean over the kinds is a scenario of the family too.
    """
    if scenario.startswith("corruption:"):
        return "corruption:"
    if scenario.startswith("shift:") and "/" in scenario:
        return scenario[: scenario.rindex("/") + 1]
    return None


def is_mean(scenario: str) -> bool:
    """Return whether a scenario is the mean over the kinds of a family."""
    family = family_of(scenario)
    return family is not None and scenario == family + MEAN


def single_kinds(scenarios: Iterable[str]) -> set[str]:
    """Return the scenarios whose family has a mean among them, which represents them in tables and words."""
    present = list(dict.fromkeys(scenarios))
    averaged = {family_of(scenario) for scenario in present if is_mean(scenario)}
    return {scenario for scenario in present if family_of(scenario) in averaged and not is_mean(scenario)}


def with_means(results: pd.DataFrame) -> pd.DataFrame:
    """Return the results of a study with the mean accuracy over the kinds of each family as one more scenario.

    A row for each feature set, level and seed in which every kind of the family was tested. Families of one kind get
    none, and neither do those in which a kind is called "mean".
    """
    accuracy = results[results["metric"] == "accuracy"]
    families = accuracy["scenario"].map(family_of)
    added = [results]
    for family, rows in accuracy.groupby(families, sort=False):
        kinds = rows["scenario"].nunique()
        if kinds < 2 or family + MEAN in set(rows["scenario"]):
            continue
        place = [column for column in results.columns if column not in ("scenario", "value")]
        grouped = rows.groupby(place, sort=False)["value"].agg(["mean", "size"]).reset_index()
        whole = grouped[grouped["size"] == kinds]
        means = whole.assign(scenario=family + MEAN, value=whole["mean"])
        added.append(means[list(results.columns)])
    return pd.concat(added, ignore_index=True)


def mean_interval(values: np.typing.NDArray[np.floating]) -> tuple[float, float, float]:
    """Return the mean and its two-sided 95 % Student-t interval.

    NaN bounds for fewer than two values, and where all are equal: a quantity that does not depend on the seed (clean
    accuracy of deterministic features of a frozen encoder) was measured once, not repeatedly.
    """
    mean = float(np.mean(values))
    if len(values) < 2 or np.ptp(values) == 0:
        return mean, float("nan"), float("nan")
    half = float(stats.sem(values) * stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1))
    return mean, mean - half, mean + half


def paired_p_value(difference: np.typing.NDArray[np.floating]) -> float:
    """Return the two-sided p-value of the paired t-test that the mean difference is 0.

    NaN for fewer than two values, and where all are equal, as for :func:`mean_interval`.
    """
    if len(difference) < 2 or np.ptp(difference) == 0:
        return float("nan")
    return float(stats.ttest_1samp(difference, 0.0).pvalue)


def summarise(results: pd.DataFrame, baseline: str = "dense") -> pd.DataFrame:
    """Return a row per feature set, scenario and level: accuracy, and its paired difference to the baseline.

    Args:
        results: tidy table with features, scenario, level, seed, metric, value.

    Returns: columns features, scenario, level, seeds, accuracy, accuracy_low, accuracy_high, gain, gain_low,
        gain_high, p, p_holm. p_holm is corrected over all rows of the table but the baseline's, the single kinds of a
        family of corruptions apart: they are many, and their mean stands for them among the rest.
    """
    accuracy = results[results["metric"] == "accuracy"]
    wide = accuracy.pivot(index=["scenario", "level", "seed"], columns="features", values="value")
    order = list(dict.fromkeys(accuracy["features"]))
    rows = [
        [name, *place, *compared]
        for place in dict.fromkeys(zip(accuracy["scenario"], accuracy["level"], strict=True))
        for name, compared in against_baseline(wide.loc[place], order, baseline)
    ]
    means = ("seeds", "accuracy", "accuracy_low", "accuracy_high")
    summary = pd.DataFrame(rows, columns=["features", "scenario", "level", *means, *GAIN])
    return with_holm(summary, summary["scenario"].isin(single_kinds(summary["scenario"])))


GAIN = ("gain", "gain_low", "gain_high", "p")
"""Columns of :func:`paired_difference` in a summary."""


def against_baseline(wide: pd.DataFrame, names: list[str], baseline: str) -> Iterator[tuple[str, list[float]]]:
    """Yield each variant with its seeds, mean and interval, and its paired difference to the baseline.

    Args:
        wide: a row a seed, a column a variant.
        names: variants in the order of the summary; those without values are left out.
    """
    for name in names:
        values = wide[name].dropna().to_numpy() if name in wide else np.empty(0)
        if len(values):
            gain = [float("nan")] * 4 if name == baseline else paired_difference(wide, name, baseline)
            yield name, [len(values), *mean_interval(values), *gain]


def paired_difference(wide: pd.DataFrame, name: str, other: str) -> tuple[float, float, float, float]:
    """Return the mean of name - other over the seeds that have both, its interval, and the p-value of a paired test."""
    difference = (wide[name] - wide[other]).dropna().to_numpy()
    return *mean_interval(difference), paired_p_value(difference)


def with_holm(summary: pd.DataFrame, families: pd.Series) -> pd.DataFrame:
    """Return a summary with the column p_holm, its p-values corrected within each family."""
    grouped = summary["p"].astype(float).groupby(families, sort=False)
    return summary.assign(p_holm=grouped.transform(lambda p: holm(p.to_numpy())))


def paired_gain(
    results: pd.DataFrame, name: str, other: str, scenario: str, level: float
) -> tuple[float, float, float]:
    """Return the mean paired accuracy difference name - other in a cell, with its 95 % interval."""
    cell = results[
        (results["metric"] == "accuracy") & (results["scenario"] == scenario) & (results["level"] == level)
    ].pivot(index="seed", columns="features", values="value")
    return paired_difference(cell, name, other)[:3]
