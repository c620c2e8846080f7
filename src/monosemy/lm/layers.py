"""Layer metrics of language models: MLP activations on prompts, and superposition from the weights alone."""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from monosemy.core.console import Progress
from monosemy.errors import InputError, reason
from monosemy.functional.activity import hoyer_sparsity
from monosemy.functional.geometry import effective_rank, layer_superposition, neuron_superposition, superposition_change
from monosemy.lm import architectures, tokenization
from monosemy.lm.models import LoadedModel, load_causal_model
from monosemy.metrics.streaming import EffectiveRank, FeatureDecorrelation, Firing, MonoScore

RANK_ROWS = 2048
"""Layers with more features than this report the effective rank of the first prompts only: their covariance would not
fit into memory."""
_BLOCK = 512
"""Prompts that are tokenized and embedded at once."""
_BATCH_TOKENS = 8192
"""Tokens per forward pass, with padding."""

Embed = Callable[[tuple[str, ...]], np.typing.NDArray[np.float32]]


@dataclass(frozen=True)
class MeasuredModel:
    """A measured model."""

    name: str
    source: str
    architecture: str
    n_layers: int
    n_parameters: int


@dataclass(frozen=True)
class LayerMetrics:
    """Metrics of every layer of one model or several."""

    models: tuple[MeasuredModel, ...]
    n_prompts: int
    layers: pd.DataFrame
    """Tidy: model, layer (from 0), depth (0 for the first layer, 1 for the last), metric, value."""
    warnings: tuple[str, ...]
    """Metrics that are missing, and why."""
    prompt_similarity: float = float("nan")
    """Mean cosine of the prompts' embeddings: the MonoScore of a neuron that is equally active for all prompts. NaN
    without embeddings."""

    def __repr__(self) -> str:
        models = ", ".join(f"{model.name} ({model.n_layers} layers)" for model in self.models)
        return f"LayerMetrics of {models} on {self.n_prompts:,} prompts: {', '.join(self.layers['metric'].unique())}"


def measure_layers(
    sources: Mapping[str, str | LoadedModel],
    prompts: Sequence[str] | None = None,
    *,
    embed: Embed | None = None,
    names: architectures.MlpNames | None = None,
    max_tokens: int | None = None,
    device: str | None = None,
    on_progress: Progress | None = None,
) -> LayerMetrics:
    """Measure every layer of language models, one model at a time to save memory.

    Superposition needs no prompts; models without it are listed in ``warnings``. Its change compares every further
    model of the same sizes with the first, over the neurons of each layer that changed most.

    Args:
        sources: models by their name in tables: a folder, a name, an adapter's folder, or a loaded model.
        prompts: texts, whose last tokens are measured.
        embed: function that returns embeddings of texts, for MonoScore.
        names: modules of the layers, for unknown architectures.
        max_tokens: number of last tokens that is used of longer prompts. Default: an error.

    Raises:
        InputError: a model cannot be loaded or measured, or has none of the metrics.
    """
    if not sources:
        raise InputError("sources names no model; give at least one.")
    models, tables = [], []
    without: dict[str, list[str]] = {}
    similarity = FeatureDecorrelation()

    def embed_and_compare(texts: tuple[str, ...]) -> np.typing.NDArray[np.float32]:
        assert embed is not None
        vectors = embed(texts)
        similarity.update(vectors)
        return vectors

    first: list[np.typing.NDArray[np.float64]] | None = None
    for number, (name, source) in enumerate(sources.items()):
        loaded = open_model(source, device) if isinstance(source, str) else source
        architecture = architectures.model_type(loaded.model)
        columns: dict[str, np.typing.NDArray[np.float64]] = {}
        neurons = None
        try:
            neurons = _trained_superpositions(loaded.model, architecture, names)
        except InputError as error:
            if prompts is None:
                raise
            without.setdefault(str(error), []).append(name)
        if prompts is not None:
            layers = prompt_metrics(
                loaded, prompts, embed if embed is None or number else embed_and_compare, names, max_tokens,
                None if on_progress is None else partial(on_progress, name),
            )  # fmt: skip
            columns = {metric: np.array([layer[metric] for layer in layers]) for metric in layers[0]}
        if neurons is not None:
            columns |= layer_superposition(neurons)._asdict()
            if number and first is not None and list(map(len, first)) == list(map(len, neurons)):
                changes = [superposition_change(before, after) for before, after in zip(first, neurons, strict=True)]
                columns["weight_change"] = np.array(changes)
            first = first if number else neurons
        n_layers = len(next(iter(columns.values())))
        n_parameters = sum(weight.numel() for weight in loaded.model.parameters())
        models.append(MeasuredModel(name, loaded.name, architecture, n_layers, n_parameters))
        layer = np.arange(n_layers)
        position = {"model": name, "layer": layer, "depth": layer / max(n_layers - 1, 1)}
        tables += [pd.DataFrame(position | {"metric": metric, "value": values}) for metric, values in columns.items()]
    return LayerMetrics(
        tuple(models),
        0 if prompts is None else len(prompts),
        pd.concat(tables, ignore_index=True),
        tuple(f"No superposition of {', '.join(names)}: {why}" for why, names in without.items()),
        float("nan") if similarity.moments is None else 1 - similarity.compute(),
    )


