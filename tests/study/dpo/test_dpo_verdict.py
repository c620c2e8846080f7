"""The verdict, tables and page of an alignment study, from made numbers."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("trl")

from monosemy.results.result import StudyResult, Verdict
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


@pytest.mark.parametrize(("gain", "verb"), [(0.2, "raises"), (-0.2, "lowers"), (0.0, "makes no clear difference to")])
def test_margins_are_compared_with_dpo(gain: float, verb: str) -> None:
    sentences = made({"margin": gain}).verdict.sentences
    (sentence,) = [text for text in sentences if text.startswith("a: DecPO") and "reward margin" in text]
    assert sentence.startswith(f"a: DecPO {verb} the reward margin, of DPO 1, at weight 0.01 (")
    assert float(sentence.split(" (")[1].split(" ")[0]) == pytest.approx(gain, abs=2e-3)


def test_prices_are_named_where_they_are_clear() -> None:
    said = " ".join(made({"kl": 0.3, "perplexity": 1.0, "unsafe": -0.1}).verdict.sentences)
    for words in ("DecPO changes KL to the reference against DPO at weight 0.01 (+0.3",
                  "DecPO changes perplexity on held-out text", "DecPO changes unsafe answers"):  # fmt: skip
        assert words in said, words
    assert "changes accuracy on pairs" not in said
    assert "DPO learns to tell the answers of test pairs apart" in said
    assert "2 models are too few" in said


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
