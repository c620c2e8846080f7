"""Two sentences, whatever was studied: the best set, the closest control, the clean cost, and what is bad."""

import numpy as np
import pandas as pd

from monosemy.results.result import StudyResult, Verdict
from monosemy.results.statistics import summarise, with_means
from monosemy.study.probing import ProbingPlan
from monosemy.study.probing.verdict import probing_verdict

Accuracies = dict[str, float]
CLEAN: Accuracies = {"dense": 0.9, "relu": 0.9, "sae": 0.87, "ncl": 0.9}
ONE: Accuracies = {"dense": 0.9, "relu": 0.9, "sae": 0.87}


def headline(cells: dict[tuple[str, float], Accuracies]) -> tuple[str, ...]:
    rng = np.random.default_rng(0)
    rows = [
        {"features": name, "scenario": scenario, "level": level, "seed": seed, "metric": "accuracy",
         "value": mean + 0.004 * rng.standard_normal()}
        for (scenario, level), means in cells.items() for name, mean in means.items() for seed in range(5)
    ]  # fmt: skip
    results = with_means(pd.DataFrame(rows))
    result = StudyResult(ProbingPlan(), results, summarise(results), Verdict(()))
    sentences = probing_verdict(result).headline
    assert all(sentence.endswith(".") and "nan" not in sentence for sentence in sentences)
    return sentences


def test_a_win_with_its_price_and_the_other_set() -> None:
    first, second = headline(
        {
            ("clean", 0.0): CLEAN,
            ("label-noise", 0.3): {"dense": 0.8, "relu": 0.8, "sae": 0.75, "ncl": 0.8},
            ("label-noise", 0.9): {"dense": 0.3, "relu": 0.4, "sae": 0.6, "ncl": 0.2},
        }
    )
    assert first.startswith(
        "Under 90 % label noise, sae, the best of 2 monosemantic feature sets, improves on dense: +29.7"
    )
    assert "to the closest control, relu" in first
    assert second.startswith("On clean data it is worse than dense: -")
    assert "under 30 % label noise: worse (-" in second
    assert "the other monosemantic set under 90 % label noise: worse (-" in second


def test_many_conditions_are_counted_and_the_kinds_behind_a_mean_are_not() -> None:
    cells = {("clean", 0.0): ONE}
    for kind in ("corruption:fog", "corruption:snow"):
        cells |= {(kind, level): {"dense": 0.5, "relu": 0.6, "sae": 0.5 + gain}
                  for level, gain in ((1.0, -0.1), (3.0, 0.0), (5.0, 0.2))}  # fmt: skip
    cells[("few-labels", 0.1)] = {"dense": 0.5, "relu": 0.5, "sae": 0.8}
    first, second = headline(cells)
    assert first.startswith("Under 10 % of the labels, sae improves on dense")
    assert "in the 3 other noisy conditions: 1 better, 1 worse, 1 equivalent" in second


def test_a_better_control_is_named_before_anything_else() -> None:
    first, _ = headline({("clean", 0.0): ONE, ("label-noise", 0.9): {"dense": 0.3, "relu": 0.7, "sae": 0.6}})
    assert "relu, which is better, so monosemanticity is not the reason" in first
    assert "; -10.3 points [" in first


def test_a_loss_and_equivalence_are_said_with_the_control_too() -> None:
    for mean, word in ((0.1, "is worse than dense"), (0.3, "is equivalent within a point to dense")):
        cells = {("clean", 0.0): ONE, ("label-noise", 0.9): {"dense": 0.3, "relu": 0.3, "sae": mean}}
        first, _ = headline(cells)
        assert word in first
        assert "closest control, relu" in first


def test_no_control_no_noise_and_nothing_to_judge() -> None:
    first, _ = headline({("clean", 0.0): {"dense": 0.9, "sae": 0.87}, ("label-noise", 0.9): {"dense": 0.3, "sae": 0.6}})
    assert "no control was run" in first
    first, second = headline({("clean", 0.0): ONE})
    assert "only clean data" in first
    assert second.startswith("On clean data it is worse than dense")
    first, second = headline({("clean", 0.0): {"dense": 0.9, "relu": 0.8}})
    assert "nothing to judge" in first
    assert "2 feature sets" in second


def test_a_control_that_is_ahead_by_chance_is_no_loss_to_it() -> None:
    first, _ = headline({("clean", 0.0): ONE, ("label-noise", 0.9): {"dense": 0.3, "relu": 0.601, "sae": 0.6}})
    assert "which is not clearly worse" in first
    assert "relu" in first
