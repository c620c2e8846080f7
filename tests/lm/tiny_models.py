"""Tiny random models of several architectures, saved with a tokenizer of bytes, as folders that loaders open."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    Gemma2Config,
    GPT2Config,
    LlamaConfig,
    OPTConfig,
    PreTrainedTokenizerFast,
    RobertaConfig,
)

CHAT_TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def tiny_tokenizer(words: Sequence[str] = (), chat_template: str | None = None, pad: str | None = "<pad>") -> Any:
    """One token for each byte and for each of the words; texts begin with <s>."""
    specials = ["<s>", "</s>", "<unk>", *([pad] if pad else [])]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate([*specials, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens(list(words))
    tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token=pad,
        chat_template=chat_template,
    )


def tiny_config(kind: str, n_tokens: int, context: int = 1024) -> Any:
    """A configuration of 2 layers and width 16."""
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": n_tokens}
    ends = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": None}
    if kind == "gpt2":
        return GPT2Config(n_embd=16, n_layer=2, n_head=2, n_positions=context, vocab_size=n_tokens, **ends)
    if kind == "roberta":
        return RobertaConfig(
            **sizes, intermediate_size=32, max_position_embeddings=context + 2, **ends | {"pad_token_id": 3}
        )
    if kind == "opt":
        return OPTConfig(
            **sizes, ffn_dim=32, word_embed_proj_dim=16, max_position_embeddings=context, **ends | {"pad_token_id": 3}
        )
    more = {"intermediate_size": 32, "num_key_value_heads": 1, "max_position_embeddings": context}
    if kind == "gemma2":
        return Gemma2Config(**sizes, **more, head_dim=8, **ends)
    return LlamaConfig(**sizes, **more, **ends)


def save_causal(
    folder: Path, kind: str = "llama", tokenizer: Any = None, context: int = 1024, scale: float = 4.0
) -> str:
    """A random causal model and its tokenizer in a folder; weights are large enough for distinct predictions."""
    tokenizer = tokenizer or tiny_tokenizer()
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(tiny_config(kind, len(tokenizer), context))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(scale)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def with_biases(folder: str) -> str:
    """A saved GPT-2 whose MLPs have biases, as trained ones do."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        for block in model.transformer.h:
            block.mlp.c_fc.bias.copy_(torch.linspace(-1, 0.1, len(block.mlp.c_fc.bias)))
    model.save_pretrained(folder)
    return folder


def save_classifier(folder: Path, labels: Sequence[str], problem_type: str | None = None, kind: str = "roberta") -> str:
    """A random sequence classifier and its tokenizer in a folder."""
    tokenizer = tiny_tokenizer()
    config = tiny_config(kind, len(tokenizer))
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: i for i, label in enumerate(labels)}
    config.problem_type = problem_type
    config.pad_token_id = tokenizer.pad_token_id
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith(("classifier", "score")):
                parameter.normal_(std=0.4)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)
