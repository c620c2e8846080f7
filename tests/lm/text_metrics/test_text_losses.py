"""Perplexity, losses of answers, choices and divergences: batches against one text at a time."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import CHAT_TEMPLATE, save_causal, tiny_tokenizer

from monosemy.lm.config import Decoding
from monosemy.lm.evaluation import (
    AnswerSums,
    answer_losses,
    candidate_likelihoods,
    kl_to_reference,
    measure_perplexity,
    text_losses,
)
from monosemy.lm.generation import generate
from monosemy.lm.models import LoadedModel, load_causal_model

TEXTS = ["Once upon a time.", "Hi", "A longer text than the others, with more words in it than they have.", "x"]
PROMPTS = ["Once upon", "A much longer prompt, longer than its answer:", "Q:"]
ANSWERS = [" a time there was", " yes", " no, never"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("models")
    tokenizer = tiny_tokenizer(chat_template=CHAT_TEMPLATE)
    return {kind: save_causal(root / kind, kind, tokenizer, context=64, scale=2.0) for kind in ("llama", "gpt2", "opt")}


@pytest.fixture(params=["llama", "gpt2", "opt"])
def loaded(request: pytest.FixtureRequest, folders: dict[str, str]) -> LoadedModel:
    return load_causal_model(folders[request.param], device="cpu")


@pytest.fixture
def llama(folders: dict[str, str]) -> LoadedModel:
    return load_causal_model(folders["llama"], device="cpu")


def log_probabilities(loaded: LoadedModel, ids: list[int]) -> torch.Tensor:
    """(L, V), row t the distribution of token t + 1."""
    with torch.no_grad():
        return loaded.model(torch.tensor([ids])).logits[0].float().log_softmax(-1)


def slow_nll(loaded: LoadedModel, ids: list[int], first: int) -> list[float]:
    table = log_probabilities(loaded, ids)
    return [-float(table[t - 1, ids[t]]) for t in range(first, len(ids))]


def test_perplexity_is_weighted_by_tokens(loaded: LoadedModel) -> None:
    texts = [text[:60] for text in TEXTS]
    expected = [loss for text in texts for loss in slow_nll(loaded, loaded.tokenizer(text).input_ids, 1)]
    for batch_size in (1, 3):
        found = measure_perplexity(loaded, texts, batch_size=batch_size)
        assert found.n_tokens == len(expected)
        assert found.mean_nll == pytest.approx(np.mean(expected), rel=1e-4)
        assert found.perplexity == pytest.approx(math.exp(np.mean(expected)), rel=1e-3)


def test_the_values_of_rows_have_mean_and_error_of_a_ratio() -> None:
    """Against the bootstrap of the ratio; long rows are no noise of a mean over tokens."""
    rng = np.random.default_rng(0)
    counts = rng.integers(1, 50, 400)
    sums = rng.gamma(4.0, 0.5, 400) * counts
    values = AnswerSums(sums, counts)
    drawn = rng.integers(400, size=(4000, 400))
    ratios = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    assert values.by_row().mean() == pytest.approx(values.mean)
    assert values.by_row().std(ddof=1) / 20 == pytest.approx(ratios.std(), rel=0.05), "4,000 samples know it to 1 %"
    assert values.perplexity_by_row().mean() == pytest.approx(values.total().perplexity)
    assert values.perplexity_by_row().std(ddof=1) / 20 == pytest.approx(np.exp(ratios).std(), rel=0.05)
    assert np.allclose(AnswerSums(2.0 * counts, counts).by_row(), 2.0)


def test_texts_have_losses_of_their_own(llama: LoadedModel) -> None:
    losses = text_losses(llama, TEXTS)
    alone = [float(text_losses(llama, [text]).sums[0]) for text in TEXTS if len(text) > 1]
    assert losses.sums[[len(text) > 1 for text in TEXTS]] == pytest.approx(alone, rel=1e-5)
    assert losses.total() == measure_perplexity(llama, TEXTS)


def test_long_texts_are_read_in_windows(llama: LoadedModel) -> None:
    text = "".join(chr(97 + i * i % 26) for i in range(150))
    ids = llama.tokenizer(text).input_ids
    for stride in (1, 5, 20, 32):
        expected, scored = [], 1
        while scored < len(ids):  # each token sees at least 32 - stride before it
            start = max(0, scored - max(1, 32 - stride))
            window = ids[start : start + 32]
            expected += slow_nll(llama, window, scored - start)
            scored = start + len(window)
        found = measure_perplexity(llama, [text], max_tokens=32, stride=stride)
        assert found.n_tokens == len(ids) - 1 == len(expected)
        assert found.total_nll == pytest.approx(sum(expected), rel=1e-4)
    assert measure_perplexity(llama, [text]).n_tokens == 150, "the context is the widest window"


def test_losses_of_answers(loaded: LoadedModel) -> None:
    found = answer_losses(loaded, PROMPTS, ANSWERS, batch_size=2)
    for i, (prompt, answer) in enumerate(zip(PROMPTS, ANSWERS, strict=True)):
        ids = loaded.tokenizer(prompt + answer).input_ids
        own = slow_nll(loaded, ids, len(ids) - len(answer))  # one token a byte
        assert found.n_tokens[i] == len(answer) == len(own)
        assert found.sums[i] == pytest.approx(sum(own), rel=1e-4)
    assert found.total().n_tokens == sum(map(len, ANSWERS))


def test_chat_answers_end_with_their_mark(llama: LoadedModel) -> None:
    chat = [{"role": "user", "content": "Hi"}]
    found = answer_losses(llama, [chat], [[{"role": "assistant", "content": "yes"}]])
    ids = llama.tokenizer("<user>Hi</s><assistant>yes</s>", add_special_tokens=False).input_ids
    assert found.n_tokens.tolist() == [4]
    assert found.sums[0] == pytest.approx(sum(slow_nll(llama, ids, len(ids) - 4)), rel=1e-4)


def test_prompts_beyond_the_context_lose_their_beginning(llama: LoadedModel) -> None:
    long, cut = answer_losses(llama, ["a" * 100 + "b" * 50, "b" * 58], [" end.."] * 2).sums
    ids = llama.tokenizer("b" * 58 + " end..", add_special_tokens=False).input_ids
    assert len(ids) == 64
    inside = slow_nll(llama, llama.tokenizer("a" * 8 + "b" * 50 + " end..", add_special_tokens=False).input_ids, 58)
    assert long == pytest.approx(sum(inside), rel=1e-4)
    assert cut == pytest.approx(sum(slow_nll(llama, ids, 58)), rel=1e-4)


def test_the_likeliest_answer(loaded: LoadedModel) -> None:
    found = candidate_likelihoods(loaded, PROMPTS, [" yes", " no!"], batch_size=4)
    assert found.shape == (3, 2)
    for i, prompt in enumerate(PROMPTS):
        for j, answer in enumerate((" yes", " no!")):
            ids = loaded.tokenizer(prompt + answer).input_ids
            assert found[i, j] == pytest.approx(-sum(slow_nll(loaded, ids, len(ids) - 4)), rel=1e-4)


def test_divergence_from_a_reference(llama: LoadedModel, folders: dict[str, str]) -> None:
    other = load_causal_model(folders["gpt2"], device="cpu")
    found = kl_to_reference(llama, other, PROMPTS, ANSWERS, batch_size=2)
    for i, (prompt, answer) in enumerate(zip(PROMPTS, ANSWERS, strict=True)):
        ids = llama.tokenizer(prompt + answer).input_ids
        p, q = log_probabilities(llama, ids), log_probabilities(other, ids)
        own = (p.exp() * (p - q)).sum(-1)[-len(answer) - 1 : -1]
        assert found.n_tokens[i] == len(own)
        assert found.sums[i] == pytest.approx(float(own.sum()), rel=1e-4)
    assert found.mean == pytest.approx(found.sums.sum() / sum(map(len, ANSWERS)))
    assert kl_to_reference(llama, llama, PROMPTS, ANSWERS).mean == pytest.approx(0, abs=1e-6)


def test_an_adapter_is_compared_with_its_base(llama: LoadedModel, folders: dict[str, str], says) -> None:
    peft = pytest.importorskip("peft")
    with says("no adapter"):
        kl_to_reference(llama, None, PROMPTS, ANSWERS)
    torch.manual_seed(0)
    config = peft.LoraConfig(r=8, target_modules=["v_proj", "up_proj"], init_lora_weights=False)
    base = load_causal_model(folders["llama"], device="cpu")
    adapted = LoadedModel("adapted", peft.get_peft_model(llama.model, config).eval(), llama.tokenizer)
    found = kl_to_reference(adapted, None, PROMPTS, ANSWERS)
    assert found.mean > 1e-4
    assert len(generate(adapted, PROMPTS, Decoding(max_new_tokens=2))) == 3
    np.testing.assert_allclose(found.sums, kl_to_reference(adapted, base, PROMPTS, ANSWERS).sums, rtol=1e-4)


def test_a_model_in_training_is_measured_without_dropout(tmp_path: Path) -> None:
    loaded = load_causal_model(save_causal(tmp_path, "gpt2", scale=2.0), device="cpu")
    before = answer_losses(loaded, PROMPTS, ANSWERS).sums
    loaded.model.train()
    assert loaded.model.config.resid_pdrop > 0
    np.testing.assert_array_equal(answer_losses(loaded, PROMPTS, ANSWERS).sums, before)
    assert kl_to_reference(loaded, loaded, PROMPTS, ANSWERS).mean == pytest.approx(0, abs=1e-6)
    assert generate(loaded, PROMPTS) == generate(loaded, PROMPTS)
    assert loaded.model.training, "and goes on training"


def test_wrong_uses(llama: LoadedModel, tmp_path: Path, says) -> None:
    with says("None of 1 texts"):
        measure_perplexity(llama, [""])
    with says("stride=9", "max_tokens=8"):
        measure_perplexity(llama, TEXTS, max_tokens=8, stride=9)
    with says("2 answers", "3 prompts"):
        answer_losses(llama, PROMPTS, ANSWERS[:2])
    small = load_causal_model(save_causal(tmp_path, tokenizer=tiny_tokenizer(["word"])), device="cpu")
    with says("260 tokens", "261"):
        kl_to_reference(llama, small, PROMPTS, ANSWERS)


@pytest.mark.shared_data
def test_the_real_model_knows_stories_from_noise(shared_data: Path) -> None:
    loaded = load_causal_model(str(shared_data / "stories260k"), device="cpu")
    story = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park."
    found = measure_perplexity(loaded, [story])
    assert found.perplexity < 4
    assert measure_perplexity(loaded, [" ".join(story.split()[::-1])]).perplexity > 5 * found.perplexity
    assert candidate_likelihoods(loaded, ["Lily was very sad. She began to"], [" cry", " fly"]).argmax() == 0
