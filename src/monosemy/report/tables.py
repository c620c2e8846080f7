"""Tables and sections of a report: which rows belong together, in which order, and how numbers are written."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from monosemy.errors import InputError
from monosemy.results import statistics, wording
from monosemy.results.result import pair_parts, with_role

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CLEAN_LEVELS = {"label-noise": 0.0, "input-noise": 0.0, "few-labels": 1.0, "imbalance": 1.0}
FEATURE_METRICS = (
    "n_dimensions", "l0", "dead", "explained_variance",
    "semantic_consistency", "consistency_chance", "mono_score",
)  # fmt: skip
COMMON_CORRUPTIONS = f"corruption:{statistics.MEAN}"
NOTHING = "–"

_NAMES = {
    "clean": ("Clean data", "on clean data"),
    "label-noise": ("Label noise", "under label noise"),
    "given-labels": ("Given labels", "with the given labels"),
    "few-labels": ("Few labels", "with few labels"),
    "labels-per-class": ("Labels a class", "with few labels a class"),
    "imbalance": ("Class imbalance", "under class imbalance"),
    "input-noise": ("Input noise", "under input noise"),
    COMMON_CORRUPTIONS: ("Common corruptions, mean over kinds", "under common corruptions"),
}
"""Scenarios as a heading, and as the end of a title: accuracy ..."""


@dataclass(frozen=True)
class StudyFigure:
    """A figure with the name of its file and what it shows in words."""

    kind: str
    scenario: str
    stem: str
    alt: str
    figure: "Figure"


class Table(NamedTuple):
    """A table of a report: a name and texts in each row."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    of_variants: bool = True
    """False where a row is no variant, so that it has no line of a figure beside its name."""


@dataclass(frozen=True)
class Section:
    """A part of a report that one kind of study adds."""

    title: str
    tables: tuple[Table, ...] = ()
    figures: tuple[StudyFigure, ...] = ()
    note: str = ""
    links: tuple[tuple[str, str], ...] = ()
    """Texts and files of the study folder that they lead to."""


class Cell(NamedTuple):
    """One row of a summary."""

    variant: str
    scenario: str
    level: float
    seeds: int
    n_test: int
    """Test rows; 0 if unknown."""
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    gain: float
    gain_low: float
    gain_high: float
    p: float
    p_holm: float
    outcome: str

    @property
    def clear(self) -> bool:
        """True where the gain is better or worse by the rule of all studies."""
        return self.outcome in ("better", "worse")


def cells(table: pd.DataFrame) -> Iterator[Cell]:
    """The rows of a summary, typed."""
    return (Cell(*row) for row in table[list(Cell._fields)].itertuples(index=False))


def clean_level(scenario: str) -> float | None:
    """Return the level of clean data on the scale of a scenario; None for a scenario without a scale."""
    return 0.0 if statistics.family_of(scenario) is not None else _CLEAN_LEVELS.get(scenario)


def levelled(scenario: str) -> bool:
    """Return whether the levels of a scenario form a scale, which curves go along."""
    return clean_level(scenario) is not None or scenario == "labels-per-class"


def scenarios(summary: pd.DataFrame) -> list[str]:
    """The scenarios to show, in their order.

    Clean data stands by itself only where no scale of levels begins with it, and the mean over kinds of corruption
    stands for the kinds.
    """
    present = list(dict.fromkeys(summary["scenario"]))
    hidden = statistics.single_kinds(present)
    if any(clean_level(name) is not None for name in present):
        hidden.add("clean")
    return [name for name in present if name not in hidden]


def kinds(summary: pd.DataFrame, mean: str) -> list[str]:
    """The kinds that a mean is over, in their order; none for another scenario."""
    if not statistics.is_mean(mean):
        return []
    family, present = statistics.family_of(mean), dict.fromkeys(summary["scenario"])
    return [name for name in present if name != mean and statistics.family_of(name) == family]


def main_scenario(summary: pd.DataFrame) -> str | None:
    """The scenario that is shown first: label noise where it was run."""
    present = [name for name in scenarios(summary) if name != "clean"]
    return "label-noise" if "label-noise" in present else next(iter(present), None)


