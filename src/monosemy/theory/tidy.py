"""Reading the tidy tables of the toy runs."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monosemy.study.statistics import mean_interval

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
