"""The verdict on made tables: what to use, what monosemantic features add, and what under cross-entropy alone."""

import numpy as np
import pandas as pd
import pytest

from monosemy.core.config import validated
from monosemy.results.result import StudyResult, Verdict
from monosemy.results.statistics import mean_interval, summarise, with_means
from monosemy.results.wording import describe_cell, describe_cells, hardest_level, in_cells
from monosemy.study.probing import ProbingPlan
from monosemy.study.probing.pairs import BASELINE, candidates, with_selected
from monosemy.study.probing.verdict import probing_verdict, recommended

PLAN = validated(ProbingPlan, {"features": ["dense", "relu", "sae"], "label_noise": {"levels": [0.9]}}, "test")
Accuracies = dict[str, float]
CLEAN: Accuracies = {"dense + ce": 0.9, "dense + gce": 0.9, "relu + ce": 0.9, "sae + ce": 0.9, "sae + gce": 0.9}


def study(cells: dict[tuple[str, float], Accuracies], n_seeds: int = 5, plan: ProbingPlan = PLAN) -> StudyResult:
    """A study whose validation accuracies are the accuracies without their error."""
    rng = np.random.default_rng(0)
    rows = []
    for (scenario, level), means in cells.items():
        for name, mean in means.items():
            features, classifier = name.split(" + ")
            for seed in range(n_seeds):
                place = {"variant": name, "scenario": scenario, "level": level, "seed": seed}
                of_pair = {"features": features, "classifier": classifier}
                noisy = mean + 0.002 * rng.standard_normal()
                for metric, value in (("accuracy", noisy), ("validation_accuracy", mean)):
                    rows.append(place | of_pair | {"metric": metric, "value": value})
    results = with_means(with_selected(pd.DataFrame(rows)))
    plan = plan.model_copy(update={"n_seeds": n_seeds})
    return StudyResult(plan, results, summarise(results, BASELINE), Verdict(()))


def verdict(cells: dict[tuple[str, float], Accuracies], n_seeds: int = 5, plan: ProbingPlan = PLAN) -> Verdict:
    found = probing_verdict(study(cells, n_seeds, plan))
    for sentence in (*found.sentences, *found.headline, *found.warnings):
        assert sentence.endswith(".")
        assert "nan" not in sentence
    return found


def noisy(**means: float) -> dict[tuple[str, float], Accuracies]:
    """Clean cells as they are, and a noisy one with other means of ``dense_ce`` and so on."""
    return {("clean", 0.0): CLEAN, ("label-noise", 0.9): {k.replace("_", " + "): v for k, v in means.items()}}


def test_the_answer_names_a_pair_for_every_level() -> None:
    cells = noisy(dense_ce=0.3, dense_gce=0.6, relu_ce=0.3, sae_ce=0.5, sae_gce=0.7)
    cells[("label-noise", 0.4)] = {**CLEAN, "dense + gce": 0.95}
    use, gain, added = verdict(cells).headline
    assert use == (
        "Use dense + ce on clean labels; dense + gce under 40 % label noise; sae + gce under 90 % label noise."
    )
    assert "improves on dense + ce under 40 % label noise (+5." in gain
    assert "under 90 % label noise (+40." in gain
    assert "is equivalent within a point to dense + ce on clean labels" in gain
    assert "0.0 points below the best pair in hindsight" in gain or "-0.0" not in gain
    assert "the monosemantic pair improves on the dense one under 90 % label noise (+10." in added
    assert "is worse than the dense one under 40 % label noise (-4.9" in added


def test_dense_with_cross_entropy_is_the_answer_where_nothing_is_better() -> None:
    (use, *_) = verdict(noisy(dense_ce=0.6, dense_gce=0.5, relu_ce=0.5, sae_ce=0.4, sae_gce=0.5)).headline
    assert use == "Use dense + ce: noisy validation picks no other pair on clean labels and under 90 % label noise."