def open_model(source: str, device: str | None = None) -> LoadedModel:
    """Load a causal model, or an adapter with its base model; the adapter is merged if it can be.

    Raises:
        InputError: the model cannot be loaded.
    """
    settings = Path(source) / "adapter_config.json"
    if not settings.is_file():
        return load_causal_model(source, device=device)
    try:
        base = json.loads(settings.read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"{settings} does not name its base model ({reason(error)}); save the adapter again."
        ) from error
    from monosemy.lm.adapter_training import load_adapter

    adapted = load_adapter(load_causal_model(str(base), device=device), Path(source))
    try:
        return LoadedModel(source, adapted.model.merge_and_unload(), adapted.tokenizer)
    except ValueError:  # adapters that are not linear in their input, such as most of MonoLoRA's
        return LoadedModel(source, adapted.model, adapted.tokenizer)


def neuron_superpositions(
    model: torch.nn.Module, names: architectures.MlpNames | None = None
) -> list[np.typing.NDArray[np.float64]]:
    """Return :func:`~monosemy.functional.geometry.neuron_superposition` of the neurons (M,) of each layer's MLP, in
    order.

    The input weights and biases are those of the up-projection, for a gated MLP of the projection that is not gated.

    Args:
        names: modules of the layers. Default: those of the architecture.

    Raises:
        InputError: the projections have no biases, or an adapter that is not merged into them.
    """
    layers = []
    for number, mlp in enumerate(architectures.mlps(model, names)):
        if hasattr(mlp.up, "base_layer"):
            raise InputError(
                f"The adapter on {mlp.up_name} cannot be merged into the weights, which superposition is computed "
                f"from; measure on prompts."
            )
        weight, bias = architectures.input_weights(mlp.up), getattr(mlp.up, "bias", None)
        if weight is None or not weight.is_floating_point():
            raise InputError(
                f"{mlp.up_name} is a {type(mlp.up).__name__} without plain weights, which superposition is computed "
                f"from; load the model unquantised."
            )
        if not isinstance(bias, torch.Tensor):
            raise InputError(
                f"The MLPs of this {architectures.model_type(model)} model have no bias (layer {number}), which "
                f"superposition is computed from; measure on prompts, or choose a model with biases, such as GPT-2, "
                f"GPT-Neo, GPT-J, OPT or Pythia."
            )
        layers.append(neuron_superposition(*(values.detach().float().cpu().numpy() for values in (weight, bias))))
    return layers


def _trained_superpositions(
    model: torch.nn.Module, architecture: str, names: architectures.MlpNames | None
) -> list[np.typing.NDArray[np.float64]]:
    neurons = neuron_superpositions(model, names)
    if not any(np.median(layer) for layer in neurons):
        raise InputError(
            f"The median superposition of this {architecture} model is 0 in every layer, as in untrained models with "
            f"zero biases; measure on prompts, or choose a trained model."
        )
    return neurons


class PromptMetrics:
    """Accumulated metrics of one layer; their size does not depend on the number of prompts."""

    def __init__(self, with_similarity: bool) -> None:
        self._decorrelation, self._firing = FeatureDecorrelation(), Firing()
        self._mono = MonoScore() if with_similarity else None
        self._rank = EffectiveRank()
        self._first: list[np.typing.NDArray[np.float32]] = []
        self._hoyer = 0.0
        self._n_hoyer = 0

    def update(
        self,
        up: np.typing.NDArray[np.float32],
        neurons: np.typing.NDArray[np.float32],
        embeddings: np.typing.NDArray[np.float32] | None,
    ) -> None:
        """Add B prompts: the up-projection's output (B, D), the neurons' activations (B, M), and for MonoScore the
        prompts' embeddings (B, E)."""
        self._decorrelation.update(up)
        self._firing.update(neurons)
        sparsity = hoyer_sparsity(neurons)
        finite = sparsity[np.isfinite(sparsity)]
        self._hoyer += float(finite.sum())
        self._n_hoyer += len(finite)
        if self._mono is not None:
            # MonoScore would shift signed activations by their minimum: every prompt would count, and all neurons of a
            # gated MLP would look alike. A neuron is described by the inputs that make it positive.
            self._mono.update(np.maximum(neurons, 0), embeddings)
        if up.shape[1] <= RANK_ROWS:
            self._rank.update(up)
        elif (room := RANK_ROWS - sum(map(len, self._first))) > 0:
            self._first.append(up[:room])

    def compute(self) -> dict[str, float]:
        """Return all metrics of the layer by name; see docs/layers.md."""
        metrics = {
            "feature_decorrelation": self._decorrelation.compute(),
            "effective_rank": effective_rank(np.concatenate(self._first)) if self._first else self._rank.compute(),
            "sparsity": self._hoyer / self._n_hoyer if self._n_hoyer else float("nan"),
        }
        moments = self._firing.moments
        assert moments is not None
        metrics["active"] = self._firing.compute().l0_mean / len(moments.support)
        if self._mono is not None:
            scores = self._mono.compute()
            metrics["mono_score"] = scores.mean()
            metrics["mono_neurons"] = float(np.isfinite(scores.score).mean())
        return metrics


