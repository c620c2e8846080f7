"""What the units of an adapter do, token by token, read off a model by hooks.

How sparse and how monosemantic the updates of an adapter are.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from monosemy.errors import InputError, needs_extra
from monosemy.functional.lora import hidden_units, up_projection
from monosemy.functional.losses import NON_NEGATIVE
from monosemy.lm.monolora import MonoVariant
from monosemy.metrics.dimensions import MIN_SUPPORT
from monosemy.metrics.streaming import ClassPurity, Firing, SemanticConsistency

with needs_extra("lm", "monosemy.lm"):
    from peft.tuners.lora.layer import LoraLayer

UnitKind = Literal["hidden", "update"]
Batch = Mapping[str, Any]
OnLayer = Callable[[str, Tensor, Tensor], None]


class TokenRows(NamedTuple):
    """The T tokens of a batch, padding left out."""

    samples: Tensor
    """(T,), the row of the batch that each stands in."""
    positions: Tensor
    """(T,), its place in that row."""
    tokens: Tensor
    """(T,), its number in the vocabulary."""


class AdapterActivations(NamedTuple):
    """Of one batch."""

    layers: dict[str, Tensor]
    """(T, units) by the name of the adapted layer."""
    rows: TokenRows
    """Which tokens the T rows are."""


def adapter_activations(
    model: nn.Module, batches: Iterable[Batch], of: UnitKind = "hidden", adapter: str = "default"
) -> Iterator[AdapterActivations]:
    """Activations of LoRA's or MonoLoRA's units in every adapted layer, a batch at a time, without dropout.

    Args:
        model: a PEFT model, or one with adapters loaded by transformers.
        batches: what the model is called with: ``input_ids`` (B, L), mostly an ``attention_mask``, and what else it
            takes; ``labels`` are ignored.
        of: ``hidden``, the r units between A and B, s+(A x) where the placement has it; ``update``, what the adapter
            adds to each output of the layer, before scaling.
        adapter: its name; it must be active and not merged.

    Layers that do not see every token of the batch (a pooler, experts) are left out.

    Raises:
        InputError: there is no such adapter, or it did not run.
    """
    if of not in get_args(UnitKind):
        raise InputError(f"of={of!r} is no kind of unit; choose 'hidden' or 'update'.")
    for batch in batches:
        layers: dict[str, Tensor] = {}

        def keep(name: str, hidden: Tensor, update: Tensor, layers: dict[str, Tensor] = layers) -> None:
            layers[name] = hidden if of == "hidden" else update

        rows = watch(model, batch, keep, adapter)
        yield AdapterActivations(layers, rows)


def watch(model: nn.Module, batch: Batch, on_layer: OnLayer, adapter: str) -> TokenRows:
    """Run a batch and call ``on_layer(name, hidden units, update)``, (T, units) each, for every layer that sees all.

    Layer by layer, so that no more than one layer's update need be in memory.
    """
    rows = token_rows(batch)
    device = next(model.parameters()).device
    given = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in batch.items() if k != "labels"}
    layers = {n: m for n, m in model.named_modules() if isinstance(m, LoraLayer) and adapter in m.lora_A}
    if not layers:
        raise InputError(f"adapter={adapter!r} is in no layer of the model; name one that is loaded.")
    ran: set[str] = set()

    def read(name: str, hidden: Tensor) -> None:
        ran.add(name)
        hidden_of_tokens = _of_tokens(hidden, rows, tuple(batch["input_ids"].shape))
        if hidden_of_tokens is not None:
            on_layer(name, *_units(layers[name], adapter, hidden_of_tokens))

    training = model.training
    model.eval()
    with ExitStack() as hooks, torch.no_grad():
        for name, layer in layers.items():
            down = layer.lora_A[adapter]
            handle = down.register_forward_hook(lambda _, __, hidden, name=name: read(name, hidden))
            hooks.callback(handle.remove)
        try:
            model(**given)
        finally:
            model.train(training)
    if not ran:
        raise InputError(f"adapter={adapter!r} did not run; make it active, and do not merge or disable it.")
    return rows


def token_rows(batch: Batch) -> TokenRows:
    """Which tokens a batch holds, without its padding."""
    if "input_ids" not in batch:
        raise InputError(f"A batch holds {', '.join(batch) or 'nothing'}, but no input_ids; give tokenised texts.")
    tokens = batch["input_ids"].cpu()
    mask = batch.get("attention_mask")
    samples, positions = (torch.ones_like(tokens) if mask is None else mask.cpu()).nonzero(as_tuple=True)
    return TokenRows(samples, positions, tokens[samples, positions])


def _of_tokens(values: Tensor, rows: TokenRows, shape: tuple[int, ...]) -> Tensor | None:
    """(B, L, units) or (B L, units) to (T, units); None where the layer has not seen every token."""
    if values.ndim == 2 and values.shape[0] == shape[0] * shape[1]:
        values = values.view(*shape, -1)
    if values.ndim != 3 or tuple(values.shape[:2]) != shape:
        return None
    return values[rows.samples.to(values.device), rows.positions.to(values.device)]


def _units(layer: LoraLayer, adapter: str, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Hidden units and update, from what the module A gives."""
    up = layer.lora_B[adapter].weight.to(hidden.dtype)
    variant = layer.lora_variant.get(adapter)
    if not isinstance(variant, MonoVariant):
        return hidden, F.linear(hidden, up)
    if variant.placement == "weights":
        up = NON_NEGATIVE[variant.non_negative](up)
    units = hidden_units(hidden, variant.placement, variant.non_negative)
    return units, up_projection(units, up, variant.placement, variant.non_negative)


