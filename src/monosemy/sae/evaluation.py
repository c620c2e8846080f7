"""Evaluation of several sparse autoencoders on one reading of the data."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy.sparse as sp

from monosemy.core.console import OnCount
from monosemy.data.row_stream import RowStream
from monosemy.errors import InputError
from monosemy.functional import consistency, geometry
from monosemy.functional.codes import to_csr
from monosemy.metrics import dimensions, measurement
from monosemy.sae import activations, module

_BLOCK = 2**24
"""Pre-activations in memory at a time."""
_MAX_ROWS = 4096
MAX_ANGLES = 16_384
"""Latents up to which the angles between decoder rows are measured: their number is the square."""


@dataclass(frozen=True, repr=False)
class ModelEvaluation:
    """Metrics of one autoencoder."""

    activation: str
    n_inputs: int
    n_latents: int
    k: int | None
    """Active latents a row, where the activation selects them."""
    metrics: dict[str, float]
    """Metrics over all latents: NaN where one cannot be measured, absent where its inputs were not given."""
    latents: pd.DataFrame
    """Tidy: dimension, label_noise, metric, value."""

    def __repr__(self) -> str:
        k = "" if self.k is None else f", k={self.k}"
        return f"{self.activation} autoencoder, {self.n_latents} latents{k}\n{dimensions.format_metrics(self.metrics)}"


@dataclass(frozen=True, repr=False)
class Evaluation:
    """Metrics of several autoencoders on the same rows."""

    source: str
    n_rows: int
    class_names: tuple[str, ...]
    """Empty where there are no labels."""
    models: dict[str, ModelEvaluation]

    def __repr__(self) -> str:
        classes = f", {len(self.class_names)} classes" if self.class_names else ""
        models = "\n".join(f"{name}: {model!r}" for name, model in self.models.items())
        return f"Evaluation on {self.source}: {self.n_rows:,} rows{classes}\n{models}"


def evaluate(
    models: Mapping[str, module.Autoencoder],
    stream: RowStream,
    labels: np.typing.NDArray[np.int64] | None = None,
    class_names: tuple[str, ...] = (),
    on_rows: OnCount | None = None,
) -> Evaluation:
    """Return all metrics of several autoencoders by their names, on rows that are read once.

    Args:
        models: on one device, the CPU; all of the rows' width.
        labels: (N,) positions in ``class_names``; without them metrics that compare classes are left out.
        on_rows: called with (rows done, rows in all).

    Raises:
        InputError: no model, another width, one row or one class only, labels of another number, or NaN.
    """
    check_widths(models, stream)
    if labels is not None:
        if len(class_names) < 2:
            raise InputError(f"{stream.name} has {len(class_names)} class; give rows of at least two, or no labels.")
        if stream.length is not None and stream.length != len(labels):
            raise InputError(f"{stream.name} has {stream.length} rows but {len(labels)} labels; give one for each.")
    n_classes = 0 if labels is None else len(class_names)
    states = [
        measurement.RunningMetrics(n_classes, rank=model.n_latents <= measurement.MAX_DIMENSIONS)
        for model in models.values()
    ]
    probed_codes: list[list[consistency.Codes]] = [[] for _ in models]
    probed = np.empty(0, dtype=np.int64) if labels is None else measurement.probed_rows(len(labels))
    step = rows_at_a_time(models)
    reader, n, embeddings = stream.open(), 0, []
    while len(rows := reader.read(step)):
        if labels is not None and n + len(rows) > len(labels):
            raise InputError(f"{stream.name} has more rows than the {len(labels)} labels; give one for each.")
        local = probed[slice(*np.searchsorted(probed, [n, n + len(rows)]))] - n
        if len(local):
            embeddings.append(rows.numpy()[local])
        classes = None if labels is None else labels[n : n + len(rows)]
        for model, state, parts in zip(models.values(), states, probed_codes, strict=True):
            codes = model.encode(rows)
            csr = to_csr(codes)
            state.update(csr, classes, rows.numpy(), model.decode(codes).numpy())
            if len(local):
                parts.append(csr[local])
        n += len(rows)
        if on_rows is not None:
            on_rows(n, stream.length or n)
    if n < 2:
        raise InputError(f"{stream.name} has {n} row, and metrics compare rows; give at least two.")
    if labels is not None and n != len(labels):
        raise InputError(f"{stream.name} has {n} rows but {len(labels)} labels; give one for each.")
    evaluations = {name: _evaluation(models[name], state) for name, state in zip(models, states, strict=True)}
    if labels is not None:
        stacked = [sp.vstack(parts, format="csr") for parts in probed_codes]
        accuracies = measurement.recovered_accuracies(stacked, np.concatenate(embeddings), labels[probed], n_classes)
        for one, accuracy in zip(evaluations.values(), accuracies, strict=True):
            one.metrics.update(accuracy.metrics())
    return Evaluation(stream.name, n, () if labels is None else class_names, evaluations)


def check_widths(models: Mapping[str, module.Autoencoder], stream: RowStream) -> None:
    """Check that every model takes the rows of the stream.

    Raises:
        InputError: one does not, or there are no models.
    """
    if not models:
        raise InputError("models is empty; give at least one autoencoder.")
    for name, model in models.items():
        if model.n_inputs != stream.width:
            raise InputError(
                f"{stream.name} has rows of {stream.width} numbers, but {name} takes {model.n_inputs}; give the "
                f"embeddings that it was trained on."
            )


def rows_at_a_time(models: Mapping[str, module.Autoencoder]) -> int:
    """Return the number of rows for which the pre-activations of the widest model fit into the budget."""
    return max(1, min(_MAX_ROWS, _BLOCK // max(model.n_latents for model in models.values())))


def _evaluation(model: module.Autoencoder, state: measurement.RunningMetrics) -> ModelEvaluation:
    metrics, parts = state.summary()
    angles = decoder_angles(model)
    metrics |= {"decoder_cosine": angles.mean, "decoder_cosine_rms": angles.rms, "decoder_cosine_max": angles.largest}
    k = model.activation.k if isinstance(model.activation, activations.Selecting) else None
    table = pd.concat(parts, ignore_index=True)
    return ModelEvaluation(model.activation.name, model.n_inputs, model.n_latents, k, metrics, table)


def decoder_angles(model: module.Autoencoder) -> geometry.Orthogonality:
    """Return the orthogonality error of the decoder rows that have a direction; NaN above ``MAX_ANGLES`` latents."""
    rows = model.decoder.numpy()
    rows = rows[np.linalg.norm(rows, axis=1) > 0]
    if not 2 <= len(rows) <= MAX_ANGLES:
        return geometry.Orthogonality(*(float("nan"),) * 4)
    return geometry.orthogonality_error(rows)