def scenario_table(summary: pd.DataFrame, scenario: str) -> pd.DataFrame:
    """The rows of a scenario from the easiest to the hardest level, the clean cell put where it stands on the scale.

    Raises:
        InputError: the summary holds no such scenario.
    """
    rows = summary[summary["scenario"] == scenario]
    if rows.empty:
        known = ", ".join(dict.fromkeys(summary["scenario"]))
        raise InputError(f"The scenario {scenario!r} is not in the summary; choose among {known}.")
    start = clean_level(scenario)
    if start is not None and start not in set(rows["level"]):
        clean = summary[(summary["scenario"] == "clean") & summary["variant"].isin(rows["variant"])]
        rows = pd.concat([clean.assign(level=start), rows])
    return rows.sort_values("level", ascending=scenario not in wording.FEWER_IS_HARDER, kind="stable")


def levels(table: pd.DataFrame) -> list[float]:
    """The levels of a scenario's table, in its order."""
    return [float(level) for level in dict.fromkeys(table["level"])]


def hardest(table: pd.DataFrame) -> pd.DataFrame:
    """The rows at the last level of a scenario's table."""
    return table[table["level"] == table["level"].iloc[-1]]


def test_rows_text(table: pd.DataFrame) -> str:
    """Return the number of test rows of a scenario's table, as the end of a title; empty where it is unknown."""
    counts = sorted({int(count) for count in table["n_test"]} - {0})
    numbers = " to ".join(f"{count:,}" for count in dict.fromkeys([*counts[:1], *counts[-1:]]))
    return f", {numbers} test rows" if counts else ""


