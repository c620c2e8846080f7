"""What is optimised from preferences, and how."""

from typing import Annotated, Literal

from annotated_types import Ge, Gt, Len
from pydantic import BaseModel, ConfigDict, model_validator

from monosemy.functional.low_rank import Placement
from monosemy.lm.activations import Tokens
from monosemy.lm.data.context import OnLong

Loss = Literal[
    "sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot", "aot_unpaired",
    "apo_zero", "apo_down", "discopop", "sft", "sigmoid_norm",
]  # fmt: skip
"""TRL's losses of preference pairs; `sigmoid` is DPO's."""
Regularizer = Literal["decorrelation", "l1", "dropout"]
Method = Literal["full", "lora", "monolora"]
_SMOOTHED = {"exo_pair": 1e-3, "robust": 0.1}
"""Losses that mean nothing without label smoothing, and what TRL names as usual."""


class Objective(BaseModel):
    """A loss of preference pairs, and what is added to it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    loss: Loss = "sigmoid"
    regularizer: Regularizer | None = None
    """None trains with TRL's own DPOTrainer, any other with DecPOTrainer."""
    weight: Annotated[float, Ge(0)] = 0.0
    """Of the regulariser; for `dropout` the share of activations that is dropped."""

    @model_validator(mode="after")
    def _share(self) -> "Objective":
        if self.regularizer == "dropout" and self.weight >= 1:
            raise ValueError("dropout takes a share below 1")
        return self

    @property
    def label_smoothing(self) -> float:
        """What TRL's loss is given."""
        return _SMOOTHED.get(self.loss, 0.0)


class AlignmentConfig(BaseModel):
    """How a model is trained, whatever the objective: the same budget for all."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Method = "full"
    """All weights, or a LoRA or MonoLoRA adapter."""
    rank: Annotated[int, Ge(1)] = 8
    alpha: Annotated[float, Gt(0)] = 16
    placement: Placement = "output"
    """Where MonoLoRA's s+ stands."""
    target_modules: Annotated[tuple[str, ...], Len(1)] | None = None
    """As of an adapter for finetuning; PEFT's choice for the architecture where not given."""
    layers: Annotated[tuple[str, ...], Len(1)] | None = None
    """Whose activations are regularised and measured: module names, or numbers of layers for their MLP's up-projection;
    the middle layer's where not given."""
    tokens: Tokens = "all"
    """Which of their tokens are regularised."""
    beta: Annotated[float, Gt(0)] = 0.1
    """Of the loss and of the rewards."""
    lr: Annotated[float, Gt(0)] = 1e-5
    """Peak, of AdamW; 10 % of the steps warm up, then it falls linearly to 0."""
    epochs: Annotated[int, Ge(1)] = 1
    batch_size: Annotated[int, Ge(1)] = 16
    """Pairs a step."""
    accumulation: Annotated[int, Ge(1)] = 1
    """Parts that a step's pairs go through the model in, where they do not fit into the memory at once."""
    max_tokens: Annotated[int, Ge(8)] | None = None
    """Of a prompt with its longer answer; the model's context where it is not given."""
    on_long: OnLong = "drop"
    """What to do with longer pairs."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16 is autocast; the weights stay float32."""
    gradient_checkpointing: bool = False

    @model_validator(mode="after")
    def _parts(self) -> "AlignmentConfig":
        if self.batch_size % self.accumulation:
            raise ValueError(f"{self.batch_size} pairs cannot be shared out into {self.accumulation} equal parts")
        return self
