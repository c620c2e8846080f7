"""The weight gauge |w_in|_2 b_in of the neurons of every layer, from a model's own modules.

Gauges of one model or several, side by side.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor, nn

from monosemy.errors import InputError, reason
from monosemy.functional.geometry import gauge_change, layer_gauge, neuron_gauge
from monosemy.lm.architectures import MlpNames, input_weights, mlps, model_type
from monosemy.lm.layer_outputs import Embed, read_layers
from monosemy.lm.models import LoadedModel, load_causal_model
from monosemy.metrics.streaming import FeatureDecorrelation


def layer_weight_gauges(model: nn.Module, names: MlpNames | None = None) -> list[NDArray[np.float64]]:
    """:func:`~monosemy.functional.geometry.neuron_gauge` of the neurons (M,) of each layer's MLP, in order.

    The input weights and biases are those of the up-projection, for a gated MLP of the projection that is not gated.

    Args:
        names: where the layers are; default by the architecture.

    Raises:
        InputError: the projections have no biases, or an adapter that is not merged into them.
    """
    found = []
    for number, mlp in enumerate(mlps(model, names)):
        if hasattr(mlp.up, "base_layer"):
            raise InputError(
                f"The adapter on {mlp.up_name} cannot be merged into the weights, so that there is no weight gauge; "
                f"measure by prompts."
            )
        weight, bias = input_weights(mlp.up), getattr(mlp.up, "bias", None)
        if weight is None or not weight.is_floating_point():
            raise InputError(
                f"{mlp.up_name} is a {type(mlp.up).__name__} without plain weights, so that there is no weight gauge; "
                f"load the model unquantised."
            )
        if not isinstance(bias, Tensor):
            raise InputError(
                f"The MLPs of this {model_type(model)} model have no bias (layer {number}), which the weight gauge "
                f"needs; measure by prompts, or take a model that has them, such as GPT-2, GPT-Neo, GPT-J, OPT or "
                f"Pythia."
            )
        found.append(neuron_gauge(_array(weight), _array(bias)))
    return found


def _array(values: Tensor) -> NDArray[np.floating]:
    return np.asarray(values.detach().float().cpu().numpy())


OnProgress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class GaugedModel:
    """A model that was measured."""

    name: str
    source: str
    architecture: str
    n_layers: int
    n_parameters: int


@dataclass(frozen=True)
class Gauges:
    """What was found."""

    models: tuple[GaugedModel, ...]
    n_prompts: int
    layers: pd.DataFrame
    """Tidy: model, layer (from 0), depth (0 for the first layer, 1 for the last), metric, value."""
    notices: tuple[str, ...]
    """What was left out, and why."""
    prompt_similarity: float = float("nan")
    """Mean cosine of the prompts' embeddings: MonoScore of a neuron that does not choose among them. NaN without."""


