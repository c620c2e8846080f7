"""Answers in batches are the answers one by one: padding, order and seeds do not matter where they should not."""

from pathlib import Path

import pytest
import torch
from tiny_models import CHAT_TEMPLATE, save_causal, tiny_tokenizer

from monosemy.lm.config import Decoding
from monosemy.lm.generation import generate
from monosemy.lm.models import load_causal_model

PROMPTS = ["Once", "A much longer prompt than the first one", "Hi", "Two words", "x" * 30]


@pytest.fixture
def loaded(tmp_path: Path):
    return load_causal_model(save_causal(tmp_path, tokenizer=tiny_tokenizer(chat_template=CHAT_TEMPLATE)), device="cpu")


@pytest.mark.parametrize("kind", ["llama", "gpt2", "opt"])
def test_batches_and_greedy_steps_by_hand_agree(kind: str, tmp_path: Path) -> None:
    loaded = load_causal_model(save_causal(tmp_path, kind), device="cpu")
    told: list[tuple[int, int]] = []
    found = generate(loaded, PROMPTS, Decoding(max_new_tokens=8), batch_size=2, on_texts=lambda *t: told.append(t))
    for prompt, answer in zip(PROMPTS, found, strict=True):
        ids = loaded.tokenizer(prompt).input_ids
        start = len(ids)
        for _ in range(8):
            with torch.no_grad():
                ids.append(int(loaded.model(torch.tensor([ids])).logits[0, -1].argmax()))
            if ids[-1] == loaded.tokenizer.eos_token_id:
                break
        assert answer == loaded.tokenizer.decode(ids[start:], skip_special_tokens=True)
    assert told == [(2, 5), (4, 5), (5, 5)]


def test_draws_are_the_seeds(loaded) -> None:
    before = torch.get_rng_state()
    decoding = Decoding(max_new_tokens=8, temperature=1.0)
    first, again, other = (generate(loaded, PROMPTS, decoding, seed=seed) for seed in (3, 3, 4))
    assert first == again != other
    assert torch.equal(torch.get_rng_state(), before)
    nearly_greedy = generate(loaded, PROMPTS, Decoding(max_new_tokens=8, temperature=1.0, top_p=1e-6))
    assert nearly_greedy == generate(loaded, PROMPTS, Decoding(max_new_tokens=8))


def test_chats_go_through_the_template(loaded) -> None:
    chat = [{"role": "user", "content": "Hi"}]
    text = "<user>Hi</s><assistant>"
    ids = loaded.tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids
    with torch.no_grad():
        first = int(loaded.model(ids).logits[0, -1].argmax())
    answer = generate(loaded, [chat], Decoding(max_new_tokens=1))[0]
    assert answer == loaded.tokenizer.decode([first], skip_special_tokens=True)


def test_long_prompts_keep_their_end(tmp_path: Path) -> None:
    loaded = load_causal_model(save_causal(tmp_path, context=40), device="cpu")
    decoding = Decoding(max_new_tokens=8)
    assert generate(loaded, ["a" * 50 + "b" * 32], decoding) == generate(loaded, ["zz" + "b" * 32], decoding)


def test_wrong_numbers(tmp_path: Path, loaded, says) -> None:
    with says("max_new_tokens=1024", "1024 tokens"):
        generate(loaded, ["a"], Decoding(max_new_tokens=1024))
    with says("no chat template"):
        generate(load_causal_model(save_causal(tmp_path / "b"), device="cpu"), [[{"role": "user", "content": "a"}]])


@pytest.mark.shared_data
def test_the_real_model_goes_on_with_its_story(shared_data: Path) -> None:
    loaded = load_causal_model(str(shared_data / "stories260k"), device="cpu")
    answer = generate(loaded, ["Lily and Ben"], Decoding(max_new_tokens=20))[0]
    assert answer.startswith(" "), "the space that parts it from the prompt is kept"
    assert "play" in answer
