"""What the tests of preference optimisation are made of, importable from other processes too."""

import random
from pathlib import Path
from typing import Any, Literal

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    LlamaConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    set_seed,
)
from trl import DPOConfig

from monosemy.lm.decpo import DecPOConfig, DecPOTrainer

ModelKind = Literal["llama", "gpt2"]
WORDS = [f"w{i}" for i in range(40)]
SPECIAL = ["<pad>", "<eos>", "<unk>"]
MIDDLE = {"llama": "model.layers.1.mlp.up_proj", "gpt2": "transformer.h.1.mlp.c_fc"}
"""The layer that is meant by default, of the three."""


def tokenizer() -> PreTrainedTokenizerFast:
    """One token a word."""
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(SPECIAL + WORDS)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>", model_max_length=64
    )


def made_model(kind: ModelKind) -> PreTrainedModel:
    """Three layers of 16 numbers and 24 neurons, with weights large enough that nothing is nearly 0."""
    tokens = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 1, "initializer_range": 0.3}
    set_seed(0)
    if kind == "llama":
        config: Any = LlamaConfig(
            vocab_size=43, hidden_size=16, intermediate_size=24, num_hidden_layers=3, num_attention_heads=2,
            num_key_value_heads=1, max_position_embeddings=64, **tokens,
        )  # fmt: skip
    else:
        config = GPT2Config(vocab_size=43, n_embd=16, n_inner=24, n_layer=3, n_head=2, n_positions=64, **tokens)
    return AutoModelForCausalLM.from_config(config)


def saved_model(model: PreTrainedModel, folder: Path) -> Path:
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def made_pairs(n: int) -> Dataset:
    """Prompts of 2 to 5 words; chosen answers end in w1, rejected ones in w2; lengths differ, so there is padding."""
    rng = random.Random(0)

    def words(low: int, high: int) -> str:
        return " ".join(rng.choices(WORDS, k=rng.randint(low, high)))

    return Dataset.from_list(
        [
            {"prompt": words(2, 5), "chosen": " " + words(1, 6) + " w1", "rejected": " " + words(1, 6) + " w2"}
            for _ in range(n)
        ]
    )


def made_trainer(folder: Path, trainer_class: type = DecPOTrainer, peft_config: Any = None, **settings: Any) -> Any:
    """A trainer of the model in a folder; settings are those of the config, and ``train_dataset``, ``eval_dataset``.

    In float32 on the CPU, four pairs a step, without checkpoints unless asked for.
    """
    data = {name: settings.pop(name) for name in ("train_dataset", "eval_dataset") if name in settings}
    settings = {
        "per_device_train_batch_size": 4, "max_steps": 4, "learning_rate": 1e-2, "logging_steps": 1, "bf16": False,
        "use_cpu": True, "report_to": [], "save_strategy": "no", "gradient_checkpointing": False,
        "disable_tqdm": True,
    } | settings  # fmt: skip
    config = (DecPOConfig if issubclass(trainer_class, DecPOTrainer) else DPOConfig)(**settings)
    return trainer_class(
        AutoModelForCausalLM.from_pretrained(folder),
        args=config,
        processing_class=AutoTokenizer.from_pretrained(folder),
        peft_config=peft_config,
        **data,
    )


def trained_weights(trainer: Any, resume: str | None = None) -> dict[str, torch.Tensor]:
    """All weights after training."""
    trainer.train(resume_from_checkpoint=resume)
    return {name: weight.detach().clone() for name, weight in trainer.model.named_parameters()}


def logged(trainer: Any, name: str) -> list[float]:
    """The values of a metric, step by step."""
    return [entry[name] for entry in trainer.state.log_history if name in entry]
