"""What a MonoLoRA adapter is; saved beside its weights as LoRA's configuration is."""

from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any, get_args

from peft import LoraConfig

from monosemy.errors import InputError
from monosemy.functional.low_rank import PLACEMENTS, Placement
from monosemy.functional.nonnegative import NonNegative

INITIALISATIONS = (True, "gaussian", "eva")
"""Those that start with B = 0 and leave the base weights alone."""
_NOT_TOGETHER = ("use_qalora", "lora_bias", "target_parameters")


class MonoLoraType(StrEnum):
    """MonoLoRA's own PEFT type: without this package an adapter does not load at all, rather than as plain LoRA."""

    MONOLORA = "MONOLORA"


@dataclass
class MonoLoraConfig(LoraConfig):
    """LoRA whose update passes a non-negative map s+; all of ``LoraConfig``'s fields, with the paper's defaults.

    Dropout and scaling stand where LoRA has them: dropout on x alone, scaling on the finished update.

    Raises:
        InputError: a setting that has no meaning for MonoLoRA.

    Source: Zhang et al. (arXiv 2410.21331), section 3.3: rank 8, alpha 4, dropout 0.1.
    """

    lora_alpha: int = field(default=4, metadata={"help": "Scaling of the update: lora_alpha / r"})
    lora_dropout: float = field(default=0.1, metadata={"help": "Dropout on the adapter's input"})
    placement: Placement = field(
        default="output",
        metadata={
            "help": "Where s+ stands: 'output' s+(B A x), 'hidden' B s+(A x), 'both' s+(B s+(A x)), "
            "'weights' s+(B) s+(A) x"
        },
    )
    non_negative: NonNegative = field(
        default="relu",
        metadata={"help": "s+: 'relu' (gradient 1 at 0), or 'rep_relu' (forward ReLU, backward GELU)"},
    )

    def __post_init__(self) -> None:
        self._check()
        super().__post_init__()
        self.peft_type = MonoLoraType.MONOLORA

    def _check(self) -> None:
        _one_of("placement", self.placement, PLACEMENTS)
        _one_of("non_negative", self.non_negative, get_args(NonNegative))
        _one_of("init_lora_weights", self.init_lora_weights, INITIALISATIONS)
        variants = [f.name for f in fields(LoraConfig) if f.metadata.get("is_lora_variant")]
        for name in (*variants, *_NOT_TOGETHER):
            if getattr(self, name):
                raise InputError(
                    f"{name}={getattr(self, name)!r} changes the update itself and cannot be combined with MonoLoRA; "
                    f"leave it out, or use peft.LoraConfig."
                )


def _one_of(name: str, value: Any, allowed: tuple[Any, ...]) -> None:
    if value not in allowed:
        raise InputError(f"{name}={value!r} is not known to MonoLoRA; choose one of {', '.join(map(repr, allowed))}.")