_OF_LAYERS = ("hidden_zeros", "update_zeros", "l0", "dead")
_OF_UNITS = ("label_consistency", "label_chance", "label_purity", "token_consistency", "token_chance")


@dataclass(frozen=True)
class AdapterDescription:
    """What :func:`describe_adapter` measured."""

    layers: pd.DataFrame
    """A row for each adapted layer: layer; n_units; hidden_zeros and update_zeros, shares of exact zeros over tokens
    and units; l0, units that fire for a token; dead, share of units that fire for none."""
    units: pd.DataFrame
    """A row for each unit: layer, unit; support, tokens for which it fires; with labels label_consistency,
    label_chance, label_purity and label, the commonest; for hidden units token_consistency, token_chance and token;
    top_texts, top_positions and top_values, the texts that activate it most, best first, each text once."""

    def means(self) -> dict[str, float]:
        """Over layers, and over units that fire for at least 10 tokens; NaN where there is none."""
        often = self.units[self.units["support"] >= MIN_SUPPORT]
        return {name: float(self.layers[name].mean()) for name in _OF_LAYERS} | {
            name: float(often[name].mean()) for name in _OF_UNITS if name in often
        }


def describe_adapter(
    model: nn.Module,
    batches: Sequence[Batch],
    labels: Sequence[int] | NDArray[np.integer[Any]] | None = None,
    *,
    of: UnitKind = "hidden",
    adapter: str = "default",
    n_top: int = 5,
) -> AdapterDescription:
    """Zeros, firing, consistency with labels and with tokens, and top-activating texts of an adapter's units.

    LoRA's units are measured in the same way, so that both stand side by side. A unit fires for a token where its
    activation is above 1e-5 of the length of the layer's, as everywhere in this package: LoRA's nearly always do. A
    token has the label of its text. One pass; memory does not grow with the number of texts.

    Args:
        model, of, adapter: as in :func:`~monosemy.lm.adapter_units.adapter_activations`.
        batches: tokenised texts.
        labels: the class of each text, in the order of the batches.
        n_top: number of texts that are kept for each unit.

    Raises:
        InputError: no batch, labels that are not one class for each text, or as ``adapter_activations``.
    """
    if of not in get_args(UnitKind):
        raise InputError(f"of={of!r} is no kind of unit; choose 'hidden' or 'update'.")
    if not batches:
        raise InputError("batches is empty; give at least one batch of tokenised texts.")
    vocabulary = np.unique(np.concatenate([np.unique(token_rows(batch).tokens.numpy()) for batch in batches]))
    classes = _checked(labels, sum(len(batch["input_ids"]) for batch in batches))
    found: dict[str, _Layer] = {}
    first_text = 0
    for batch in batches:
        rows = token_rows(batch)
        texts = rows.samples.numpy() + first_text
        of_tokens = None if of == "update" else np.searchsorted(vocabulary, rows.tokens.numpy())

        def add(
            name: str,
            hidden: Tensor,
            update: Tensor,
            rows: TokenRows = rows,
            texts: NDArray[np.int64] = texts,
            of_tokens: NDArray[np.int64] | None = of_tokens,
        ) -> None:
            if name not in found:
                n_classes = None if classes is None else int(classes.max()) + 1
                found[name] = _Layer(n_classes, None if of == "update" else len(vocabulary), n_top)
            values = hidden if of == "hidden" else update
            found[name].count_zeros(hidden, update)
            found[name].update(values, None if classes is None else classes[texts], of_tokens, texts, rows.positions)

        watch(model, batch, add, adapter)
        first_text += len(batch["input_ids"])
    if not found:
        raise InputError(f"adapter={adapter!r} is in no layer that sees every token; name one that is.")
    units = [layer.units(name, vocabulary) for name, layer in found.items()]
    return AdapterDescription(
        pd.DataFrame([layer.summary(name) for name, layer in found.items()]), pd.concat(units, ignore_index=True)
    )