def gauge(
    sources: Mapping[str, str | LoadedModel],
    prompts: Sequence[str] | None = None,
    *,
    embed: Embed | None = None,
    names: MlpNames | None = None,
    max_tokens: int | None = None,
    device: str | None = None,
    on_progress: OnProgress | None = None,
) -> Gauges:
    """Every gauge of every layer; models one after another, so that one at a time is in memory.

    The weight gauge needs no prompts; where a model has none it is said in ``notices``. Its change is that of every
    further model of the same sizes against the first, over the neurons of each layer that changed most.

    Args:
        sources: models by the name that they get in tables: a folder, a name, an adapter's folder, or a loaded one.
        prompts: texts, of which the last token counts.
        embed: embeddings of texts, for MonoScore.
        names: where the layers are, for architectures that are not known.
        max_tokens: longer prompts keep their last tokens; default: they are refused.

    Raises:
        InputError: a model cannot be loaded or measured, or nothing was asked for that it has.
    """
    if not sources:
        raise InputError("sources names no model; give at least one.")
    models, tables = [], []
    without: dict[str, list[str]] = {}
    similar = FeatureDecorrelation()
    first: list[NDArray[np.float64]] | None = None
    for number, (name, source) in enumerate(sources.items()):
        loaded = open_model(source, device) if isinstance(source, str) else source
        neurons: list[NDArray[np.float64]] | None = None
        try:
            neurons = _telling_gauges(loaded.model, names)
        except InputError as error:
            if prompts is None:
                raise
            without.setdefault(str(error), []).append(name)
        columns: dict[str, NDArray[np.float64]] = {}
        if prompts is not None:
            told = None if on_progress is None else partial(on_progress, name)
            seen = embed if embed is None or number else _noting(embed, similar)
            layers = [reading.metrics() for reading in read_layers(loaded, prompts, seen, names, max_tokens, told)]
            columns = {metric: np.array([layer[metric] for layer in layers]) for metric in layers[0]}
        if neurons is not None:
            columns |= layer_gauge(neurons)._asdict()
            if number and first is not None:
                change = _changes(first, neurons)
                columns |= {} if change is None else {"weight_change": change}
            first = first if number else neurons
        n_layers = len(next(iter(columns.values())))
        parameters = sum(weight.numel() for weight in loaded.model.parameters())
        models.append(GaugedModel(name, loaded.name, model_type(loaded.model), n_layers, parameters))
        tables.append(_tidy(name, columns))
    return Gauges(
        tuple(models),
        0 if prompts is None else len(prompts),
        pd.concat(tables, ignore_index=True),
        tuple(f"No weight gauge of {', '.join(names)}: {why}" for why, names in without.items()),
        float("nan") if similar.moments is None else 1 - similar.compute(),
    )


def _telling_gauges(model: nn.Module, names: MlpNames | None) -> list[NDArray[np.float64]]:
    neurons = layer_weight_gauges(model, names)
    if not any(np.median(layer) for layer in neurons):
        raise InputError(
            f"The median weight gauge of this {model_type(model)} model is 0 in every layer, as before any training, "
            f"when biases are 0; measure by prompts, or take a trained model."
        )
    return neurons


def _noting(embed: Embed, similar: FeatureDecorrelation) -> Embed:
    """The same embeddings, of which the mean similarity is measured on the way."""

    def embedded(texts: tuple[str, ...]) -> NDArray[np.float32]:
        vectors = embed(texts)
        similar.update(vectors)
        return vectors

    return embedded


def open_model(source: str, device: str | None = None) -> LoadedModel:
    """A causal model, or an adapter on the one it was trained for: merged into its weights if that can be.

    Raises:
        InputError: it cannot be loaded.
    """
    about = Path(source) / "adapter_config.json"
    if not about.is_file():
        return load_causal_model(source, device=device)
    from monosemy.lm.adapter_training import load_adapter

    try:
        base = json.loads(about.read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{about} does not name its base model ({reason(error)}); save the adapter again.") from error
    adapted = load_adapter(load_causal_model(str(base), device=device), Path(source))
    try:
        return LoadedModel(source, adapted.model.merge_and_unload(), adapted.tokenizer)
    except ValueError:  # adapters that are not linear in their input, such as most of MonoLoRA's
        return LoadedModel(source, adapted.model, adapted.tokenizer)


def _changes(first: Sequence[NDArray[np.float64]], other: Sequence[NDArray[np.float64]]) -> NDArray[np.float64] | None:
    if [len(layer) for layer in first] != [len(layer) for layer in other]:
        return None
    return np.array([gauge_change(before, after) for before, after in zip(first, other, strict=True)])


def _tidy(name: str, columns: Mapping[str, NDArray[np.float64]]) -> pd.DataFrame:
    parts = []
    for metric, values in columns.items():
        layers = np.arange(len(values))
        depth = layers / max(len(values) - 1, 1)
        parts.append(pd.DataFrame({"model": name, "layer": layers, "depth": depth, "metric": metric, "value": values}))
    return pd.concat(parts, ignore_index=True)
