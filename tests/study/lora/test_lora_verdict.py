"""What a comparison of adapters says: wins, losses and doubts, from made tables."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

pytest.importorskip("trl")

from monosemy.report.terminal import result_json
from monosemy.results.result import StudyResult, Verdict
from monosemy.results.statistics import TEST_ROWS, split_test_rows, summarise
from monosemy.study.conditions import Cell, accuracy_rows, chance_rows
from monosemy.study.engine import judged
from monosemy.study.lora import LoraPlan
from monosemy.study.lora.study import LoraStudy
from monosemy.study.lora.verdict import forgetting_figure, write_units

PLAN: dict[str, Any] = {
    "model": "some/model", "data": {"source": "s", "task": "generation"},
    "methods": ["base", "lora", "monolora-output"],
}  # fmt: skip


def made(folder: Path, gains: dict[str, float], seeds: int = 5, lowest: float = 1.0, **changes: Any) -> StudyResult:
    """LoRA scores 60 %; gains are those of MonoLoRA by metric, with a little noise; loss falls from 2 to the lowest."""
    rng = np.random.default_rng(0)
    levels = {"accuracy": 0.6, "held_out_perplexity": 8.0, "unsafe": 0.3, "update_zeros": 0.0, "hidden_zeros": 0.0}
    rows = []
    for seed in range(seeds):
        for metric, level in levels.items():
            noise = 0.001 * rng.standard_normal()
            values = {"base": level - 0.2, "lora": level, "monolora-output": level + gains.get(metric, 0.0) + noise}
            for name, value in values.items():
                place = {"variant": name, "scenario": "clean", "level": 0.0, "seed": seed}
                rows += [place | {"metric": metric, "value": value}]
                loss = {"base": 2.0}.get(name, lowest) + noise
                rows += [place | {"metric": "loss", "value": loss}] if metric == "accuracy" else []
    results = pd.DataFrame(rows).assign(dataset="d", encoder="m")
    return judged_again(LoraPlan.model_validate(PLAN | {"n_seeds": seeds} | changes), results, folder)


def judged_again(plan: LoraPlan, results: pd.DataFrame, folder: Path) -> StudyResult:
    return judged(LoraStudy(), StudyResult(plan, results, summarise(results, "lora"), Verdict(()), folder=folder))


@pytest.mark.parametrize(
    ("gain", "word"),
    [
        (0.05, "improves on lora: +5.0"),
        (-0.05, "is worse than lora: -5.0"),
        (0.0, "is equivalent within a point to lora: "),
    ],
)
def test_better_and_worse_are_said_alike(tmp_path: Path, gain: float, word: str) -> None:
    said = made(tmp_path, {"accuracy": gain}).verdict.sentences
    (sentence,) = [one for one in said if one.startswith("On answers of d, monolora-output")]
    assert word in sentence
    assert ("no control was run" in sentence) == (gain > 0), "a control could explain a gain only"


def test_a_clear_loss_at_a_milder_level_is_said(tmp_path: Path) -> None:
    """The hardest level alone would hide it."""
    clean = made(tmp_path, {})
    parts = [clean.results]
    for level, gain in ((0.2, -0.05), (0.3, 0.0), (0.4, 0.0)):
        parts.append(made(tmp_path, {"accuracy": gain}).results.assign(scenario="label-noise", level=level))
    results = pd.concat(parts, ignore_index=True)
    results = results[results["metric"] != "loss"]  # the classes are known, so the conditions are named
    said = judged_again(clean.plan, results, tmp_path).verdict.sentences
    noisy = [one for one in said if one.startswith("Under")]
    assert [one.split(" label noise")[0] for one in noisy] == ["Under 40 %", "Under 20 %"]
    assert "is equivalent within a point to lora" in noisy[0]
    assert "is worse than lora: -5" in noisy[1]


@pytest.mark.parametrize(
    ("factor", "word"),
    [(0.5, "forgets more than LoRA"), (-0.5, "forgets less than LoRA"), (0.0, "forgets as much, within 1 %, as LoRA")],
)
def test_what_is_kept_is_said(tmp_path: Path, factor: float, word: str) -> None:
    said = " ".join(made(tmp_path, {"held_out_perplexity": factor}).verdict.sentences)
    assert word in said
    assert f"before 7.8, LoRA 8, monolora-output {8 + factor:.3g}" in said


def test_harm_and_zeros_are_said(tmp_path: Path) -> None:
    said = " ".join(made(tmp_path, {"unsafe": 0.2, "update_zeros": 0.5}).verdict.sentences)
    assert "monolora-output is less safe than LoRA: mean probability of an unsafe answer before 10.0 %" in said
    assert "LoRA 30.0 %, monolora-output 50.0 %, +20.0 points [" in said
    assert "50 % of its updates (LoRA 0 %)" in said


@pytest.mark.parametrize("lowest", [2.0, 2.5])
def test_adapters_that_do_not_lower_the_loss_are_not_compared(tmp_path: Path, lowest: float) -> None:
    """Ten verdicts on noise would look like findings."""
    verdict = made(tmp_path, {"accuracy": 0.2, "unsafe": 0.2}, lowest=lowest).verdict
    (sentence,) = verdict.sentences
    assert sentence.startswith("Nothing was learned: the lowest loss on test answers, ")
    assert "is not clearly below the 2 of the model before" in sentence
    assert "Only" not in sentence
    assert verdict.warnings, "limits of the study are named still"


def classified(folder: Path, accuracies: dict[tuple[str, float], tuple[float, float, float]]) -> StudyResult:
    """Accuracies of base, LoRA and MonoLoRA by cell, of 5 seeds and 200 test rows of two equal classes."""
    rng = np.random.default_rng(0)
    rows = chance_rows("lora", np.repeat([0, 1], 100))
    for (scenario, level), means in accuracies.items():
        for seed in range(5):
            for name, mean in zip(("base", "lora", "monolora-output"), means, strict=True):
                hits = rng.random(200) < mean
                rows += accuracy_rows(name, Cell(scenario, level), seed, hits)
    results, test_rows = split_test_rows(pd.DataFrame(rows).assign(dataset="d", encoder="m"))
    assert test_rows is not None
    plan = LoraPlan.model_validate(PLAN | {"data": {"source": "s", "task": "classification"}, "n_seeds": 5})
    summary = summarise(results, "lora", test_rows)
    return judged(
        LoraStudy(), StudyResult(plan, results, summary, Verdict(()), folder=folder, tables={TEST_ROWS: test_rows})
    )


def test_classifiers_at_chance_are_not_compared(tmp_path: Path) -> None:
    cells = {("clean", 0.0): (0.5, 0.5, 0.52), ("label-noise", 0.4): (0.5, 0.48, 0.5)}
    (sentence,) = classified(tmp_path, cells).verdict.sentences
    assert sentence.startswith("Nothing was learned: on clean labels (200 test rows) the best accuracy, 5")
    assert "is not clearly above the 50.0 % of always choosing the commonest class" in sentence
    assert "the other conditions are no better" in sentence


def test_a_condition_at_chance_is_said_and_milder_ones_are_judged(tmp_path: Path) -> None:
    cells = {
        ("clean", 0.0): (0.5, 0.8, 0.8), ("label-noise", 0.2): (0.5, 0.6, 0.9),
        ("label-noise", 0.4): (0.5, 0.5, 0.5),
    }  # fmt: skip
    first, second, third, *_ = classified(tmp_path, cells).verdict.sentences
    assert first.startswith("Under 40 % label noise (200 test rows), nothing was learned: the best accuracy, 5")
    assert second.startswith("Under 20 % label noise (200 test rows), monolora-output improves on lora: +")
    assert third.startswith("On clean labels (200 test rows), monolora-output is ")


def test_claims_on_forgetting_are_corrected_together(tmp_path: Path) -> None:
    """Two methods are two chances to be wrong."""
    result = made(tmp_path, {})
    more = [0.2, 0.2, 0.3, 0.4, 0.1]
    other = result.results[result.results["variant"] == "monolora-output"].assign(variant="monolora-hidden")
    results = pd.concat([result.results, other], ignore_index=True)
    for name in ("monolora-output", "monolora-hidden"):
        rows = (results["metric"] == "held_out_perplexity") & (results["variant"] == name)
        results.loc[rows, "value"] = 8 + np.array(more)
    said = [one for one in judged_again(result.plan, results, tmp_path).verdict.sentences if "forgets" in one]
    half = stats.sem(more) * stats.t.ppf(1 - 0.05 / 2 / 2, 4)
    low, high = (100 * (np.mean(more) + end) / 8 for end in (-half, half))
    assert len(said) == 2
    assert f"{100 * np.mean(more) / 8:+.2g} % [{low:+.2g}, {high:+.2g}]" in said[0]


def test_one_seed_claims_nothing(tmp_path: Path) -> None:
    result = made(tmp_path, {"accuracy": 0.2}, seeds=1)
    said = str(result.verdict)
    assert "+20" in said or "+19.9" in said or "+20.1" in said
    assert "one seed cannot tell more" in said
    assert "nan" not in said
    assert "Only 1 seed:" in said
    answer = json.loads(result_json(result))
    assert answer["summary"][1]["p_holm"] is None


def test_a_rate_at_the_edge_of_the_grid_is_named(tmp_path: Path) -> None:
    result = made(tmp_path, {}, learning_rates=(1e-3, 1e-2, 1e-1))
    chosen = pd.DataFrame(
        [
            {"variant": name, "scenario": "clean", "level": 0.0, "seed": 0, "metric": "lr", "value": value}
            for name, value in (("lora", 1e-1), ("monolora-output", 1e-2))
        ]
    )
    result = judged_again(result.plan, pd.concat([result.results, chosen.assign(dataset="d", encoder="m")]), tmp_path)
    (said,) = [warning for warning in result.verdict.warnings if "learning rate" in warning]
    assert said.startswith("The largest learning rate (0.1) was chosen 1 times (lora)")


def test_figure_and_escaped_units(tmp_path: Path) -> None:
    result = made(tmp_path, {})
    (axes,) = forgetting_figure(result.results).axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["base", "lora", "monolora-output"]
    unit = {
        "layer": "<b>layer</b>", "unit": 3, "support": 12, "by": "token", "commonest": "<i>", "consistency": 0.5,
        "chance": 0.25, "texts": [{"text": "<script>alert(1)</script>", "value": 1.5}],
    }  # fmt: skip
    (tmp_path / "units").mkdir()
    (tmp_path / "units" / "lora-clean-0-0.json").write_text(json.dumps({"hidden": [unit], "update": []}))
    page = write_units(result, tmp_path, ()).read_text()
    assert "<script>alert" not in page
    assert "<b>layer" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "0.500 (0.250)" in page