def test_of_equal_pairs_the_simplest_is_recommended() -> None:
    cells = noisy(dense_ce=0.60, dense_gce=0.601, relu_ce=0.5, sae_ce=0.5, sae_gce=0.602)
    result = study(cells)
    results = result.results
    unsure = (results["metric"] == "validation_accuracy") & (results["variant"] == "dense + ce")
    spread = results["value"] + 0.01 * unsure * (results["seed"] - 2)
    assert recommended(results.assign(value=spread), "label-noise", 0.9) == "dense + ce"
    assert recommended(result.results, "label-noise", 0.9) == "sae + gce", "without doubt the best"


def test_a_gain_by_cross_entropy_alone_is_no_gain_over_the_best_classifier() -> None:
    found = verdict(noisy(dense_ce=0.3, dense_gce=0.7, relu_ce=0.4, sae_ce=0.6, sae_gce=0.7))
    assert "equivalent within a point to the dense one" in found.headline[2]
    (protocol,) = [s for s in found.sentences if s.startswith("By cross-entropy alone, under 90 %")]
    assert "sae + ce improves on dense + ce: +" in protocol
    assert "closest control, relu + ce" in protocol
    assert "monosemanticity is not the reason" not in protocol


@pytest.mark.parametrize(
    ("relu", "sae", "words"),
    [
        (0.7, 0.6, "relu + ce, which is better, so monosemanticity is not the reason"),
        (0.601, 0.6, "relu + ce, which is not clearly worse"),
        (0.5, 0.1, "sae + ce is worse than dense + ce: -"),
        (0.3, 0.3, "sae + ce is equivalent within a point to dense + ce"),
    ],
)
def test_the_closest_control_stands_beside_the_gain(relu: float, sae: float, words: str) -> None:
    found = verdict(noisy(dense_ce=0.3, dense_gce=0.3, relu_ce=relu, sae_ce=sae, sae_gce=sae))
    assert any(words in sentence for sentence in found.sentences)


def test_milder_levels_are_said() -> None:
    cells = noisy(dense_ce=0.3, dense_gce=0.3, relu_ce=0.3, sae_ce=0.6, sae_gce=0.6)
    cells[("label-noise", 0.2)] = {**CLEAN, "sae + ce": 0.8}
    found = verdict(cells)
    assert any(
        s.startswith("Elsewhere, sae + ce against dense + ce: worse under 20 % label noise (-") for s in found.sentences
    )


def test_without_controls_noise_or_monosemantic_features() -> None:
    alone = {"dense + ce": 0.5, "sae + ce": 0.9}
    found = verdict({("clean", 0.0): alone, ("label-noise", 0.9): alone})
    assert any("no control was run" in sentence for sentence in found.sentences)
    clean = verdict({("clean", 0.0): CLEAN})
    assert clean.headline[0].startswith("Use dense + ce: noisy validation picks no other pair on clean labels")
    dense = verdict({("clean", 0.0): {"dense + ce": 0.5, "dense + gce": 0.6, "relu + ce": 0.5}})
    assert dense.headline[0] == "Use dense + gce on clean labels."
    assert "no monosemantic feature set" in dense.headline[-1].lower()


def test_one_pair_is_no_choice() -> None:
    assert candidates(["dense + ce"]) == {}
    assert candidates(["dense + ce", "dense + forward-oracle"]) == {}, "an oracle is no candidate"
    assert set(candidates(["dense + ce", "dense + gce"])) == {"selected"}
    assert set(candidates(CLEAN)) == {"selected", "selected dense", "selected monosemantic"}


def test_holm_decides_and_the_interval_agrees() -> None:
    rows = []
    for place, count in (("a", 1), ("b", 40)):
        for level in range(count):
            for seed in range(5):
                base = {"scenario": "label-noise" if place == "a" else "few-labels", "level": level + 1.0, "seed": seed}
                gain = 0.01 + 0.008 * (seed - 2) / 2 if place == "a" else 0.01 * (-1) ** seed
                rows.append(base | {"variant": "dense + ce", "metric": "accuracy", "value": 0.5})
                rows.append(base | {"variant": "sae + ce", "metric": "accuracy", "value": 0.5 + gain})
    summary = summarise(pd.DataFrame(rows), BASELINE)
    row = summary[(summary["variant"] == "sae + ce") & (summary["scenario"] == "label-noise")].iloc[0]
    gains = [0.01 + 0.008 * (seed - 2) / 2 for seed in range(5)]
    assert mean_interval(np.array(gains))[1] > 0, "by itself it would be clear"
    assert row["p_holm"] > 0.05
    assert row["gain_low"] < 0 < row["gain_high"]


