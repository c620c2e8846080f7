"""Activations of the units of LoRA and MonoLoRA adapters, their sparsity and their consistency."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from monosemy.errors import InputError, names, needs_extra
from monosemy.functional import lora, losses
from monosemy.lm import monolora, tokenization
from monosemy.metrics import dimensions, streaming

with needs_extra("lm", "monosemy.lm"):
    from peft.tuners.lora.layer import LoraLayer

UnitKind = Literal["hidden", "update"]
Batch = Mapping[str, Any]
OnLayer = Callable[[str, torch.Tensor, torch.Tensor], None]
"""Called with the name of a layer, its hidden units (T, r) and its update (T, D_out)."""


class TokenRows(NamedTuple):
    """The T tokens of a batch, without padding."""

    samples: torch.Tensor
    """(T,), the row of each token in the batch."""
    positions: torch.Tensor
    """(T,), its position in that row."""
    tokens: torch.Tensor
    """(T,), its id."""


class AdapterActivations(NamedTuple):
    """Activations of one batch."""

    layers: dict[str, torch.Tensor]
    """(T, units) by the name of the adapted layer."""
    rows: TokenRows
    """The tokens that the T rows stand for."""


def adapter_activations(
    model: torch.nn.Module, batches: Iterable[Batch], kind: UnitKind = "hidden", adapter: str = "default"
) -> Iterator[AdapterActivations]:
    """Yield the activations of LoRA's or MonoLoRA's units in every adapted layer, by batch, without dropout.

    Args:
        model: a PEFT model, or one with adapters loaded by transformers.
        batches: inputs of the model: ``input_ids`` (B, L), usually an ``attention_mask``, and further ones; ``labels``
            are ignored.
        kind: ``hidden``, the r units between A and B, s+(A x) if the placement applies it; ``update``, the change that
            the adapter adds to each output of the layer, before scaling.
        adapter: name of the adapter, which must be active and not merged.

    Layers that do not see every token of the batch (a pooler, experts) are left out.

    Raises:
        InputError: the adapter does not exist, or did not run.
    """
    if kind not in get_args(UnitKind):
        raise InputError(f"kind={kind!r} is unknown; choose 'hidden' or 'update'.")
    for batch in batches:
        units: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        rows = run_with_units(model, batch, lambda name, *both, units=units: units.update({name: both}), adapter)
        yield AdapterActivations({name: both[kind == "update"] for name, both in units.items()}, rows)


def run_with_units(model: torch.nn.Module, batch: Batch, on_layer: OnLayer, adapter: str) -> TokenRows:
    """Run a batch and call ``on_layer`` for every adapted layer that sees all tokens, one by one to save memory."""
    rows = token_rows(batch)
    device = next(model.parameters()).device
    inputs = {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in batch.items() if k != "labels"}
    layers = {n: m for n, m in model.named_modules() if isinstance(m, LoraLayer) and adapter in m.lora_A}
    if not layers:
        raise InputError(f"adapter={adapter!r} is in no layer of the model; name a loaded adapter.")
    ran: set[str] = set()

    def read(name: str, hidden: torch.Tensor) -> None:
        ran.add(name)
        n_rows, length = batch["input_ids"].shape
        if hidden.ndim == 2 and len(hidden) == n_rows * length:
            hidden = hidden.view(n_rows, length, -1)
        if hidden.ndim == 3 and hidden.shape[:2] == (n_rows, length):  # other layers have not seen every token
            tokens = hidden[rows.samples.to(hidden.device), rows.positions.to(hidden.device)]
            on_layer(name, *_units(layers[name], adapter, tokens))

    with ExitStack() as hooks, tokenization.evaluating(model):
        for name, layer in layers.items():
            down = layer.lora_A[adapter]
            handle = down.register_forward_hook(lambda _, __, hidden, name=name: read(name, hidden))
            hooks.callback(handle.remove)
        model(**inputs)
    if not ran:
        raise InputError(f"adapter={adapter!r} did not run; activate it, and do not merge or disable it.")
    return rows


def token_rows(batch: Batch) -> TokenRows:
    """Return the tokens of a batch, without padding."""
    if "input_ids" not in batch:
        raise InputError(f"A batch holds {names(batch) or 'nothing'}, but no input_ids; give tokenized texts.")
    tokens = batch["input_ids"].cpu()
    mask = batch.get("attention_mask")
    samples, positions = (torch.ones_like(tokens) if mask is None else mask.cpu()).nonzero(as_tuple=True)
    return TokenRows(samples, positions, tokens[samples, positions])


def _units(layer: LoraLayer, adapter: str, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return hidden units and update, from the output of the module A."""
    up = layer.lora_B[adapter].weight.to(hidden.dtype)
    variant = layer.lora_variant.get(adapter)
    if not isinstance(variant, monolora.MonoVariant):
        return hidden, F.linear(hidden, up)
    if variant.placement == "weights":
        up = losses.NON_NEGATIVE[variant.non_negative](up)
    units = lora.hidden_units(hidden, variant.placement, variant.non_negative)
    return units, lora.up_projection(units, up, variant.placement, variant.non_negative)


