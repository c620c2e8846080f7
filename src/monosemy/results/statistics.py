"""Summaries of tidy tables: means and paired gains in every cell, judged by the one rule of all studies.

Families of scenarios are kinds of corruption that are tested one by one and quoted by their mean.

Beside the value of a metric, a row of a job may carry the values of the single test rows (:func:`packed`): hits as
bits, other numbers as float32. They are kept in a table of their own, and tell how much of a gain is due to the choice
of the test rows.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from monosemy.results.intervals import MARGIN, Estimate, judge, over_seeds, over_seeds_and_rows
from monosemy.results.result import role_of

MEAN = "mean"
_FLOAT32 = 1e-6
"""Rounding of sums in float32, relative to their size; a test row more or less among a million is as small."""
TEST_ROWS = "test_rows"
"""Name of the table that holds the values of test rows."""
CHANCE = "chance_accuracy"
"""Metric of the share of the commonest class among the test rows."""
_COUNT, _VALUES = "n_test", "row_values"
BASELINE = "baseline"
"""Outcome of the variant that gains are measured against."""
GAIN = ("gain", "gain_low", "gain_high", "p", "p_holm", "outcome")
"""Columns of :func:`judged_gains`."""


def family_of(scenario: str) -> str | None:
    """Return the part before the kind in ``corruption:KIND`` and ``shift:GROUP/KIND``, delimiter included; else None.

    The mean over the kinds is a scenario of the family too.
    """
    if scenario.startswith("corruption:"):
        return "corruption:"
    if scenario.startswith("shift:") and "/" in scenario:
        return scenario[: scenario.rindex("/") + 1]
    return None


def is_mean(scenario: str) -> bool:
    """Return whether a scenario is the mean over the kinds of a family."""
    family = family_of(scenario)
    return family is not None and scenario == family + MEAN


def single_kinds(scenarios: Iterable[str]) -> set[str]:
    """Return the scenarios whose family has a mean among them, which represents them in tables and words."""
    present = list(dict.fromkeys(scenarios))
    averaged = {family_of(scenario) for scenario in present if is_mean(scenario)}
    return {scenario for scenario in present if family_of(scenario) in averaged and not is_mean(scenario)}


def packed(values: np.typing.NDArray[Any]) -> dict[str, Any]:
    """Return the values of the single test rows (N,), bool for hits, in the form that a row of a job carries."""
    bits = values.dtype == np.bool_
    data = np.packbits(values) if bits else np.asarray(values, dtype="<f4")
    return {_COUNT: len(values), _VALUES: data.tobytes()}


def unpacked(count: int, data: bytes) -> np.typing.NDArray[Any]:
    """Return the values of :func:`packed`: hits as uint8, other numbers as float32.

    Raises:
        ValueError: the number of values and their bytes disagree.
    """
    if len(data) == 4 * count:
        return np.frombuffer(data, dtype="<f4")
    if len(data) == -(-count // 8):
        return np.unpackbits(np.frombuffer(data, dtype=np.uint8), count=count)
    raise ValueError(f"{len(data)} bytes do not hold the values of {count} test rows")


def split_test_rows(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """Return a table without the values of test rows, and these as a table of their own; None where there are none."""
    if _VALUES not in table:
        return table, None
    known = table[table[_VALUES].notna()].drop(columns="value").astype({_COUNT: "int64"})
    return table.drop(columns=[_COUNT, _VALUES]), known.reset_index(drop=True)


def with_means(results: pd.DataFrame) -> pd.DataFrame:
    """Return the results of a study with the mean accuracy over the kinds of each family as one more scenario.

    A row for each feature set, level and seed in which every kind of the family was tested. Families of one kind get
    none, and neither do those in which a kind is called "mean". The value of a test row is the mean over the kinds too.
    """
    accuracy = results[results["metric"] == "accuracy"]
    families = accuracy["scenario"].map(family_of)
    added = [results]
    for family, rows in accuracy.groupby(families, sort=False):
        kinds = rows["scenario"].nunique()
        if kinds < 2 or family + MEAN in set(rows["scenario"]):
            continue
        place = [column for column in results.columns if column not in ("scenario", "value", _COUNT, _VALUES)]
        means = [
            dict(zip(place, key, strict=True)) | {"scenario": family + MEAN, "value": cell["value"].mean()}
            | _mean_values(cell)
            for key, cell in rows.groupby(place, sort=False)
            if len(cell) == kinds
        ]  # fmt: skip
        added.append(pd.DataFrame(means, columns=list(results.columns)))
    return pd.concat(added, ignore_index=True)


def _mean_values(rows: pd.DataFrame) -> dict[str, Any]:
    """Return the mean of the values of test rows, where all have as many."""
    if _VALUES not in rows or rows[_VALUES].isna().any() or rows[_COUNT].nunique() > 1:
        return {}
    values = [unpacked(int(n), data) for n, data in zip(rows[_COUNT], rows[_VALUES], strict=True)]
    return packed(np.mean(values, axis=0))


def chance_level(results: pd.DataFrame) -> float | None:
    """Return the accuracy of always predicting the commonest class of the test rows; None where it is unknown."""
    values = results.loc[results["metric"] == CHANCE, "value"]
    return float(values.iloc[0]) if len(values) else None


def mean_interval(values: np.typing.NDArray[np.floating]) -> tuple[float, float, float]:
    """Return the mean of one value a seed and its 95 % interval; NaN bounds as for :func:`over_seeds`."""
    estimate = over_seeds(values)
    return estimate.mean, *estimate.interval()


Cell = tuple[str, float, str]
"""Scenario, level and variant."""
_Value = TypeVar("_Value")


class Scores:
    """A metric of every variant in every cell, seed by seed, with the values of its test rows where they are known."""

    def __init__(self, results: pd.DataFrame, test_rows: pd.DataFrame | None = None, metric: str = "accuracy") -> None:
        """Take a tidy table with variant, scenario, level, seed, metric, value."""
        chosen = results[results["metric"] == metric]
        self.names = list(dict.fromkeys(chosen["variant"]))
        self.cells = list(dict.fromkeys(zip(chosen["scenario"], chosen["level"], strict=True)))
        self._values = _by_seed(chosen, chosen["value"])
        self._rows: dict[Cell, dict[int, tuple[int, bytes]]] = {}
        if test_rows is not None:
            known = test_rows[test_rows["metric"] == metric]
            self._rows = _by_seed(known, zip(known[_COUNT], known[_VALUES], strict=True))

    def mean(self, name: str, scenario: str, level: float) -> Estimate:
        """Return the mean of a variant in a cell; of no seeds where it has no value."""
        return self._estimate((scenario, level), name, None)

    def gain(self, name: str, other: str, scenario: str, level: float) -> Estimate:
        """Return the mean paired difference name - other in a cell; of no seeds where none has both.

        Values without test rows that are equal but for the rounding of float32 in every seed differ by 0, and are not
        tested.
        """
        return self._estimate((scenario, level), name, other)

    def _estimate(self, cell: tuple[str, float], name: str, other: str | None) -> Estimate:
        names = [name] if other is None else [name, other]
        values = [self._values.get((*cell, each), {}) for each in names]
        seeds = sorted(seed for seed in values[0] if all(seed in of_name for of_name in values))
        if not seeds:
            return Estimate(np.nan, np.nan, np.nan, 0)
        table = np.array([[of_name[seed] for of_name in values] for seed in seeds], dtype=np.float64)
        differences = table[:, 0] - (table[:, 1] if other is not None else 0)
        rounding = 0.0 if other is None else _FLOAT32 * float(np.abs(table).max())
        rows = [self._rows.get((*cell, each), {}) for each in names]
        if any(seed not in of_name for of_name in rows for seed in seeds):
            return _over_seeds(differences, rounding)
        known = [[unpacked(*of_name[seed]) for of_name in rows] for seed in seeds]
        if len({len(each) for of_seed in known for each in of_seed}) > 1:
            return _over_seeds(differences, rounding)
        hits = all(each.dtype == np.uint8 for of_seed in known for each in of_seed)
        of_rows = np.array([pair[0] - (pair[1].astype(np.float32) if other is not None else 0) for pair in known])
        # The values of the table are exact, those of the rows may be float32.
        return replace(over_seeds_and_rows(of_rows, unit=float(hits)), mean=float(np.mean(differences)))


def _over_seeds(differences: np.typing.NDArray[np.float64], rounding: float) -> Estimate:
    """Return the mean over seeds; 0 without an error where no difference exceeds the rounding of its terms."""
    if rounding and np.abs(differences).max() <= rounding:
        return Estimate(0.0, np.nan, np.nan, len(differences))
    return over_seeds(differences)


def _by_seed(table: pd.DataFrame, values: Iterable[_Value]) -> dict[Cell, dict[int, _Value]]:
    """Return the values of rows by scenario, level and variant, and then by seed; NaN is left out.

    Raises:
        ValueError: a row is there twice.
    """
    found: dict[Cell, dict[int, _Value]] = {}
    keys = (table[key] for key in ("scenario", "level", "variant", "seed"))
    for scenario, level, name, seed, value in zip(*keys, values, strict=True):
        of_cell = found.setdefault((scenario, level, name), {})
        if seed in of_cell:
            raise ValueError(f"{name} is there twice in {scenario}, level {level:g}, seed {seed}")
        if value == value:
            of_cell[seed] = value
    return found


def is_claim(name: str) -> bool:
    """Return whether gains of a variant are claims of a study: not those of controls, alternatives, and the like."""
    return role_of(name) in ("monosemantic", "selected", None)


def summarise(results: pd.DataFrame, baseline: str = "dense", test_rows: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return a row per feature set, scenario and level: accuracy, and its paired difference to the baseline.

    Args:
        results: tidy table with variant, scenario, level, seed, metric, value.
        test_rows: the values of single test rows, of :func:`split_test_rows`.

    Returns: columns variant, scenario, level, seeds, n_test (0 if unknown), accuracy, accuracy_low, accuracy_high, and
        gain, gain_low, gain_high, p, p_holm, outcome of :func:`~monosemy.results.intervals.judge`. Claims are the gains
        of monosemantic and of selected variants, each corrected by themselves, for they answer two questions; single
        kinds of a family of corruptions are corrected apart, because they are many and their mean stands for them.
    """
    scores = Scores(results, test_rows)
    rows, gains = [], []
    for scenario, level in scores.cells:
        for name in scores.names:
            mean = scores.mean(name, scenario, level)
            if not mean.seeds:
                continue
            low, high = np.clip(mean.interval(), 0, 1)  # NaN stays
            rows.append([name, scenario, level, mean.seeds, mean.rows, mean.mean, low, high])
            gains.append(None if name == baseline else scores.gain(name, baseline, scenario, level))
    columns = ["variant", "scenario", "level", "seeds", "n_test", "accuracy", "accuracy_low", "accuracy_high"]
    summary = pd.DataFrame(rows, columns=columns)
    single = single_kinds(summary["scenario"])
    families = [
        (scenario in single, role_of(name) == "selected")
        for scenario, name in zip(summary["scenario"], summary["variant"], strict=True)
    ]
    claims = [is_claim(name) for name in summary["variant"]]
    return pd.concat([summary, judged_gains(gains, families, claims)], axis=1)


def judged_gains(
    gains: Sequence[Estimate | None],
    families: Sequence[Any],
    claims: Sequence[bool],
    margins: Sequence[float | None] | None = None,
) -> pd.DataFrame:
    """Return a row per gain with the columns ``GAIN``; NaN and the outcome `baseline` for None.

    Args:
        families: Holm's correction is within each.
        claims: which gains are claims.
        margins: half width of equivalence of each gain; one point by default.
    """
    rows: list[list[Any]] = [[np.nan] * 5 + [BASELINE] for _ in gains]
    for family in dict.fromkeys(families):
        here = {n: gain for n, gain in enumerate(gains) if gain is not None and families[n] == family}
        limits = [MARGIN if margins is None else margins[n] for n in here]
        judged = judge(list(here.values()), [claims[n] for n in here], limits)
        for (n, gain), found in zip(here.items(), judged, strict=True):
            rows[n] = [gain.mean, found.low, found.high, found.p, found.p_holm, found.outcome]
    return pd.DataFrame(rows, columns=list(GAIN))
