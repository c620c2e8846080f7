"""Whether a study learned anything: means against a level that takes no learning, and the one sentence if not.

Differences between models that learned nothing are differences between noises. A study says so once instead of judging
them one by one.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from monosemy.results.intervals import SIGNIFICANT, Estimate, holm_levels
from monosemy.results.result import StudyResult
from monosemy.results.statistics import TEST_ROWS, Scores, chance_level
from monosemy.results.wording import in_cell

REMEDY = "train longer, with a larger learning rate or on more rows"


def any_above(means: Sequence[Estimate], level: float = 0.0) -> bool:
    """Return whether one of several means is clearly above a level.

    It is where its interval lies above the level; the intervals hold together at 95 % (Holm). A mean whose error is
    unknown, that of one seed or of equal seeds, counts where the mean itself is above. Means of no seeds are left out.
    """
    above = [replace(mean, mean=mean.mean - level) for mean in means if mean.seeds]
    p_values = np.array([mean.p for mean in above], dtype=np.float64)
    limits = [
        mean.interval(1 - alpha)[0] for mean, alpha in zip(above, holm_levels(p_values, SIGNIFICANT), strict=True)
    ]
    return any((mean.mean if math.isnan(low) else low) > 0 for mean, low in zip(above, limits, strict=True))


Cell = tuple[str, float]
"""Scenario and level."""


def at_chance(result: StudyResult) -> dict[Cell, str]:
    """Return the cells of a study in which no variant is clearly more accurate than chance, and why as a clause.

    Chance is the accuracy of always choosing the commonest class; where it is unknown, no cell is found.
    """
    chance = chance_level(result.results)
    if chance is None:
        return {}
    scores = Scores(result.results, result.tables.get(TEST_ROWS))
    found = {}
    for scenario, level in scores.cells:
        means = {name: scores.mean(name, scenario, level) for name in scores.names}
        known = {name: mean for name, mean in means.items() if mean.seeds}
        if known and not any_above(list(known.values()), chance):
            found[scenario, level] = (
                f"the best accuracy, {_best(known)}, is not clearly above the {100 * chance:.1f} % of always choosing "
                f"the commonest class"
            )
    return found


def nothing_in(result: StudyResult, cell: Cell, reason: str) -> str:
    """Return that nothing was learned in a cell."""
    return f"{in_cell(result.summary, *cell)}, nothing was learned: {reason}."


def learned_cells(summary: pd.DataFrame, reasons: Mapping[Cell, str]) -> pd.DataFrame:
    """Return the rows of a summary without the cells in which nothing was learned."""
    cells = zip(summary["scenario"], summary["level"], strict=True)
    return summary[[cell not in reasons for cell in cells]]


def nothing_learned(result: StudyResult, reasons: Mapping[Cell, str]) -> str:
    """Return the one sentence of a study that learned nothing in any of its cells; empty where it did in one."""
    cells = list(result.summary[["scenario", "level"]].drop_duplicates().itertuples(index=False, name=None))
    if any(cell not in reasons for cell in cells):
        return ""
    first = ("clean", 0.0) if ("clean", 0.0) in reasons else cells[0]
    where = in_cell(result.summary, *first)
    elsewhere = "; the other conditions are no better" if len(cells) > 1 else ""
    return nothing(f"{where[0].lower()}{where[1:]} {reasons[first]}{elsewhere}")


def nothing(reason: str) -> str:
    """Return that a study learned nothing, for a reason that is a clause, and the remedy."""
    return f"Nothing was learned: {reason}. Differences between the methods are noise and are not judged; {REMEDY}."


def _best(means: Mapping[str, Estimate]) -> str:
    """Return the highest accuracy with its interval, and whose it is."""
    name = max(means, key=lambda each: means[each].mean)
    low, high = np.clip(means[name].interval(), 0, 1)
    interval = "" if math.isnan(low) else f" [{100 * low:.1f}, {100 * high:.1f}]"
    return f"{100 * means[name].mean:.1f} %{interval} of {name}"
