"""Rows of a source for a classifier: embeddings with labels, names, groups and splits."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from monosemy.core.console import Progress
from monosemy.data.config import DataConfig
from monosemy.data.copies import find_copies
from monosemy.data.dataset import Rows
from monosemy.data.inspection import groups_to_keep
from monosemy.data.splits import inputs_by_part, source_splits
from monosemy.encoders.config import Layer
from monosemy.encoders.rows import embed_rows
from monosemy.errors import InputError, names

Numbers = np.typing.NDArray[np.int64]


@dataclass(frozen=True)
class EmbeddedRows:
    """Embeddings of the rows of a source that can be used."""

    rows: Rows
    embeddings: np.typing.NDArray[np.float32]
    kept: Numbers
    """(N,), positions in ``rows``; images that cannot be read are left out."""
    messages: tuple[str, ...]

    @property
    def labels(self) -> np.typing.NDArray[Any]:
        """Return the given labels (N,): the noisy ones where the source has further ones."""
        given = self.rows.noisy_labels or self.rows.needed_labels()
        return np.array(given)[self.kept]

    def row_names(self) -> list[str]:
        """Return a name for each row: its number in the file, or its image."""
        return [self.rows.describe(int(row)) for row in self.kept]

    def groups(self, on_progress: Progress) -> Numbers:
        """Return the group of each row: copies and groups that the user named stay together."""
        return groups_to_keep(self.rows, find_copies(self.rows.inputs, on_progress))[self.kept]

    def parts(self, name: str, messages: list[str]) -> tuple[Numbers, Numbers]:
        """Return the rows to fit, and those of the source's own test split."""
        test = source_splits(self.rows, name, messages).get("test", np.empty(0, dtype=np.int64))
        is_test = np.isin(self.kept, test)
        return np.flatnonzero(~is_test), np.flatnonzero(is_test)

    def inputs(
        self, config: DataConfig, chosen: Numbers, on_progress: Progress
    ) -> tuple[str, ...] | np.typing.NDArray[np.uint8] | None:
        """Return texts or images of some rows, in their order; None for embeddings."""
        if self.rows.kind == "embeddings":
            return None
        if isinstance(self.rows.inputs, tuple):
            return tuple(self.rows.inputs[row] for row in self.kept[chosen])
        order = np.argsort(self.kept[chosen], kind="stable")
        decoded = inputs_by_part(self.rows.inputs, {"all": self.kept[chosen][order]}, config, on_progress)
        images = np.asarray(decoded.inputs["all"])
        back = np.empty(len(order), dtype=np.int64)
        back[order] = np.arange(len(order))
        shown = images[back]
        return shown if shown.dtype == np.uint8 else np.asarray((255 * shown).round(), dtype=np.uint8)


def embedded_rows(
    rows: Rows, config: DataConfig, encoder: str | None, layer: Layer, on_progress: Progress
) -> EmbeddedRows:
    """Embed the rows of a source.

    Raises:
        InputError: they cannot be embedded.
    """
    messages = list(rows.messages)
    embeddings, kept = embed_rows(rows, config, encoder, layer, messages, on_progress)
    return EmbeddedRows(rows, embeddings, kept, tuple(messages))


def with_decisions(
    labels: np.typing.NDArray[Any], row_names: list[str], decisions: Mapping[str, str], source: str
) -> tuple[np.typing.NDArray[Any], int]:
    """Return labels with those that a reviewer has decided on, and how many of them changed.

    Raises:
        InputError: a decision names a row that the data does not have.
    """
    unknown = [name for name in decisions if name not in set(row_names)]
    if unknown:
        raise InputError(f"The decisions name {names(unknown)}, which {source} does not have; give those of its audit.")
    new = np.array([decisions.get(name, label) for name, label in zip(row_names, labels.tolist(), strict=True)])
    return new, int((new != labels).sum())
