"""MonoLoRA as a PEFT type of its own: LoRA with s+ in every layer, and refusals where LoRA's ways are wrong."""

from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

import torch
from peft import LoraModel, NoMatchingPeftModuleError
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_PREFIX_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING
from peft.tuners.lora import LoraLayer
from torch import nn
from transformers.pytorch_utils import Conv1D

from monosemy.errors import InputError
from monosemy.lm.adapters.config import MonoLoraConfig, MonoLoraType
from monosemy.lm.adapters.layers import MonoVariant, check_mergeable

ADAPTABLE = ("Linear", "Linear8bitLt", "Linear4bit", "GPTQLoraLinear", "HqqLoraLinear")
"""PEFT's layers that ask the variant for their output; every other kind would train and run as plain LoRA."""
_NO_MIXED_BATCHES = ("GPTQLoraLinear", "HqqLoraLinear")


class MonoLoraModel(LoraModel):
    """A model with MonoLoRA adapters; made by ``peft.get_peft_model`` and all of PEFT's loaders."""

    def inject_adapter(self, model: nn.Module, adapter_name: str, *args: Any, **kwargs: Any) -> None:
        """As PEFT's, but a refused adapter leaves the model as it was.

        Raises:
            InputError: no target module is there, or one is of a kind that s+ cannot be put into.
        """
        before = {name: module for name, module in model.named_modules() if not isinstance(module, LoraLayer)}
        try:
            super().inject_adapter(model, adapter_name, *args, **kwargs)
        except Exception as error:
            targets = self.peft_config[adapter_name].target_modules
            self._withdraw(model, adapter_name, before)
            if isinstance(error, NoMatchingPeftModuleError):
                raise InputError(_no_target(model, targets)) from error
            raise

    def _withdraw(self, model: nn.Module, adapter_name: str, before: dict[str, nn.Module]) -> None:
        for name, module in before.items():  # outer modules come first
            if name and model.get_submodule(name) is not module:
                model.set_submodule(name, module)
        for layer in model.modules():
            if isinstance(layer, LoraLayer) and adapter_name in layer.lora_A:
                layer.delete_adapter(adapter_name)
        self.peft_config.pop(adapter_name, None)

    def _prepare_adapter_config(self, peft_config: MonoLoraConfig, model_config: dict[str, Any]) -> MonoLoraConfig:
        if peft_config.target_modules is None and model_config["model_type"] not in self.target_module_mapping:
            raise InputError(
                f"target_modules is not given, and the model type {model_config['model_type']!r} has no default; "
                f"choose among {_listed(_linear_names(self.model))}, or 'all-linear'."
            )
        return super()._prepare_adapter_config(peft_config, model_config)

    def _create_and_replace(
        self,
        lora_config: MonoLoraConfig,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
        **kwargs: Any,
    ) -> None:
        super()._create_and_replace(lora_config, adapter_name, target, target_name, parent, current_key, **kwargs)
        layer = getattr(parent, target_name)
        if type(layer).__name__ not in ADAPTABLE or not type(layer).__module__.startswith("peft."):
            raise InputError(
                f"target_modules names {current_key}, a {type(layer.get_base_layer()).__name__} that MonoLoRA cannot "
                f"adapt; name linear layers only (plain, bitsandbytes 4 or 8 bit, GPTQ, HQQ)."
            )
        variant = MonoVariant(lora_config.placement, lora_config.non_negative)
        layer.lora_variant[adapter_name] = variant
        variant.init(layer, adapter_name)

    def merge_adapter(self, adapter_names: list[str] | None = None, safe_merge: bool = False) -> None:
        """As PEFT's; refused before any layer is touched unless every adapter has the placement ``weights``."""
        self._check_mergeable(adapter_names)
        super().merge_adapter(adapter_names=adapter_names, safe_merge=safe_merge)

    def _unload_and_optionally_merge(
        self,
        merge: bool = True,
        progressbar: bool = False,
        safe_merge: bool = False,
        adapter_names: list[str] | None = None,
    ) -> nn.Module:
        if merge:
            self._check_mergeable(adapter_names)
        unloaded: nn.Module = super()._unload_and_optionally_merge(merge, progressbar, safe_merge, adapter_names)
        return unloaded

    def _check_mergeable(self, adapter_names: list[str] | None) -> None:
        for name in self.active_adapters if adapter_names is None else adapter_names:
            if name in self.peft_config:
                check_mergeable(name, self.peft_config[name].placement)

    def add_weighted_adapter(self, *_: Any, **__: Any) -> None:
        """Refused: s+ of a sum of adapters is not the sum of their updates."""
        raise InputError(
            "add_weighted_adapter mixes the factors of adapters, which says nothing about MonoLoRA's updates; "
            "activate several adapters at once by base_model.set_adapter([...]) instead."
        )

    def supports_lora_conversion(self, adapter_name: str = "default") -> bool:
        """No: PEFT would convert B A, which is not the update."""
        return False

    @contextmanager
    def _enable_peft_forward_hooks(self, *args: Any, **kwargs: Any) -> Iterator[None]:
        if kwargs.get("adapter_names") is not None:
            kinds = {type(m).__name__ for m in self.modules() if isinstance(m, LoraLayer)} & set(_NO_MIXED_BATCHES)
            if kinds:
                raise InputError(
                    f"adapter_names is given, but {kinds.pop()} computes mixed batches as plain LoRA; run the rows of "
                    f"each adapter by themselves after set_adapter."
                )
        with super()._enable_peft_forward_hooks(*args, **kwargs):
            yield

    @classmethod
    def _remap_adapter_state_dict_for_load(
        cls, model: nn.Module, config: MonoLoraConfig, adapter_name: str, state_dict: dict[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """As PEFT's, and what it would load in part, or with a page of shapes, is refused in a sentence."""
        remapped: dict[str, torch.Tensor] = super()._remap_adapter_state_dict_for_load(
            model, config, adapter_name, state_dict
        )
        given = {name: tuple(value.shape) for name, value in remapped.items() if _is_factor(name)}
        wanted = {
            name: tuple(value.shape)
            for name, value in model.state_dict().items()
            if _is_factor(name) and f".{adapter_name}." in name
        }
        for name in sorted(given.keys() | wanted.keys()):
            if given.get(name) != wanted.get(name):
                raise InputError(
                    f"The adapter is of another base model: {name.removeprefix('base_model.model.')} is "
                    f"{given.get(name, 'missing')} in its file and {wanted.get(name, 'missing')} here; load it onto "
                    f"the model it was trained on ({config.base_model_name_or_path or 'not named in its file'})."
                )
        return remapped


def register() -> None:
    """Make MonoLoRA known to PEFT, and so to ``from_pretrained`` everywhere."""
    PEFT_TYPE_TO_CONFIG_MAPPING[MonoLoraType.MONOLORA] = MonoLoraConfig
    PEFT_TYPE_TO_TUNER_MAPPING[MonoLoraType.MONOLORA] = MonoLoraModel
    PEFT_TYPE_TO_PREFIX_MAPPING[MonoLoraType.MONOLORA] = MonoLoraModel.prefix


def _is_factor(name: str) -> bool:
    return ".lora_A." in name or ".lora_B." in name


def _linear_names(model: nn.Module) -> list[str]:
    """Last names of the linear layers, each once, in the order of the model."""
    names = (
        name.rpartition(".")[2] for name, module in model.named_modules() if isinstance(module, nn.Linear | Conv1D)
    )
    return list(dict.fromkeys(names))


def _no_target(model: nn.Module, targets: Any) -> str:
    there = _linear_names(model)
    given = [targets] if isinstance(targets, str) else sorted(targets or ())
    near = [close for name in given for close in get_close_matches(name.rpartition(".")[2], there, n=3, cutoff=0.5)]
    nearest = f" (nearest: {_listed(list(dict.fromkeys(near)))})" if near else ""
    return (
        f"target_modules={', '.join(given)!r} matches no module of {type(model).__name__}; choose among "
        f"{_listed(there)}{nearest}."
    )


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:8])
    return shown + (", ..." if len(names) > 8 else "")