def test_the_selected_pair_is_corrected_apart_from_the_monosemantic_sets() -> None:
    cells = {("label-noise", level): CLEAN | {"dense + gce": 0.902} for level in (0.1, 0.2, 0.3)} | noisy(dense_ce=0.5)
    summary = study(cells).summary
    for name in ("selected", "sae + ce"):
        rows = summary[(summary["variant"] == name) & summary["p"].notna()]
        assert (rows["p_holm"] <= len(rows) * rows["p"] + 1e-12).all()
        assert rows["p_holm"].max() <= 1
    others = summary[summary["variant"].isin(["selected dense", "selected monosemantic", "sae + gce", "relu + ce"])]
    assert (others["p_holm"] == others["p"])[others["p"].notna()].all(), "these are no claims"


def test_clean_loss_and_few_seeds_are_warned_of() -> None:
    lost = noisy(dense_ce=0.3, dense_gce=0.3, relu_ce=0.4, sae_ce=0.6, sae_gce=0.6)
    lost["clean", 0.0] = CLEAN | {"sae + ce": 0.8}
    assert any("loses" in w and "clean" in w for w in verdict(lost).warnings)
    assert any("2 seeds" in w for w in verdict(lost, n_seeds=2).warnings)


def test_hardest_level_of_few_labels_is_the_fewest() -> None:
    summary = pd.DataFrame({"scenario": ["few-labels"] * 2 + ["label-noise"] * 2, "level": [0.1, 0.5, 0.3, 0.9]})
    assert hardest_level(summary, "few-labels") == 0.1
    assert hardest_level(summary, "label-noise") == 0.9
    assert describe_cell("few-labels", 0.1) == "10 % of the labels"
    assert describe_cells("few-labels", [1.0]) == "100 % of the labels"
    assert hardest_level(summary.replace("few-labels", "labels-per-class"), "labels-per-class") == 0.1
    assert describe_cell("labels-per-class", 1.0) == "1 label a class"
    assert in_cells("labels-per-class", [16.0, 8.0, 1.0]) == "with 16, 8 and 1 labels a class"
    assert in_cells("imbalance", [10.0]) == "under an imbalance of 10 to 1"


def test_few_labels_are_answered_from_all_labels_to_the_fewest() -> None:
    few = CLEAN | {"dense + gce": 0.8, "dense + ce": 0.5, "relu + ce": 0.5}
    use, *_ = verdict({("clean", 0.0): CLEAN, ("few-labels", 0.1): few}).headline
    assert use == "Use dense + ce on clean labels; sae + ce with 10 % of the labels."


def test_labels_a_class_are_answered_without_clean_labels() -> None:
    few = CLEAN | {"dense + gce": 0.8, "dense + ce": 0.5, "relu + ce": 0.5}
    cells = {("clean", 0.0): CLEAN} | {("labels-per-class", k): few for k in (1.0, 4.0)}
    found = verdict(cells | {("labels-per-class", 16.0): CLEAN})
    assert found.headline[0] == "Use dense + ce with 16 labels a class; sae + ce with 4 and 1 labels a class."
    assert any("with 1 label a class, sae + ce improves on dense + ce" in text for text in found.sentences)