def _checked(labels: Any, n_texts: int) -> NDArray[np.int64] | None:
    if labels is None:
        return None
    classes = np.asarray(labels)
    if classes.shape != (n_texts,) or not np.issubdtype(classes.dtype, np.integer) or classes.min() < 0:
        raise InputError(
            f"labels has shape {classes.shape} and type {classes.dtype} for {n_texts} texts; give each one class, "
            f"numbered from 0."
        )
    return classes.astype(np.int64)


class _Layer:
    """What accumulates of one layer."""

    def __init__(self, n_classes: int | None, n_tokens: int | None, n_top: int) -> None:
        self._firing = Firing()
        self._labels = None if n_classes is None else SemanticConsistency(n_classes)
        self._purity = None if n_classes is None else ClassPurity(n_classes)
        self._tokens = None if n_tokens is None else SemanticConsistency(n_tokens)
        self._top = _Top(n_top)
        self._zeros = {"hidden": 0, "update": 0}
        self._entries = {"hidden": 0, "update": 0}

    def count_zeros(self, hidden: Tensor, update: Tensor) -> None:
        for name, values in (("hidden", hidden), ("update", update)):
            self._zeros[name] += int((values == 0).sum())
            self._entries[name] += values.numel()

    def update(
        self,
        values: Tensor,
        labels: NDArray[np.int64] | None,
        tokens: NDArray[np.int64] | None,
        texts: NDArray[np.int64],
        positions: Tensor,
    ) -> None:
        """Add T tokens: activations (T, M), and what and where they are."""
        self._firing.update(values)
        if self._labels is not None and self._purity is not None:
            self._labels.update(values, labels)
            self._purity.update(values, labels)
        if self._tokens is not None:
            self._tokens.update(values, tokens)
        self._top.update(values.float().cpu(), torch.from_numpy(texts), positions)

    def summary(self, name: str) -> dict[str, Any]:
        fired = self._firing.compute()
        zeros = {f"{kind}_zeros": self._zeros[kind] / self._entries[kind] for kind in self._zeros}
        return {"layer": name, "n_units": self._n_units()} | zeros | {"l0": fired.l0_mean, "dead": fired.dead}

    def _n_units(self) -> int:
        assert self._firing.moments is not None
        return len(self._firing.moments.support)

    def units(self, name: str, vocabulary: NDArray[np.int64]) -> pd.DataFrame:
        assert self._firing.moments is not None
        table: dict[str, Any] = {
            "layer": name,
            "unit": np.arange(self._n_units()),
            "support": self._firing.moments.support,
        }
        if self._labels is not None and self._purity is not None and self._labels.moments is not None:
            consistency = self._labels.compute()
            table |= {"label_consistency": consistency.score, "label_chance": consistency.chance}
            table |= {"label_purity": self._purity.compute().score, "label": self._labels.moments.table.argmax(axis=0)}
        if self._tokens is not None and self._tokens.moments is not None:
            consistency = self._tokens.compute()
            table |= {"token_consistency": consistency.score, "token_chance": consistency.chance}
            table |= {"token": vocabulary[self._tokens.moments.table.argmax(axis=0)]}
        return pd.DataFrame(table | self._top.lists())


class _Top:
    """For each unit the texts with the largest activation of any of their tokens."""

    def __init__(self, n: int) -> None:
        self._n = n
        self._best: tuple[Tensor, Tensor, Tensor] | None = None  # values, texts, positions: (k, M) each

    def update(self, values: Tensor, texts: Tensor, positions: Tensor) -> None:
        distinct, of_text = texts.unique_consecutive(return_inverse=True)
        shape = (len(distinct), values.shape[1])
        index = of_text[:, None].expand_as(values)
        largest = values.new_full(shape, float("-inf")).scatter_reduce_(0, index, values, "amax")
        # Of tokens that tie for the largest, the first.
        far = positions.max() + 1
        at = torch.where(values == largest[of_text], positions[:, None], far)
        first = torch.full(shape, int(far)).scatter_reduce_(0, index, at, "amin")
        new = (largest, distinct[:, None].expand(shape), first)
        joined = new if self._best is None else tuple(torch.cat(pair) for pair in zip(self._best, new, strict=True))
        order = joined[0].argsort(dim=0, descending=True, stable=True)[: self._n]
        self._best = tuple(part.gather(0, order) for part in joined)  # type: ignore[assignment]

    def lists(self) -> dict[str, list[list[Any]]]:
        assert self._best is not None
        values, texts, positions = (part.T for part in self._best)
        kept = values > 0
        return {
            name: [row[keep].tolist() for row, keep in zip(part, kept, strict=True)]
            for name, part in (("top_texts", texts), ("top_positions", positions), ("top_values", values))
        }
