"""MonoLoRA as a PEFT type: LoRA whose updates pass a non-negative map s+.

The factors of an adapted layer stay modules that are called, so that wrappers and hooks (FSDP, ZeRO) keep working.
Operations of LoRA that are wrong for MonoLoRA are rejected. Importing the chapter registers the type with PEFT.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import torch
import torch.nn.functional as F

from monosemy.errors import InputError, needs_extra
from monosemy.functional import lora, losses

with needs_extra("lm", "monosemy.lm"):
    import safetensors.torch
    from huggingface_hub import ModelCard, ModelCardData
    from peft import LoraConfig, LoraModel, NoMatchingPeftModuleError
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_PREFIX_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING
    from peft.tuners.lora.layer import LoraLayer, LoraVariant
    from peft.tuners.tuners_utils import _check_lora_target_modules_mamba, check_target_module_exists
    from peft.utils import SAFETENSORS_WEIGHTS_NAME, get_peft_model_state_dict, hotswap, transformers_weight_conversion
    from peft.utils.save_and_load import _validate_lora_adapter_state_dict
    from transformers.core_model_loading import WeightRenaming
    from transformers.pytorch_utils import Conv1D

INITIALISATIONS = (True, "gaussian", "eva")
"""Initialisations with B = 0 that leave the base weights unchanged."""
_NOT_TOGETHER = ("use_qalora", "lora_bias", "target_parameters")


_FILE_NAMES = {".lora_A.": ".mono_A.", ".lora_B.": ".mono_B."}
"""Names of the factors in a file: readers of LoRA files that ignore ``peft_type`` find no tensor that they know."""
_EXPERT_PROJECTIONS = ("gate_proj", "up_proj", "down_proj", "gate_up_proj", "w1", "w2", "w3")
_CARD = """
## MonoLoRA

This adapter is a MonoLoRA adapter, placement `{placement}`, and not a plain LoRA adapter. It needs
`pip install 'monosemy[lm]'` and this import before it is loaded:

```python
from monosemy.lm import MonoLoraConfig
```
"""


class MonoLoraType(str, Enum):  # noqa: UP042 - PEFT's status reads the type after the dot of str(), which StrEnum lacks
    """MonoLoRA's PEFT type: without this package an adapter fails to load, instead of loading as plain LoRA."""

    MONOLORA = "MONOLORA"


@dataclass
class MonoLoraConfig(LoraConfig):
    """LoRA whose update passes a non-negative map s+; all of ``LoraConfig``'s fields and defaults.

    Dropout and scaling are LoRA's: dropout on x, scaling on the finished update.

    Raises:
        InputError: a setting does not apply to MonoLoRA.

    Source: Zhang et al. (arXiv 2410.21331), section 3.3.
    """

    placement: lora.Placement = field(
        default="output",
        metadata={
            "help": "Placement of s+: 'output' s+(B A x), 'hidden' B s+(A x), 'both' s+(B s+(A x)), "
            "'weights' s+(B) s+(A) x"
        },
    )
    non_negative: losses.NonNegative = field(
        default="relu", metadata={"help": "s+: 'relu' (gradient 1 at 0), or 'rep_relu' (forward ReLU, backward GELU)"}
    )

    def __post_init__(self) -> None:
        _one_of("placement", self.placement, lora.PLACEMENTS)
        _one_of("non_negative", self.non_negative, get_args(losses.NonNegative))
        _one_of("init_lora_weights", self.init_lora_weights, INITIALISATIONS)
        variants = [f.name for f in fields(LoraConfig) if f.metadata.get("is_lora_variant")]
        for name in (*variants, *_NOT_TOGETHER):
            if getattr(self, name):
                raise InputError(
                    f"{name}={getattr(self, name)!r} changes the update itself and cannot be combined with MonoLoRA; "
                    f"omit it, or use peft.LoraConfig."
                )
        super().__post_init__()
        self.peft_type = MonoLoraType.MONOLORA

    @classmethod
    def paper(cls, **settings: Any) -> "MonoLoraConfig":
        """Return a configuration with the paper's rank 8, alpha 4 and dropout 0.1 where ``settings`` has no others."""
        return cls(**{"r": 8, "lora_alpha": 4, "lora_dropout": 0.1} | settings)

    def save_pretrained(self, save_directory: str, **kwargs: Any) -> None:
        """Save like PEFT, and say in the model card that the adapter needs this package."""
        super().save_pretrained(save_directory, **kwargs)
        file = Path(save_directory, "README.md")
        card = ModelCard.load(file) if file.exists() else ModelCard.from_template(ModelCardData(library_name="peft"))
        card.data["tags"] = sorted({*(card.data.get("tags") or ()), "monolora", "monosemy"})
        if "## MonoLoRA" not in card.text:
            card.text = card.text.rstrip() + "\n" + _CARD.format(placement=self.placement)
        card.save(file)