def prompt_metrics(
    loaded: LoadedModel,
    prompts: Sequence[str],
    embed: Embed | None = None,
    names: architectures.MlpNames | None = None,
    max_tokens: int | None = None,
    on_prompts: Callable[[int, int], None] | None = None,
) -> list[dict[str, float]]:
    """Return the metrics of every layer at the last token of each prompt, from one pass of bounded memory.

    Args:
        embed: function that returns embeddings (N, E) of N texts; without it there is no MonoScore.
        names: modules of the layers. Default: those of the architecture.
        max_tokens: number of last tokens that is used of longer prompts. Default: an error.

    Raises:
        InputError: fewer than two prompts, an empty one, one beyond the context, or activations that are not finite.
    """
    if len(prompts) < 2:
        raise InputError(f"prompts holds {len(prompts)} text; give at least two, which can be compared.")
    if max_tokens is not None and not 1 <= max_tokens <= loaded.context:
        raise InputError(
            f"max_tokens={max_tokens} is outside 1 to the model's context of {loaded.context}; choose another."
        )
    modules = architectures.mlps(loaded.model, names)
    layers = [PromptMetrics(embed is not None) for _ in modules]
    model = architectures.causal_model(loaded.model)
    base = getattr(model, "base_model", None)
    body = base if isinstance(base, torch.nn.Module) else model  # without the output layer, whose logits are not needed
    done = 0
    for start in range(0, len(prompts), _BLOCK):
        texts = tuple(prompts[start : start + _BLOCK])
        tokens = _last_tokens(loaded, texts, start, max_tokens)
        embeddings = None if embed is None else embed(texts)
        batch_size = max(1, _BATCH_TOKENS // max(map(len, tokens)))
        for rows, ids, mask in tokenization.padded_batches(loaded, tokens, batch_size):
            for number, (up, neurons) in enumerate(_activations(body, modules, ids, mask)):
                if not (np.isfinite(up).all() and np.isfinite(neurons).all()):
                    raise InputError(
                        f"The activations of layer {number} of {loaded.name} are not finite; check its weights, or "
                        f"load them in another type."
                    )
                layers[number].update(up, neurons, None if embeddings is None else embeddings[rows])
            done += len(rows)
            if on_prompts is not None:
                on_prompts(done, len(prompts))
    return [layer.compute() for layer in layers]


def _last_tokens(loaded: LoadedModel, texts: Sequence[str], start: int, max_tokens: int | None) -> list[list[int]]:
    tokens = loaded.tokenizer(list(texts), verbose=False)["input_ids"]
    limit = max_tokens or loaded.context
    for number, (text, ids) in enumerate(zip(texts, tokens, strict=True), start + 1):
        if not text.strip() or not ids:
            raise InputError(f"Prompt {number} is empty; drop it.")
        if max_tokens is None and len(ids) > limit:
            raise InputError(
                f"Prompt {number} has {len(ids)} tokens, beyond the context of {limit} of {loaded.name}; shorten or "
                f"drop it, or keep the last tokens of long prompts by --max-tokens {limit}."
            )
    return [ids[-limit:] for ids in tokens]


@torch.no_grad()
def _activations(
    body: torch.nn.Module, modules: Sequence[architectures.Mlp], ids: torch.Tensor, mask: torch.Tensor
) -> list[tuple[np.typing.NDArray[np.float32], np.typing.NDArray[np.float32]]]:
    """Return the up-projection's output and the down-projection's input of each layer at the last tokens."""
    up: dict[int, torch.Tensor] = {}
    neurons: dict[int, torch.Tensor] = {}

    def record(store: dict[int, torch.Tensor], number: int, value: torch.Tensor) -> None:
        rows = architectures.token_rows(value, {"attention_mask": mask}, "last", modules[number].up_name)
        store[number] = rows.float().cpu()

    with ExitStack() as hooks:
        for number, (layer_up, layer_down, _) in enumerate(modules):
            after = layer_up.register_forward_hook(lambda _, __, output, n=number: record(up, n, output))
            before = layer_down.register_forward_pre_hook(lambda _, args, n=number: record(neurons, n, args[0]))
            hooks.callback(after.remove)
            hooks.callback(before.remove)
        body(input_ids=ids, attention_mask=mask, use_cache=False)
    return [(up[number].numpy(), neurons[number].numpy()) for number in range(len(modules))]
