"""Families of scenarios: kinds of corruption that are tested one by one and quoted by their mean."""

from collections.abc import Iterable

import pandas as pd

MEAN = "mean"


def family_of(scenario: str) -> str | None:
    """What comes before the kind in ``corruption:KIND`` and ``shift:GROUP/KIND``, delimiter included; else None.

    The mean over the kinds is a scenario of the family too.
    """
    if scenario.startswith("corruption:"):
        return "corruption:"
    if scenario.startswith("shift:") and "/" in scenario:
        return scenario[: scenario.rindex("/") + 1]
    return None


def is_mean(scenario: str) -> bool:
    """Whether a scenario is the mean over the kinds of a family."""
    family = family_of(scenario)
    return family is not None and scenario == family + MEAN


def single_kinds(scenarios: Iterable[str]) -> set[str]:
    """Those whose family has a mean among the scenarios, which stands for them in tables and words."""
    present = list(dict.fromkeys(scenarios))
    averaged = {family_of(scenario) for scenario in present if is_mean(scenario)}
    return {scenario for scenario in present if family_of(scenario) in averaged and not is_mean(scenario)}


def with_means(results: pd.DataFrame) -> pd.DataFrame:
    """The results of a study with the mean accuracy over the kinds of each family as one more scenario.

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
