"""The answer in plain words, and everything that must not be hidden."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from monosemy.features.registry import FEATURE_SETS
from monosemy.study.families import family_of, is_mean, single_kinds
from monosemy.study.plan import Plan
from monosemy.study.prediction import describe_prediction
from monosemy.study.statistics import paired_gain

SIGNIFICANT = 0.05
"""Of Holm's corrected p-values."""

SCENARIO_WORDS = {
    "label-noise": "{percent:.3g} % label noise",
    "given-labels": "the given noisy labels ({percent:.3g} % wrong)",
    "input-noise": "input noise {level:g}",
    "few-labels": "{percent:.3g} % of the labels",
}


@dataclass(frozen=True)
class Verdict:
    """What a study found."""

    sentences: tuple[str, ...]
    """The answer, best news and worst."""
    warnings: tuple[str, ...]
    """Losses, doubts and limits."""


def describe_cell(scenario: str, level: float) -> str:
    """A cell in words."""
    family = family_of(scenario)
    if family is not None:
        what = "mean over kinds" if is_mean(scenario) else _kind(scenario)
        where = "common corruptions" if family == "corruption:" else family.removeprefix("shift:").rstrip("/")
        return f"{where} of severity {level:g} ({what})"
    if scenario.startswith("shift:"):
        return f"the shifted set {scenario.removeprefix('shift:')}" + (f", level {level:g}" if level != 1 else "")
    return SCENARIO_WORDS[scenario].format(level=level, percent=100 * level)


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
            sentences.append(_judge(name, controls, scenario, hardest_level(summary, scenario), results, summary))
            sentences += _milder_levels(name, scenario, summary)
            sentences += _kinds(name, scenario, summary)
    for name in monosemantic:
        clean = _cell(summary, name, "clean", 0.0)
        sentences.append(f"On clean data {name} stands at {_points(clean['gain'])} to dense{_interval(clean)}.")
    if not monosemantic:
        sentences.append("No monosemantic feature set was in the study, so there is nothing to judge.")
    sentences += describe_prediction(results)
    return Verdict(tuple(sentences), tuple(_warnings(results, summary, plan, monosemantic)))


def hardest_level(summary: pd.DataFrame, scenario: str) -> float:
    """The level of a scenario that the verdict judges: the most noise, or the fewest labels."""
    levels = summary.loc[summary["scenario"] == scenario, "level"]
    return float(levels.min() if scenario == "few-labels" else levels.max())


def _cell(summary: pd.DataFrame, name: str, scenario: str, level: float) -> pd.Series:
    rows = summary[(summary["features"] == name) & (summary["scenario"] == scenario) & (summary["level"] == level)]
    return rows.iloc[0]


def _points(difference: float) -> str:
    return f"{100 * difference:+.1f} points"


def _interval(cell: pd.Series) -> str:
    if np.isnan(cell["gain_low"]):
        return " (no interval: it does not vary with the seed, or there is only one)"
    return f" (95 % interval {100 * cell['gain_low']:+.1f} to {100 * cell['gain_high']:+.1f})"


def _judge(
    name: str, controls: list[str], scenario: str, level: float, results: pd.DataFrame, summary: pd.DataFrame
) -> str:
    """One sentence; better or worse is said only where Holm's corrected p-value is below 5 %."""
    cell = _cell(summary, name, scenario, level)
    where = f"Under {describe_cell(scenario, level)}, {name}"
    gain = f"{_points(cell['gain'])} to tuned dense{_interval(cell)}"
    if not cell["p_holm"] < SIGNIFICANT:
        return f"{where} makes no clear difference: {gain}."
    if cell["gain"] < 0:
        return f"{where} LOSES: {gain}."
    if not controls:
        return f"{where} wins: {gain}; no control was run."
    margins = {control: paired_gain(results, name, control, scenario, level) for control in controls}
    closest = min(margins, key=lambda control: margins[control][0])
    margin, low, high = margins[closest]
    ahead = f"{_points(margin)} (95 % interval {100 * low:+.1f} to {100 * high:+.1f}) to the closest control, {closest}"
    if all(low > 0 for _, low, _ in margins.values()):
        return f"{where} wins: {gain}, and {ahead}."
    if margin > 0:
        return f"{where} wins over dense but not clearly over every control: {gain}, {ahead}."
    return f"{where} wins over dense but loses to a control, so monosemanticity is not the reason: {gain}, {ahead}."


def _milder_levels(name: str, scenario: str, summary: pd.DataFrame) -> list[str]:
    """What becomes of the gain where there is less noise: who has little must not be misled by the hardest level."""
    rows = summary[(summary["features"] == name) & (summary["scenario"] == scenario)]
    milder = rows[(rows["level"] != hardest_level(summary, scenario)) & rows["gain"].notna()]
    if milder.empty:
        return []
    parts = []
    for word, chosen in (
        ("better", milder[(milder["p_holm"] < SIGNIFICANT) & (milder["gain"] > 0)]),
        ("WORSE", milder[(milder["p_holm"] < SIGNIFICANT) & (milder["gain"] < 0)]),
        ("no clear difference", milder[~(milder["p_holm"] < SIGNIFICANT)]),
    ):
        if len(chosen):
            levels = [describe_cell(scenario, level) for level in chosen["level"]]
            low, high = chosen["gain"].min(), chosen["gain"].max()
            span = _points(low) if len(chosen) == 1 else f"{100 * low:+.1f} to {_points(high)}"
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
    clear = rows["p_holm"] < SIGNIFICANT
    counts = [
        f"{word} on {int(chosen.sum())}"
        for word, chosen in (
            ("better", clear & (rows["gain"] > 0)),
            ("WORSE", clear & (rows["gain"] < 0)),
            ("without a clear difference", ~clear),
        )
        if chosen.any()
    ]
    ends = [f"{_kind(row['scenario'])} ({_points(row['gain'])})" for _, row in rows.iloc[[0, -1]].iterrows()]
    return [f"Of the {len(rows)} kinds there, {name} is {', '.join(counts)}; gains run from {ends[0]} to {ends[1]}."]


def _kind(scenario: str) -> str:
    return scenario.removeprefix(family_of(scenario) or "").replace("_", " ")


def _warnings(results: pd.DataFrame, summary: pd.DataFrame, plan: Plan, monosemantic: list[str]) -> list[str]:
    warnings = []
    if plan.seeds < 5:
        warnings.append(f"Only {plan.seeds} seed{'s' * (plan.seeds > 1)}: intervals need at least 5 to mean much.")
    for name in monosemantic:
        clean = _cell(summary, name, "clean", 0.0)
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