def challengers(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that have a gain: all but the baseline's."""
    return table[table["gain"].notna()]


def baseline(table: pd.DataFrame) -> str:
    """Return the variant that gains are measured against: the one that has none."""
    compared = set(challengers(table)["variant"])
    return next((name for name in variant_names(table) if name not in compared), "")


def variant_names(table: pd.DataFrame) -> list[str]:
    """The variants of a table, in their order."""
    return list(dict.fromkeys(table["variant"]))


def in_focus(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that a picture shows: baseline and selected variants where a study selects, else all."""
    names = variant_names(table)
    selected = [*with_role(names, "selected"), *with_role(names, "contender")]
    return table[table["variant"].isin([*with_role(names, "baseline"), *selected])] if selected else table


def same_classifier(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that differ from the baseline by their features alone."""
    classifier = pair_parts(baseline(table))[1]
    return table[table["variant"].map(lambda name: pair_parts(name)[1] == classifier)]


def feature_table(results: pd.DataFrame) -> pd.DataFrame:
    """Mean feature metrics over seeds: a row a feature set, a column a metric, NaN where it was not measured."""
    rows = results[results["metric"].isin(FEATURE_METRICS)]
    means = rows.groupby(["variant", "metric"], sort=False)["value"].mean().unstack()
    return means.reindex(index=variant_names(rows), columns=list(FEATURE_METRICS))


def surplus_consistency(results: pd.DataFrame, name: str) -> tuple[float, float, float]:
    """Semantic consistency minus its chance level: mean over seeds with its 95 % interval; NaN if not measured."""
    rows = results[results["variant"] == pair_parts(name)[0]].pivot_table(
        index="seed", columns="metric", values="value"
    )
    parts = rows.reindex(columns=["semantic_consistency", "consistency_chance"])
    return _interval(parts["semantic_consistency"] - parts["consistency_chance"])


def metric_interval(results: pd.DataFrame, name: str, metric: str) -> tuple[float, float, float]:
    """A feature metric: mean over seeds with its 95 % interval; NaN if not measured."""
    of_features = results["variant"] == pair_parts(name)[0]
    return _interval(results[of_features & (results["metric"] == metric)]["value"])


def _interval(values: pd.Series) -> tuple[float, float, float]:
    known = values.dropna().to_numpy()
    return statistics.mean_interval(known) if len(known) else (math.nan, math.nan, math.nan)


def feature_texts(results: pd.DataFrame, metrics: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    """Return each feature set with its metrics as texts."""
    for name, values in feature_table(results).iterrows():
        yield str(name), [metric_text(metric, float(values[metric])) for metric in metrics]


def cost_table(costs: pd.DataFrame) -> pd.DataFrame:
    """Return the costs of each set: seconds of an encoder, a fit, the probes of a seed, and in all; peak memory.

    Returns: a row a feature set; means over what was measured, sums of seconds in all, the largest peak.
    """
    rows = {}
    for name, blocks in costs.groupby("variant", sort=False):
        measured = blocks.dropna(subset=["probe_seconds"])
        rows[str(name)] = {
            "encoder_seconds": blocks["encoder_seconds"].mean(),
            "fit_seconds": blocks["fit_seconds"].mean(),
            "probe_seconds": measured["probe_seconds"].sum() / measured["seeds"].sum() if len(measured) else math.nan,
            "seconds": blocks["seconds"].sum(min_count=1),
            "peak_mib": blocks["peak_mib"].max(),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def scenario_title(scenario: str) -> str:
    """A scenario as a heading."""
    return _names(scenario)[0]


def scenario_phrase(scenario: str) -> str:
    """A scenario as the end of a title: accuracy ..."""
    return _names(scenario)[1]


def _names(scenario: str) -> tuple[str, str]:
    name = scenario.removeprefix("shift:")
    if scenario in _NAMES:
        return _NAMES[scenario]
    if statistics.is_mean(scenario):
        group = name.removesuffix(f"/{statistics.MEAN}")
        return f"Shift: {group}, mean over kinds", f"on {group}, mean over kinds"
    if scenario.startswith("corruption:"):
        kind = wording.kind_in_words(scenario)
        return f"Corruption: {kind}", f"under {kind}"
    return (f"Shift: {name}", f"on the shifted set {name}") if name != scenario else (scenario, scenario)


def level_text(scenario: str, level: float) -> str:
    """A level as the head of a column."""
    if clean_level(scenario) == level:
        return "clean" if scenario != "few-labels" else "all labels"
    if statistics.family_of(scenario) is not None or (scenario.startswith("shift:") and level != 1):
        return f"severity {level:g}"
    if scenario == "input-noise":
        return f"{level:g}"
    if scenario == "imbalance":
        return f"{level:g} : 1"
    if scenario == "labels-per-class":
        return f"{level:g} a class"
    if scenario == "given-labels":
        return f"{percent(level)} wrong"
    return percent(level) if scenario in _CLEAN_LEVELS else "test set"


def percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def points(value: float, signed: bool = False) -> str:
    """A share in percent or points with one decimal; a dash for NaN."""
    if math.isnan(value):
        return NOTHING
    # Adding 0.0 turns a rounded -0.0 into 0.0: "-0.0 points" looks like a loss.
    rounded = round(100 * value, 1) + 0.0
    return f"{rounded:+.1f}" if signed and rounded else f"{rounded:.1f}"


def accuracy_text(cell: Cell) -> str:
    """Mean accuracy in percent with half its interval."""
    half = (cell.accuracy_high - cell.accuracy_low) / 2
    return points(cell.accuracy) if math.isnan(half) else f"{points(cell.accuracy)} ±{points(half)}"


def gain_interval_text(cell: Cell) -> str:
    """The interval of the gain in points."""
    if math.isnan(cell.gain_low):
        return NOTHING
    return f"{points(cell.gain_low, signed=True)} to {points(cell.gain_high, signed=True)}"


def cost_text(part: str, value: float) -> str:
    """Seconds or MiB, with two or three digits: no more of it would be the same the next time."""
    if math.isnan(value):
        return NOTHING
    if part == "peak_mib":
        return f"{value:.0f} MiB"
    if value < 0.1:
        return "< 0.1 s"
    return f"{value:.1f} s" if value < 10 else f"{value:.0f} s"


def metric_text(metric: str, value: float) -> str:
    """A feature metric, as exact as it is worth reading."""
    if math.isnan(value):
        return NOTHING
    if metric == "n_dimensions":
        return f"{value:.0f}"
    if metric == "l0":
        return f"{value:.1f}"
    if metric in ("dead", "explained_variance"):
        return f"{100 * value:.1f} %"
    return f"{value:.2f}" if metric != "mono_score" else f"{value:.3f}"
