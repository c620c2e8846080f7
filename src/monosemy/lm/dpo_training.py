"""What is optimised from preferences, and how.

Training from preferences, by TRL's trainer and by DecPO's.

Models to begin with: of another width, and finetuned on what is to be preferred.
"""

import math
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch

from monosemy.core.console import OnCount
from monosemy.data.dataset import subsample
from monosemy.errors import InputError, needs_extra, reason
from monosemy.lm.adapter_training import (
    adapter_settings,
    checkpoint_folder,
    quiet_libraries,
    train_to_end,
)
from monosemy.lm.config import AdapterConfig, AlignmentConfig, Objective, WarmUp
from monosemy.lm.models import LoadedModel
from monosemy.lm.prompts import Row
from monosemy.seeding import derive_seed

_CHECKPOINT_EVERY = 200
_WARM_UP = 0.1


def align(
    loaded: LoadedModel,
    reference: LoadedModel | None,
    rows: Sequence[Row],
    config: AlignmentConfig,
    objective: Objective,
    *,
    seed: int = 0,
    checkpoints: Path | None = None,
    on_step: OnCount | None = None,
) -> LoadedModel:
    """Train a model on preference pairs, in place.

    Args:
        reference: what the model is kept near; None for an adapter: the model with the adapter switched off.
        rows: `prompt`, `chosen`, `rejected`; all of them fit into the context.
        seed: of the order of the pairs, the adapter's first weights and dropout.
        checkpoints: folder from which a killed training goes on; it is removed when the training is done.

    Returns: the trained model, in eval mode.

    Raises:
        InputError: there are no pairs or no such layer, or the loss or a weight stops being finite.
    """
    if not rows:
        raise InputError("There are no pairs to train on; give at least one.")
    if (reference is None) != (config.method != "full"):
        raise InputError(
            f"method={config.method!r} {'needs a' if reference is None else 'is its own'} reference; "
            f"{'give one' if reference is None else 'give none'}."
        )
    with quiet_libraries(), checkpoint_folder(checkpoints) as folder:
        trainer = _trainer(loaded, reference, rows, config, objective, seed, folder)
        train_to_end(trainer, folder, on_step)
        model = trainer.accelerator.unwrap_model(trainer.model)
    for name, weight in model.named_parameters():
        if weight.requires_grad and not torch.isfinite(weight).all():
            raise InputError(
                f"The weights {name} are not finite after {trainer.state.global_step} steps at the learning rate "
                f"{config.lr:g}; lower it."
            )
    return LoadedModel(loaded.name, model.eval(), loaded.tokenizer)


def n_steps(n_rows: int, config: AlignmentConfig) -> int:
    """Steps of a training: the last one of an epoch may have fewer pairs."""
    return math.ceil(n_rows / config.batch_size) * config.epochs


def _trainer(
    loaded: LoadedModel,
    reference: LoadedModel | None,
    rows: Sequence[Row],
    config: AlignmentConfig,
    objective: Objective,
    seed: int,
    folder: Path,
) -> Any:
    with needs_extra("lm", "monosemy.lm"):
        from datasets import Dataset
        from trl import DPOConfig, DPOTrainer

    from monosemy.lm.decpo import DecPOConfig, DecPOTrainer

    settings = _settings(config, objective, seed, folder, loaded, n_steps(len(rows), config))
    if objective.regularizer is None:
        make, arguments = DPOTrainer, DPOConfig(**settings)
    else:
        make, arguments = DecPOTrainer, DecPOConfig(
            **settings,
            decpo_weight=objective.weight,
            decpo_regularizer=objective.regularizer,
            decpo_layers=None if config.layers is None else list(config.layers),
            decpo_tokens=config.tokens,
        )  # fmt: skip
    try:
        return make(
            loaded.model,
            None if reference is None else reference.model,
            arguments,
            train_dataset=Dataset.from_list([{name: row[name] for name in _COLUMNS} for row in rows]),
            processing_class=loaded.tokenizer,
            peft_config=_adapter(config),
        )
    except InputError:
        raise
    except ValueError as error:  # PEFT and TRL, of settings that do not fit the model
        raise InputError(
            f"{loaded.name} cannot be trained so ({reason(error)}); change the method, its target modules or the loss."
        ) from error


_COLUMNS = ("prompt", "chosen", "rejected")


