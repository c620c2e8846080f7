"""Tiny random models, pairs of words and trainings of a few steps."""

import random
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from monosemy.lm.models import LoadedModel

WORDS = ["<pad>", "<s>", "</s>", "<unk>", *(f"w{i}" for i in range(40))]


def word_tokenizer() -> PreTrainedTokenizerFast:
    """One token a word."""
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def made_loaded(kind: str = "llama") -> LoadedModel:
    """Three layers of width 16; weights are large enough that answers differ in likelihood."""
    torch.manual_seed(0)
    shared: dict[str, Any] = {
        "vocab_size": len(WORDS), "initializer_range": 0.3, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    }  # fmt: skip
    model: Any
    if kind == "gpt2":
        model = GPT2LMHeadModel(GPT2Config(n_embd=16, n_inner=24, n_layer=3, n_head=2, n_positions=64, **shared))
    else:
        config = LlamaConfig(
            hidden_size=16, intermediate_size=24, num_hidden_layers=3, num_attention_heads=2, num_key_value_heads=1,
            max_position_embeddings=64, **shared,
        )  # fmt: skip
        model = LlamaForCausalLM(config)
    return LoadedModel(kind, model.eval(), word_tokenizer())


def saved(kind: str, folder: Path) -> Path:
    """The same as a folder."""
    loaded = made_loaded(kind)
    loaded.model.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    return folder


def made_rows(n: int, seed: int = 0) -> list[dict[str, str]]:
    """Chosen answers end in w1, rejected ones in w2; no prompt comes twice."""
    rng = random.Random(seed)

    def words(low: int, high: int) -> str:
        return " ".join(rng.choices(WORDS[4:], k=rng.randint(low, high)))

    return [
        {
            "prompt": f"{words(2, 5)} w{i % 40} w{i // 40}",
            "chosen": f" {words(1, 5)} w1",
            "rejected": f" {words(1, 5)} w2",
        }
        for i in range(n)
    ]
