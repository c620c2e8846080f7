"""The answer in plain words, and everything that must not be hidden."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from monosemy.features.registry import FEATURE_SETS
from monosemy.study.plan import Plan
from monosemy.study.statistics import paired_gain

SCENARIO_WORDS = {
    "label-noise": "{level:.0%} label noise",
    "given-labels": "the given noisy labels ({level:.0%} wrong)",
    "input-noise": "input noise {level:g}",
    "few-labels": "{level:.0%} of the labels",
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
    if scenario.startswith("shift:"):
        return f"the shifted set {scenario.removeprefix('shift:')}"
    return SCENARIO_WORDS[scenario].format(level=level)


def make_verdict(results: pd.DataFrame, summary: pd.DataFrame, plan: Plan) -> Verdict:
    """Judge every monosemantic set in the hardest cell of each scenario, against dense and against all controls."""
    present = list(dict.fromkeys(summary["features"]))
    monosemantic = [n for n in present if n in FEATURE_SETS and FEATURE_SETS[n].role == "monosemantic"]
    controls = [n for n in present if n in FEATURE_SETS and FEATURE_SETS[n].role == "control"]
    sentences = []
    for scenario, level in _hardest_cells(summary):
        for name in monosemantic:
            sentences.append(_judge(name, controls, scenario, level, results, summary))
    if not monosemantic:
        sentences.append("No monosemantic feature set was in the study, so there is nothing to judge.")
    for name in monosemantic:
        clean = _cell(summary, name, "clean", 0.0)
        if clean is not None:
            cost = -100 * clean["gain"]
            word = "costs" if cost > 0 else "gains"
            sentences.append(
                f"On clean data {name} {word} {abs(cost):.1f} points{_interval(clean, sign=-1, flip=cost < 0)}."
            )
    return Verdict(tuple(sentences), tuple(_warnings(results, summary, plan, monosemantic)))


def _hardest_cells(summary: pd.DataFrame) -> list[tuple[str, float]]:
    cells = []
    for scenario in dict.fromkeys(summary["scenario"]):
        if scenario == "clean":
            continue
        levels = summary.loc[summary["scenario"] == scenario, "level"]
        cells.append((scenario, float(levels.min() if scenario == "few-labels" else levels.max())))
    return cells


def _cell(summary: pd.DataFrame, name: str, scenario: str, level: float) -> pd.Series | None:
    rows = summary[(summary["features"] == name) & (summary["scenario"] == scenario) & (summary["level"] == level)]
    return None if rows.empty else rows.iloc[0]


def _interval(cell: pd.Series, sign: int = 1, flip: bool = False) -> str:
    low, high = sorted((sign * 100 * cell["gain_low"], sign * 100 * cell["gain_high"]))
    if flip:
        low, high = -high, -low
    return "" if np.isnan(low) else f" (95 % interval {low:.1f} to {high:.1f})"


def _judge(
    name: str, controls: list[str], scenario: str, level: float, results: pd.DataFrame, summary: pd.DataFrame
) -> str:
    cell = _cell(summary, name, scenario, level)
    assert cell is not None
    where = describe_cell(scenario, level)
    if not cell["gain_low"] > 0:
        if cell["gain_high"] < 0:
            return f"Under {where}, {name} LOSES {-100 * cell['gain']:.1f} points to dense{_interval(cell, -1)}."
        gain = f"{100 * cell['gain']:+.1f} points{_interval(cell)}"
        return f"Under {where}, {name} makes no clear difference to dense: {gain}."
    start = f"Under {where}, {name} beats tuned dense by {100 * cell['gain']:.1f} points{_interval(cell)}"
    if not controls:
        return f"{start}; no control was run."
    margins = {control: paired_gain(results, name, control, scenario, level) for control in controls}
    closest = min(margins, key=lambda control: margins[control][0])
    margin, low, _ = margins[closest]
    if low > 0:
        return f"{start} and every control; the closest, {closest}, by {100 * margin:.1f} (at least {100 * low:.1f})."
    if margin > 0:
        return f"{start}, but not clearly the control {closest} ({100 * margin:+.1f}, interval from {100 * low:.1f})."
    return f"{start}, but the control {closest} does better by {-100 * margin:.1f}: a gain without monosemanticity."


def _warnings(results: pd.DataFrame, summary: pd.DataFrame, plan: Plan, monosemantic: list[str]) -> list[str]:
    warnings = []
    if plan.seeds < 5:
        warnings.append(f"Only {plan.seeds} seed{'s' * (plan.seeds > 1)}: intervals need at least 5 to mean much.")
    for name in monosemantic:
        clean = _cell(summary, name, "clean", 0.0)
        if clean is not None and clean["gain"] < -0.01:
            warnings.append(f"{name} loses {-100 * clean['gain']:.1f} points on clean data.")
    means = results.groupby(["features", "metric"], sort=False)["value"].mean()
    for name in dict.fromkeys(results["features"]):
        role = FEATURE_SETS[name].role if name in FEATURE_SETS else None
        explained = means.get((name, "explained_variance"), np.nan)
        if role == "monosemantic" and explained < 0.95:
            warnings.append(
                f"{name} leaves {1 - explained:.0%} of the variance of test embeddings unexplained (above 5 %)."
            )
        dead = means.get((name, "dead"), 0.0)
        if dead > 0.01:
            warnings.append(f"{dead:.0%} of the dimensions of {name} never fire on train.")
    warnings += _grid_warnings(results, plan)
    return warnings


def _grid_warnings(results: pd.DataFrame, plan: Plan) -> list[str]:
    """A weight decay chosen at the grid's upper edge may be too small still; the lower edge, 0, is a natural end."""
    top = max(plan.probe.weight_decays)
    chosen = results[(results["metric"] == "weight_decay") & (results["value"] == top)]
    if len(plan.probe.weight_decays) < 2 or chosen.empty:
        return []
    names = ", ".join(dict.fromkeys(chosen["features"]))
    return [
        f"The largest weight decay of the grid ({top:g}) was chosen in {len(chosen)} cells ({names}); a wider grid may "
        f"serve them better."
    ]
