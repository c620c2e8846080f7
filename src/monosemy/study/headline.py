"""The two sentences that a study is summed up by."""

import math
from collections.abc import Sequence

import pandas as pd

from monosemy.study.families import single_kinds
from monosemy.study.wording import (
    SIGNIFICANT,
    cell_of,
    describe_cell,
    hardest_level,
    in_points,
    interval_of,
    judgement,
    no_difference,
    outcomes,
)


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
