"""Monosemantic finetuning of language models, inside PEFT and TRL. Importing it makes MonoLoRA known to PEFT."""

from typing import TYPE_CHECKING, Any

from monosemy.errors import InputError

if TYPE_CHECKING:
    from monosemy.lm.adapter_units import adapter_activations, describe_adapter
    from monosemy.lm.decpo import DecPOConfig, DecPOTrainer

try:
    from monosemy.lm.monolora import MonoLoraConfig, MonoLoraModel
except ImportError as error:
    raise InputError(
        f"monosemy.lm needs the extra 'lm', of which {error.name or 'a part'} is missing or of another version; run: "
        f"pip install 'monosemy[lm]'"
    ) from error


_HOMES = {
    "DecPOConfig": "monosemy.lm.preference",
    "DecPOTrainer": "monosemy.lm.preference",
    "adapter_activations": "monosemy.lm.adapter_units",
    "describe_adapter": "monosemy.lm.adapter_units",
}

__all__ = ["DecPOConfig", "DecPOTrainer", "MonoLoraConfig", "MonoLoraModel", "adapter_activations", "describe_adapter"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'monosemy.lm' has no attribute {name!r}")