_OF_LAYERS = ("hidden_zeros", "update_zeros", "l0", "dead")
_OF_UNITS = ("label_consistency", "label_chance", "label_purity", "token_consistency", "token_chance")


@dataclass(frozen=True)
class AdapterDescription:
    """Metrics of an adapter's layers and units."""

    layers: pd.DataFrame
    """A row for each adapted layer: layer; n_units; hidden_zeros and update_zeros, fractions of exact zeros over tokens
    and units; l0, units that fire for a token; dead, fraction of units that fire for none."""
    units: pd.DataFrame
    """A row for each unit: layer, unit; support, tokens for which it fires; with labels label_consistency,
    label_chance, label_purity and label, the most frequent; for hidden units token_consistency, token_chance and token;
    top_texts, top_positions and top_values, the texts that activate it most, best first, each text once."""

    def __repr__(self) -> str:
        sizes = f"{len(self.layers):,} layers, {len(self.units):,} units"
        return f"AdapterDescription of {sizes}\n{dimensions.format_metrics(self.means())}"

    def means(self) -> dict[str, float]:
        """Return means over layers, and over units that fire for at least 10 tokens; NaN if there are none."""
        often = self.units[self.units["support"] >= dimensions.MIN_SUPPORT]
        return {name: float(self.layers[name].mean()) for name in _OF_LAYERS} | {
            name: float(often[name].mean()) for name in _OF_UNITS if name in often
        }


def describe_adapter(
    model: torch.nn.Module,
    batches: Sequence[Batch],
    labels: Sequence[int] | np.typing.NDArray[np.integer[Any]] | None = None,
    *,
    kind: UnitKind = "hidden",
    adapter: str = "default",
    n_top: int = 5,
) -> AdapterDescription:
    """Measure zeros, firing, consistency with labels and tokens, and top-activating texts of an adapter's units.

    LoRA's units are measured in the same way. A unit fires for a token if its activation exceeds 1e-5 of the norm of
    the layer's activations, as everywhere in this package; LoRA's units nearly always do. A token has the label of its
    text. One pass; memory does not grow with the number of texts.

    Args:
        model, kind, adapter: as in :func:`~monosemy.lm.adapter_activations`.
        batches: tokenized texts.
        labels: the class of each text, in the order of the batches.
        n_top: number of top-activating texts of each unit.

    Raises:
        InputError: there is no batch, labels are not one class for each text, or as in ``adapter_activations``.
    """
    if kind not in get_args(UnitKind):
        raise InputError(f"kind={kind!r} is unknown; choose 'hidden' or 'update'.")
    if not batches:
        raise InputError("batches is empty; give at least one batch of tokenized texts.")
    vocabulary = np.unique(np.concatenate([np.unique(token_rows(batch).tokens.numpy()) for batch in batches]))
    classes = _check_labels(labels, sum(len(batch["input_ids"]) for batch in batches))
    layers: dict[str, _LayerUnits] = {}
    first_text = 0

    def measure(batch: Batch) -> None:
        rows = token_rows(batch)
        texts = rows.samples.numpy() + first_text
        tokens = None if kind == "update" else np.searchsorted(vocabulary, rows.tokens.numpy())

        def add(name: str, hidden: torch.Tensor, update: torch.Tensor) -> None:
            if name not in layers:
                n_classes = None if classes is None else int(classes.max()) + 1
                layers[name] = _LayerUnits(n_classes, None if kind == "update" else len(vocabulary), n_top)
            values = hidden if kind == "hidden" else update
            layers[name].count_zeros(hidden, update)
            layers[name].update(values, None if classes is None else classes[texts], tokens, texts, rows.positions)

        run_with_units(model, batch, add, adapter)

    for batch in batches:
        measure(batch)
        first_text += len(batch["input_ids"])
    if not layers:
        raise InputError(f"adapter={adapter!r} is in no layer that sees every token; name another adapter.")
    units = [layer.units(name, vocabulary) for name, layer in layers.items()]
    return AdapterDescription(
        pd.DataFrame([layer.summary(name) for name, layer in layers.items()]), pd.concat(units, ignore_index=True)
    )


