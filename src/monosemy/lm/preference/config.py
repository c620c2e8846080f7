"""The settings of DecPO: TRL's of DPO, and the regulariser's."""

import math
from dataclasses import dataclass, field
from typing import Any, get_args

from trl import DPOConfig

from monosemy.errors import InputError
from monosemy.lm.activations import Tokens
from monosemy.lm.preference.term import Regularizer


@dataclass
class DecPOConfig(DPOConfig):
    """Settings of :class:`DecPOTrainer`; everything that :class:`trl.DPOConfig` has stays as it is.

    Args:
        decpo_weight: lambda; 0 is DPO, bit for bit. With ``decpo_regularizer="dropout"`` the share of activations
            that is dropped.
        decpo_layers: which activations: module names such as ``model.layers.2.mlp.down_proj``, or numbers of layers
            (negative from the end), whose MLP's up-projection is then meant. Default the up-projection of the middle
            layer, number L // 2 of 0 to L - 1. Of several layers the mean of their terms counts.
        decpo_tokens: rows of Z, of chosen and rejected answers together: ``all`` (with the prompts, without the
            padding), ``completion``, or the ``last`` of each sequence.
        decpo_regularizer: ``decorrelation``, |Z^T Z - I|_F^2; or for ablations ``l1``, the activations' L1 norm,
            mean over tokens; or ``dropout`` on them.
        decpo_normalize_columns: divide each feature by its length over the tokens first.
        decpo_gather: with several processes, one term over the tokens of all of them, as one process with the whole
            batch has it; otherwise each has a term of its own tokens and the gradients are averaged.
    """

    decpo_weight: float = field(default=1e-4, metadata={"help": "Weight of the regulariser; 0 is DPO."})
    decpo_layers: list[str] | None = field(
        default=None,
        metadata={"help": "Module names, or numbers of layers for their MLP's up-projection; default the middle one."},
    )
    decpo_tokens: str = field(default="all", metadata={"help": "Tokens that count.", "choices": list(get_args(Tokens))})
    decpo_regularizer: str = field(
        default="decorrelation", metadata={"help": "What is added to DPO.", "choices": list(get_args(Regularizer))}
    )
    decpo_normalize_columns: bool = field(default=True, metadata={"help": "Divide each feature by its length."})
    decpo_gather: bool = field(default=False, metadata={"help": "One term over the tokens of all processes."})

    def __post_init__(self) -> None:
        super().__post_init__()
        layers: Any = self.decpo_layers
        if layers is not None:
            self.decpo_layers = [str(layer) for layer in (layers if isinstance(layers, list | tuple) else [layers])]
        if self.decpo_layers == []:
            raise InputError("decpo_layers=[] names no layer; name one, or leave it out for the middle one.")
        for name, choices in (("decpo_tokens", Tokens), ("decpo_regularizer", Regularizer)):
            if getattr(self, name) not in get_args(choices):
                raise InputError(f"{name}={getattr(self, name)!r} is not one of {', '.join(get_args(choices))}.")
        self.decpo_weight = float(self.decpo_weight)
        if not (math.isfinite(self.decpo_weight) and self.decpo_weight >= 0):
            raise InputError(f"decpo_weight={self.decpo_weight:g} is no weight; choose 0 or a positive number.")
        if self.decpo_regularizer == "dropout" and self.decpo_weight >= 1:
            raise InputError(
                f"decpo_weight={self.decpo_weight:g} would drop every activation; with dropout choose one below 1."
            )
        self._check_paths()

    def _check_paths(self) -> None:
        """Refuse what keeps a layer's activations, or their gradient, from the regulariser."""
        if self.use_liger_kernel:
            raise InputError(
                "use_liger_kernel=True replaces the forward pass whose activations DecPO reads; leave it out."
            )
        if self.padding_free:
            raise InputError("padding_free=True joins sequences, so that DecPO cannot tell their tokens; leave it out.")
        if self.torch_compile:
            raise InputError(
                "torch_compile=True skips the hooks by which DecPO reads activations; leave it out, or use DPOTrainer."
            )
        if self.gradient_checkpointing and (self.gradient_checkpointing_kwargs or {}).get("use_reentrant"):
            raise InputError(
                "gradient_checkpointing_kwargs has use_reentrant=True, which loses the regulariser's gradient; set it "
                "to False."
            )
