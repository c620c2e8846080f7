import numpy as np
import pandas as pd

from monosemy.core.config import validated
from monosemy.results.result import StudyResult, Verdict
from monosemy.results.statistics import mean_interval, summarise, with_means
from monosemy.results.wording import describe_cell, hardest_level
from monosemy.study.probing import ProbingPlan
from monosemy.study.probing.verdict import probing_verdict

PLAN = validated(ProbingPlan, {"features": ["dense", "relu", "sae"], "label_noise": {"levels": [0.9]}}, "test")


def judge(results: pd.DataFrame, plan: ProbingPlan = PLAN) -> Verdict:
    return probing_verdict(StudyResult(plan, results, summarise(results), Verdict(())))


def _verdict(noisy: dict[str, float], clean: dict[str, float], spread: float = 0.01, n_seeds: int = 5):
    rng = np.random.default_rng(0)
    rows = []
    for (scenario, level), means in {("clean", 0.0): clean, ("label-noise", 0.9): noisy}.items():
        for name, mean in means.items():
            for seed in range(n_seeds):
                place = {"features": name, "scenario": scenario, "level": level, "seed": seed}
                rows.append(place | {"metric": "accuracy", "value": mean + spread * rng.standard_normal()})
                rows.append(place | {"metric": "weight_decay", "value": 1e-4})
    results = pd.DataFrame(rows)
    return judge(results)


CLEAN = {"dense": 0.9, "relu": 0.9, "sae": 0.9}


def test_a_clear_win_over_dense_and_controls() -> None:
    first = _verdict({"dense": 0.3, "relu": 0.4, "sae": 0.6}, CLEAN).sentences[0]
    assert "Under 90 % label noise, sae improves on dense: +" in first
    assert "monosemanticity" not in first
    assert "closest control, relu" in first


def test_a_better_control_takes_the_credit_away() -> None:
    first = _verdict({"dense": 0.3, "relu": 0.7, "sae": 0.6}, CLEAN).sentences[0]
    assert "relu, which is better, so monosemanticity is not the reason" in first


def test_what_is_not_clear_is_said_to_be_so() -> None:
    first = _verdict({"dense": 0.5, "relu": 0.5, "sae": 0.5}, CLEAN).sentences[0]
    assert "sae is neither clearly better nor worse than dense: " in first


def test_a_loss_is_called_a_loss() -> None:
    first = _verdict({"dense": 0.6, "relu": 0.5, "sae": 0.3}, CLEAN).sentences[0]
    assert "sae is worse than dense: -" in first


def test_holm_decides_and_the_interval_agrees() -> None:
    rows = []
    for place, count in (("a", 1), ("b", 40)):
        for level in range(count):
            for seed in range(5):
                base = {"scenario": "label-noise" if place == "a" else "few-labels", "level": level + 1.0, "seed": seed}
                gain = 0.01 + 0.008 * (seed - 2) / 2 if place == "a" else 0.01 * (-1) ** seed
                rows.append(base | {"features": "dense", "metric": "accuracy", "value": 0.5})
                rows.append(base | {"features": "sae", "metric": "accuracy", "value": 0.5 + gain})
    for seed in range(5):
        for name in ("dense", "sae"):
            clean = {"scenario": "clean", "level": 0.0, "seed": seed, "features": name}
            rows.append(clean | {"metric": "accuracy", "value": 0.9 + 0.001 * seed * (name == "sae")})
    results = pd.DataFrame(rows)
    summary = summarise(results)
    noisy = summary[(summary["features"] == "sae") & (summary["scenario"] == "label-noise")].iloc[0]
    gains = [0.01 + 0.008 * (seed - 2) / 2 for seed in range(5)]
    assert mean_interval(np.array(gains))[1] > 0, "by itself it would be clear"
    assert noisy["p_holm"] > 0.05
    assert noisy["gain_low"] < 0 < noisy["gain_high"]
    assert "sae is neither clearly better nor worse than dense: +1.0 points [-" in judge(results).sentences[0]


