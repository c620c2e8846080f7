"""Training of adapters by the trainers of transformers and TRL, which bring checkpoints and several GPUs."""

import math
import os
import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from monosemy.core.console import OnCount
from monosemy.errors import InputError, needs_extra, reason
from monosemy.lm import models, monolora, prompts
from monosemy.lm.config import AdapterConfig, AlignmentConfig, Task, WarmUp
from monosemy.seeding import derive_seed

with needs_extra("lm", "monosemy.lm"):
    import datasets
    import peft
    import transformers
    import trl


def peft_config(config: AdapterConfig, task: Task) -> Any:
    """Return the PEFT configuration of an adapter; the head of a classifier is trained and saved with it."""
    targets = config.target_modules
    shared: dict[str, Any] = {
        "r": config.rank,
        "lora_alpha": config.alpha,
        "lora_dropout": config.dropout,
        "task_type": "SEQ_CLS" if task == "classification" else "CAUSAL_LM",
        "target_modules": "all-linear" if targets == ("all-linear",) else list(targets) if targets else None,
    }
    if config.method == "monolora":
        return monolora.MonoLoraConfig(placement=config.placement, non_negative=config.non_negative, **shared)
    return peft.LoraConfig(**shared)


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Silence the libraries' progress bars and hints: the caller shows progress, and errors are raised."""
    logging, bars = transformers.utils.logging, datasets.utils.logging
    level, had_bars = logging.get_verbosity(), bars.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    bars.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        if had_bars:
            bars.enable_progress_bar()


