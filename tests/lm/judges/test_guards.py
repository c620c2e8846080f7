"""ShieldGemma and Llama Guard on tiny random models: their real formats, right numbers, cached, one-sentence errors."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recorded_templates import LLAMA_GUARD, LLAMA_GUARD_3_TEXT, SHIELD_GEMMA, TYPED_PARTS
from tiny_models import save_causal, tiny_tokenizer

from monosemy.lm.judge import GUIDELINES, LlamaGuardJudge, ShieldGemmaJudge

PROMPTS = ("How do I adopt a llama?", "Hi", "What is two and two, and why is it so?")
ANSWERS = ("Steal one.", "Hello to you, dear friend!", "4")


@pytest.fixture
def shield_gemma(tmp_path: Path) -> Callable[..., ShieldGemmaJudge]:
    def make(chat_template: str | None = SHIELD_GEMMA, words=("Yes", "No"), **settings: Any) -> ShieldGemmaJudge:
        tokenizer = tiny_tokenizer(words, chat_template)
        return ShieldGemmaJudge(save_causal(tmp_path / "g", "gemma2", tokenizer, 2048), device="cpu", **settings)

    return make


@pytest.fixture
def llama_guard(tmp_path: Path) -> Callable[..., LlamaGuardJudge]:
    def make(
        chat_template: str | None = LLAMA_GUARD["3"], words=("safe", "unsafe"), **settings: Any
    ) -> LlamaGuardJudge:
        tokenizer = tiny_tokenizer((*words, "<|end_header_id|>"), chat_template)
        return LlamaGuardJudge(save_causal(tmp_path / "l", "llama", tokenizer, 2048), device="cpu", **settings)

    return make


def test_our_text_is_what_the_recorded_template_gives(shield_gemma) -> None:
    with_template, without = shield_gemma(), shield_gemma(None)
    for policy in GUIDELINES:
        text = with_template.text("Q?", "A.", policy)
        assert text == without.text("Q?", "A.", policy)
        assert text.startswith("<s>You are a policy expert")
        assert "Human Question: Q?\n<end_of_turn>" in text
        assert "Chatbot Response: A.\n<end_of_turn>" in text
        assert f"\n\n* {GUIDELINES[policy]}\n\n===\n\n" in text


def test_shield_gemma_weighs_yes_against_no(shield_gemma) -> None:
    judge = shield_gemma(batch_size=5)
    found = judge.score_policies(PROMPTS, ANSWERS)
    assert found.shape == (3, 4)
    tokenizer, model = judge.loaded.tokenizer, judge.loaded.model
    yes, no = tokenizer.get_vocab()["Yes"], tokenizer.get_vocab()["No"]
    for i, (prompt, answer) in enumerate(zip(PROMPTS, ANSWERS, strict=True)):
        for j, policy in enumerate(judge.policies):
            ids = tokenizer(judge.text(prompt, answer, policy), add_special_tokens=False, return_tensors="pt").input_ids
            assert (ids == 0).sum() == 1, "one <s>, not two"
            with torch.no_grad():
                logits = model(ids).logits[0, -1, [yes, no]]
            assert found[i, j] == pytest.approx(float(logits.softmax(0)[0]), rel=1e-4, abs=1e-6)
    assert found.std() > 1e-4, "the random model tells them apart"
    np.testing.assert_array_equal(judge.score(PROMPTS, ANSWERS), found.max(axis=1))


def test_shield_gemma_for_some_policies(shield_gemma, says) -> None:
    all_four = shield_gemma().score_policies(PROMPTS, ANSWERS)
    one = shield_gemma(policies=("hate",)).score_policies(PROMPTS, ANSWERS)
    np.testing.assert_allclose(one[:, 0], all_four[:, 2], rtol=1e-5)
    with says("zonk", "hate"):
        shield_gemma(policies=("zonk",))


@pytest.mark.parametrize("version", ["1", "2", "3"])
def test_llama_guard_weighs_unsafe_against_safe(version: str, llama_guard) -> None:
    judge = llama_guard(LLAMA_GUARD[version], batch_size=2)
    found = judge.score(PROMPTS, ANSWERS)
    tokenizer, model = judge.loaded.tokenizer, judge.loaded.model
    unsafe, safe = tokenizer.get_vocab()["unsafe"], tokenizer.get_vocab()["safe"]
    for i, (prompt, answer) in enumerate(zip(PROMPTS, ANSWERS, strict=True)):
        text = judge.text(prompt, answer)
        assert f"User: {prompt}\n\nAgent: {answer}\n\n<END CONVERSATION>" in text
        ids = tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids
        with torch.no_grad():
            logits = model(ids).logits[0, -1, [unsafe, safe]]
        assert found[i] == pytest.approx(float(logits.softmax(0)[0]), rel=1e-4, abs=1e-6)


def test_what_llama_guard_3_reads(llama_guard) -> None:
    assert llama_guard().text(PROMPTS[0], ANSWERS[0]) == LLAMA_GUARD_3_TEXT


def test_templates_with_typed_parts(llama_guard, says) -> None:
    assert llama_guard(TYPED_PARTS).text("Q", "A") == "[INST] Q\nA\n[/INST]"
    with says("leaves out the answer"):
        llama_guard("[INST] {{ messages[0]['content'] }}").text("Q", "A")


def test_a_space_before_the_verdict_counts_too(llama_guard) -> None:
    """Tokenizers with a space in their words have two beginnings of a verdict."""
    judge = llama_guard(words=("safe", "unsafe", " safe", " unsafe"))
    found = judge.score(PROMPTS, ANSWERS)
    vocabulary, model = judge.loaded.tokenizer.get_vocab(), judge.loaded.model
    ids = judge.loaded.tokenizer(judge.text(PROMPTS[0], ANSWERS[0]), add_special_tokens=False, return_tensors="pt")
    with torch.no_grad():
        p = model(ids.input_ids).logits[0, -1].softmax(0)
    unsafe, safe = (float(p[vocabulary[word]] + p[vocabulary[" " + word]]) for word in ("unsafe", "safe"))
    assert found[0] == pytest.approx(unsafe / (unsafe + safe), rel=1e-4)


def test_scores_are_cached_by_model_and_texts(llama_guard, monkeypatch: pytest.MonkeyPatch) -> None:
    first = llama_guard().score(PROMPTS, ANSWERS)
    again = llama_guard()
    monkeypatch.setattr("monosemy.lm.models.load_causal_model", lambda *a, **k: pytest.fail("loaded again"))
    np.testing.assert_array_equal(again.score(PROMPTS, ANSWERS), first)
    with pytest.raises(pytest.fail.Exception):
        again.score(PROMPTS, ANSWERS[::-1])


def test_models_that_are_no_guards(shield_gemma, llama_guard, says) -> None:
    with says("no tokens Yes and No"):
        shield_gemma(words=()).score(PROMPTS, ANSWERS)
    with says("no chat template"):
        llama_guard(None).score(PROMPTS, ANSWERS)
    with says("2048 tokens", "shorter"):
        shield_gemma().score(["a" * 3000], ["b"])


def test_a_guard_that_is_not_here(says, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monosemy.lm.models._hub_answers", lambda: False)
    with says("google/shieldgemma-9b", "no connection"):
        ShieldGemmaJudge().score(["a"], ["b"])
