"""Means, intervals and paired differences of trainings from preferences."""

from typing import Any

import numpy as np
import pandas as pd

from monosemy.study.alignment.plan import BASELINE
from monosemy.study.statistics import holm, mean_interval, paired_p_value


def summarise_alignment(results: pd.DataFrame) -> pd.DataFrame:
    """One row a model, variant and metric: its mean, and the paired difference to DPO of the same seed.

    Args:
        results: tidy table with encoder, features, scenario, level, seed, metric, value; of scenario `pairs` alone.

    Returns: columns model, variant, weight, metric, seeds, mean, low, high, gain, gain_low, gain_high, p, p_holm. A
        gain is the variant less DPO, whether more is better or not. p_holm is corrected within each metric, over all
        variants and models.
    """
    measured = results[results["scenario"] == "pairs"]
    weights = measured.groupby(["features"], sort=False)["level"].first()
    order = list(dict.fromkeys(measured["features"]))
    rows: list[dict[str, Any]] = []
    for model, metric in dict.fromkeys(zip(measured["encoder"], measured["metric"], strict=True)):
        cell = measured[(measured["encoder"] == model) & (measured["metric"] == metric)]
        wide = cell.pivot(index="seed", columns="features", values="value")
        for name in [name for name in order if name in wide]:
            values = wide[name].dropna().to_numpy()
            if len(values) == 0:
                continue
            mean, low, high = mean_interval(values)
            row = {
                "model": model, "variant": name, "weight": weights[name], "metric": metric, "seeds": len(values),
                "mean": mean, "low": low, "high": high,
            }  # fmt: skip
            if name != BASELINE:
                difference = (wide[name] - wide[BASELINE]).dropna().to_numpy()
                gain, gain_low, gain_high = mean_interval(difference)
                row |= {"gain": gain, "gain_low": gain_low, "gain_high": gain_high, "p": paired_p_value(difference)}
            rows.append(row)
    columns = [
        "model", "variant", "weight", "metric", "seeds", "mean", "low", "high", "gain", "gain_low", "gain_high", "p",
    ]  # fmt: skip
    summary = pd.DataFrame(rows, columns=columns)
    corrected = np.full(len(summary), np.nan)
    for places in summary.groupby("metric", sort=False).indices.values():
        corrected[places] = holm(summary["p"].to_numpy(dtype=float)[places])
    return summary.assign(p_holm=corrected)
