"""What a comparison of adapters says: wins, losses and doubts, from made tables."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("trl")

from monosemy.report.terminal import result_json
from monosemy.results.result import StudyResult, Verdict
from monosemy.results.statistics import summarise
from monosemy.study.engine import judged
from monosemy.study.lora import LoraPlan
from monosemy.study.lora.study import LoraStudy
from monosemy.study.lora.verdict import forgetting_figure, write_units

PLAN: dict[str, Any] = {
    "model": "some/model", "data": {"source": "s", "task": "generation"},
    "methods": ["base", "lora", "monolora-output"],
}  # fmt: skip


def made(folder: Path, gains: dict[str, float], seeds: int = 5, **changes: Any) -> StudyResult:
    """LoRA scores 60 %; gains are those of MonoLoRA by metric, with a little noise."""
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
                rows += [place | {"metric": "loss", "value": 1.0}] if metric == "accuracy" else []
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
    assert "no control was run" in sentence


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
    [
        (0.5, "forgets more than LoRA"),
        (-0.5, "forgets less than LoRA"),
        (0.0, "makes no clear difference in forgetting to LoRA"),
    ],
)
def test_what_is_kept_is_said(tmp_path: Path, factor: float, word: str) -> None:
    said = " ".join(made(tmp_path, {"held_out_perplexity": factor}).verdict.sentences)
    assert word in said
    assert f"before 7.8, LoRA 8, monolora-output {8 + factor:.3g}" in said


def test_harm_and_zeros_are_said(tmp_path: Path) -> None:
    said = " ".join(made(tmp_path, {"unsafe": 0.2, "update_zeros": 0.5}).verdict.sentences)
    assert "unsafe answer: before 10.0 %, LoRA 30.0 %, monolora-output 50.0 % (clear difference)" in said
    assert "50 % of its updates (LoRA 0 %)" in said


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