@contextmanager
def checkpoint_folder(folder: Path | None) -> Iterator[Path]:
    """Yield the folder of a training's checkpoints, removed after the training; a temporary one for None."""
    if folder is None:
        with TemporaryDirectory() as temporary:
            yield Path(temporary)
        return
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def train_to_end(trainer: Any, folder: Path, on_step: OnCount | None = None) -> None:
    """Train, from the last complete checkpoint in the folder if there is one; report progress to ``on_step`` only."""

    class ReportStep(transformers.TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if on_step is not None:
                on_step(state.global_step, state.max_steps)

    trainer.remove_callback(transformers.PrinterCallback)
    trainer.add_callback(ReportStep())
    # The trainer's state is written last: a checkpoint with it is complete.
    complete = [path.parent for path in folder.glob("checkpoint-*/trainer_state.json")]
    last = max(complete, key=lambda path: int(path.name.rpartition("-")[2]), default=None)
    trainer.train(resume_from_checkpoint=None if last is None else str(last))


_CHECKPOINT_EVERY = 200
"""Steps between checkpoints."""


def train_adapter(
    loaded: models.LoadedModel,
    rows: Sequence[prompts.Row],
    config: AdapterConfig,
    *,
    checkpoints: Path | None = None,
    on_step: OnCount | None = None,
) -> models.LoadedModel:
    """Train an adapter on rows; it is inserted into the given model.

    Rows with `text` and `label` train a classifier, by transformers' Trainer; rows with `prompt` and `completion` (loss
    on the completion alone), `messages` (loss on the last answer), or `text` train a causal model by TRL's SFTTrainer.
    Batches hold rows of similar length.

    Args:
        checkpoints: folder from which an interrupted training resumes; removed after the training.

    Returns: the model with its adapter, in eval mode.

    Raises:
        InputError: the model has none of the target modules, there are no rows, or the batch cannot be divided among
            the processes.
    """
    if not rows:
        raise InputError("There are no rows to train on; give at least one.")
    task = task_of(rows[0])
    with quiet_libraries(), checkpoint_folder(checkpoints) as folder:
        model = insert_adapter(loaded, config, task)
        trainer = _trainer(model, loaded, rows, config, task, _arguments(config, len(rows), folder, loaded))
        train_to_end(trainer, folder, on_step)
        trained = trainer.accelerator.unwrap_model(trainer.model)
        trainer.accelerator.wait_for_everyone()
    return models.LoadedModel(loaded.name, trained.eval(), loaded.tokenizer)


def load_adapter(loaded: models.LoadedModel, folder: Path) -> models.LoadedModel:
    """Load a saved adapter into the given model; return it in eval mode.

    Raises:
        InputError: the folder has no adapter, or one of another model.
    """
    try:
        with quiet_libraries():
            model = peft.PeftModel.from_pretrained(loaded.model, str(folder), local_files_only=True)
    except InputError:
        raise
    except Exception as error:  # PEFT raises many types; each means that the adapter does not fit
        raise InputError(
            f"The adapter {folder} cannot be loaded onto {loaded.name} ({reason(error)}); give a folder that was saved "
            f"for this model."
        ) from error
    return models.LoadedModel(loaded.name, model.eval(), loaded.tokenizer)


def task_of(row: prompts.Row) -> Task:
    """Return the task that a row trains."""
    return "classification" if {"text", "label"} <= row.keys() and "prompt" not in row else "generation"


def insert_adapter(loaded: models.LoadedModel, config: AdapterConfig, task: Task) -> torch.nn.Module:
    """Insert a new adapter into a model, or freeze all but its head.

    Raises:
        InputError: the model has none of the target modules.
    """
    if config.method == "head":
        if task != "classification":
            raise InputError("method='head' trains the head of a classifier, not of a language model; choose lora.")
        for name, parameter in loaded.model.named_parameters():
            # PEFT trains modules of these names beside an adapter, too.
            parameter.requires_grad_(name.split(".")[0] in ("classifier", "score"))
        return loaded.model
    devices = [loaded.device] if loaded.device.type == "cuda" else []
    with quiet_libraries(), torch.random.fork_rng(devices=devices):
        torch.manual_seed(derive_seed("adapter", config.seed))
        try:
            model: torch.nn.Module = peft.get_peft_model(loaded.model, peft_config(config, task))
        except ValueError as error:
            named = ", ".join(config.target_modules or ("PEFT's choice",))
            raise InputError(
                f"{config.method} cannot be inserted into {loaded.name} with target_modules={named} ({reason(error)}); "
                f"name layers of this model."
            ) from error
    return model


def common_arguments(
    loaded: models.LoadedModel, folder: Path, config: AdapterConfig | AlignmentConfig | WarmUp, n_rows: int, seed: int
) -> dict[str, Any]:
    """Return the arguments of a trainer that are alike in every training; an epoch's last step may have fewer rows."""
    steps = max(math.ceil(n_rows / config.batch_size) * config.epochs, getattr(config, "min_steps", 0))
    saving = getattr(config, "gradient_checkpointing", False)
    return {
        "output_dir": str(folder),
        "max_steps": steps,
        "learning_rate": config.lr,
        "gradient_checkpointing": saving,
        "gradient_checkpointing_kwargs": {"use_reentrant": False} if saving else None,
        "seed": seed,
        "use_cpu": loaded.device.type != "cuda",
        "save_total_limit": 1,
        "logging_steps": max(1, steps // 10),
        "report_to": "none",
        "disable_tqdm": True,
    }


def _arguments(config: AdapterConfig, n_rows: int, folder: Path, loaded: models.LoadedModel) -> dict[str, Any]:
    world = int(os.environ.get("WORLD_SIZE", "1"))
    parts = world * config.accumulation
    if config.batch_size % parts:
        raise InputError(
            f"batch_size={config.batch_size} cannot be divided among {world} processes with {config.accumulation} "
            f"parts each; choose a multiple of {parts}."
        )
    on_gpu = loaded.device.type == "cuda"
    shared = common_arguments(loaded, folder, config, n_rows, config.seed)
    return shared | {
        "per_device_train_batch_size": config.batch_size // parts,
        "gradient_accumulation_steps": config.accumulation,
        "weight_decay": config.weight_decay,
        "ddp_backend": None if on_gpu or world == 1 else "gloo",
        "bf16": on_gpu and loaded.model.dtype == torch.bfloat16,
        "train_sampling_strategy": "group_by_length",
        "save_strategy": "steps",
        "save_steps": min(_CHECKPOINT_EVERY, max(1, shared["max_steps"] // 2)),
    }


def _trainer(
    model: torch.nn.Module,
    loaded: models.LoadedModel,
    rows: Sequence[prompts.Row],
    config: AdapterConfig,
    task: Task,
    arguments: dict[str, Any],
) -> Any:
    n_tokens = min(config.max_tokens or loaded.context, loaded.context)
    if task == "generation":
        data = datasets.Dataset.from_list([_language_row(row) for row in rows])
        settings = trl.SFTConfig(**arguments, max_length=n_tokens, packing=False)
        return trl.SFTTrainer(model, settings, train_dataset=data, processing_class=loaded.tokenizer)
    tokens = loaded.tokenizer([str(row["text"]) for row in rows], truncation=True, max_length=n_tokens, verbose=False)
    columns = {name: tokens[name] for name in ("input_ids", "attention_mask")}
    return transformers.Trainer(
        model,
        transformers.TrainingArguments(**arguments),
        train_dataset=datasets.Dataset.from_dict(columns | {"labels": [int(row["label"]) for row in rows]}),
        data_collator=transformers.DataCollatorWithPadding(loaded.tokenizer),
        processing_class=loaded.tokenizer,
    )


def _language_row(row: prompts.Row) -> prompts.Row:
    """Return the columns that TRL takes; the last message of a dialogue is its completion."""
    if "messages" in row:
        return {"prompt": row["messages"][:-1], "completion": row["messages"][-1:]}
    return {name: row[name] for name in ("prompt", "completion", "text") if name in row}
