"""What prompts make of every layer of a model, at their last tokens, in one pass of bounded memory."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from monosemy.errors import InputError
from monosemy.functional.firing import hoyer_sparsity
from monosemy.functional.geometry import effective_rank
from monosemy.lm.architectures import MlpNames, causal_model, mlps, token_rows
from monosemy.lm.models import LoadedModel
from monosemy.lm.tokenization import length_batches, padded
from monosemy.metrics.streaming import EffectiveRank, FeatureDecorrelation, Firing, MonoScore

RANK_ROWS = 2048
"""Layers with more features than this have the effective rank of the first so many prompts: all of a layer's
covariance would not fit."""
_BLOCK = 512
_TOKENS = 8192
"""Tokens of a batch, with its padding."""

Embed = Callable[[tuple[str, ...]], NDArray[np.float32]]
OnPrompts = Callable[[int, int], None]


class LayerReading:
    """What is accumulated of one layer; its size does not depend on the number of prompts."""

    def __init__(self, with_similarity: bool) -> None:
        self._decorrelation, self._firing = FeatureDecorrelation(), Firing()
        self._mono = MonoScore() if with_similarity else None
        self._rank = EffectiveRank()
        self._first: list[NDArray[np.float32]] = []
        self._hoyer = 0.0
        self._n_hoyer = 0

    def update(
        self, up: NDArray[np.float32], neurons: NDArray[np.float32], embeddings: NDArray[np.float32] | None
    ) -> None:
        """Add prompts.

        Args:
            up: (B, D), output of the up-projection.
            neurons: (B, M), the neurons' activations.
            embeddings: (B, E), of the prompts, if their similarity counts.
        """
        self._decorrelation.update(up)
        self._firing.update(neurons)
        sparsity = hoyer_sparsity(neurons)
        known = sparsity[np.isfinite(sparsity)]
        self._hoyer += float(known.sum())
        self._n_hoyer += len(known)
        if self._mono is not None:
            # MonoScore would shift signed activations by their minimum: every prompt would count, and all neurons of a
            # gated MLP would look alike. A neuron stands for what makes it positive.
            self._mono.update(np.maximum(neurons, 0), embeddings)
        if up.shape[1] <= RANK_ROWS:
            self._rank.update(up)
        elif (room := RANK_ROWS - sum(map(len, self._first))) > 0:
            self._first.append(up[:room])

    def metrics(self) -> dict[str, float]:
        """All metrics of the layer by name; see docs/gauges.md."""
        found = {
            "feature_decorrelation": self._decorrelation.compute(),
            "effective_rank": effective_rank(np.concatenate(self._first)) if self._first else self._rank.compute(),
            "sparsity": self._hoyer / self._n_hoyer if self._n_hoyer else float("nan"),
        }
        moments = self._firing.moments
        assert moments is not None
        found["active"] = self._firing.compute().l0_mean / len(moments.support)
        if self._mono is not None:
            scores = self._mono.compute()
            found["mono_score"] = scores.mean()
            found["mono_neurons"] = float(np.isfinite(scores.score).mean())
        return found


def read_layers(
    loaded: LoadedModel,
    prompts: Sequence[str],
    embed: Embed | None = None,
    names: MlpNames | None = None,
    max_tokens: int | None = None,
    on_prompts: OnPrompts | None = None,
) -> list[LayerReading]:
    """Every layer's activations at the last token of each prompt, accumulated.

    Args:
        embed: embeddings (N, E) of N texts, for MonoScore; none is measured without.
        names: where the layers are; default by the architecture.
        max_tokens: longer prompts keep their last tokens; default: they are refused.

    Raises:
        InputError: fewer than two prompts, an empty one, one beyond the context, or activations that are not finite.
    """
    if len(prompts) < 2:
        raise InputError(f"prompts holds {len(prompts)} text; give at least two, for they are compared.")
    _check_length(max_tokens, loaded.context)
    modules = mlps(loaded.model, names)
    readings = [LayerReading(embed is not None) for _ in modules]
    body = _without_head(causal_model(loaded.model))
    done = 0
    for start in range(0, len(prompts), _BLOCK):
        texts = tuple(prompts[start : start + _BLOCK])
        tokens = _tokens(loaded, texts, start, max_tokens)
        embeddings = None if embed is None else embed(texts)
        for rows in _batches([len(ids) for ids in tokens]):
            ids, mask = padded([tokens[i] for i in rows], loaded.tokenizer.pad_token_id or 0, loaded.device)
            few = None if embeddings is None else embeddings[rows]
            for number, (up, neurons) in enumerate(_pass(body, modules, ids, mask)):
                if not (np.isfinite(up).all() and np.isfinite(neurons).all()):
                    raise InputError(
                        f"The activations of layer {number} of {loaded.name} are not finite; check its weights, or "
                        f"load them in another type."
                    )
                readings[number].update(up, neurons, few)
            done += len(rows)
            if on_prompts is not None:
                on_prompts(done, len(prompts))
    return readings


def _check_length(max_tokens: int | None, context: int) -> None:
    if max_tokens is not None and not 1 <= max_tokens <= context:
        raise InputError(f"max_tokens={max_tokens} is outside 1 to the model's context of {context}; choose another.")


def _tokens(loaded: LoadedModel, texts: Sequence[str], start: int, max_tokens: int | None) -> list[list[int]]:
    found = loaded.tokenizer(list(texts), verbose=False)["input_ids"]
    limit = max_tokens or loaded.context
    for number, (text, ids) in enumerate(zip(texts, found, strict=True), start + 1):
        if not text.strip() or not ids:
            raise InputError(f"Prompt {number} is empty; drop it.")
        if max_tokens is None and len(ids) > limit:
            raise InputError(
                f"Prompt {number} has {len(ids)} tokens, beyond the context of {limit} of {loaded.name}; shorten or "
                f"drop it, or keep the last tokens of long prompts by --max-tokens {limit}."
            )
    return [ids[-limit:] for ids in found]


def _batches(lengths: Sequence[int]) -> list[NDArray[np.int64]]:
    """Rows of similar length, of about the same number of tokens in all."""
    return list(length_batches(lengths, max(1, _TOKENS // max(lengths))))


def _without_head(model: nn.Module) -> nn.Module:
    """The model without the output layer, whose logits nobody reads."""
    body = getattr(model, "base_model", None)
    return body if isinstance(body, nn.Module) else model


@torch.no_grad()
def _pass(
    body: nn.Module, modules: Sequence[Any], ids: Tensor, mask: Tensor
) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """For each layer output of the up-projection and input of the down-projection at the last tokens."""
    seen: dict[tuple[int, str], Tensor] = {}

    def keep(number: int, which: str, value: Tensor, name: str) -> None:
        seen[number, which] = token_rows(value, {"attention_mask": mask}, "last", name).float().cpu()

    with ExitStack() as hooks:
        for number, mlp in enumerate(modules):

            def after(_module: nn.Module, _args: Any, output: Tensor, number: int = number, mlp: Any = mlp) -> None:
                keep(number, "up", output, mlp.up_name)

            def before(_module: nn.Module, args: Any, number: int = number, mlp: Any = mlp) -> None:
                keep(number, "neurons", args[0], mlp.up_name)

            hooks.callback(mlp.up.register_forward_hook(after).remove)
            hooks.callback(mlp.down.register_forward_pre_hook(before).remove)
        body(input_ids=ids, attention_mask=mask, use_cache=False)
    return [(seen[number, "up"].numpy(), seen[number, "neurons"].numpy()) for number in range(len(modules))]
