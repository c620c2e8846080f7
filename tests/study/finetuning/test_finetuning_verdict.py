"""The verdict and the learning curves of finetuned networks, from made numbers."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from monosemy.results.learning import REMEDY
from monosemy.results.result import StudyResult, Verdict
from monosemy.results.statistics import summarise
from monosemy.study.conditions import chance_rows
from monosemy.study.engine import judged
from monosemy.study.finetuning import FinetunePlan
from monosemy.study.finetuning.study import FinetuningStudy

NAMES = ("ce", "nce", "ce-smooth")


def made(gains: dict[str, float], seeds: int = 5, names: tuple[str, ...] = NAMES) -> StudyResult:
    """Plain cross-entropy reaches 60 %; gains are those of the other variants, with a little noise."""
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for scenario, level in (("clean", 0.0), ("label-noise", 0.6)):
        for seed in range(seeds):
            for name in names:
                place = {"variant": name, "scenario": scenario, "level": level, "seed": seed}
                noise = 0.0 if name == "ce" else 1e-3 * rng.standard_normal()
                accuracy = 0.6 + gains.get(name, 0.0) + noise
                values = {"train_accuracy": 0.9, "validation_accuracy": 0.7, "accuracy": accuracy}
                for epoch in (1, 2):
                    rows += [place | {"metric": m, "value": value, "epoch": epoch} for m, value in values.items()]
    curves = pd.DataFrame(rows).assign(dataset="d", encoder="e")
    results = curves[curves["epoch"] == 2].reset_index(drop=True)
    plan = FinetunePlan.model_validate(
        {"encoders": ["e"], "variants": names, "n_seeds": seeds, "label_noise": {"levels": [0.6]}}
    )
    result = StudyResult(plan, results, summarise(results, "ce"), Verdict(()), tables={"curves": curves})
    return judged(FinetuningStudy(), result)


@pytest.mark.parametrize(
    ("gain", "words"),
    [(0.05, "improves on ce: +"), (-0.05, "is worse than ce: -"), (0.0, "is equivalent within a point to ce: ")],
)
def test_nce_is_compared_with_plain_training(gain: float, words: str) -> None:
    sentences = made({"nce": gain}).verdict.sentences
    (sentence,) = [text for text in sentences if "% label noise, nce " in text]
    assert f"Under 60 % label noise, nce {words}" in sentence
    assert "to the closest control, ce-smooth" in sentence


def test_a_better_control_takes_the_credit() -> None:
    (sentence,) = [text for text in made({"nce": 0.05, "ce-smooth": 0.08}).verdict.sentences if "noise, nce " in text]
    assert "closest control, ce-smooth, which is better, so monosemanticity is not the reason" in sentence
    (sentence,) = [text for text in made({"nce": 0.05}, names=("ce", "nce")).verdict.sentences if "noise, nce " in text]
    assert sentence.endswith("; no control was run.")


def test_overfitting_and_limits_are_named() -> None:
    verdict = made({}).verdict
    assert any("Train minus validation accuracy under 60 % label noise: ce 20.0" in text for text in verdict.sentences)
    assert verdict.warnings == ("Learning rate, smoothing and weight decay are fixed, not tuned for each variant.",)
    one = made({}, seeds=1).verdict
    assert "one seed cannot tell more" in str(one)
    assert "Only 1 seed:" in str(one)
    assert "nan" not in str(one)


@pytest.mark.parametrize("commonest", [6, 9])
def test_networks_at_chance_are_not_compared(commonest: int) -> None:
    """All networks have 60 %, NCE less: that is no loss of NCE where the commonest class has as many."""
    sentences = guessing(commonest).verdict.sentences
    assert sentences == (
        f"Nothing was learned: on clean labels the best accuracy, 60.0 % of ce, is not clearly above the "
        f"{10 * commonest}.0 % of always choosing the commonest class; the other conditions are no better. Differences "
        f"between the methods are noise and are not judged; {REMEDY}.",
    )
    assert "nce is worse than ce" in str(guessing(3).verdict)


def guessing(commonest: int) -> StudyResult:
    """A study in which always choosing the commonest class is right for so many of ten test rows."""
    result = made({"nce": -0.05, "ce-smooth": -0.01})
    labels = np.concatenate([np.zeros(commonest, np.int64), np.arange(1, 11 - commonest)])
    guess = pd.DataFrame(chance_rows("ce", labels)).assign(dataset="d", encoder="e")
    results = pd.concat([result.results, guess], ignore_index=True)
    return judged(FinetuningStudy(), replace(result, results=results))


def test_every_cell_has_its_curves(tmp_path: Path) -> None:
    (section,) = FinetuningStudy().sections(made({"nce": 0.05}))
    assert [figure.stem for figure in section.figures] == ["curves-clean-0", "curves-label-noise-0.6"]
    panels = section.figures[1].figure.axes
    assert [axes.get_title(loc="left") for axes in panels] == [
        "Train, noisy labels", "Validation, noisy labels", "Test, true labels",
    ]  # fmt: skip
    assert [text.get_text() for text in panels[0].get_legend().get_texts()] == list(NAMES)
    assert panels[2].lines[-1].get_xdata().tolist() == [1, 2]
