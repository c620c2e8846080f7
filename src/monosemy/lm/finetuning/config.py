"""What is trained, and how."""

from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Len, Lt
from pydantic import BaseModel, ConfigDict

from monosemy.functional.low_rank import Placement
from monosemy.functional.nonnegative import NonNegative

Task = Literal["classification", "generation"]


class AdapterConfig(BaseModel):
    """One adapter. The defaults are the paper's (arXiv 2410.21331, section 4.3 and appendix); rows of any language."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Literal["head", "lora", "monolora"] = "lora"
    """`head` trains a classifier's head alone."""
    placement: Placement = "output"
    """Where MonoLoRA's s+ stands."""
    non_negative: NonNegative = "relu"
    rank: Annotated[int, Ge(1)] = 8
    alpha: Annotated[float, Gt(0)] = 4
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.1
    target_modules: Annotated[tuple[str, ...], Len(1)] | None = None
    """Last names of the adapted layers, or `all-linear`; PEFT's choice for the architecture where not given."""
    lr: Annotated[float, Gt(0)] = 1e-4
    """At the start, of AdamW; it falls linearly to 0."""
    weight_decay: Annotated[float, Ge(0)] = 0.0
    batch_size: Annotated[int, Ge(1)] = 16
    """Rows a step, over all processes."""
    accumulation: Annotated[int, Ge(1)] = 1
    """Parts that a step's rows go through the model in, where they do not fit into the memory at once."""
    epochs: Annotated[int, Ge(1)] = 20
    min_steps: Annotated[int, Ge(0)] = 0
    """Few rows are passed over more often, until so many steps are made."""
    gradient_checkpointing: bool = False
    max_tokens: Annotated[int, Ge(2)] | None = None
    """Longer rows are cut here; the model's context where it is not given."""
    seed: Annotated[int, Ge(0)] = 0


def adapter_settings(config: AdapterConfig, task: Task) -> Any:
    """The PEFT configuration of an adapter.

    A classifier's head is trained and saved with the adapter.
    """
    from peft import LoraConfig

    from monosemy.lm.adapters import MonoLoraConfig

    targets = config.target_modules
    shared: dict[str, Any] = {
        "r": config.rank,
        "lora_alpha": config.alpha,
        "lora_dropout": config.dropout,
        "task_type": "SEQ_CLS" if task == "classification" else "CAUSAL_LM",
        "target_modules": "all-linear" if targets == ("all-linear",) else list(targets) if targets else None,
    }
    if config.method == "monolora":
        return MonoLoraConfig(placement=config.placement, non_negative=config.non_negative, **shared)
    return LoraConfig(**shared)
