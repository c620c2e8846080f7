"""The vocabulary of verdicts: cells of a study, differences, and how a variant compares in a cell."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from monosemy.results.result import StudyResult
from monosemy.results.statistics import family_of, is_mean, paired_gain

SIGNIFICANT = 0.05
"""Of Holm's corrected p-values."""

SCENARIO_WORDS = {
    "label-noise": "{percent:.3g} % label noise",
    "given-labels": "the given noisy labels ({percent:.3g} % wrong)",
    "input-noise": "input noise {level:g}",
    "few-labels": "{percent:.3g} % of the labels",
}


def describe_cell(scenario: str, level: float) -> str:
    """A cell in words."""
    family = family_of(scenario)
    if family is not None:
        what = "mean over kinds" if is_mean(scenario) else kind_in_words(scenario)
        where = "common corruptions" if family == "corruption:" else family.removeprefix("shift:").rstrip("/")
        return f"{where} of severity {level:g} ({what})"
    if scenario.startswith("shift:"):
        return f"the shifted set {scenario.removeprefix('shift:')}" + (f", level {level:g}" if level != 1 else "")
    return SCENARIO_WORDS[scenario].format(level=level, percent=100 * level)


def hardest_level(summary: pd.DataFrame, scenario: str) -> float:
    """The level of a scenario that the verdict judges: the most noise, or the fewest labels."""
    levels = summary.loc[summary["scenario"] == scenario, "level"]
    return float(levels.min() if scenario == "few-labels" else levels.max())


def cell_of(summary: pd.DataFrame, name: str, scenario: str, level: float) -> pd.Series:
    rows = summary[(summary["features"] == name) & (summary["scenario"] == scenario) & (summary["level"] == level)]
    return rows.iloc[0]


def in_points(difference: float) -> str:
    return f"{100 * difference:+.1f} points"


def interval_of(cell: pd.Series) -> str:
    if np.isnan(cell["gain_low"]):
        return f" (no interval: {'only one seed' if cell['seeds'] < 2 else 'it does not vary with the seed'})"
    return f" (95 % interval {100 * cell['gain_low']:+.1f} to {100 * cell['gain_high']:+.1f})"


def kind_in_words(scenario: str) -> str:
    return scenario.removeprefix(family_of(scenario) or "").replace("_", " ")


def outcomes(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Rows of a summary by how they stand to dense: better, WORSE, no clear difference; none that has no rows.

    Better or worse is said only where Holm's corrected p-value is below 5 %.
    """
    clear = rows["p_holm"] < SIGNIFICANT
    parts = (
        ("better", rows[clear & (rows["gain"] > 0)]),
        ("WORSE", rows[clear & (rows["gain"] < 0)]),
        ("no clear difference", rows[~clear & rows["p_holm"].notna()]),
        ("not testable", rows[rows["p_holm"].isna()]),
    )
    return [(word, part) for word, part in parts if len(part)]


def no_difference(cell: pd.Series) -> str:
    """Said with p where it is known: it is corrected for all comparisons, the interval beside it is not."""
    if np.isnan(cell["p_holm"]):
        return "cannot be tested"
    return f"makes no clear difference (Holm p {cell['p_holm']:.2f})"


def judgement(
    name: str, controls: Sequence[str], scenario: str, level: float, results: pd.DataFrame, summary: pd.DataFrame,
    aside: str = "",
) -> str:  # fmt: skip
    """How one set stands in a cell, against dense and the closest control: one sentence.

    Args:
        aside: what else to say of the set, in the middle of the sentence.
    """
    cell = cell_of(summary, name, scenario, level)
    where = f"Under {describe_cell(scenario, level)}, {name}{aside}"
    gain = f"{in_points(cell['gain'])} to tuned dense{interval_of(cell)}"
    margins = {control: paired_gain(results, name, control, scenario, level) for control in controls}
    if not margins:
        ahead, beaten, behind = "no control was run", True, False
    else:
        control = min(margins, key=lambda other: margins[other][0])
        closest, low, high = margins[control]
        spread = "" if np.isnan(low) else f" (95 % interval {100 * low:+.1f} to {100 * high:+.1f})"
        ahead = f"{in_points(closest)}{spread} to the closest control, {control}"
        beaten = all(bound > 0 for _, bound, _ in margins.values())
        behind = any(bound < 0 for _, _, bound in margins.values())
    if not cell["p_holm"] < SIGNIFICANT:
        outcome = no_difference(cell)
    elif cell["gain"] < 0:
        outcome = "LOSES"
    elif beaten:
        outcome = "wins"
    elif not behind:
        outcome = "wins over dense but not clearly over every control"
    else:
        outcome = "wins over dense but loses to a control, so monosemanticity is not the reason"
    return f"{where} {outcome}: {gain}; {ahead}."


def few_seeds(n_seeds: int) -> list[str]:
    """Return a warning where there are too few seeds for intervals to mean much."""
    if n_seeds >= 5:
        return []
    return [f"Only {n_seeds} seed{'s' * (n_seeds > 1)}: intervals need at least 5 to mean much."]


def compared(
    result: StudyResult, name: str, controls: Sequence[str], scenario: str, level: float, where: str = ""
) -> str:
    """Return how a variant compares in a cell with the baseline and the closest control: one sentence.

    Args:
        where: the cell in words, where it has others than its scenario's.
    """
    baseline = str(result.summary["features"][result.summary["gain"].isna()].iloc[0])
    cell = cell_of(result.summary, name, scenario, level)
    where = where or ("On clean labels" if scenario == "clean" else f"Under {describe_cell(scenario, level)}")
    if np.isnan(cell["p_holm"]):
        return f"{where}, {name} differs by {in_points(cell['gain'])} from {baseline}; one seed cannot tell more."
    if not cell["p_holm"] < SIGNIFICANT:
        verb = "makes no clear difference to"
    else:
        verb = "improves on" if cell["gain"] > 0 else "is worse than"
    sentence = f"{where}, {name} {verb} {baseline}: {_with_interval(cell['gain'], cell['gain_low'], cell['gain_high'])}"
    if not controls:
        return f"{sentence}; no control was run."
    margins = {control: paired_gain(result.results, name, control, scenario, level) for control in controls}
    closest = min(margins, key=lambda control: margins[control][0])
    return f"{sentence}; {_with_interval(*margins[closest])} to the closest control, {closest}."


def _with_interval(difference: float, low: float, high: float) -> str:
    return f"{in_points(difference)} [{100 * low:+.1f}, {100 * high:+.1f}]"