def _one_of(name: str, value: Any, allowed: tuple[Any, ...]) -> None:
    if value not in allowed:
        raise InputError(f"{name}={value!r} is unknown to MonoLoRA; choose one of {', '.join(map(repr, allowed))}.")


class NonNegativeFactor(torch.nn.Linear):
    """A or B of the placement ``weights``: s+(W) x."""

    non_negative: losses.NonNegative

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, losses.NON_NEGATIVE[self.non_negative](self.weight))


class NonNegativeUp(torch.nn.Linear):
    """B of the other placements: adds the whole update to the output of the frozen layer."""

    non_negative: losses.NonNegative
    placement: lora.Placement

    def forward(self, hidden: torch.Tensor, result: torch.Tensor, scaling: float) -> torch.Tensor:  # type: ignore[override]
        # Under autocast A x has the lower precision; otherwise both have the same type.
        weight = self.weight.to(hidden.dtype)
        return lora.add_update(result, hidden, weight, scaling, self.placement, self.non_negative)


class MonoVariant(LoraVariant):
    """The LoRA variant that applies s+ in one adapter of a layer."""

    def __init__(self, placement: lora.Placement, non_negative: losses.NonNegative) -> None:
        self.placement = placement
        self.non_negative = non_negative

    def supports_lora_conversion(self) -> bool:
        return False

    def init(self, module: LoraLayer, adapter_name: str, **_: Any) -> None:
        """Replace the factors; PEFT calls this again whenever it makes new ones (EVA does)."""
        if self.placement == "weights":
            module.lora_A[adapter_name] = self._factor(NonNegativeFactor, module.lora_A[adapter_name])
            module.lora_B[adapter_name] = self._factor(NonNegativeFactor, module.lora_B[adapter_name])
        else:
            module.lora_B[adapter_name] = self._factor(NonNegativeUp, module.lora_B[adapter_name])
            module.lora_B[adapter_name].placement = self.placement

    def _factor(self, kind: type[NonNegativeFactor | NonNegativeUp], linear: torch.nn.Linear) -> torch.nn.Linear:
        # The meta device takes no memory and draws no random numbers: seeds give the same factors as with LoRA.
        factor = kind(linear.in_features, linear.out_features, bias=False, device="meta")
        factor.weight = linear.weight
        factor.non_negative = self.non_negative
        return factor.train(linear.training)

    def forward(
        self, module: LoraLayer, active_adapter: str, x: torch.Tensor, result: torch.Tensor, **_: Any
    ) -> torch.Tensor:
        hidden = module.lora_A[active_adapter](module.lora_dropout[active_adapter](x))
        up, scaling = module.lora_B[active_adapter], module.scaling[active_adapter]
        if self.placement == "weights":
            return torch.add(result, up(hidden), alpha=scaling)
        return up(hidden, result, scaling)

    def merge_safe(self, module: LoraLayer, active_adapter: str, orig_weight: torch.Tensor) -> torch.Tensor:
        return orig_weight + self._delta(module, active_adapter).to(orig_weight.dtype)

    def merge_unsafe(self, module: LoraLayer, active_adapter: str, orig_weight: torch.Tensor) -> None:
        orig_weight.data += self._delta(module, active_adapter)

    def unmerge(self, module: LoraLayer, active_adapter: str, orig_weight: torch.Tensor) -> torch.Tensor:
        return orig_weight.data - self._delta(module, active_adapter).to(orig_weight.dtype)

    def _delta(self, module: LoraLayer, adapter_name: str) -> torch.Tensor:
        """scaling * s+(B) s+(A), as the base weight is stored."""
        check_mergeable(adapter_name, self.placement)
        s = losses.NON_NEGATIVE[self.non_negative]
        down, up = (s(part[adapter_name].weight.detach().float()) for part in (module.lora_A, module.lora_B))
        delta = up @ down * module.scaling[adapter_name]
        return delta.T if getattr(module, "fan_in_fan_out", False) else delta


