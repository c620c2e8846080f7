"""Training from preferences, by TRL's trainer and by DecPO's."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from monosemy.errors import InputError, reason
from monosemy.lm.alignment.config import AlignmentConfig, Objective
from monosemy.lm.data.forms import Row
from monosemy.lm.finetuning.config import AdapterConfig, adapter_settings
from monosemy.lm.models import LoadedModel
from monosemy.lm.trainers import OnStep, checkpoint_folder, quiet_libraries, train_to_end

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
    on_step: OnStep | None = None,
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
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    from monosemy.lm.preference import DecPOConfig, DecPOTrainer

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
