"""Tiny random models with a tokenizer of words, and a file of preference pairs."""

import json
import random
from pathlib import Path
from typing import Any

WORDS = ["<pad>", "<s>", "</s>", "<unk>", *(f"w{i}" for i in range(40))]


def save_tiny(kind: str, folder: Path) -> Path:
    """A Llama or GPT-2 of three layers and width 16, in safetensors."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    shared: dict[str, Any] = {
        "vocab_size": len(WORDS), "initializer_range": 0.3, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    }  # fmt: skip
    torch.manual_seed(0)
    model: Any
    if kind == "gpt2":
        model = GPT2LMHeadModel(GPT2Config(n_embd=16, n_inner=24, n_layer=3, n_head=2, n_positions=64, **shared))
    else:
        config = LlamaConfig(
            hidden_size=16, intermediate_size=24, num_hidden_layers=3, num_attention_heads=2, num_key_value_heads=1,
            max_position_embeddings=64, **shared,
        )  # fmt: skip
        model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)
    return folder


def write_pairs(path: Path, n: int = 60, longest: int = 5) -> Path:
    """JSON lines: chosen answers end in w1, rejected ones in w2; the last two rows cannot be used."""
    rng = random.Random(0)

    def words(low: int, high: int) -> str:
        return " ".join(rng.choices(WORDS[4:], k=rng.randint(low, high)))

    rows = [
        {"prompt": f"{words(2, longest)} w{i % 40} w{i // 40}", "chosen": f"{words(1, 5)} w1",
         "rejected": f"{words(1, 5)} w2"}
        for i in range(n)
    ]  # fmt: skip
    rows += [rows[0] | {"rejected": rows[0]["chosen"]}, rows[1] | {"chosen": " "}]
    spaced = [{name: text if name == "prompt" else f" {text}" for name, text in row.items()} for row in rows]
    path.write_text("".join(json.dumps(row) + "\n" for row in spaced), encoding="utf-8")
    return path
