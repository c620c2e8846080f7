"""The verdict of a comparison of feature sets: the answer in plain words, and everything that limits it."""

from collections.abc import Sequence
from typing import get_args

import numpy as np
import pandas as pd

from monosemy.corruptions import common
from monosemy.report import tables
from monosemy.results.result import StudyResult, Verdict
from monosemy.results.statistics import family_of, is_mean, single_kinds
from monosemy.results.variants import role_of, with_role
from monosemy.results.wording import (
    cell_of,
    compared,
    describe_cell,
    difference,
    few_seeds,
    hardest_level,
    in_points,
    kind_in_words,
    outcomes,
)
from monosemy.study.probing.plan import BASELINE, ProbingPlan
from monosemy.study.probing.prediction import describe_prediction
from monosemy.study.scenarios import LabelScenario

_NOTHING = "No monosemantic feature set was in the study, so there is nothing to judge."


def probing_verdict(result: StudyResult) -> Verdict:
    """Judge every monosemantic set in the hardest cell of each scenario, against dense and the closest control."""
    summary = result.summary
    present = tables.feature_names(summary)
    monosemantic, controls = with_role(present, "monosemantic"), with_role(present, "control")
    sentences = []
    single = single_kinds(summary["scenario"])
    for scenario in dict.fromkeys(summary["scenario"]):
        if scenario == "clean" or scenario in single:
            continue
        for name in monosemantic:
            sentences.append(compared(result, name, controls, scenario, hardest_level(summary, scenario)))
            sentences += _milder_levels(name, scenario, summary)
            sentences += _kinds(name, scenario, summary)
    sentences += [compared(result, name, None, "clean", 0.0, "On clean data") for name in monosemantic]
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
    hidden = single_kinds(summary["scenario"]) | {"clean"}
    noisy = summary[~summary["scenario"].isin(hidden) & summary["features"].isin(monosemantic)]
    if noisy.empty:
        best = _best(monosemantic, summary, "clean", 0.0)
        return "The study holds only clean data, so it cannot judge robustness.", f"{_on_clean_data(best, summary)}."
    present = list(dict.fromkeys(noisy["scenario"]))
    scenario = "label-noise" if "label-noise" in present else present[0]
    level = hardest_level(summary, scenario)
    best = _best(monosemantic, summary, scenario, level)
    aside = f", the best of {len(monosemantic)} monosemantic feature sets," if len(monosemantic) > 1 else ""
    first = compared(result, best, controls, scenario, level, aside=aside)
    here = (noisy["scenario"] == scenario) & (noisy["level"] == level)
    clauses = [_on_clean_data(best, summary)]
    elsewhere = noisy[~here & (noisy["features"] == best)]
    if len(elsewhere) == 1:
        cell = elsewhere.iloc[0]
        clauses.append(f"under {describe_cell(cell['scenario'], cell['level'])}: {_counted(elsewhere)}")
    elif len(elsewhere):
        clauses.append(f"in the {len(elsewhere)} other noisy conditions: {_counted(elsewhere)}")
    others = noisy[here & (noisy["features"] != best)]
    if len(others):
        whose = f"{len(others)} other monosemantic sets" if len(others) > 1 else "other monosemantic set"
        clauses.append(f"the {whose} under {describe_cell(scenario, level)}: {_counted(others)}")
    return first, f"{'; '.join(clauses)}."


def _best(names: Sequence[str], summary: pd.DataFrame, scenario: str, level: float) -> str:
    return max(names, key=lambda name: float(cell_of(summary, name, scenario, level)["gain"]))


def _on_clean_data(name: str, summary: pd.DataFrame) -> str:
    return f"On clean data it {difference(cell_of(summary, name, 'clean', 0.0), BASELINE)}"


def _counted(rows: pd.DataFrame) -> str:
    """Return the number of rows of a summary with each outcome."""
    if len(rows) == 1:
        return f"{outcomes(rows)[0][0]} ({in_points(rows.iloc[0]['gain'])})"
    parts = [(len(part), word.replace("no clear difference", "not clearly different")) for word, part in outcomes(rows)]
    return ", ".join(f"{count} {word}" for count, word in parts)


def _milder_levels(name: str, scenario: str, summary: pd.DataFrame) -> list[str]:
    """Return the outcomes at milder levels: the hardest level must not mislead readers who have little noise."""
    rows = summary[(summary["features"] == name) & (summary["scenario"] == scenario)]
    milder = rows[(rows["level"] != hardest_level(summary, scenario)) & rows["gain"].notna()]
    if milder.empty:
        return []
    parts = []
    for word, chosen in outcomes(milder):
        levels = [describe_cell(scenario, level) for level in chosen["level"]]
        low, high = chosen["gain"].min(), chosen["gain"].max()
        span = in_points(low) if len(chosen) == 1 else f"{100 * low:+.1f} to {in_points(high)}"
        parts.append(f"{word} under {', '.join(levels)} ({span})")
    return [f"At other levels, {name} against {BASELINE}: {'; '.join(parts)}."]


def _kinds(name: str, scenario: str, summary: pd.DataFrame) -> list[str]:
    """Return the outcomes behind a mean over kinds at its hardest level, with the smallest and the largest gain."""
    if not is_mean(scenario):
        return []
    level = hardest_level(summary, scenario)
    kinds = [other for other in single_kinds(summary["scenario"]) if family_of(other) == family_of(scenario)]
    rows = summary[
        (summary["features"] == name) & summary["scenario"].isin(kinds) & (summary["level"] == level)
    ].sort_values("gain", kind="stable")
    counts = [f"{word} on {len(chosen)}" for word, chosen in outcomes(rows)]
    ends = [f"{kind_in_words(row['scenario'])} ({in_points(row['gain'])})" for _, row in rows.iloc[[0, -1]].iterrows()]
    return [f"Of the {len(rows)} kinds there, {name}: {', '.join(counts)}; gains run from {ends[0]} to {ends[1]}."]


def _warnings(result: StudyResult, monosemantic: Sequence[str]) -> list[str]:
    plan: ProbingPlan = result.plan
    warnings = few_seeds(plan.n_seeds)
    for name in monosemantic:
        gain = cell_of(result.summary, name, "clean", 0.0)["gain"]
        if gain < -0.01:
            warnings.append(f"{name} loses {-100 * gain:.1f} points on clean data.")
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


def _grid_warnings(results: pd.DataFrame, plan: ProbingPlan) -> list[str]:
    """A weight decay chosen at the grid's upper edge may be too small still; the lower edge, 0, is a natural end."""
    top = max(plan.probe.weight_decays)
    # All other scenarios test the clean probe, with its weight decay.
    trained = results["scenario"].isin(["clean", *get_args(LabelScenario)])
    chosen = results[trained & (results["metric"] == "weight_decay") & (results["value"] == top)]
    if len(plan.probe.weight_decays) < 2 or chosen.empty:
        return []
    names = ", ".join(dict.fromkeys(chosen["features"]))
    return [
        f"The largest weight decay of the grid ({top:g}) was chosen in {len(chosen)} cells ({names}); a wider grid may "
        f"serve them better."
    ]
