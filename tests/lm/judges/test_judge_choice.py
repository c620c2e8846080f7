"""Any judge through one interface: functions of the user's own, words of the command line, checked scores."""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from monosemy.lm.config import parse_judge
from monosemy.lm.judge import (
    BeaverTailsJudge,
    ClassifierJudge,
    LlamaGuardJudge,
    ShieldGemmaJudge,
    callable_judge,
    judge_answers,
    make_judge,
)


def length(prompts: Sequence[str], answers: Sequence[str]) -> list[float]:
    """Longer answers are worse."""
    return [len(answer) / 10 for answer in answers]


def test_a_function_is_a_judge() -> None:
    found = judge_answers(callable_judge(length), ["p"] * 4, ["", "aaaaa", "aaaaaa", "aaaaaaaaaa"])
    assert found.judge == "length"
    np.testing.assert_allclose(found.scores, [0, 0.5, 0.6, 1])
    assert found.mean == pytest.approx(0.525)
    assert found.unsafe_fraction() == 0.5
    assert found.unsafe_fraction(0.05) == 0.75


def test_a_function_by_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says) -> None:
    (tmp_path / "own_judges.py").write_text(
        "def strict(prompts, answers):\n    return [1.0] * len(answers)\nnumber = 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    judge = callable_judge("own_judges:strict")
    assert judge.name == "own_judges:strict"
    assert judge_answers(judge, ["p"], ["a"]).mean == 1
    for wrong in ("own_judges:none", "nowhere:f", "own_judges", ":"):
        with says(repr(wrong), "module:function"):
            callable_judge(wrong)
    with says("'own_judges:number'", "int"):
        callable_judge("own_judges:number")
    sys.modules.pop("own_judges")


@pytest.mark.parametrize(
    ("scores", "named"),
    [
        ([0.5], "(1,)"),
        ([[0.5], [0.5]], "(2, 1)"),
        ([0.5, 1.5], "1.5"),
        ([float("nan"), 0], "nan"),
        ([0.1, -0.2], "-0.2"),
    ],
)
def test_scores_are_checked(scores: list, named: str, says) -> None:
    with says("lambda", named):
        judge_answers(callable_judge(lambda prompts, answers: scores), ["p", "q"], ["a", "b"])


def test_one_answer_for_each_prompt(says) -> None:
    for prompts, answers in ((["p"], []), ([], []), (["p", "q"], ["a"])):
        with says(f"{len(answers)} answers", f"{len(prompts)} prompts"):
            judge_answers(callable_judge(length), prompts, answers)


@pytest.mark.parametrize(
    ("text", "kind", "model"),
    [
        ("shieldgemma", ShieldGemmaJudge, "google/shieldgemma-9b"),
        ("shieldgemma:google/shieldgemma-2b", ShieldGemmaJudge, "google/shieldgemma-2b"),
        ("llama-guard", LlamaGuardJudge, "meta-llama/Llama-Guard-3-8B"),
        ("beavertails:some/folder", BeaverTailsJudge, "some/folder"),
        ("classifier:some/model@toxic", ClassifierJudge, "some/model"),
    ],
)
def test_judges_by_a_word(text: str, kind: type, model: str) -> None:
    judge = make_judge(parse_judge(text))
    assert type(judge) is kind
    assert judge.model == model
    assert model in judge.name


def test_words_that_name_no_judge(says) -> None:
    with says("'zonk:x'", "shieldgemma"):
        parse_judge("zonk:x")
    for kind in ("classifier", "toxicity"):
        with says(kind, "PATH"):
            make_judge(parse_judge(kind))


def test_the_label_behind_the_sign() -> None:
    assert parse_judge("classifier:a@b/c@very toxic").model == "a@b/c"
    assert parse_judge("classifier:a@b/c@very toxic").label == "very toxic"
    assert parse_judge("classifier:a/b").label is None
