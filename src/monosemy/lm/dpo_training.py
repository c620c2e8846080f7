"""Training from preferences by the trainers of TRL and DecPO, supervised warm-up, and base models of other widths."""

import math
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch

from monosemy.core.console import OnCount
from monosemy.data.dataset import subsample
from monosemy.errors import InputError, needs_extra, reason
from monosemy.lm import adapter_training, decpo, models, prompts
from monosemy.lm.config import AdapterConfig, AlignmentConfig, Objective, WarmUp
from monosemy.seeding import derive_seed

with needs_extra("lm", "monosemy.lm"):
    import trl
    from datasets import Dataset

_CHECKPOINT_EVERY = 200
"""Steps between checkpoints."""
_COLUMNS = ("prompt", "chosen", "rejected")
_WARM_UP = 0.1
"""Fraction of the steps during which the learning rate rises."""


def align(
    loaded: models.LoadedModel,
    reference: models.LoadedModel | None,
    rows: Sequence[prompts.Row],
    config: AlignmentConfig,
    objective: Objective,
    *,
    seed: int = 0,
    checkpoints: Path | None = None,
    on_step: OnCount | None = None,
) -> models.LoadedModel:
    """Train a model on preference pairs, in place.

    Args:
        reference: the reference model; None for an adapter: the model with the adapter disabled.
        rows: `prompt`, `chosen`, `rejected`; all of them fit into the context.
        seed: seed of the order of the pairs, the adapter's first weights and dropout.
        checkpoints: folder from which an interrupted training resumes; removed after the training.

    Returns: the trained model, in eval mode.

    Raises:
        InputError: there are no pairs, a layer does not exist, or the loss or a weight is not finite.
    """
    if not rows:
        raise InputError("There are no pairs to train on; give at least one.")
    if (reference is None) != (config.method != "full"):
        raise InputError(
            f"method={config.method!r} requires a reference model; give one."
            if reference is None
            else f"method={config.method!r} has its base model as reference; give reference=None."
        )
    with adapter_training.quiet_libraries(), adapter_training.checkpoint_folder(checkpoints) as folder:
        trainer = _trainer(loaded, reference, rows, config, objective, seed, folder)
        adapter_training.train_to_end(trainer, folder, on_step)
        model = trainer.accelerator.unwrap_model(trainer.model)
    for name, weight in model.named_parameters():
        if weight.requires_grad and not torch.isfinite(weight).all():
            raise InputError(
                f"The weights {name} are not finite after {trainer.state.global_step} steps at the learning rate "
                f"{config.lr:g}; lower it."
            )
    return models.LoadedModel(loaded.name, model.eval(), loaded.tokenizer)


def _trainer(
    loaded: models.LoadedModel,
    reference: models.LoadedModel | None,
    rows: Sequence[prompts.Row],
    config: AlignmentConfig,
    objective: Objective,
    seed: int,
    folder: Path,
) -> Any:
    settings = _settings(config, objective, seed, folder, loaded, len(rows))
    if objective.regularizer is None:
        make, arguments = trl.DPOTrainer, trl.DPOConfig(**settings)
    else:
        make, arguments = decpo.DecPOTrainer, decpo.DecPOConfig(
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
            peft_config=_peft_config(config),
        )
    except InputError:
        raise
    except ValueError as error:  # PEFT and TRL reject settings that do not fit the model
        raise InputError(
            f"{loaded.name} cannot be trained with these settings ({reason(error)}); change the method, its target "
            f"modules or the loss."
        ) from error


def _settings(
    config: AlignmentConfig, objective: Objective, seed: int, folder: Path, loaded: models.LoadedModel, n_rows: int
) -> dict[str, Any]:
    shared = adapter_training.common_arguments(loaded, folder, config, n_rows, seed)
    steps = shared["max_steps"]
    return shared | {
        "loss_type": [objective.loss],
        "label_smoothing": objective.label_smoothing,
        "beta": config.beta,
        "per_device_train_batch_size": config.batch_size // config.accumulation,
        "gradient_accumulation_steps": config.accumulation,
        "max_length": None,
        "warmup_steps": math.ceil(_WARM_UP * steps),
        "bf16": config.precision == "bfloat16",
        "save_strategy": "steps" if steps > _CHECKPOINT_EVERY else "no",
        "save_steps": _CHECKPOINT_EVERY,
        "dataloader_pin_memory": loaded.device.type == "cuda",
    }


