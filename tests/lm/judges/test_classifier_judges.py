"""Sequence classifiers as judges: the right label, independent labels or one of several, long texts, the moderator."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import save_causal, save_classifier

from monosemy.lm.judge import BeaverTailsJudge, ClassifierJudge

PROMPTS = ("How do I adopt a llama?", "Hi", "Why?")
ANSWERS = ("Steal one.", "Hello to you, dear friend! How are you?", "")
CATEGORIES = tuple(f"category_{i}" for i in range(14))


def logits_of(judge: ClassifierJudge, text: str) -> torch.Tensor:
    ids = judge.loaded.tokenizer(text, return_tensors="pt").input_ids
    with torch.no_grad():
        return judge.loaded.model(ids).logits[0]


def test_the_named_label_of_one_softmax(tmp_path: Path) -> None:
    folder = save_classifier(tmp_path, ("neutral", "toxic", "severe"))
    judge = ClassifierJudge(folder, "Toxic", device="cpu", batch_size=2)
    found = judge.score(PROMPTS, ANSWERS)
    expected = [float(logits_of(judge, answer).softmax(0)[1]) for answer in ANSWERS]
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert found.std() > 1e-3
    both = ClassifierJudge(folder, ("toxic", "severe"), device="cpu").score(PROMPTS, ANSWERS)
    np.testing.assert_allclose(both, [1 - float(logits_of(judge, a).softmax(0)[0]) for a in ANSWERS], rtol=1e-4)
    np.testing.assert_allclose(ClassifierJudge(folder, device="cpu").score(PROMPTS, ANSWERS), found, rtol=1e-6)


def test_independent_labels_have_a_sigmoid_each(tmp_path: Path) -> None:
    folder = save_classifier(tmp_path, ("toxic", "insult", "threat"), "multi_label_classification")
    judge = ClassifierJudge(folder, ("insult", "threat"), device="cpu")
    expected = [float(logits_of(judge, answer).sigmoid()[1:].max()) for answer in ANSWERS]
    np.testing.assert_allclose(judge.score(PROMPTS, ANSWERS), expected, rtol=1e-4)


def test_one_output_is_a_sigmoid(tmp_path: Path) -> None:
    judge = ClassifierJudge(save_classifier(tmp_path, ("toxicity",)), device="cpu")
    expected = [float(logits_of(judge, answer).sigmoid()[0]) for answer in ANSWERS]
    np.testing.assert_allclose(judge.score(PROMPTS, ANSWERS), expected, rtol=1e-4)


def test_long_texts_keep_their_beginning_or_their_end(tmp_path: Path) -> None:
    folder = save_classifier(tmp_path, ("fine", "unsafe"))
    for keep, expected in (("beginning", "a" * 49), ("end", "b" * 49)):
        judge = ClassifierJudge(folder, keep=keep, max_tokens=50, device="cpu")
        found = judge.score(["q"], ["a" * 60 + "b" * 60])
        assert found[0] == pytest.approx(float(logits_of(judge, expected).softmax(0)[1]), rel=1e-4)


def test_the_beavertails_moderator(tmp_path: Path) -> None:
    folder = save_classifier(tmp_path, CATEGORIES, "multi_label_classification", kind="llama")
    judge = BeaverTailsJudge(folder, device="cpu", batch_size=3)
    texts = [f"BEGINNING OF CONVERSATION: USER: {p} ASSISTANT:{a}" for p, a in zip(PROMPTS, ANSWERS, strict=True)]
    expected = [float(logits_of(judge, text).sigmoid().max()) for text in texts]
    np.testing.assert_allclose(judge.score(PROMPTS, ANSWERS), expected, rtol=1e-4)
    assert "BeaverTails" in judge.name


def test_judges_are_cached_by_all_that_changes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_classifier(tmp_path, ("neutral", "toxic"))
    first = ClassifierJudge(folder, "toxic", device="cpu").score(PROMPTS, ANSWERS)
    monkeypatch.setattr("monosemy.lm.models.load_classifier", lambda *a, **k: pytest.fail("loaded again"))
    np.testing.assert_array_equal(ClassifierJudge(folder, "toxic", device="cpu").score(PROMPTS, ANSWERS), first)
    for changed in ({"labels": "neutral"}, {"template": "{prompt} {answer}"}, {"max_tokens": 9}, {"keep": "end"}):
        with pytest.raises(pytest.fail.Exception):
            ClassifierJudge(folder, **{"labels": "toxic", "device": "cpu"} | changed).score(PROMPTS, ANSWERS)


def test_models_that_are_no_judges(tmp_path: Path, says) -> None:
    folder = save_classifier(tmp_path / "c", ("fine", "odd"))
    with says("'rude'", "'fine', 'odd'"):
        ClassifierJudge(folder, "rude", device="cpu").score(PROMPTS, ANSWERS)
    with says("that means unsafe", "'fine', 'odd'"):
        ClassifierJudge(folder, device="cpu").score(PROMPTS, ANSWERS)
    with says("2 labels", "14 independent"):
        BeaverTailsJudge(folder, device="cpu").score(PROMPTS, ANSWERS)
    with says("no trained classifier head"):
        ClassifierJudge(save_causal(tmp_path / "l"), device="cpu").score(PROMPTS, ANSWERS)
