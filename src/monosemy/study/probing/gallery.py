"""The gallery of a study: the explanations and predictions of its first seed, on disk and on a page."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from monosemy.core import cache, console, environment, files
from monosemy.data import dataset, load
from monosemy.errors import InputError, reason
from monosemy.metrics.explanations import Explanations, Predictions
from monosemy.report import html, tables
from monosemy.report.gallery import Gallery, GallerySet, ordered_sets, write_gallery
from monosemy.results.result import title_of
from monosemy.results.wording import FEWER_IS_HARDER
from monosemy.study import conditions, folder, probing

FOLDER = "explanations"
SEED = 0
"""The seed whose dimensions are shown: every seed has dimensions of its own."""
_FORMAT = "monosemy-explanations-1"


@dataclass(frozen=True)
class Explained:
    """One feature set on the test samples of a study."""

    scenario: str
    level: float
    """Level of the cell whose predictions are kept."""
    explanations: Explanations
    predictions: Predictions


def explanation_path(study: Path, features: str) -> Path:
    """Return the file of a feature set in a study's folder."""
    return study / FOLDER / f"{features}.safetensors"


def explained_cell(cells: Sequence[conditions.Cell]) -> conditions.Cell:
    """Return the hardest cell of the first scenario, whose predictions are kept; the clean one if there is no other.

    Shifted test sets have other samples than those that explain the dimensions, so they do not count.
    """
    noisy = [cell for cell in cells if cell.scenario != "clean" and cell.evaluation.shift is None]
    if not noisy:
        return cells[0]
    levels = [cell for cell in noisy if cell.scenario == noisy[0].scenario]
    hardest = min if noisy[0].scenario in FEWER_IS_HARDER else max
    return hardest(levels, key=lambda cell: cell.level)


def write_explained(path: Path, explained: Explained) -> None:
    """Write the arrays to a file, whole or not at all."""
    parts: dict[str, Any] = explained.explanations._asdict() | explained.predictions._asdict()
    metadata = {"scenario": explained.scenario, "level": explained.level}
    files.write_model_file(path, _FORMAT, metadata, {name: torch.from_numpy(values) for name, values in parts.items()})


def read_explained(path: Path) -> Explained:
    """Return what :func:`write_explained` wrote.

    Raises:
        InputError: the file is missing, damaged, or of another format.
    """
    metadata, tensors = files.read_model_file(path, _FORMAT)
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    try:
        return Explained(
            str(metadata["scenario"]),
            float(metadata["level"]),
            Explanations(**{name: arrays[name] for name in Explanations._fields}),
            Predictions(**{name: arrays[name] for name in Predictions._fields}),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} lacks {error}, so another version wrote it; run the study again.") from error


def write_study_gallery(
    plan: probing.ProbingPlan, data: dataset.LabelledData, study: Path, out: Path, on_progress: console.Progress
) -> None:
    """Write the page of a study's test samples, from the explanations in its folder."""
    sets = []
    for name in plan.features or ():
        path = explanation_path(study, name)
        if path.is_file():
            kept = read_explained(path)
            condition = f"{tables.scenario_phrase(kept.scenario)} ({tables.level_text(kept.scenario, kept.level)})"
            sets.append(GallerySet(name, title_of(name), kept.explanations, kept.predictions, condition))
    gallery = Gallery(
        title=data.name,
        about=f"Feature sets of the encoder “{plan.encoder.name}”, on {len(data.test):,} test samples, seed {SEED}.",
        n_samples=len(data.test),
        sets=ordered_sets(sets, "sae"),
        labels=data.test.labels,
        class_names=data.class_names,
        inputs=data.test.inputs,
        row_name="test sample",
    )
    write_gallery(gallery, out / html.GALLERY, on_progress)


def restore_gallery(plan: probing.ProbingPlan, study: Path, out: Path, on_progress: console.Progress) -> str | None:
    """Copy the page of a finished study, or write it again if it is missing; the data is read again.

    Returns: why there is no page though there should be one, as a sentence.
    """
    page = study / html.GALLERY
    if page.is_file():
        if out.resolve() != study.resolve():
            out.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(page, out / html.GALLERY)
        return None
    explained = any(explanation_path(study, name).is_file() for name in plan.features or ())
    if not explained or plan.data.source.startswith("arrays:"):
        return None
    path = study / environment.ENVIRONMENT
    try:
        recorded = json.loads(path.read_text(encoding="utf-8"))["data"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        return f"The gallery was not written: {path} cannot be read ({reason(error)}); run the study again."
    try:
        data = load.load_data(plan.data, plan.seed, on_progress)
        if cache.fingerprint(folder.data_fingerprint(data), *plan.files()) != recorded:
            return f"The gallery was not written: {plan.data.source} is no longer the data of the study in {study}."
        write_study_gallery(plan, data, study, out, on_progress)
    except InputError as error:
        return f"The gallery was not written: {error}"
    return None
