"""Statistics over seeds: means, intervals, paired tests (SciPy) and Holm's correction (statsmodels).

Families of scenarios are kinds of corruption that are tested one by one and quoted by their mean.
"""

from collections.abc import Iterable

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
    rows = []
    for place in dict.fromkeys(zip(accuracy["scenario"], accuracy["level"], strict=True)):
        cell = wide.loc[place]
        for name in order:
            values = cell[name].dropna()
            if values.empty:
                continue
            mean, low, high = mean_interval(values.to_numpy())
            row = {
                "features": name, "scenario": place[0], "level": place[1], "seeds": len(values),
                "accuracy": mean, "accuracy_low": low, "accuracy_high": high,
            }  # fmt: skip
            if name != baseline:
                difference = (cell[name] - cell[baseline]).dropna().to_numpy()
                gain, gain_low, gain_high = mean_interval(difference)
                row |= {"gain": gain, "gain_low": gain_low, "gain_high": gain_high, "p": paired_p_value(difference)}
            rows.append(row)
    columns = [
        "features", "scenario", "level", "seeds", "accuracy", "accuracy_low", "accuracy_high",
        "gain", "gain_low", "gain_high", "p",
    ]  # fmt: skip
    summary = pd.DataFrame(rows, columns=columns)
    single = summary["scenario"].isin(single_kinds(summary["scenario"])).to_numpy()
    p_values = summary["p"].to_numpy(dtype=float)
    corrected = np.empty(len(summary))
    for part in (single, ~single):
        corrected[part] = holm(p_values[part])
    return summary.assign(p_holm=corrected)


def paired_gain(
    results: pd.DataFrame, name: str, other: str, scenario: str, level: float
) -> tuple[float, float, float]:
    """Return the mean paired accuracy difference name - other in a cell, with its 95 % interval."""
    cell = results[
        (results["metric"] == "accuracy") & (results["scenario"] == scenario) & (results["level"] == level)
    ].pivot(index="seed", columns="features", values="value")
    return mean_interval((cell[name] - cell[other]).dropna().to_numpy())
