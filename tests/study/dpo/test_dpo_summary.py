"""Means and paired differences of alignments, by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

pytest.importorskip("trl")

from monosemy.results.intervals import holm, holm_levels
from monosemy.study.dpo.verdict import summarise_alignment


def rows(values: dict[tuple[str, str], list[float]], metric: str = "margin") -> list[dict[str, object]]:
    return [
        {"encoder": model, "variant": variant, "scenario": "pairs", "level": 0.5 if "decpo" in variant else 0.0,
         "seed": seed, "metric": metric, "value": value}
        for (model, variant), many in values.items() for seed, value in enumerate(many)
    ]  # fmt: skip


def test_differences_are_paired_and_corrected_within_a_metric() -> None:
    margins = {
        ("a", "base"): [0.0, 0.0, 0.0], ("a", "dpo"): [1.0, 2.0, 4.0], ("a", "decpo-0.5"): [1.5, 2.4, 4.6],
        ("b", "base"): [0.0, 0.0, 0.0], ("b", "dpo"): [1.0, 1.0, 1.0], ("b", "decpo-0.5"): [0.9, 1.3, 1.1],
    }  # fmt: skip
    layers = [row | {"scenario": "layer", "value": 99.0} for row in rows(margins)]
    summary = summarise_alignment(pd.DataFrame(rows(margins) + rows(margins, "kl") + layers))
    row = summary[(summary["model"] == "a") & (summary["variant"] == "decpo-0.5")].iloc[0]
    difference = np.array([0.5, 0.4, 0.6])
    p_values = [stats.ttest_1samp(d, 0).pvalue for d in (difference, [-0.1, 0.3, 0.1])]
    half = stats.sem(difference) * stats.t.ppf(1 - holm_levels(np.array(p_values))[0] / 2, 2)
    assert row["mean"] == pytest.approx((1.5 + 2.4 + 4.6) / 3)
    assert row["weight"] == 0.5
    assert (row["gain"], row["gain_low"], row["gain_high"]) == pytest.approx((0.5, 0.5 - half, 0.5 + half))
    assert row["p"] == pytest.approx(stats.ttest_1samp(difference, 0).pvalue)
    margin = summary[summary["metric"] == "margin"]
    assert margin["p"].notna().sum() == 3, "of model b, base differs from dpo by the same number at each seed"
    claims = margin[margin["variant"] == "decpo-0.5"]
    assert claims["p"].tolist() == pytest.approx(p_values)
    assert claims["p_holm"].tolist() == pytest.approx(holm(np.array(p_values)))
    base = margin[margin["variant"] == "base"].iloc[0]
    assert base["p_holm"] == base["p"], "what DPO does to the model is no claim about DecPO"
    assert margin.loc[margin["variant"] == "dpo", "gain"].isna().all()
    assert (summary.loc[summary["metric"] == "kl", "p_holm"].dropna().to_numpy() == margin["p_holm"].dropna()).all()


def test_what_was_not_measured_is_left_out() -> None:
    frame = pd.DataFrame(rows({("a", "dpo"): [1.0, 2.0], ("a", "base"): [0.0, np.nan]}))
    summary = summarise_alignment(frame).set_index("variant")
    assert summary.loc["base", "seeds"] == 1
    assert np.isnan(summary.loc["base", "p_holm"])
