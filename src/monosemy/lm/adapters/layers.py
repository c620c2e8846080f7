"""The factors of an adapted layer, and the variant by which PEFT's LoRA layers use them.

The factors stay modules that are called, never bare weights: what wraps or hooks them (FSDP, ZeRO) goes on working.
"""

from typing import Any

import torch
import torch.nn.functional as F
from peft.tuners.lora.layer import LoraLayer, LoraVariant
from torch import Tensor, nn

from monosemy.errors import InputError
from monosemy.functional.low_rank import Placement, add_update
from monosemy.functional.nonnegative import NON_NEGATIVE, NonNegative


class NonNegativeFactor(nn.Linear):
    """A or B of the placement ``weights``: s+(W) x."""

    non_negative: NonNegative

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, NON_NEGATIVE[self.non_negative](self.weight))


class NonNegativeUp(nn.Linear):
    """B of the other placements: adds the whole update to what the frozen layer gives."""

    non_negative: NonNegative
    placement: Placement

    def forward(self, hidden: Tensor, result: Tensor, scaling: float) -> Tensor:  # type: ignore[override]
        # Under autocast A x comes in the lower precision; elsewhere both are of one type.
        weight = self.weight.to(hidden.dtype)
        return add_update(result, hidden, weight, scaling, self.placement, self.non_negative)


class MonoVariant(LoraVariant):
    """s+ in one adapter of a LoRA layer."""

    def __init__(self, placement: Placement, non_negative: NonNegative) -> None:
        self.placement = placement
        self.non_negative = non_negative

    def supports_lora_conversion(self) -> bool:
        return False

    def init(self, module: LoraLayer, adapter_name: str, **_: Any) -> None:
        """Put the factors in place; PEFT calls this again whenever it makes new ones (EVA does)."""
        if self.placement == "weights":
            module.lora_A[adapter_name] = self._of(NonNegativeFactor, module.lora_A[adapter_name])
            module.lora_B[adapter_name] = self._of(NonNegativeFactor, module.lora_B[adapter_name])
        else:
            module.lora_B[adapter_name] = self._of(NonNegativeUp, module.lora_B[adapter_name])
            module.lora_B[adapter_name].placement = self.placement

    def _of(self, kind: type[NonNegativeFactor | NonNegativeUp], linear: nn.Linear) -> nn.Linear:
        # On the meta device no memory is taken and no random number is drawn: seeds mean the same as with LoRA.
        factor = kind(linear.in_features, linear.out_features, bias=False, device="meta")
        factor.weight = linear.weight
        factor.non_negative = self.non_negative
        return factor.train(linear.training)

    def forward(self, module: LoraLayer, active_adapter: str, x: Tensor, result: Tensor, **_: Any) -> Tensor:
        hidden = module.lora_A[active_adapter](module.lora_dropout[active_adapter](x))
        up, scaling = module.lora_B[active_adapter], module.scaling[active_adapter]
        if self.placement == "weights":
            return torch.add(result, up(hidden), alpha=scaling)
        added: Tensor = up(hidden, result, scaling)
        return added

    def merge_safe(self, module: LoraLayer, active_adapter: str, orig_weight: Tensor) -> Tensor:
        return orig_weight + self._delta(module, active_adapter).to(orig_weight.dtype)

    def merge_unsafe(self, module: LoraLayer, active_adapter: str, orig_weight: Tensor) -> None:
        orig_weight.data += self._delta(module, active_adapter)

    def unmerge(self, module: LoraLayer, active_adapter: str, orig_weight: Tensor) -> Tensor:
        return orig_weight.data - self._delta(module, active_adapter).to(orig_weight.dtype)

    def _delta(self, module: LoraLayer, adapter_name: str) -> Tensor:
        """scaling * s+(B) s+(A), as the base weight is stored."""
        check_mergeable(adapter_name, self.placement)
        s = NON_NEGATIVE[self.non_negative]
        down, up = (s(part[adapter_name].weight.detach().float()) for part in (module.lora_A, module.lora_B))
        delta = up @ down * module.scaling[adapter_name]
        return delta.T if getattr(module, "fan_in_fan_out", False) else delta


def check_mergeable(adapter_name: str, placement: Placement) -> None:
    """Only an update that is linear in x is a matrix that can be added to the base weight."""
    if placement != "weights":
        raise InputError(
            f"The adapter {adapter_name!r} cannot be merged, because placement={placement!r} makes its update "
            f"non-linear; keep it as an adapter, or train with placement='weights'."
        )
