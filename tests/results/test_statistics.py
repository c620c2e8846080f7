import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from monosemy.results.intervals import holm
from monosemy.results.statistics import mean_interval, paired_gain, paired_p_value, summarise


def test_interval_is_the_textbook_one() -> None:
    values = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    mean, low, high = mean_interval(values)
    # s = sqrt(2.5), t_{0.975, 4} = 2.7764451: half width 2.7764451 * sqrt(2.5 / 5)
    assert mean == 3
    assert high - mean == pytest.approx(2.7764451 * math.sqrt(0.5), abs=1e-6)
    assert mean - low == pytest.approx(high - mean)


def test_interval_covers_the_truth_in_about_95_percent() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(2000):
        _, low, high = mean_interval(rng.normal(7.0, 2.0, 5))
        covered += low <= 7.0 <= high
    assert 0.935 < covered / 2000 < 0.965


@pytest.mark.parametrize("values", [[0.5], [0.5, 0.5, 0.5]])
def test_what_was_measured_once_has_no_interval_and_no_p_value(values: list[float]) -> None:
    mean, low, high = mean_interval(np.array(values))
    assert mean == 0.5
    assert math.isnan(low)
    assert math.isnan(high)
    assert math.isnan(paired_p_value(np.array(values)))


def test_paired_p_value_is_the_t_test() -> None:
    a, b = np.array([1.0, 2.0, 4.0]), np.array([0.5, 2.5, 3.0])
    assert paired_p_value(a - b) == pytest.approx(stats.ttest_rel(a, b).pvalue)


def test_holm_by_hand() -> None:
    # Sorted 0.01, 0.02, 0.04 times 3, 2, 1, made monotone: 0.03, 0.04, 0.04; NaN is no comparison.
    corrected = holm(np.array([0.04, math.nan, 0.01, 0.02]))
    assert corrected[[0, 2, 3]] == pytest.approx([0.04, 0.03, 0.04])
    assert math.isnan(corrected[1])


def _results() -> pd.DataFrame:
    rows = [
        {"features": f, "scenario": "clean", "level": 0.0, "seed": s, "metric": "accuracy", "value": v}
        for f, values in {"dense": [0.5, 0.6, 0.7], "sae": [0.6, 0.65, 0.9]}.items()
        for s, v in enumerate(values)
    ]
    return pd.DataFrame(rows)


def test_summary_pairs_by_seed() -> None:
    summary = summarise(_results()).set_index("features")
    assert summary.loc["sae", "gain"] == pytest.approx(np.mean([0.1, 0.05, 0.2]))
    assert math.isnan(summary.loc["dense", "gain"])
    assert summary.loc["sae", "p"] == pytest.approx(stats.ttest_rel([0.6, 0.65, 0.9], [0.5, 0.6, 0.7]).pvalue)


def test_summary_does_not_depend_on_the_order_of_seeds() -> None:
    shuffled = _results().sample(frac=1, random_state=3)
    pd.testing.assert_frame_equal(
        summarise(_results()).set_index("features").sort_index(), summarise(shuffled).set_index("features").sort_index()
    )


def test_paired_gain() -> None:
    assert paired_gain(_results(), "sae", "dense", "clean", 0.0)[0] == pytest.approx(0.35 / 3)