def check_mergeable(adapter_name: str, placement: lora.Placement) -> None:
    """Reject merging unless the update is linear in x, and so a matrix that can be added to the base weight."""
    if placement != "weights":
        raise InputError(
            f"The adapter {adapter_name!r} cannot be merged, because placement={placement!r} makes its update "
            f"non-linear; keep it as an adapter, or train with placement='weights'."
        )


ADAPTABLE = ("Linear", "Linear8bitLt", "Linear4bit", "GPTQLoraLinear", "HqqLoraLinear")
"""PEFT's layers that call the variant; every other kind would train and run as plain LoRA."""
_NO_MIXED_BATCHES = ("GPTQLoraLinear", "HqqLoraLinear")


class MonoLoraModel(LoraModel):
    """A model with MonoLoRA adapters, made by ``peft.get_peft_model`` and all of PEFT's loaders."""

    def inject_adapter(self, model: torch.nn.Module, adapter_name: str, *args: Any, **kwargs: Any) -> None:
        """Inject like PEFT, but leave the model unchanged if the adapter is rejected.

        Raises:
            InputError: no target module exists, or one is of a kind that s+ cannot be applied to.
        """
        before = {name: module for name, module in model.named_modules() if not isinstance(module, LoraLayer)}
        try:
            super().inject_adapter(model, adapter_name, *args, **kwargs)
        except Exception as error:
            config = self.peft_config[adapter_name]
            self._restore(model, adapter_name, before)
            if isinstance(error, NoMatchingPeftModuleError):
                raise InputError(_no_target(model, config)) from error
            raise

    def _restore(self, model: torch.nn.Module, adapter_name: str, before: dict[str, torch.nn.Module]) -> None:
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
                f"choose among {_abridged(_linear_names(self.model))}, or 'all-linear'."
            )
        prepared = super()._prepare_adapter_config(peft_config, model_config)
        _check_experts(self.model, prepared)
        return prepared

    def _create_and_replace(
        self,
        lora_config: MonoLoraConfig,
        adapter_name: str,
        target: torch.nn.Module,
        target_name: str,
        parent: torch.nn.Module,
        current_key: str,
        **kwargs: Any,
    ) -> None:
        try:  # PEFT keeps this check to its own types
            _check_lora_target_modules_mamba(SimpleNamespace(peft_type="LORA"), self.model, target_name)
        except ValueError as error:
            raise InputError(
                f"target_modules names {current_key}, whose weight the kernels of {self.model.config.model_type} read "
                f"without calling the layer, so that an adapter on it has no effect; leave it out."
            ) from error
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
        """Merge like PEFT, but fail before any layer is changed unless every adapter has the placement ``weights``."""
        self._check_mergeable(adapter_names)
        super().merge_adapter(adapter_names=adapter_names, safe_merge=safe_merge)

    def _unload_and_optionally_merge(self, merge: bool = True, **options: Any) -> torch.nn.Module:
        if merge:
            self._check_mergeable(options.get("adapter_names"))
        return super()._unload_and_optionally_merge(merge, **options)

    def _check_mergeable(self, adapter_names: list[str] | None) -> None:
        for name in self.active_adapters if adapter_names is None else adapter_names:
            if name in self.peft_config:
                check_mergeable(name, self.peft_config[name].placement)

    def add_weighted_adapter(self, *_: Any, **__: Any) -> None:
        """Reject the call: s+ of a sum of adapters is not the sum of their updates."""
        raise InputError(
            "add_weighted_adapter mixes the factors of adapters, which does not mix MonoLoRA's updates; "
            "activate several adapters at once by base_model.set_adapter([...]) instead."
        )

    def supports_lora_conversion(self, adapter_name: str = "default") -> bool:
        """Return False: PEFT would convert B A, which is not the update."""
        return False

    def to_lora(self, folder: str | Path, adapter_name: str = "default") -> None:
        """Save an adapter of the placement ``weights`` as a plain LoRA adapter with the factors s+(A) and s+(B).

        Every reader of LoRA files computes the same update from it, without this package.

        Raises:
            InputError: the adapter does not exist, or its placement makes the update non-linear.
        """
        if adapter_name not in self.peft_config:
            raise InputError(
                f"The model has no adapter {adapter_name!r}; choose one of {', '.join(map(repr, self.peft_config))}."
            )
        config = self.peft_config[adapter_name]
        if config.placement != "weights":
            raise InputError(
                f"The adapter {adapter_name!r} cannot be saved as LoRA, because placement={config.placement!r} makes "
                f"its update non-linear; train with placement='weights'."
            )
        s = losses.NON_NEGATIVE[config.non_negative]
        back = {new: old for old, new in _FILE_NAMES.items()}
        tensors = {}
        for name, value in get_peft_model_state_dict(self, adapter_name=adapter_name).items():
            factor = any(part in name for part in back)
            plain = (s(value.detach()) if factor else value.detach()).cpu()
            tensors[f"base_model.{_renamed(name, back)}"] = plain.contiguous()
        Path(folder).mkdir(parents=True, exist_ok=True)
        safetensors.torch.save_file(tensors, Path(folder, SAFETENSORS_WEIGHTS_NAME), metadata={"format": "pt"})
        settings = {f.name: getattr(config, f.name) for f in fields(LoraConfig) if f.init and f.name != "peft_type"}
        lora_config = LoraConfig(**settings)
        lora_config.inference_mode = True
        lora_config.save_pretrained(str(folder))

    @contextmanager
    def _enable_peft_forward_hooks(self, *args: Any, **kwargs: Any) -> Iterator[None]:
        if kwargs.get("adapter_names") is not None:
            kinds = {type(m).__name__ for m in self.modules() if isinstance(m, LoraLayer)} & set(_NO_MIXED_BATCHES)
            if kinds:
                raise InputError(
                    f"adapter_names is given, but {kinds.pop()} computes mixed batches as plain LoRA; run the rows of "
                    f"each adapter separately after set_adapter."
                )
        with super()._enable_peft_forward_hooks(*args, **kwargs):
            yield

    @classmethod
    def _get_adapter_state_dict(
        cls, model: torch.nn.Module, config: MonoLoraConfig, adapter_name: str, *args: Any, **kwargs: Any
    ) -> dict[str, torch.Tensor]:
        """Select like PEFT, with its warning for shards of ZeRO-3 and FSDP that were not gathered."""
        selected: dict[str, torch.Tensor] = super()._get_adapter_state_dict(
            model, config, adapter_name, *args, **kwargs
        )
        _validate_lora_adapter_state_dict(selected, adapter_name=adapter_name)
        return selected

    @classmethod
    def _remove_adapter_name_from_key(cls, key: str, adapter_name: str) -> str:
        return _renamed(super()._remove_adapter_name_from_key(key, adapter_name), _FILE_NAMES)

    @classmethod
    def _remap_adapter_state_dict_for_load(
        cls, model: torch.nn.Module, config: MonoLoraConfig, adapter_name: str, state_dict: dict[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """Remap like PEFT, but reject an adapter that PEFT would load in part or with a page of error messages."""
        remapped: dict[str, torch.Tensor] = super()._remap_adapter_state_dict_for_load(
            model, config, adapter_name, {_renamed(name, _FILE_NAMES): value for name, value in state_dict.items()}
        )
        back = {new: old for old, new in _FILE_NAMES.items()}
        shapes = {_renamed(name, back): tuple(value.shape) for name, value in remapped.items()}
        saved = {name: shape for name, shape in shapes.items() if _is_factor(name)}
        expected = {
            name: tuple(value.shape)
            for name, value in model.state_dict().items()
            if _is_factor(name) and f".{adapter_name}." in name
        }
        for name in sorted(saved.keys() | expected.keys()):
            if saved.get(name) != expected.get(name):
                raise InputError(
                    f"The adapter is of another base model: {name.removeprefix('base_model.model.')} is "
                    f"{saved.get(name, 'missing')} in its file and {expected.get(name, 'missing')} here; load it onto "
                    f"the model it was trained on ({config.base_model_name_or_path or 'not named in its file'})."
                )
        return remapped


# Registered with PEFT, MonoLoRA is known to every ``from_pretrained``.
PEFT_TYPE_TO_CONFIG_MAPPING[MonoLoraType.MONOLORA] = MonoLoraConfig
PEFT_TYPE_TO_TUNER_MAPPING[MonoLoraType.MONOLORA] = MonoLoraModel
PEFT_TYPE_TO_PREFIX_MAPPING[MonoLoraType.MONOLORA] = MonoLoraModel.prefix


_convert_scalings_to_tensor = hotswap._convert_scalings_to_tensor


def _refuse_hotswap(model: torch.nn.Module) -> bool:
    """Reject PEFT's preparation for hot-swapping at its first step: padding would replace s+ by plain layers."""
    for name, module in model.named_modules():
        if any(isinstance(variant, MonoVariant) for variant in getattr(module, "lora_variant", {}).values()):
            raise InputError(
                f"{name} has a MonoLoRA adapter, which cannot be prepared for compiled hot-swapping; load the adapters "
                f"side by side and call set_adapter, or save placement='weights' by to_lora() and swap that."
            )
    converted: bool = _convert_scalings_to_tensor(model)
    return converted


hotswap._convert_scalings_to_tensor = _refuse_hotswap
_build_peft_weight_mapping = transformers_weight_conversion.build_peft_weight_mapping


def _map_file_names(weight_conversions: Any, adapter_name: str, peft_config: Any = None) -> list[Any]:
    """Return the renaming of transformers' own ``load_adapter``, which does not ask the tuner for its names."""
    mapping: list[Any] = _build_peft_weight_mapping(weight_conversions, adapter_name, peft_config=peft_config)
    if not isinstance(peft_config, MonoLoraConfig):
        return mapping
    return [WeightRenaming(new.strip("."), old.strip(".")) for old, new in _FILE_NAMES.items()] + mapping


transformers_weight_conversion.build_peft_weight_mapping = _map_file_names


def _renamed(key: str, names: dict[str, str]) -> str:
    for old, new in names.items():
        head, found, tail = key.rpartition(old)
        if found and "." not in tail:  # a module of the base model may have such a name, too
            return head + new + tail
    return key


def _check_experts(model: torch.nn.Module, config: MonoLoraConfig) -> None:
    """Reject targets that name projections of experts which the model stores as one parameter, not as layers."""
    probe = copy.copy(config)
    if probe.target_modules == "all-linear":
        probe.target_modules = ".*"
    for name, module in model.named_modules():
        fused = [key for key, value in module.named_parameters(recurse=False) if value.ndim == 3]
        if "Experts" not in type(module).__name__ or not fused:
            continue
        for projection in _EXPERT_PROJECTIONS:
            if check_target_module_exists(probe, f"{name}.0.{projection}"):
                raise InputError(
                    f"target_modules includes the experts of {name}, which the model stores as the parameters "
                    f"{', '.join(fused)} that MonoLoRA cannot adapt; leave them out by name, or by "
                    f"exclude_modules=r'.*experts.*'."
                )


def _is_factor(name: str) -> bool:
    return ".lora_A." in name or ".lora_B." in name


def _linear_names(model: torch.nn.Module) -> list[str]:
    """Return the distinct last names of the linear layers, in the order of the model."""
    adapted = tuple(f"{name}." for name, module in model.named_modules() if isinstance(module, LoraLayer))
    linear = [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D | LoraLayer) and not name.startswith(adapted)
    ]
    return list(dict.fromkeys(name.rpartition(".")[2] for name in linear))


def _no_target(model: torch.nn.Module, config: MonoLoraConfig) -> str:
    known = _linear_names(model)
    targets = config.target_modules
    names = [targets] if isinstance(targets, str) else sorted(targets or ())
    limits = ("exclude_modules", "modules_to_save", "layers_to_transform", "layers_pattern")
    given = {name: value for name in limits if (value := getattr(config, name)) is not None}
    alone = copy.copy(config)
    for name in limits:
        setattr(alone, name, None)
    if given and any(check_target_module_exists(alone, name) for name, _ in model.named_modules()):
        shown = {name: sorted(value) if isinstance(value, set) else value for name, value in given.items()}
        listed = ", ".join(f"{name}={value!r}" for name, value in shown.items())
        return (
            f"target_modules={', '.join(names)!r} matches modules of {type(model).__name__}, but {listed} leaves none "
            f"of them; change either."
        )
    near = [close for name in names for close in get_close_matches(name.rpartition(".")[2], known, n=3, cutoff=0.5)]
    nearest = f" (nearest: {_abridged(list(dict.fromkeys(near)))})" if near else ""
    return (
        f"target_modules={', '.join(names)!r} matches no module of {type(model).__name__}; choose among "
        f"{_abridged(known)}{nearest}."
    )


def _abridged(names: list[str]) -> str:
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
