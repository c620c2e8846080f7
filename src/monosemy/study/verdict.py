"""The answer in plain words, and everything that must not be hidden."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from monosemy.features.registry import FEATURE_SETS
from monosemy.study.families import family_of, is_mean, single_kinds
from monosemy.study.headline import make_headline
from monosemy.study.plan import Plan
from monosemy.study.prediction import describe_prediction
from monosemy.study.wording import (
    cell_of,
    describe_cell,
    hardest_level,
    in_points,
    interval_of,
    judgement,
    kind_in_words,
    outcomes,
)


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