def test_clean_loss_few_seeds_and_grid_edge_are_warned_of() -> None:
    verdict = _verdict({"dense": 0.3, "relu": 0.4, "sae": 0.6}, CLEAN | {"sae": 0.8}, n_seeds=5)
    assert any("loses" in w and "clean" in w for w in verdict.warnings)
    rows = [
        {"features": f, "scenario": "clean", "level": 0.0, "seed": s, "metric": m, "value": v}
        for f in ("dense", "sae")
        for s in range(2)
        for m, v in (("accuracy", 0.5 + 0.1 * s), ("weight_decay", 1e-3))
    ]
    results = pd.DataFrame(rows)
    warnings = judge(results, PLAN.model_copy(update={"n_seeds": 2})).warnings
    assert any("2 seeds" in w for w in warnings)
    assert any("largest weight decay" in w for w in warnings)


def test_hardest_level_of_few_labels_is_the_fewest() -> None:
    summary = pd.DataFrame({"scenario": ["few-labels"] * 2 + ["label-noise"] * 2, "level": [0.1, 0.5, 0.3, 0.9]})
    assert hardest_level(summary, "few-labels") == 0.1
    assert hardest_level(summary, "label-noise") == 0.9
    assert describe_cell("few-labels", 0.1) == "10 % of the labels"


def _corrupted(gains: dict[str, float]):
    """Verdict on three severities of kinds; sae gains what is given at severity 5, and a tenth of it before."""
    rows = []
    rng = np.random.default_rng(0)
    for name in ("dense", "relu", "sae"):
        for seed in range(5):
            place = {"features": name, "seed": seed, "metric": "accuracy"}
            rows.append(place | {"scenario": "clean", "level": 0.0, "value": 0.9 + 0.001 * rng.standard_normal()})
            for kind, gain in gains.items():
                for level in (1.0, 5.0):
                    more = (name == "sae") * gain * (1 if level == 5 else 0.1)
                    value = 0.8 - 0.05 * level + more + 0.001 * rng.standard_normal()
                    rows.append(place | {"scenario": f"corruption:{kind}", "level": level, "value": value})
                    rows.append(place | {"scenario": f"corruption:{kind}", "level": level, "value": 1e-3} | WEIGHT)
    results = with_means(pd.DataFrame(rows))
    corruptions = {"kinds": list(gains), "severities": [1, 5]}
    values = {"features": PLAN.features, "scenarios": ["corruptions"], "corruptions": corruptions}
    return judge(results, validated(ProbingPlan, values, "test"))


WEIGHT = {"metric": "weight_decay"}


def test_corruptions_are_judged_by_their_mean_and_every_loss_is_counted() -> None:
    verdict = _corrupted({"fog": 0.3, "gaussian_noise": 0.2, "contrast": -0.1, "snow": 0.0})
    first, milder, kinds = verdict.sentences[:3]
    assert first.startswith("Under common corruptions of severity 5 (mean over kinds), sae improves on dense: +10.")
    assert "common corruptions of severity 1 (mean over kinds)" in milder
    assert "Of the 4 kinds there, sae: better on 2, worse on 1, equivalent on 1" in kinds
    assert "from contrast (-10." in kinds
    assert "to fog (+30." in kinds
    assert sum("fog" in sentence for sentence in verdict.sentences) == 1
    assert not any("Frost" in warning for warning in verdict.warnings)
    assert not any("weight decay" in warning for warning in verdict.warnings), "the clean probe's, told once"


def test_a_single_kind_is_judged_itself_and_drawn_frost_is_said() -> None:
    verdict = _corrupted({"frost": 0.3})
    assert verdict.sentences[0].startswith("Under common corruptions of severity 5 (frost), sae improves on dense")
    assert not any("kinds" in sentence for sentence in verdict.sentences)
    assert any(warning.startswith("Frost is drawn here") for warning in verdict.warnings)


def test_shifted_sets_in_words() -> None:
    assert describe_cell("shift:sketch", 1.0) == "the shifted set sketch"
    assert describe_cell("shift:sketch", 3.0) == "the shifted set sketch, level 3"
    assert describe_cell("shift:c/gaussian_noise", 3.0) == "c of severity 3 (gaussian noise)"
    assert describe_cell("shift:c/mean", 3.0) == "c of severity 3 (mean over kinds)"
