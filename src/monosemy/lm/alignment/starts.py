"""Models to begin with: of another width, and finetuned on what is to be preferred."""

import math
from collections.abc import Sequence
from copy import deepcopy
from typing import Annotated, Any

import torch
from annotated_types import Ge, Gt
from pydantic import BaseModel, ConfigDict

from monosemy.errors import InputError
from monosemy.lm.data.forms import Row
from monosemy.lm.data.rows import fewer
from monosemy.lm.models import LoadedModel
from monosemy.lm.trainers import OnStep, checkpoint_folder, quiet_libraries, train_to_end
from monosemy.seeding import derive_seed


class WarmUp(BaseModel):
    """Supervised training on prompts with their chosen answers, before preferences are learned."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pairs: Annotated[int, Ge(1)] | None = None
    """At most so many, drawn by the seed; all of them where not given."""
    epochs: Annotated[int, Ge(1)] = 1
    lr: Annotated[float, Gt(0)] = 1e-3
    batch_size: Annotated[int, Ge(1)] = 16


def warm_up(
    loaded: LoadedModel, rows: Sequence[Row], config: WarmUp, *, seed: int = 0, on_step: OnStep | None = None
) -> LoadedModel:
    """Train all weights of a model on the prompts and chosen answers of pairs, in place; by TRL's SFTTrainer.

    The loss counts on all tokens: a model with random weights has the prompts to learn as well.
    """
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    rows = fewer(list(rows), config.pairs, derive_seed("warm-up", seed))
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
