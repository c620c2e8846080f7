"""The two sentences that a study is summed up by.

The answer in plain words, and everything that must not be hidden.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from monosemy.features.registry import FEATURE_SETS
from monosemy.results.statistics import family_of, is_mean, single_kinds
from monosemy.results.wording import (
    SIGNIFICANT,
    cell_of,
    describe_cell,
    hardest_level,
    in_points,
    interval_of,
    judgement,
    kind_in_words,
    no_difference,
    outcomes,
)
from monosemy.study.probing.plan import Plan
from monosemy.study.probing.prediction import describe_prediction


def make_headline(
    monosemantic: Sequence[str], controls: Sequence[str], results: pd.DataFrame, summary: pd.DataFrame
) -> tuple[str, str]:
    """What the best monosemantic set does in the hardest cell; what it costs, and what becomes of it elsewhere.

    The cell is that of label noise where it was run, else of the first scenario. The best of several sets was chosen
    by the number that is quoted: the first sentence says among how many, the second how the others do.
    """
    if not monosemantic:
        compared = len(set(summary["features"]))
        return (
            "No monosemantic feature set was in the study, so there is nothing to judge.",
            f"The tables below hold the {compared} feature set{'s' * (compared > 1)} that were.",
        )
    hidden = single_kinds(summary["scenario"]) | {"clean"}
    noisy = summary[~summary["scenario"].isin(hidden) & summary["features"].isin(monosemantic)]
    if noisy.empty:
        best = _best(monosemantic, summary, "clean", 0.0)
        return "The study holds clean data alone, so it tells nothing of robustness.", f"{_clean_cost(best, summary)}."
    present = list(dict.fromkeys(noisy["scenario"]))
    scenario = "label-noise" if "label-noise" in present else present[0]
    level = hardest_level(summary, scenario)
    best = _best(monosemantic, summary, scenario, level)
    aside = f", the best of {len(monosemantic)} monosemantic feature sets," if len(monosemantic) > 1 else ""
    first = judgement(best, controls, scenario, level, results, summary, aside)
    here = (noisy["scenario"] == scenario) & (noisy["level"] == level)
    clauses = [_clean_cost(best, summary)]
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


def _clean_cost(name: str, summary: pd.DataFrame) -> str:
    clean = cell_of(summary, name, "clean", 0.0)
    gain = f"{in_points(clean['gain'])} to dense{interval_of(clean)}"
    if math.isnan(clean["p_holm"]):
        return f"On clean data it stands at {gain}"
    if not clean["p_holm"] < SIGNIFICANT:
        return f"On clean data it {no_difference(clean)}: {gain}"
    return f"On clean data it {'costs' if clean['gain'] < 0 else 'gains as well'}: {gain}"


def _counted(rows: pd.DataFrame) -> str:
    """Rows of a summary by outcome."""
    if len(rows) == 1:
        return f"{outcomes(rows)[0][0]} ({in_points(rows.iloc[0]['gain'])})"
    parts = [(len(part), word.replace("no clear difference", "not clearly different")) for word, part in outcomes(rows)]
    return ", ".join(f"{count} {word}" for count, word in parts)


@dataclass(frozen=True)
class Verdict:
    """What a study found."""

    headline: tuple[str, str]
    """The most important of it in two sentences."""
    sentences: tuple[str, ...]
    """The answer, best news and worst."""
    warnings: tuple[str, ...]
    """Losses, doubts and limits."""


def make_verdict(results: pd.DataFrame, summary: pd.DataFrame, plan: Plan) -> Verdict:
    """Judge every monosemantic set in the hardest cell of each scenario, against dense and against all controls."""
    present = list(dict.fromkeys(summary["features"]))
    monosemantic = [n for n in present if n in FEATURE_SETS and FEATURE_SETS[n].role == "monosemantic"]
    controls = [n for n in present if n in FEATURE_SETS and FEATURE_SETS[n].role == "control"]
    sentences = []
    single = single_kinds(summary["scenario"])
    for scenario in dict.fromkeys(summary["scenario"]):
        if scenario == "clean" or scenario in single:
            continue
        for name in monosemantic:
            sentences.append(judgement(name, controls, scenario, hardest_level(summary, scenario), results, summary))
            sentences += _milder_levels(name, scenario, summary)
            sentences += _kinds(name, scenario, summary)
    for name in monosemantic:
        clean = cell_of(summary, name, "clean", 0.0)
        sentences.append(f"On clean data {name} stands at {in_points(clean['gain'])} to dense{interval_of(clean)}.")
    if not monosemantic:
        sentences.append("No monosemantic feature set was in the study, so there is nothing to judge.")
    sentences += describe_prediction(results)
    headline = make_headline(monosemantic, controls, results, summary)
    return Verdict(headline, tuple(sentences), tuple(_warnings(results, summary, plan, monosemantic)))


def _milder_levels(name: str, scenario: str, summary: pd.DataFrame) -> list[str]:
    """What becomes of the gain where there is less noise: who has little must not be misled by the hardest level."""
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
    return [f"Elsewhere {name} against dense: {'; '.join(parts)}."]


def _kinds(name: str, scenario: str, summary: pd.DataFrame) -> list[str]:
    """What lies behind a mean over kinds at its hardest level: on how many it gains, and where it loses."""
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


def _warnings(results: pd.DataFrame, summary: pd.DataFrame, plan: Plan, monosemantic: list[str]) -> list[str]:
    warnings = []
    if plan.seeds < 5:
        warnings.append(f"Only {plan.seeds} seed{'s' * (plan.seeds > 1)}: intervals need at least 5 to mean much.")
    for name in monosemantic:
        clean = cell_of(summary, name, "clean", 0.0)
        if clean["gain"] < -0.01:
            warnings.append(f"{name} loses {-100 * clean['gain']:.1f} points on clean data.")
    means = results.groupby(["features", "metric"], sort=False)["value"].mean()
    for name in dict.fromkeys(results["features"]):
        role = FEATURE_SETS[name].role if name in FEATURE_SETS else None
        explained = means.get((name, "explained_variance"), np.nan)
        if role == "monosemantic" and explained < 0.95:
            warnings.append(
                f"{name} leaves {100 * (1 - explained):.0f} % of the variance of test embeddings unexplained."
            )
        dead = means.get((name, "dead"), 0.0)
        if role == "monosemantic" and dead > 0.01:
            warnings.append(f"{100 * dead:.0f} % of the dimensions of {name} never fire on train.")
    if plan.scenarios.corruptions is not None and "frost" in plan.scenarios.corruptions.kinds:
        warnings.append(
            "Frost is drawn here, where the published sets show photographs: its accuracy, and so the mean over kinds, "
            "is not comparable with published numbers."
        )
    warnings += _grid_warnings(results, plan)
    return warnings


def _grid_warnings(results: pd.DataFrame, plan: Plan) -> list[str]:
    """A weight decay chosen at the grid's upper edge may be too small still; the lower edge, 0, is a natural end."""
    top = max(plan.probe.weight_decays)
    # Whatever else the clean probe is tested on has its weight decay.
    own = ~results["scenario"].str.startswith(("corruption:", "shift:", "input-noise"))
    chosen = results[own & (results["metric"] == "weight_decay") & (results["value"] == top)]
    if len(plan.probe.weight_decays) < 2 or chosen.empty:
        return []
    names = ", ".join(dict.fromkeys(chosen["features"]))
    return [
        f"The largest weight decay of the grid ({top:g}) was chosen in {len(chosen)} cells ({names}); a wider grid may "
        f"serve them better."
    ]