def _corrupted(gains: dict[str, float]) -> Verdict:
    """Verdict on two severities of kinds; sae gains what is given at severity 5, and a tenth of it before."""
    cells: dict[tuple[str, float], Accuracies] = {("clean", 0.0): CLEAN}
    for kind, gain in gains.items():
        for level in (1.0, 5.0):
            more = gain * (1 if level == 5 else 0.1)
            base = 0.8 - 0.05 * level
            cells[f"corruption:{kind}", level] = dict.fromkeys(CLEAN, base) | {"sae + ce": base + more}
    corruptions = {"kinds": list(gains), "severities": [1, 5]}
    values = {"features": PLAN.features, "scenarios": ["corruptions"], "corruptions": corruptions}
    return verdict(cells, plan=validated(ProbingPlan, values, "test"))


def test_corruptions_are_judged_by_their_mean_and_every_loss_is_counted() -> None:
    found = _corrupted({"fog": 0.3, "gaussian_noise": 0.2, "contrast": -0.1, "snow": 0.0})
    (first,) = [s for s in found.sentences if s.startswith("By cross-entropy alone, under common corruptions")]
    assert "of severity 5 (mean over kinds), sae + ce improves on dense + ce: +10." in first
    (kinds,) = [s for s in found.sentences if s.startswith("Of the 4 kinds there")]
    assert "sae + ce: better on 2, worse on 1, equivalent on 1" in kinds
    assert "from contrast (-9.9" in kinds
    assert "to fog (+30." in kinds
    assert not any("Frost" in warning for warning in found.warnings)


def test_a_single_kind_is_judged_itself_and_drawn_frost_is_said() -> None:
    found = _corrupted({"frost": 0.3})
    assert any("under common corruptions of severity 5 (frost), sae + ce improves on" in s for s in found.sentences)
    assert not any("kinds" in sentence for sentence in found.sentences)
    assert any(warning.startswith("Frost is drawn here") for warning in found.warnings)


def test_shifted_sets_in_words() -> None:
    assert describe_cell("shift:sketch", 1.0) == "the shifted set sketch"
    assert describe_cell("shift:sketch", 3.0) == "the shifted set sketch, level 3"
    assert describe_cell("shift:c/gaussian_noise", 3.0) == "c of severity 3 (gaussian noise)"
    assert describe_cell("shift:c/mean", 3.0) == "c of severity 3 (mean over kinds)"


def with_feature_metric(result: StudyResult, features: str, metric: str, value: float) -> StudyResult:
    """A study with a metric of a feature set alone, such as its explained variance."""
    place = {"variant": features, "features": features, "classifier": "", "scenario": "clean", "level": 0.0, "seed": 0}
    row = pd.DataFrame([place | {"metric": metric, "value": value}])
    return StudyResult(result.plan, pd.concat([result.results, row], ignore_index=True), result.summary, Verdict(()))


@pytest.mark.parametrize(("metric", "value", "why"), [
    ("explained_variance", 0.31, "explains 31 % of the variance"), ("dead", 0.95, "has 95 % of its dimensions silent"),
])  # fmt: skip
def test_a_set_that_was_not_trained_is_no_loss(metric: str, value: float, why: str) -> None:
    cells = noisy(dense_ce=0.5, dense_gce=0.6, relu_ce=0.5, sae_ce=0.3, sae_gce=0.3)
    result = study(cells)
    assert any("sae + ce is worse" in sentence for sentence in probing_verdict(result).sentences)
    found = probing_verdict(with_feature_metric(result, "sae", metric, value))
    assert not any("sae" in sentence and "is worse" in sentence for sentence in found.sentences)
    assert found.headline[-1] == ("No monosemantic feature set was trained (sae), so nothing follows on what they add.")
    assert any(warning.startswith(f"sae was not trained: it {why}") for warning in found.warnings)


def test_a_set_that_explains_most_is_judged() -> None:
    result = study(noisy(dense_ce=0.5, dense_gce=0.6, relu_ce=0.5, sae_ce=0.3, sae_gce=0.3))
    found = probing_verdict(with_feature_metric(result, "sae", "explained_variance", 0.6))
    assert any("sae + ce is worse" in sentence for sentence in found.sentences)
    assert "sae does not explain 40 % of the variance of test embeddings." in found.warnings