def _peft_config(config: AlignmentConfig) -> Any:
    """Return the configuration of the adapter, which has no dropout; None without one."""
    if config.method == "full":
        return None
    shared = config.model_dump(include={"method", "placement", "rank", "alpha", "target_modules"})
    return adapter_training.peft_config(AdapterConfig(dropout=0.0, **shared), "generation")


def warm_up(
    loaded: models.LoadedModel,
    rows: Sequence[prompts.Row],
    config: WarmUp,
    *,
    seed: int = 0,
    on_step: OnCount | None = None,
) -> models.LoadedModel:
    """Train all weights of a model on the prompts and chosen answers of pairs, in place, by TRL's SFTTrainer.

    All tokens count in the loss: a model with random weights has to learn the prompts as well.
    """
    rows = subsample(list(rows), config.pairs, derive_seed("warm-up", seed))
    data = Dataset.from_list([{"prompt": row["prompt"], "completion": row["chosen"]} for row in rows])
    with adapter_training.quiet_libraries(), adapter_training.checkpoint_folder(None) as folder:
        shared = adapter_training.common_arguments(loaded, folder, config, len(rows), seed)
        settings = trl.SFTConfig(
            **shared, per_device_train_batch_size=config.batch_size, bf16=False, completion_only_loss=False,
            warmup_steps=math.ceil(_WARM_UP * shared["max_steps"]), packing=False, max_length=loaded.context,
            save_strategy="no",
        )  # fmt: skip
        trainer = trl.SFTTrainer(loaded.model, settings, train_dataset=data, processing_class=loaded.tokenizer)
        adapter_training.train_to_end(trainer, folder, on_step)
        model = trainer.accelerator.unwrap_model(trainer.model)
    if not all(torch.isfinite(weight).all() for weight in model.parameters()):
        raise InputError(f"The warm-up of {loaded.name} diverged at the learning rate {config.lr:g}; lower it.")
    return models.LoadedModel(loaded.name, model.eval(), loaded.tokenizer)


def resized(loaded: models.LoadedModel, width: int, seed: int = 0) -> models.LoadedModel:
    """Return a model of the same architecture and depth with another hidden width and random weights.

    Raises:
        InputError: as in :func:`resized_config`.
    """
    config = resized_config(loaded, width)
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed("width", width, seed))
        model = models.transformers_library().AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    return models.LoadedModel(f"{loaded.name}-w{width}", model.to(loaded.device).eval(), loaded.tokenizer)


def resized_config(loaded: models.LoadedModel, width: int) -> Any:
    """Return a model's configuration with another hidden width; the width of a head and the MLP's ratio stay.

    Raises:
        InputError: the width is not a multiple of a head's, or the architecture has unusual names for its sizes.
    """
    config = deepcopy(loaded.model.config)
    try:
        hidden, heads = int(config.hidden_size), int(config.num_attention_heads)
    except AttributeError as error:
        raise InputError(f"The configuration of {loaded.name} has no hidden_size; omit widths for it.") from error
    head = hidden // heads
    if width < head or width % head:
        raise InputError(
            f"width={width} is not a multiple of {head}, the width of a head of {loaded.name}; choose a multiple."
        )
    n_heads = width // head
    config.hidden_size, config.num_attention_heads = width, n_heads
    for name in ("intermediate_size", "n_inner", "ffn_dim"):
        inner = getattr(config, name, None)
        if inner is not None:
            setattr(config, name, max(1, round(inner * width / hidden)))
    key_value_heads = getattr(config, "num_key_value_heads", None)
    if key_value_heads is not None:
        group = heads // key_value_heads
        config.num_key_value_heads = n_heads // group if n_heads % group == 0 else n_heads
    if getattr(config, "word_embed_proj_dim", None) is not None:
        config.word_embed_proj_dim = width
    return config
