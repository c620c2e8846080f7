"""Tiny models of several families, and adapters on them whose weights are not zero."""

from collections.abc import Callable
from typing import Any

import torch
from peft import PeftModel, get_peft_model
from torch import nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    OPTConfig,
    OPTForCausalLM,
)

from monosemy.lm.monolora import MonoLoraConfig

VOCABULARY = 48
SMALL = {"vocab_size": VOCABULARY, "num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 32}


def llama(**changes: Any) -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**SMALL | {"intermediate_size": 48} | changes))


def gpt2() -> GPT2LMHeadModel:
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=64))


def opt() -> OPTForCausalLM:
    torch.manual_seed(0)
    return OPTForCausalLM(OPTConfig(**SMALL, ffn_dim=48, word_embed_proj_dim=32, max_position_embeddings=64))


def pythia() -> GPTNeoXForCausalLM:
    torch.manual_seed(0)
    return GPTNeoXForCausalLM(GPTNeoXConfig(**SMALL, intermediate_size=48, max_position_embeddings=64))


def bert() -> BertForSequenceClassification:
    torch.manual_seed(0)
    return BertForSequenceClassification(BertConfig(**SMALL, intermediate_size=48, num_labels=2))


CAUSAL: dict[str, Callable[[], nn.Module]] = {"llama": llama, "gpt2": gpt2, "opt": opt, "pythia": pythia}
ENCODERS: dict[str, Callable[[], nn.Module]] = {"bert": bert}
FAMILIES = CAUSAL | ENCODERS
TASKS = dict.fromkeys(CAUSAL, "CAUSAL_LM") | dict.fromkeys(ENCODERS, "SEQ_CLS")


def token_batch(n: int = 4, length: int = 10) -> torch.Tensor:
    return torch.randint(3, VOCABULARY, (n, length), generator=torch.Generator().manual_seed(1))


def config(**changes: Any) -> MonoLoraConfig:
    return MonoLoraConfig(**{"r": 4, "lora_dropout": 0.0, "target_modules": "all-linear"} | changes)


def adapted(family: str = "llama", **changes: Any) -> PeftModel:
    """Fresh from ``get_peft_model``."""
    torch.manual_seed(3)
    return get_peft_model(FAMILIES[family](), config(task_type=TASKS[family], **changes))


def filled(model: nn.Module, seed: int = 5) -> Any:
    """The same model, with every B drawn at random, as if it had been trained."""
    rng = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if ".lora_B." in name:
            parameter.data = 0.1 * torch.randn(parameter.shape, generator=rng).to(parameter)
    return model.eval()
