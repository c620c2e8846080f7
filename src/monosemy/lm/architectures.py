"""Module names of the layers and MLPs of known architectures, and the activations of modules by token."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from difflib import get_close_matches
from typing import Any, NamedTuple

import torch

from monosemy.errors import InputError
from monosemy.lm.config import Tokens


class MlpNames(NamedTuple):
    """Dotted names of modules."""

    layers: str
    """Name of the list of layers in the causal model."""
    up: str
    """Name of the projection to the neurons in a layer; for a gated MLP the one that is not gated."""
    down: str
    """Name of the projection back in a layer. Its input is the neurons' activation: act(up(x)), or for a gated MLP
    act(gate(x)) * up(x)."""


_GATED = """cohere cohere2 gemma gemma2 gemma3_text granite helium llama mistral olmo olmo2 qwen2 qwen3 smollm3
stablelm"""

ARCHITECTURES: dict[str, MlpNames] = {
    **dict.fromkeys(_GATED.split(), MlpNames("model.layers", "mlp.up_proj", "mlp.down_proj")),
    # not gated
    "nemotron": MlpNames("model.layers", "mlp.up_proj", "mlp.down_proj"),
    **dict.fromkeys(("bloom", "falcon"), MlpNames("transformer.h", "mlp.dense_h_to_4h", "mlp.dense_4h_to_h")),
    **dict.fromkeys(("codegen", "gptj"), MlpNames("transformer.h", "mlp.fc_in", "mlp.fc_out")),
    **dict.fromkeys(("gpt2", "gpt_bigcode", "gpt_neo"), MlpNames("transformer.h", "mlp.c_fc", "mlp.c_proj")),
    "biogpt": MlpNames("biogpt.layers", "fc1", "fc2"),
    "gpt_neox": MlpNames("gpt_neox.layers", "mlp.dense_h_to_4h", "mlp.dense_4h_to_h"),
    "mpt": MlpNames("transformer.blocks", "ffn.up_proj", "ffn.down_proj"),
    "opt": MlpNames("model.decoder.layers", "fc1", "fc2"),
    "phi": MlpNames("model.layers", "mlp.fc1", "mlp.fc2"),
    "starcoder2": MlpNames("model.layers", "mlp.c_fc", "mlp.c_proj"),
    "xglm": MlpNames("model.layers", "fc1", "fc2"),
}
"""Module names by ``config.model_type``."""


class Mlp(NamedTuple):
    """The two projections of one layer."""

    up: torch.nn.Module
    down: torch.nn.Module
    up_name: str
    """Name of the up-projection in the causal model."""


def causal_model(model: torch.nn.Module) -> torch.nn.Module:
    """Return the transformers model, unwrapped from PEFT; an adapter's layers stay in it."""
    base = getattr(model, "get_base_model", None)
    return base() if base is not None else model


def mlp_names(model: torch.nn.Module) -> MlpNames:
    """Return the module names of a model from :data:`ARCHITECTURES`.

    Raises:
        InputError: the architecture is unknown.
    """
    kind = model_type(model)
    if kind not in ARCHITECTURES:
        names = [name for name, module in causal_model(model).named_modules() if input_weights(module) is not None]
        middle = [name for name in names if "mlp" in name or "fc" in name or "ffn" in name] or names
        example = f", such as {middle[len(middle) // 2]!r}" if middle else ""
        raise InputError(
            f"The architecture {kind!r} is not one of those with known layers ({', '.join(sorted(ARCHITECTURES))}); "
            f"name the modules yourself{example}."
        )
    return ARCHITECTURES[kind]


def model_type(model: torch.nn.Module) -> str:
    """Return ``config.model_type`` of the language model; of a multimodal model that of its text part."""
    config: Any = getattr(causal_model(model), "config", None)
    return str(config.get_text_config().model_type) if config is not None else type(model).__name__


def mlps(model: torch.nn.Module, names: MlpNames | None = None) -> list[Mlp]:
    """Return the MLP of every layer, in order.

    Args:
        names: module names. Default: those of the architecture.

    Raises:
        InputError: the architecture is unknown, or the modules do not exist.
    """
    base = causal_model(model)
    names = names or mlp_names(base)
    layers = module_named(base, names.layers, "layers")
    if not isinstance(layers, torch.nn.ModuleList | torch.nn.Sequential) or len(layers) == 0:
        raise InputError(f"layers={names.layers!r} is a {type(layers).__name__}, not a list of layers; name the list.")
    return [
        Mlp(
            module_named(base, f"{names.layers}.{number}.{names.up}", "up"),
            module_named(base, f"{names.layers}.{number}.{names.down}", "down"),
            f"{names.layers}.{number}.{names.up}",
        )
        for number in range(len(layers))
    ]


