"""What the units of an adapter do, token by token, read off a model by hooks."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any, Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from monosemy.errors import InputError
from monosemy.functional.low_rank import hidden_units, up_projection
from monosemy.functional.nonnegative import NON_NEGATIVE
from monosemy.lm.adapters.layers import MonoVariant

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