def _check_labels(labels: Any, n_texts: int) -> np.typing.NDArray[np.int64] | None:
    if labels is None:
        return None
    classes = np.asarray(labels)
    if classes.shape != (n_texts,) or not np.issubdtype(classes.dtype, np.integer) or classes.min() < 0:
        raise InputError(
            f"labels has shape {classes.shape} and type {classes.dtype} for {n_texts} texts; give each one class, "
            f"numbered from 0."
        )
    return classes.astype(np.int64)


class _LayerUnits:
    """Accumulated metrics of one layer's units."""

    def __init__(self, n_classes: int | None, n_tokens: int | None, n_top: int) -> None:
        self._firing = streaming.Firing()
        self._labels = None if n_classes is None else streaming.SemanticConsistency(n_classes)
        self._purity = None if n_classes is None else streaming.ClassPurity(n_classes)
        self._tokens = None if n_tokens is None else streaming.SemanticConsistency(n_tokens)
        self._top = _TopTexts(n_top)
        self._zeros = {"hidden": 0, "update": 0}
        self._entries = {"hidden": 0, "update": 0}

    def count_zeros(self, hidden: torch.Tensor, update: torch.Tensor) -> None:
        for name, values in (("hidden", hidden), ("update", update)):
            self._zeros[name] += int((values == 0).sum())
            self._entries[name] += values.numel()

    def update(
        self,
        values: torch.Tensor,
        labels: np.typing.NDArray[np.int64] | None,
        tokens: np.typing.NDArray[np.int64] | None,
        texts: np.typing.NDArray[np.int64],
        positions: torch.Tensor,
    ) -> None:
        """Add T tokens: activations (T, M) with the labels, ids, texts and positions of the tokens."""
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
        return {"layer": name, "n_units": len(self._support)} | zeros | {"l0": fired.l0_mean, "dead": fired.dead}

    @property
    def _support(self) -> np.typing.NDArray[np.int64]:
        assert self._firing.moments is not None
        return self._firing.moments.support

    def units(self, name: str, vocabulary: np.typing.NDArray[np.int64]) -> pd.DataFrame:
        support = self._support
        table: dict[str, Any] = {"layer": name, "unit": np.arange(len(support)), "support": support}
        if self._labels is not None and self._purity is not None and self._labels.moments is not None:
            consistency = self._labels.compute()
            table |= {"label_consistency": consistency.score, "label_chance": consistency.chance}
            table |= {"label_purity": self._purity.compute().score, "label": self._labels.moments.table.argmax(axis=0)}
        if self._tokens is not None and self._tokens.moments is not None:
            consistency = self._tokens.compute()
            table |= {"token_consistency": consistency.score, "token_chance": consistency.chance}
            table |= {"token": vocabulary[self._tokens.moments.table.argmax(axis=0)]}
        return pd.DataFrame(table | self._top.lists())


class _TopTexts:
    """The texts with the largest activations of each unit, by their most active tokens."""

    def __init__(self, n: int) -> None:
        self._n = n
        self._best: tuple[torch.Tensor, ...] = ()  # values, texts, positions: (k, M) each

    def update(self, values: torch.Tensor, texts: torch.Tensor, positions: torch.Tensor) -> None:
        distinct, text_of_token = texts.unique_consecutive(return_inverse=True)
        shape = (len(distinct), values.shape[1])
        index = text_of_token[:, None].expand_as(values)
        largest = values.new_full(shape, float("-inf")).scatter_reduce_(0, index, values, "amax")
        # The first of tokens that tie for the largest activation.
        beyond = positions.max() + 1
        at = torch.where(values == largest[text_of_token], positions[:, None], beyond)
        first = torch.full(shape, int(beyond)).scatter_reduce_(0, index, at, "amin")
        new = (largest, distinct[:, None].expand(shape), first)
        joined = tuple(map(torch.cat, zip(self._best, new, strict=True))) if self._best else new
        order = joined[0].argsort(dim=0, descending=True, stable=True)[: self._n]
        self._best = tuple(part.gather(0, order) for part in joined)

    def lists(self) -> dict[str, list[list[Any]]]:
        values, *rest = self._best
        active = values.T > 0
        return {
            name: [row[mask].tolist() for row, mask in zip(part.T, active, strict=True)]
            for name, part in zip(("top_texts", "top_positions", "top_values"), (*rest, values), strict=True)
        }
