"""What a study keeps of its first seed for the gallery: the explanations of each feature set, and its predictions."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from monosemy.core.files import read_model_file, write_model_file
from monosemy.errors import InputError
from monosemy.metrics.explanations import Explanations, Predictions
from monosemy.study.conditions import Cell

FOLDER = "explanations"
SEED = 0
"""Every seed has dimensions of its own; those of the first one are shown."""
_FORMAT = "monosemy-explanations-1"


@dataclass(frozen=True)
class Explained:
    """One feature set on the test samples of a study."""

    scenario: str
    level: float
    """Of the cell that the predictions are of."""
    explanations: Explanations
    predictions: Predictions


def explanation_path(study: Path, features: str) -> Path:
    """The file of a feature set in a study's folder."""
    return study / FOLDER / f"{features}.safetensors"


def explained_cell(cells: Sequence[Cell]) -> Cell:
    """The hardest cell of the first scenario, whose predictions are kept; the clean one where there is no other.

    Shifted test sets have other samples than those that the dimensions are explained by, so they do not count.
    """
    noisy = [cell for cell in cells if cell.scenario != "clean" and not cell.scenario.startswith("shift:")]
    if not noisy:
        return cells[0]
    levels = [cell for cell in noisy if cell.scenario == noisy[0].scenario]
    hardest = min if noisy[0].scenario == "few-labels" else max
    return hardest(levels, key=lambda cell: cell.level)


def write_explained(path: Path, explained: Explained) -> None:
    """Keep the arrays, whole or not at all."""
    parts: dict[str, Any] = explained.explanations._asdict() | explained.predictions._asdict()
    about = {"scenario": explained.scenario, "level": explained.level}
    tensors = {name: torch.from_numpy(values) for name, values in parts.items()}
    write_model_file(path, _FORMAT, about, tensors)


def read_explained(path: Path) -> Explained:
    """What :func:`write_explained` wrote.

    Raises:
        InputError: the file is missing, damaged, or of another format.
    """
    about, tensors = read_model_file(path, _FORMAT)
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    try:
        return Explained(
            str(about["scenario"]),
            float(about["level"]),
            Explanations(**{name: arrays[name] for name in Explanations._fields}),
            Predictions(**{name: arrays[name] for name in Predictions._fields}),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} lacks {error}, so it is none that this version wrote; run the study again."
        ) from error