def _settings(
    config: AlignmentConfig, objective: Objective, seed: int, folder: Path, loaded: LoadedModel, steps: int
) -> dict[str, Any]:
    on_gpu = loaded.device.type == "cuda"
    return {
        "output_dir": str(folder),
        "loss_type": [objective.loss],
        "label_smoothing": objective.label_smoothing,
        "beta": config.beta,
        "per_device_train_batch_size": config.batch_size // config.accumulation,
        "gradient_accumulation_steps": config.accumulation,
        "max_steps": steps,
        "max_length": None,
        "learning_rate": config.lr,
        "warmup_steps": math.ceil(_WARM_UP * steps),
        "gradient_checkpointing": config.gradient_checkpointing,
        "gradient_checkpointing_kwargs": {"use_reentrant": False} if config.gradient_checkpointing else None,
        "seed": seed,
        "use_cpu": not on_gpu,
        "bf16": config.precision == "bfloat16",
        "save_strategy": "steps" if steps > _CHECKPOINT_EVERY else "no",
        "save_steps": _CHECKPOINT_EVERY,
        "save_total_limit": 1,
        "logging_steps": max(1, steps // 10),
        "report_to": [],
        "disable_tqdm": True,
        "dataloader_pin_memory": on_gpu,
    }


def _adapter(config: AlignmentConfig) -> Any:
    if config.method == "full":
        return None
    return adapter_settings(
        AdapterConfig(
            method=config.method,
            placement=config.placement,
            rank=config.rank,
            alpha=config.alpha,
            dropout=0.0,
            target_modules=config.target_modules,
        ),
        "generation",
    )


def warm_up(
    loaded: LoadedModel, rows: Sequence[Row], config: WarmUp, *, seed: int = 0, on_step: OnCount | None = None
) -> LoadedModel:
    """Train all weights of a model on the prompts and chosen answers of pairs, in place; by TRL's SFTTrainer.

    The loss counts on all tokens: a model with random weights has the prompts to learn as well.
    """
    with needs_extra("lm", "monosemy.lm"):
        from datasets import Dataset
        from trl import SFTConfig, SFTTrainer

    rows = subsample(list(rows), config.pairs, derive_seed("warm-up", seed))
    data = Dataset.from_list([{"prompt": row["prompt"], "completion": row["chosen"]} for row in rows])
    steps = math.ceil(len(rows) / config.batch_size) * config.epochs
    with quiet_libraries(), checkpoint_folder(None) as folder:
        settings = SFTConfig(
            output_dir=str(folder), per_device_train_batch_size=config.batch_size, max_steps=steps,
            learning_rate=config.lr, warmup_steps=math.ceil(0.1 * steps), completion_only_loss=False, packing=False,
            max_length=loaded.context, seed=seed, use_cpu=loaded.device.type != "cuda", bf16=False,
            gradient_checkpointing=False, save_strategy="no", logging_steps=max(1, steps // 10), report_to=[],
            disable_tqdm=True,
        )  # fmt: skip
        trainer = SFTTrainer(loaded.model, settings, train_dataset=data, processing_class=loaded.tokenizer)
        train_to_end(trainer, folder, on_step)
        model = trainer.accelerator.unwrap_model(trainer.model)
    if not all(torch.isfinite(weight).all() for weight in model.parameters()):
        raise InputError(f"The warm-up of {loaded.name} diverged at the learning rate {config.lr:g}; lower it.")
    return LoadedModel(loaded.name, model.eval(), loaded.tokenizer)


def resized(loaded: LoadedModel, width: int, seed: int = 0) -> LoadedModel:
    """A model of the same architecture and depth with another hidden width and random weights.

    Raises:
        InputError: as :func:`resized_config`.
    """
    with needs_extra("lm", "monosemy.lm"):
        from transformers import AutoModelForCausalLM

    config = resized_config(loaded, width)
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed("width", width, seed))
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    return LoadedModel(f"{loaded.name}-w{width}", model.to(loaded.device).eval(), loaded.tokenizer)


def resized_config(loaded: LoadedModel, width: int) -> Any:
    """A model's configuration with another hidden width: a head's width and the MLP's ratio to the whole stay.

    Raises:
        InputError: the width is no multiple of a head's, or the architecture does not name its sizes as usual.
    """
    config = deepcopy(loaded.model.config)
    try:
        hidden, heads = int(config.hidden_size), int(config.num_attention_heads)
    except AttributeError as error:
        raise InputError(f"{loaded.name} does not say its width; leave --widths out for it.") from error
    head = hidden // heads
    if width < head or width % head:
        raise InputError(
            f"The width {width} is no multiple of {head}, the width of a head of {loaded.name}; correct it."
        )
    _resize(config, width, hidden, heads, width // head)
    return config


def _resize(config: Any, width: int, hidden: int, heads: int, n_heads: int) -> None:
    config.hidden_size, config.num_attention_heads = width, n_heads
    for name in ("intermediate_size", "n_inner", "ffn_dim"):
        inner = getattr(config, name, None)
        if inner is not None:
            setattr(config, name, max(1, round(inner * width / hidden)))
    shared = getattr(config, "num_key_value_heads", None)
    if shared is not None:
        group = heads // shared
        config.num_key_value_heads = n_heads // group if n_heads % group == 0 else n_heads
    if getattr(config, "word_embed_proj_dim", None) is not None:
        config.word_embed_proj_dim = width
