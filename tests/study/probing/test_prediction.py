"""Rank correlation of separability and gains, on orders that are known."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from monosemy.study.probing.prediction import describe_prediction, predict_gains

SETS = ("dense", "relu", "whitened", "random-topk", "sae", "ncl")


def table(d: np.ndarray, accuracy: np.ndarray, j: np.ndarray | None = None, n_seeds: int = 3) -> pd.DataFrame:
    """Tidy results at 0.6 and, turned around, at 0.3; the seeds differ by the same for every set."""
    rows = []
    for level, sign in ((0.6, 1.0), (0.3, -1.0)):
        for number in range(len(d)):
            for seed in range(n_seeds):
                name = SETS[number]
                place = {"features": name, "scenario": "label-noise", "level": level, "seed": seed}
                values = {
                    "separability_d": d[number] + 0.001 * seed,
                    "separability": (d if j is None else j)[number],
                    "accuracy": sign * accuracy[number] + 0.01 * seed,
                }
                for metric, value in values.items():
                    of = {"variant": f"{name} + ce", "classifier": "ce"} if metric == "accuracy" else {}
                    rows.append({"variant": name, "classifier": ""} | place | of | {"metric": metric, "value": value})
                rows.append(place | {"variant": f"{name} + gce", "classifier": "gce", "metric": "accuracy", "value": 0})
    return pd.DataFrame(rows)


@pytest.mark.parametrize(("n_sets", "p"), [(5, 2 / 120), (6, 2 / 720)])
def test_the_same_order_is_1_with_the_p_value_of_one_order_in_all(n_sets: int, p: float) -> None:
    d = np.arange(n_sets, dtype=float)
    found = predict_gains(table(d, d**3), "separability_d", 0.6)
    assert found is not None
    assert found.correlation == pytest.approx(1)
    assert (found.low, found.high) == pytest.approx((1, 1))
    assert found.p == pytest.approx(p)
    turned = predict_gains(table(d, d**3), "separability_d", 0.3)
    assert turned is not None
    assert turned.correlation == pytest.approx(-1)


def test_it_is_spearmans_with_ties() -> None:
    d, accuracy = np.array([1.0, 1.0, 2.0, 5.0, 3.0, 4.0]), np.array([0.3, 0.1, 0.1, 0.4, 0.6, 0.2])
    found = predict_gains(table(d, accuracy, n_seeds=1), "separability_d", 0.6)
    assert found is not None
    assert found.correlation == pytest.approx(spearmanr(d, accuracy).statistic)
    assert np.isnan(found.low)
    assert found.p > 0.3


def test_seeds_that_disagree_widen_the_interval() -> None:
    d = np.arange(6.0)
    results = table(d, d, n_seeds=4)
    against = (results["metric"] == "accuracy") & (results["seed"] == 3) & (results["level"] == 0.6)
    results.loc[against, "value"] = -2.2 * results.loc[against, "value"]
    found = predict_gains(results, "separability_d", 0.6)
    assert found is not None
    assert found.correlation == pytest.approx(1)
    assert found.low < 0 < found.high


def test_the_words_go_by_the_hardest_level_and_by_d() -> None:
    d = np.arange(6.0)
    (sentence,) = describe_prediction(table(d, d, j=-d))
    assert "d of the train codes predicts the gains at 60 % label noise" in sentence
    assert "6 feature sets +1.00" in sentence
    assert "scales, -1.00" in sentence
    assert "Elsewhere d: at 30 % -1.00. " in sentence, "the other way round where there is less noise"
    assert "weak evidence" in sentence
    (sentence,) = describe_prediction(table(d, -d))
    assert "predicts the opposite of" in sentence
    (sentence,) = describe_prediction(table(d, np.array([2.0, 5.0, 1.0, 4.0, 0.0, 3.0])))
    assert "does not clearly predict" in sentence


def test_too_few_sets_say_nothing_and_unmeasured_ones_do_not_count() -> None:
    d = np.arange(4.0)
    few = table(d, d)
    cleanlab = few[(few["features"] == "sae") & (few["metric"] == "accuracy")].assign(features="whatever")
    assert predict_gains(pd.concat([few, cleanlab]), "separability_d", 0.6) is None
    assert describe_prediction(pd.concat([few, cleanlab])) == []
    equal = table(np.ones(6), np.arange(6.0))
    assert describe_prediction(equal) == []
    assert describe_prediction(equal[equal["metric"] == "accuracy"]) == []
