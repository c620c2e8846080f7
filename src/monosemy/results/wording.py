"""The vocabulary of verdicts: cells of a study, differences, and how a variant compares in a cell."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from monosemy.results.intervals import FEWEST_SEEDS, Outcome, judge
from monosemy.results.result import StudyResult
from monosemy.results.statistics import TEST_ROWS, Scores, family_of, is_mean

SCENARIO_WORDS = {
    "label-noise": "{percent} % label noise",
    "given-labels": "the given noisy labels ({percent} % wrong)",
    "input-noise": "input noise {level}",
    "few-labels": "{percent} % of the labels",
    "labels-per-class": "{level} labels a class",
    "imbalance": "an imbalance of {level} to 1",
}
FEWER_IS_HARDER = ("few-labels", "labels-per-class")
"""Scenarios whose level is an amount of labels, so that the smallest level is the hardest."""


def describe_cells(scenario: str, levels: Sequence[float]) -> str:
    """Return the cells of a scenario in words, such as `10 and 20 % label noise`."""
    if scenario not in SCENARIO_WORDS:
        return joined([describe_cell(scenario, level) for level in levels])
    if scenario == "labels-per-class" and list(levels) == [1]:
        return "1 label a class"
    numbers, percents = [f"{level:g}" for level in levels], [f"{100 * level:.3g}" for level in levels]
    return SCENARIO_WORDS[scenario].format(level=joined(numbers), percent=joined(percents))


def in_cells(scenario: str, levels: Sequence[float]) -> str:
    """Return the cells of a scenario as the place of an observation, such as `under 10 % label noise`."""
    if scenario == "clean":
        return "on clean labels"
    return f"{'with' if scenario in FEWER_IS_HARDER else 'under'} {describe_cells(scenario, levels)}"


def describe_cell(scenario: str, level: float) -> str:
    """A cell in words."""
    family = family_of(scenario)
    if family is not None:
        what = "mean over kinds" if is_mean(scenario) else kind_in_words(scenario)
        where = "common corruptions" if family == "corruption:" else family.removeprefix("shift:").rstrip("/")
        return f"{where} of severity {level:g} ({what})"
    if scenario.startswith("shift:"):
        return f"the shifted set {scenario.removeprefix('shift:')}" + (f", level {level:g}" if level != 1 else "")
    return describe_cells(scenario, [level])


def tested_on(summary: pd.DataFrame, scenario: str, level: float) -> str:
    """Return the number of test rows of a cell in brackets, as the end of a phrase; empty where it is unknown."""
    here = summary[(summary["scenario"] == scenario) & (summary["level"] == level)]
    count = int(here["n_test"].max()) if "n_test" in here and len(here) else 0
    return f" ({count:,} test rows)" if count else ""


def in_cell(summary: pd.DataFrame, scenario: str, level: float) -> str:
    """Return a cell as the beginning of a sentence, with its number of test rows."""
    where = in_cells(scenario, [level])
    return where[0].upper() + where[1:] + tested_on(summary, scenario, level)


def hardest_level(summary: pd.DataFrame, scenario: str) -> float:
    """The level of a scenario that the verdict judges: the most noise, or the fewest labels."""
    levels = summary.loc[summary["scenario"] == scenario, "level"]
    return float(levels.min() if scenario in FEWER_IS_HARDER else levels.max())


def cell_of(summary: pd.DataFrame, name: str, scenario: str, level: float) -> pd.Series:
    rows = summary[(summary["variant"] == name) & (summary["scenario"] == scenario) & (summary["level"] == level)]
    return rows.iloc[0]


def in_points(difference: float) -> str:
    return f"{round(100 * difference, 1) + 0.0:+.1f} points"  # never -0.0


def joined(texts: Sequence[str]) -> str:
    """Return texts as a list in a sentence."""
    return ", ".join(texts) if len(texts) < 2 else f"{', '.join(texts[:-1])} and {texts[-1]}"


def kind_in_words(scenario: str) -> str:
    return scenario.removeprefix(family_of(scenario) or "").replace("_", " ")


OUTCOMES: tuple[Outcome, ...] = ("better", "worse", "equivalent", "undecided")
VERBS: dict[Outcome, str] = {
    "better": "improves on",
    "worse": "is worse than",
    "equivalent": "is equivalent within a point to",
    "undecided": "is neither clearly better nor worse than",
}


def outcomes(rows: pd.DataFrame) -> list[tuple[Outcome, pd.DataFrame]]:
    """Return the rows of a summary by their outcome; outcomes without rows are left out."""
    parts = [(outcome, rows[rows["outcome"] == outcome]) for outcome in OUTCOMES]
    return [(outcome, part) for outcome, part in parts if len(part)]


def compared_by_outcome(rows: pd.DataFrame, name: str, baseline: str) -> str:
    """Return how a variant compares with the baseline in each row of a summary, the cells grouped by outcome."""
    parts = []
    for word, part in outcomes(rows):
        cells = [
            f"{in_cells(scenario, [level])} ({in_points(gain)})"
            for scenario, level, gain in part[["scenario", "level", "gain"]].itertuples(index=False)
        ]
        parts.append(f"{VERBS[word]} {baseline} {', '.join(cells)}")
    return f"{name} {'; '.join(parts)}"


def few_seeds(n_seeds: int) -> list[str]:
    """Return a warning where there are too few seeds for intervals to mean much."""
    if n_seeds >= 5:
        return []
    seeds = f"Only {n_seeds} seed{'s' * (n_seeds > 1)}"
    if n_seeds < FEWEST_SEEDS:
        return [f"{seeds}: no difference is called better or worse with fewer than {FEWEST_SEEDS}; 5 are better still."]
    return [f"{seeds}: intervals need at least 5 to mean much."]


def difference(cell: pd.Series, baseline: str) -> str:
    """Return how a cell of a summary compares with the baseline: a verb and the gain with its interval."""
    gain = with_interval(cell["gain"], cell["gain_low"], cell["gain_high"])
    if cell["outcome"] == "undecided":
        if cell["seeds"] < FEWEST_SEEDS:
            return f"differs by {gain} from {baseline} ({few(cell['seeds'])})"
        if np.isnan(cell["gain_low"]):
            return f"differs by {gain} from {baseline} (it does not vary with the seed)"
    return f"{VERBS[cell['outcome']]} {baseline}: {gain}"


def few(n_seeds: int) -> str:
    """Return why a small number of seeds decides nothing."""
    return "one seed cannot tell more" if n_seeds == 1 else f"{n_seeds} seeds cannot tell more"


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
    baseline = str(result.summary["variant"][result.summary["gain"].isna()].iloc[0])
    cell = cell_of(result.summary, name, scenario, level)
    where = where or in_cell(result.summary, scenario, level)
    sentence = f"{where}, {name}{aside} {difference(cell, baseline)}"
    if controls is None:
        return f"{sentence}."
    scores = Scores(result.results, result.tables.get(TEST_ROWS))
    gains = {control: scores.gain(name, control, scenario, level) for control in controls}
    known = {control: gain for control, gain in gains.items() if gain.seeds}
    if not known:
        return f"{sentence}; no control was run." if cell["outcome"] == "better" else f"{sentence}."
    margins = dict(zip(known, judge(list(known.values()), [False] * len(known)), strict=True))
    closest = min(known, key=lambda control: known[control].mean)
    doubt = ""
    if cell["outcome"] == "better":
        if any(margin.outcome == "worse" for margin in margins.values()):
            doubt = ", which is better, so monosemanticity is not the reason"
        elif not all(margin.outcome == "better" for margin in margins.values()):
            doubt = ", which is not clearly worse"
    margin = with_interval(known[closest].mean, margins[closest].low, margins[closest].high)
    return f"{sentence}; {margin} to the closest control, {closest}{doubt}."


def with_interval(difference: float, low: float, high: float) -> str:
    """Return a difference in points with its interval, if it has one."""
    return in_points(difference) + ("" if np.isnan(low) else f" [{100 * low:+.1f}, {100 * high:+.1f}]")