def module_named(model: torch.nn.Module, name: str, argument: str) -> torch.nn.Module:
    """Return the module of a dotted name.

    Raises:
        InputError: it does not exist; the message suggests the closest name.
    """
    modules = dict(causal_model(model).named_modules())
    if name and name in modules:
        return modules[name]
    known = [other for other in modules if other]
    nearest = get_close_matches(name, known, n=1, cutoff=0)
    hint = f"; the nearest name is {nearest[0]!r}" if nearest else ", which has no modules"
    raise InputError(f"{argument} names {name!r}, but the model has no such module{hint}.")


def up_projection(model: torch.nn.Module, layer: str, argument: str) -> tuple[str, torch.nn.Module]:
    """Return name and module of a layer, given by its module name or by its number for its MLP's up-projection.

    Negative numbers count from the last layer.

    Raises:
        InputError: the layer does not exist.
    """
    try:
        number = int(layer)
    except ValueError:
        return layer, module_named(model, layer, argument)
    layers = mlps(model)
    if not -len(layers) <= number < len(layers):
        raise InputError(
            f"{argument} names layer {number}, but the model has {len(layers)}; choose one of 0 to {len(layers) - 1}."
        )
    return layers[number].up_name, layers[number].up


def input_weights(projection: torch.nn.Module) -> torch.Tensor | None:
    """Return the input weights (M, D), one neuron a row; None if the module has no weight matrix.

    transformers' ``Conv1D`` (of GPT-2) stores the transpose of a linear layer's weights.
    """
    weight = getattr(projection, "weight", None)
    if not isinstance(weight, torch.Tensor) or weight.ndim != 2:
        return None
    return weight.T if type(projection).__name__ == "Conv1D" else weight


@contextmanager
def first_outputs(modules: Mapping[str, torch.nn.Module]) -> Iterator[dict[str, torch.Tensor]]:
    """Collect the first output of each module, with its gradient and before other hooks, while the block runs.

    Later outputs are ignored: the pass of the policy precedes that of the reference, which with PEFT runs through the
    same modules, and gradient checkpointing runs them again.
    """
    outputs: dict[str, torch.Tensor] = {}

    def record_first(name: str) -> Any:
        def hook(_module: torch.nn.Module, _inputs: Any, output: Any) -> None:
            outputs.setdefault(name, output[0] if isinstance(output, tuple) else output)

        return hook

    with ExitStack() as hooks:
        for name, module in modules.items():
            hooks.callback(module.register_forward_hook(record_first(name), prepend=True).remove)
        yield outputs


def token_rows(activations: torch.Tensor, inputs: Mapping[str, Any], tokens: Tokens, name: str) -> torch.Tensor:
    """Return the activations (n, d) of the selected tokens.

    Args:
        activations: (S, T, d) or (S T, d) of S sequences; rows of a prompt-tuning adapter before them are cut.
        inputs: ``attention_mask`` (S, L), and for ``completion`` TRL's ``completion_mask`` (S, L).
        name: the layer, for the message.

    Raises:
        InputError: the layer has not one row of activations for every token.
    """
    attended = inputs["attention_mask"].bool()
    s, length = attended.shape
    if activations.ndim == 2 and len(activations) % s == 0:
        activations = activations.view(s, -1, activations.shape[-1])
    if activations.ndim != 3 or len(activations) != s or activations.shape[1] < length:
        raise InputError(
            f"The layer {name} has activations of shape {tuple(activations.shape)} for {s} sequences of {length} "
            f"tokens; choose a layer with a row for each token."
        )
    activations = activations[:, -length:]
    if tokens == "last":
        places = torch.arange(length, device=attended.device)
        last = torch.where(attended, places, -1).max(dim=1).values
        return activations[torch.arange(s, device=last.device), last]
    return activations[attended if tokens == "all" else inputs["completion_mask"].bool()]
