"""How sparse and how monosemantic the updates of an adapter are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from monosemy.errors import InputError
from monosemy.lm.adapters.activations import Batch, TokenRows, UnitKind, token_rows, watch
from monosemy.metrics.features import MIN_SUPPORT
from monosemy.metrics.streaming import ClassPurity, Firing, SemanticConsistency

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
        model, of, adapter: as in :func:`~monosemy.lm.adapters.activations.adapter_activations`.
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
