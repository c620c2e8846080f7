"""Reading the tidy tables of the toy runs.

The answers of `monosemy toy` and `monosemy theory`: tables for the terminal and plain sentences.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.table import Table

from monosemy.results.statistics import mean_interval
from monosemy.theory.runs import ToyRun
from monosemy.theory.simulation import ClassSimulation
from monosemy.theory.toy_study import CODES
from monosemy.theory.two_features import (
    ALWAYS_AHEAD_SPARSITY,
    MONO,
    Overtaking,
    overtaking,
    scale_free_separability,
    score_separability,
    two_feature_moments,
)

SCENARIOS = ("clean", "label-noise", "input-noise")


def values_by(results: pd.DataFrame, metric: str, *keys: str) -> dict[tuple[Any, ...], NDArray[np.float64]]:
    """Values of a metric, in the order of the seeds, for every combination of the key columns that occurs."""
    rows = results[results["metric"] == metric].sort_values("seed", kind="stable")
    collected: dict[tuple[Any, ...], list[float]] = {}
    for *key, value in rows[[*keys, "value"]].itertuples(index=False, name=None):
        collected.setdefault(tuple(key), []).append(value)
    return {key: np.array(values) for key, values in collected.items()}


def cells_of(results: pd.DataFrame, task: str) -> list[tuple[str, float]]:
    """Scenarios and levels of a task: clean, then label noise, then input noise, levels rising."""
    cells = [cell for t, *cell in values_by(results, "accuracy", "task", "scenario", "level") if t == task]
    return sorted(((s, v) for s, v in cells), key=lambda cell: (SCENARIOS.index(cell[0]), cell[1]))


def sweep_gains(sweep: pd.DataFrame) -> pd.DataFrame:
    """Paired accuracy difference mono - poly, in points, with its 95 % interval, per cell of the sweep.

    Returns: columns task, scenario, dimensions, sparsity, gain, low, high.
    """
    place = ("task", "scenario", "dimensions", "sparsity")
    accuracy = values_by(sweep, "accuracy", *place, "code")
    rows = []
    for *cell, code in accuracy:
        if code == "mono":
            rows.append((*cell, *mean_interval(100 * (accuracy[*cell, "mono"] - accuracy[*cell, "poly"]))))
    return pd.DataFrame(rows, columns=[*place, "gain", "low", "high"])


_TASK_TITLES = {
    "all": "Which of ALL features is largest? (even-handed)",
    "kept": "Which of the features that mono KEEPS is largest? (favours mono)",
}
_OUTCOMES = {
    "always": "from the start", "never": "never", "reverses": "only at first", "twice": "changes twice",
    "crosses": "",
}  # fmt: skip


def toy_tables(run: ToyRun) -> list[Table]:
    """A table a task: accuracy of each code and the paired difference, means and 95 % intervals in points."""
    accuracy = values_by(run.results, "accuracy", "task", "code", "scenario", "level")
    tables = []
    for task, title in _TASK_TITLES.items():
        cells = cells_of(run.results, task)
        if not cells:
            continue
        table = Table("noise", title=title, title_justify="left")
        for name in (*CODES, "mono - poly"):
            table.add_column(name, justify="right")
        for cell in cells:
            values = {code: 100 * accuracy[task, code, *cell] for code in CODES}
            mean, low, high = mean_interval(values["mono"] - values["poly"])
            interval = "" if np.isnan(low) else f" \\[{low:+.1f}, {high:+.1f}]"
            table.add_row(_noise_name(*cell), *map(_plus_minus, values.values()), f"{mean:+.1f}{interval}")
        tables.append(table)
    return tables


def _plus_minus(values: np.ndarray) -> str:
    mean, _, high = mean_interval(values)
    return f"{mean:.1f}" if np.isnan(high) else f"{mean:.1f} ±{high - mean:.1f}"


def _noise_name(scenario: str, level: float) -> str:
    return {"clean": "clean", "label-noise": f"{level:.0%} labels", "input-noise": f"input {level:g}"}[scenario]


def toy_answer(run: ToyRun) -> list[str]:
    """What the setting showed, without mercy for either code."""
    results = run.results
    shared = _metric(results, "features_per_dimension")
    sentences = [
        f"At S = {run.setting.sparsity:g} the toy model stores {shared:.2f} features a dimension, each disturbed by "
        f"others with strength {_metric(results, 'interference'):.2f}; it explains "
        f"{_metric(results, 'variance_explained'):.0%} of the variance."
    ]
    if shared < 1.2:
        sentences.append(
            "That is hardly superposition: with features this dense it keeps a blend of all of them, as principal "
            "components would."
        )
    accuracy = values_by(results, "accuracy", "task", "code", "scenario", "level")
    for task in _TASK_TITLES:
        cells = cells_of(results, task)
        if cells:
            where = "all features" if task == "all" else "the features that mono keeps"
            lead = {cell: 100 * (accuracy[task, "mono", *cell] - accuracy[task, "poly", *cell]) for cell in cells}
            sentences.append(f"Largest of {where}: {_count_wins(lead)}.")
    control = 100 * max(
        abs(float((values - accuracy[task, "rotated", *cell]).mean()))
        for (task, code, *cell), values in accuracy.items()
        if code == "mono"
    )
    if control >= 0.5:
        sentences.append(f"Control: mono turned by a random rotation differs from it by up to {control:.1f} points.")
    else:
        sentences.append(
            f"Control: mono, randomly rotated, mixes all its features, has {_rotated_share(results):.2g} times the "
            f"J of mono, and scores the same to {control:.1f} points. So where mono wins here, it wins by what it "
            f"keeps, not by keeping it one feature a dimension."
        )
    return sentences


def _metric(results: pd.DataFrame, metric: str) -> float:
    return float(results.loc[results["metric"] == metric, "value"].mean())


def _rotated_share(results: pd.DataFrame) -> float:
    """Clean J of the rotated code over that of mono, mean over tasks and seeds."""
    of_code = values_by(results[results["scenario"] == "clean"], "separability", "code")
    return float(of_code["rotated",].mean() / of_code["mono",].mean())


def _count_wins(lead: dict[tuple[str, float], NDArray[np.float64]]) -> str:
    parts: dict[str, list[str]] = {"mono is ahead for": [], "poly is ahead for": [], "no clear difference for": []}
    for cell, values in lead.items():
        mean, low, high = mean_interval(values)
        words = "mono is ahead for" if low > 0 else "poly is ahead for" if high < 0 else "no clear difference for"
        parts[words].append(f"{_noise_name(*cell)} {mean:+.1f}")
    return "; ".join(f"{words} {', '.join(cells)}" for words, cells in parts.items() if cells)


def sweep_answer(sweep: pd.DataFrame) -> list[str]:
    """Counts of clear wins over the grid, and in how many cells noise clearly helps mono or turns the winner."""
    gains = sweep_gains(sweep).sort_values(["dimensions", "sparsity"])
    sentences = []
    for task, name in (("all", "all features"), ("kept", "the features mono keeps")):
        bounds = {
            scenario: gains.loc[
                (gains["task"] == task) & (gains["scenario"] == scenario), ["low", "high"]
            ].to_numpy(dtype=np.float64)
            for scenario in SCENARIOS
        }  # fmt: skip
        low, high = bounds["clean"].T
        parts = [f"clean {(low > 0).sum()} to {(high < 0).sum()}"]
        for scenario, words in (("label-noise", "label noise"), ("input-noise", "input noise")):
            noisy_low, noisy_high = bounds[scenario].T
            parts.append(
                f"{words} {(noisy_low > 0).sum()} to {(noisy_high < 0).sum()} (moves clearly towards mono in "
                f"{(noisy_low > high).sum()} cells, turns {((high < 0) & (noisy_low > 0)).sum()} clear wins of poly)"
            )
        sentences.append(f"Sweep, largest of {name}, clear wins mono to poly in {len(low)} cells: {'; '.join(parts)}.")
    return sentences


def theory_table(sparsities: Sequence[float], weights: tuple[float, float], input_noise: float) -> Table:
    """Closed forms, one row a sparsity."""
    table = Table("S", title="Two features, closed form: mono x1 against poly", title_justify="left")
    for name in ("J mono", "J poly", "mono leads from", "d mono", "d poly"):
        table.add_column(name, justify="right")
    for s in sparsities:
        mono, poly = (two_feature_moments(s, w, input_noise) for w in (MONO, weights))
        numbers = [float(form(m)) for form in (score_separability, scale_free_separability) for m in (mono, poly)]
        table.add_row(
            f"{s:g}", f"{numbers[0]:.3f}", f"{numbers[1]:.3f}", lead_words(overtaking(mono, poly)),
            f"{numbers[2]:.3f}", f"{numbers[3]:.3f}",
        )  # fmt: skip
    return table


def lead_words(passing: Overtaking) -> str:
    """When the first score leads, in a word or as the threshold noise."""
    return _OUTCOMES[passing.outcome] or f"{100 * passing.threshold:.2f} % noise"


def classes_table(sparsities: Sequence[float], simulated: dict[int, list[ClassSimulation]]) -> Table:
    """Simulated threshold noise against x1 - x2, one row a number of classes."""
    table = Table(
        "classes", title="C features, simulated: label noise from which x1 beats x1 - x2", title_justify="left"
    )
    for s in sparsities:
        table.add_column(f"S = {s:g}", justify="right")
    for n_classes, simulations in simulated.items():
        table.add_row(str(n_classes), *(_threshold_words(simulation.threshold[:, 0]) for simulation in simulations))
    return table


def _threshold_words(threshold: np.ndarray) -> str:
    crossed = np.isfinite(threshold)
    if not crossed.any():
        return "never"
    if not crossed.all():
        return f"unclear ({crossed.sum()}/{len(threshold)})"
    if not threshold.any():
        return "from the start"
    return f"{_plus_minus(100 * threshold)} %"


def theory_answer(sparsities: Sequence[float], weights: tuple[float, float], input_noise: float) -> list[str]:
    """What the closed forms say, J's unit included."""
    passings = {
        s: overtaking(two_feature_moments(s, MONO, input_noise), two_feature_moments(s, weights, input_noise))
        for s in sparsities
    }
    sentences = [
        "By J, the single feature x1 leads: "
        + "; ".join(f"S = {s:g} {lead_words(p)}" for s, p in passings.items())
        + "."
    ]
    if weights == (1.0, 1.0) and input_noise == 0:
        sentences.append(
            f"Against x1 - x2 there is a crossing for every S between 0 and (2 + √11) / 7 = "
            f"{ALWAYS_AHEAD_SPARSITY:.3f}; beyond it x1 leads without noise, and at S = 0 never."
        )
    eta = np.linspace(0, 0.499, 200)
    leads = [
        s
        for s in sparsities
        if (
            np.abs(scale_free_separability(two_feature_moments(s, MONO, input_noise), eta))
            > np.abs(scale_free_separability(two_feature_moments(s, weights, input_noise), eta))
        ).any()
    ]
    found = (
        f"x1 leads at some label noise for S = {', '.join(f'{s:g}' for s in leads)}"
        if leads
        else "x1 leads at none of these S, whatever the label noise"
    )
    sentences.append(
        "Beware: J has a unit (one over the score), so that halving a score doubles its J. In the scale-free form "
        f"d = gap / sqrt(sd0 sd1), {found}."
    )
    return sentences
