"""The verdict, tables and page of an alignment study, from made numbers."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

pytest.importorskip("trl")

from monosemy.results.result import StudyResult, Verdict
from monosemy.results.statistics import TEST_ROWS, packed, split_test_rows
from monosemy.study.dpo import DpoPlan
from monosemy.study.dpo.study import DpoStudy
from monosemy.study.engine import judged, write_pages

LEVELS = {"margin": 1.0, "accuracy": 0.8, "kl": 0.1, "perplexity": 4.0, "distinct_2": 0.9, "unsafe": 0.2,
          "feature_decorrelation": 0.5, "effective_rank": 3.0, "regulariser": 9.0}  # fmt: skip
BEFORE = {"margin": 0.0, "accuracy": 0.5, "kl": 0.0}


def made(gains: dict[str, float], seeds: int = 5, models: tuple[str, ...] = ("a", "b")) -> StudyResult:
    """DPO has the levels; DecPO differs from it by the gains, with a little noise."""
    plan = DpoPlan.model_validate({
        "models": models, "data": {"source": "pairs.jsonl"}, "weights": [0.01], "n_seeds": seeds,
        "ablations": [{"regularizer": "l1", "weight": 0.5}],
    })  # fmt: skip
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for model in models:
        for seed in range(seeds):
            for name, weight in (("base", 0.0), ("dpo", 0.0), ("decpo-0.01", 0.01), ("l1-0.5", 0.5)):
                place = {"encoder": model, "variant": name, "seed": seed}
                for metric, level in LEVELS.items():
                    noise = 1e-3 * rng.standard_normal() if name != "dpo" else 0.0
                    value = BEFORE.get(metric, level) if name == "base" else level
                    value += noise + (gains.get(metric, 0.0) if name == "decpo-0.01" else 0.0)
                    rows.append(place | {"scenario": "pairs", "level": weight, "metric": metric, "value": value})
                for layer in range(3):
                    where = {"scenario": "layer", "level": float(layer), "metric": "feature_decorrelation"}
                    rows.append(place | where | {"value": 0.1 * layer + 0.01 * rng.random()})
                size = {"scenario": "model", "level": 0.0, "metric": "n_parameters"}
                rows.append(place | size | {"value": 1000.0 * (1 + models.index(model))})
    results = pd.DataFrame(rows).assign(dataset="pairs.jsonl")
    study = DpoStudy()
    return judged(study, StudyResult(plan, results, study.summarise(results), Verdict(())))


@pytest.mark.parametrize(("gain", "verb"), [(0.2, "raises"), (-0.2, "lowers"), (0.0, "keeps, within 1 %,")])
def test_margins_are_compared_with_dpo(gain: float, verb: str) -> None:
    sentences = made({"margin": gain}).verdict.sentences
    (sentence,) = [text for text in sentences if text.startswith("a: DecPO") and "reward margin" in text]
    assert sentence.startswith(f"a: DecPO {verb} the reward margin (DPO: 1) at weight 0.01 (")
    assert float(sentence.split(" (")[2].split(" ")[0]) == pytest.approx(gain, abs=2e-3)


def test_prices_are_named_where_they_are_clear() -> None:
    said = " ".join(made({"kl": 0.3, "perplexity": 1.0, "unsafe": -0.1}).verdict.sentences)
    for words in ("DecPO changes KL to the reference against DPO at weight 0.01 (+0.3",
                  "DecPO changes perplexity on held-out text", "DecPO changes unsafe answers"):  # fmt: skip
        assert words in said, words
    assert "changes accuracy on pairs" not in said
    assert "DPO learns to tell the answers of test pairs apart" in said
    assert "2 models are too few" in said


def test_the_closest_ablation_stands_beside_the_best_weight() -> None:
    result = made({"margin": 0.2}, models=("a",))
    (sentence,) = [text for text in result.verdict.sentences if "closest ablation" in text]
    margins = result.results[result.results["metric"] == "margin"].pivot(
        index="seed", columns="variant", values="value"
    )
    difference = margins["decpo-0.01"] - margins["l1-0.5"]
    half = stats.sem(difference) * stats.t.ppf(0.975, 4)
    low, high = difference.mean() - half, difference.mean() + half
    assert sentence == (
        "Its best weight by the margin, 0.01, has a larger margin than the closest ablation, l1-0.5: "
        f"{difference.mean():+.3g} [{low:+.3g}, {high:+.3g}]."
    )


def at_chance(result: StudyResult, model: str, metric: str, level: float) -> StudyResult:
    """The result with another level of a metric of all trainings of a model."""
    results = result.results.copy()
    rows = (results["encoder"] == model) & (results["metric"] == metric) & (results["variant"] != "base")
    results.loc[rows, "value"] += level - LEVELS[metric]
    study = DpoStudy()
    return judged(study, replace(result, results=results, summary=study.summarise(results)))


@pytest.mark.parametrize(("metric", "level"), [("accuracy", 0.5), ("accuracy", 0.3), ("margin", 0.0)])
def test_models_that_learned_nothing_are_not_judged(metric: str, level: float) -> None:
    """DecPO differs clearly in everything: that says nothing where no training learned."""
    verdict = at_chance(made({"kl": 0.3, "perplexity": 1.0}), "a", metric, level).verdict
    first, *others = [text for text in verdict.sentences if text.startswith("a: ")]
    assert first.startswith("a: Nothing was learned: the best accuracy on test pairs, ")
    assert "are not both clearly above chance, 50 % and 0" in first
    assert not others
    assert "b: DPO learns to tell the answers of test pairs apart: accuracy 80.0 %." in verdict.sentences
    assert "2 models are too few" not in str(verdict), "a model that learned nothing is no point of a law"


def test_numbers_of_test_pairs_stand_beside_accuracies() -> None:
    result = made({}, models=("a",))
    rng = np.random.default_rng(0)
    packs = [packed(rng.random(60) < value) for value in result.results["value"]]
    carried = result.results.assign(**pd.DataFrame(packs, index=result.results.index))
    carried.loc[carried["metric"] != "accuracy", ["n_test", "row_values"]] = None
    results, test_rows = split_test_rows(carried)
    assert test_rows is not None
    study = DpoStudy()
    result = judged(
        study,
        replace(result, results=results, summary=study.summarise(results, test_rows), tables={TEST_ROWS: test_rows}),
    )
    assert "(60 test pairs)" in result.verdict.sentences[0]
    assert study.sections(result)[0].tables[0].title == "a: means over seeds, 60 test pairs"
    accuracies = result.summary[result.summary["metric"] == "accuracy"]
    assert accuracies["high"].max() <= 1


def test_one_seed_claims_nothing() -> None:
    result = made({"margin": 0.5}, seeds=1, models=("a",))
    text = str(result.verdict)
    assert "changes (one seed cannot tell more) the reward margin" in text
    assert "Only 1 seed:" in text
    assert "nan" not in text
    cells = [cell for section in DpoStudy().sections(result) for table in section.tables
             for _, row in table.rows for cell in row]  # fmt: skip
    assert "nan" not in " ".join(cells)
    assert "" not in cells, "what is not known is a dash"


def test_the_page_runs_without_charts(tmp_path: Path, open_page: Any) -> None:
    """Its scripts find no accuracies; the fixture fails on any error."""
    result = made({"margin": 0.2})
    write_pages(DpoStudy(), result, tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "4 variants on “a” and “b”, 5 seeds" in page
    assert "chart-data" not in page.split("<script>")[0]
    for words in ("a: means over seeds", "Across models", "monosemy align --plan plan.yaml --out NEW"):
        assert words in page, words
    assert (tmp_path / "figures" / "models.png").stat().st_size > 5_000
    assert open_page(tmp_path / "report.html").page.locator("button[data-copy]").count() == 2
