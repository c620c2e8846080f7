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
    return f"{round(100 * difference, 1) + 0.0:+.1f} points"  # never -0.0


def kind_in_words(scenario: str) -> str:
    return scenario.removeprefix(family_of(scenario) or "").replace("_", " ")


def outcomes(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Return the rows of a summary by how they compare with the baseline; outcomes without rows are left out.

    A row is better or worse only if Holm's corrected p-value is below 5 %.
    """
    clear = rows["p_holm"] < SIGNIFICANT
    parts = (
        ("better", rows[clear & (rows["gain"] > 0)]),
        ("worse", rows[clear & (rows["gain"] < 0)]),
        ("no clear difference", rows[~clear & rows["p_holm"].notna()]),
        ("not testable", rows[rows["p_holm"].isna()]),
    )
    return [(word, part) for word, part in parts if len(part)]


VERBS = {
    "better": "improves on",
    "worse": "is worse than",
    "no clear difference": "makes no clear difference to",
    "not testable": "cannot be tested against",
}


def compared_by_outcome(rows: pd.DataFrame, name: str, baseline: str) -> str:
    """Return how a variant compares with the baseline in each row of a summary, the cells grouped by outcome."""
    parts = []
    for word, part in outcomes(rows):
        cells = [
            f"{'on clean labels' if scenario == 'clean' else f'under {describe_cell(scenario, level)}'} "
            f"({in_points(gain)})"
            for scenario, level, gain in part[["scenario", "level", "gain"]].itertuples(index=False)
        ]
        parts.append(f"{VERBS[word]} {baseline} {', '.join(cells)}")
    return f"{name} {'; '.join(parts)}"


def few_seeds(n_seeds: int) -> list[str]:
    """Return a warning where there are too few seeds for intervals to mean much."""
    if n_seeds >= 5:
        return []
    return [f"Only {n_seeds} seed{'s' * (n_seeds > 1)}: intervals need at least 5 to mean much."]


def difference(cell: pd.Series, baseline: str) -> str:
    """Return how a cell of a summary compares with the baseline: a verb and the gain with its interval."""
    gain = with_interval(cell["gain"], cell["gain_low"], cell["gain_high"])
    if np.isnan(cell["p_holm"]):
        why = "one seed cannot tell more" if cell["seeds"] < 2 else "it does not vary with the seed"
        return f"differs by {in_points(cell['gain'])} from {baseline} ({why})"
    if not cell["p_holm"] < SIGNIFICANT:
        # The p-value is corrected for all comparisons, the interval is not: without the first the second misleads.
        return f"makes no clear difference to {baseline}: {gain}, Holm p {cell['p_holm']:.2f}"
    return f"{'improves on' if cell['gain'] > 0 else 'is worse than'} {baseline}: {gain}"


def compared(
    result: StudyResult,
    name: str,
    controls: Sequence[str] | None,
    scenario: str,
    level: float,
    where: str = "",
    aside: str = "",
) -> str:
    """Return how a variant compares in a cell with the baseline and the closest control: one sentence.

    Args:
        controls: None leaves controls out.
        where: the cell in words, if they differ from those of its scenario.
        aside: an apposition to the name.
    """
    baseline = str(result.summary["features"][result.summary["gain"].isna()].iloc[0])
    cell = cell_of(result.summary, name, scenario, level)
    where = where or ("On clean labels" if scenario == "clean" else f"Under {describe_cell(scenario, level)}")
    sentence = f"{where}, {name}{aside} {difference(cell, baseline)}"
    if controls is None:
        return f"{sentence}."
    if not controls:
        return f"{sentence}; no control was run."
    margins = {control: paired_gain(result.results, name, control, scenario, level) for control in controls}
    closest = min(margins, key=lambda control: margins[control][0])
    doubt = ""
    if cell["p_holm"] < SIGNIFICANT and cell["gain"] > 0:
        if any(high < 0 for _, _, high in margins.values()):
            doubt = ", which is better, so monosemanticity is not the reason"
        elif not all(low > 0 for _, low, _ in margins.values()):
            doubt = ", which is no clear difference"
    return f"{sentence}; {with_interval(*margins[closest])} to the closest control, {closest}{doubt}."


def with_interval(difference: float, low: float, high: float) -> str:
    """Return a difference in points with its 95 % interval, if it has one."""
    return in_points(difference) + ("" if np.isnan(low) else f" [{100 * low:+.1f}, {100 * high:+.1f}]")
