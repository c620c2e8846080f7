"""The gallery of features: one page of the samples that activate each dimension, with their thumbnails."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import mannwhitneyu

from monosemy.core.console import Progress
from monosemy.core.files import write_text
from monosemy.data.dataset import EncodedImages, Inputs
from monosemy.data.images import common_size, decode_parts
from monosemy.errors import InputError
from monosemy.metrics.dimensions import MIN_SUPPORT
from monosemy.metrics.explanations import Explanations, Predictions, extreme_classes
from monosemy.metrics.names import LatentNames
from monosemy.report.html import rendered, visible
from monosemy.report.packing import Arrays, Pixels, Sheets, json_text, sprite_sheets, thumbnail_size, thumbnails

MOST_SAMPLES = 50_000
"""That are shown at all; the strongest of every dimension go first."""
_MOST_BYTES = 28_000_000
"""Of the page, as far as the quality of its pictures can bring it about."""
_MOST_CHARACTERS = 10_000_000
"""Of all texts."""
_LONGEST_TEXT = 600
_CHOSEN = 4
"""Dimensions at each end that are shown first."""
_EXAMPLES = 8
"""Right and wrong predictions that are shown."""
_BINS = 20
_UINT16, _UINT8 = 65535, 255
Numbers = np.typing.NDArray[np.int64]


@dataclass(frozen=True)
class GallerySet:
    """One feature set."""

    name: str
    title: str
    explanations: Explanations
    predictions: Predictions | None = None
    condition: str = ""
    """Under which the predictions were made, such as `under label noise (90 %)`."""
    names: LatentNames | None = None
    """Names of the dimensions, shown with a counter-example."""


@dataclass(frozen=True)
class Gallery:
    """The content of the page."""

    title: str
    about: str
    """Where the samples come from, as a sentence."""
    n_samples: int
    sets: tuple[GallerySet, ...]
    labels: Numbers | None = None
    """(N,), positions in ``class_names``."""
    class_names: tuple[str, ...] = ()
    inputs: Inputs | EncodedImages | None = None
    """Of the samples: images or texts; embeddings, or None, show numbers of rows alone."""
    row_name: str = "row"
    """What the numbers count: rows of a file, or the samples of a study's test split in their order."""


@dataclass(frozen=True)
class _Shown:
    """The samples as pictures or texts, in the order of their first use."""

    kind: str
    """`images`, `texts` or `none`."""
    texts: list[str]
    sheets: Sheets | None
    places: Numbers
    """Of the samples in the sheets; -1 for an image that cannot be read."""
    problems: tuple[str, ...]


def write_gallery(gallery: Gallery, path: Path, on_progress: Progress | None = None) -> tuple[str, ...]:
    """Write the page; it opens offline.

    Returns: a sentence for what is missing from it, such as images that cannot be read.
    """
    rows = _shown_rows(gallery)
    arrays = Arrays()
    sets = [_set_values(item, gallery, rows, arrays) for item in gallery.sets]
    labels = np.full(len(rows), -1) if gallery.labels is None else gallery.labels[rows]
    samples = {"row": arrays.add(rows, np.uint32), "label": arrays.add(labels, np.int32)}
    shown = _shown(gallery.inputs, rows, _MOST_BYTES - arrays.size * 4 // 3, on_progress)
    samples["place"] = arrays.add(shown.places, np.int32)
    values: dict[str, Any] = {
        "kind": shown.kind,
        "n": gallery.n_samples,
        "rowName": gallery.row_name,
        "classes": [visible(name) for name in gallery.class_names],
        "minSupport": MIN_SUPPORT,
        "samples": samples,
        "sets": sets,
    }
    if shown.sheets is not None:
        values["sheets"] = shown.sheets.layout()
    sheets = [] if shown.sheets is None else shown.sheets.parts()
    context = {
        "title": gallery.title,
        "about": gallery.about,
        "problems": shown.problems,
        "page": json_text(values),
        "first": [("texts", json_text(shown.texts)), ("arrays", arrays.text()), *sheets[:1]],
        "rest": sheets[1:],
    }
    write_text(path, rendered("gallery.html.j2", context, ("packed.js", "gallery.js")))
    return shown.problems


def _shown_rows(gallery: Gallery) -> Numbers:
    """The samples that are shown, each once: first those of chosen dimensions, then the strongest of every dimension.

    Where there are too many, counter-examples and the weaker samples of the dimensions are left out.
    """
    first: list[Numbers] = []
    for item in gallery.sets:
        chosen = np.concatenate([np.array(part, dtype=np.int64) for part in _chosen(item.explanations).values()])
        first.append(item.explanations.rows[chosen].ravel())
        if item.predictions is not None:
            first += _examples(item.predictions)
            dimensions = item.predictions.dimensions.ravel()
            first.append(item.explanations.rows[dimensions[dimensions >= 0]].ravel())
    by_rank = [item.explanations.rows.T for item in gallery.sets]
    rest = np.concatenate(by_rank, axis=1).ravel()
    counter = [name.counter_example for item in gallery.sets if item.names is not None for name in item.names.known]
    wanted = np.concatenate([*first, rest, np.array(counter, dtype=np.int64)])
    wanted = wanted[wanted >= 0]
    distinct, places = np.unique(wanted, return_index=True)
    return distinct[np.argsort(places)][:MOST_SAMPLES]


def _chosen(explanations: Explanations) -> dict[str, list[int]]:
    """The most and the least monosemantic dimensions that fire often enough: by consistency above chance, or where
    there are no labels by MonoScore."""
    score = explanations.consistency - explanations.chance
    if not np.isfinite(score).any():
        score = explanations.mono_score
    usable = np.flatnonzero(np.isfinite(score) & (explanations.support >= MIN_SUPPORT))
    order = usable[np.argsort(-score[usable], kind="stable")]
    n = min(_CHOSEN, len(order) // 2)
    return {"most": order[:n].tolist(), "least": order[len(order) - n :][::-1].tolist()}


def _set_values(item: GallerySet, gallery: Gallery, shown: Numbers, arrays: Arrays) -> dict[str, Any]:
    found = item.explanations
    number = np.full(gallery.n_samples + 1, -1)  # the last entry is that of no sample
    number[shown] = np.arange(len(shown))
    high = np.where(found.high > 0, found.high, 1.0)
    peak = np.maximum(found.histogram.max(axis=1, keepdims=True), 1)
    values: dict[str, Any] = {
        "name": item.name,
        "title": item.title,
        "dimensions": len(found.support),
        "top": found.rows.shape[1],
        "bins": found.histogram.shape[1],
        "shownClasses": found.classes.shape[1],
        "rows": arrays.add(number[found.rows], np.int32),
        # Of the largest activation: a float for each would double the page.
        "values": arrays.add(np.round(_UINT16 * found.values / high[:, None]), np.uint16),
        "histogram": arrays.add(np.ceil(_UINT8 * found.histogram / peak), np.uint8),
        "low": arrays.add(found.low, np.float32),
        "high": arrays.add(found.high, np.float32),
        "support": arrays.add(found.support, np.uint32),
        "consistency": arrays.add(found.consistency, np.float32),
        "chance": arrays.add(found.chance, np.float32),
        "monoScore": arrays.add(found.mono_score, np.float32),
        "classes": arrays.add(found.classes, np.int32),
        "classCounts": arrays.add(found.class_counts, np.uint32),
        "chosen": _chosen(found),
    }
    if item.names is not None:
        values["names"] = _name_values(item.names, number)
    if item.predictions is not None:
        values["predictions"] = _prediction_values(item.predictions, item.condition, number, shown, arrays)
    return values


def _name_values(names: LatentNames, number: Numbers) -> dict[str, dict[str, Any]]:
    """The names by the dimensions that have one, their scores, and the counter-example among the shown samples."""
    return {
        str(name.latent): {
            "text": visible(str(name)),
            "confidence": round(name.confidence, 4),
            "chance": round(name.chance, 4),
            "auc": round(name.auc, 4),
            "low": round(name.auc_low, 4),
            "high": round(name.auc_high, 4),
            "counter": int(number[name.counter_example]),
            "active": name.counter_is_active,
        }
        for name in names.known
    }


def _prediction_values(
    found: Predictions, condition: str, number: Numbers, shown: Numbers, arrays: Arrays
) -> dict[str, Any]:
    right = found.predicted == found.labels
    measured = np.isfinite(found.monosemanticity)
    scores = [found.monosemanticity[measured & part] for part in (right, ~right)]
    both = np.concatenate(scores)
    low, high = (float(both.min()), float(both.max())) if len(both) else (0.0, 1.0)
    if high - low < 1e-6:  # all alike but for rounding
        low, high = low - 0.01, high + 0.01
    edges = np.linspace(low, high, _BINS + 1)
    values: dict[str, Any] = {
        "condition": condition,
        "accuracy": float(right.mean()),
        "predicted": arrays.add(found.predicted[shown], np.int32),
        "monosemanticity": arrays.add(found.monosemanticity[shown], np.float32),
        "low": low,
        "high": high,
        # P(a right one scores above a wrong one), ties half: what Mann and Whitney's test counts.
        "higher": float(mannwhitneyu(*scores).statistic / len(scores[0]) / len(scores[1]))
        if all(map(len, scores))
        else None,
    }
    for name, part, examples in zip(("right", "wrong"), scores, _examples(found), strict=True):
        values[name] = {
            "count": len(part),
            "mean": float(part.mean()) if len(part) else None,
            "histogram": np.histogram(part, edges)[0].tolist(),
            "examples": [int(number[row]) for row in examples if number[row] >= 0],
        }
    for place, (name, label) in enumerate(zip(("worst", "best"), extreme_classes(found.class_accuracy), strict=True)):
        kept = found.dimensions[place] >= 0
        values[name] = {
            "label": label,
            "accuracy": float(found.class_accuracy[label]),
            "dimensions": found.dimensions[place][kept].tolist(),
            "weights": found.weights[place][kept].tolist(),
        }
    return values


def _examples(found: Predictions) -> list[Numbers]:
    """Rightly and wrongly predicted samples, evenly from the most to the least monosemantic."""
    result = []
    for part in (found.predicted == found.labels, found.predicted != found.labels):
        rows = np.flatnonzero(part & np.isfinite(found.monosemanticity))
        order = rows[np.argsort(-found.monosemanticity[rows], kind="stable")]
        result.append(order[np.unique(np.linspace(0, len(order) - 1, min(_EXAMPLES, len(order))).astype(np.int64))])
    return result


def _shown(
    inputs: Inputs | EncodedImages | None, rows: Numbers, most_bytes: int, on_progress: Progress | None
) -> _Shown:
    nothing = np.full(len(rows), -1)
    if isinstance(inputs, tuple):
        longest = max(40, min(_LONGEST_TEXT, _MOST_CHARACTERS // max(len(rows), 1)))
        texts = [inputs[row] for row in rows]
        cut = [text if len(text) <= longest else f"{text[: longest - 1].rstrip()}…" for text in texts]
        return _Shown("texts", [visible(text) for text in cut], None, nothing, ())
    if inputs is None or (isinstance(inputs, np.ndarray) and inputs.ndim == 2) or not len(rows):
        return _Shown("none", [], None, nothing, ())
    if isinstance(inputs, np.ndarray):
        images = thumbnails(inputs, rows, thumbnail_size((inputs.shape[2], inputs.shape[3]), len(rows)))
        return _Shown("images", [], sprite_sheets(images, most_bytes * 3 // 4), np.arange(len(rows)), ())
    images, kept, problems = _decoded(inputs, rows, on_progress)
    if not len(kept):
        return _Shown("none", [], None, nothing, problems)
    places = nothing.copy()
    places[kept] = np.arange(len(kept))
    return _Shown("images", [], sprite_sheets(images, most_bytes * 3 // 4), places, problems)


def _decoded(
    encoded: EncodedImages, rows: Numbers, on_progress: Progress | None
) -> tuple[Pixels, Numbers, tuple[str, ...]]:
    """Thumbnails of those images that can be read, their places among the rows, and what is to be said."""
    order = np.argsort(rows)
    size = thumbnail_size(common_size(encoded, rows[order]), len(rows))
    try:
        read = decode_parts(encoded, {"gallery": rows[order]}, size, "skip", on_progress)
    except InputError as error:
        return np.empty((0, 3, *size), dtype=np.uint8), np.empty(0, dtype=np.int64), (str(error),)
    part = read.parts["gallery"]
    kept = order[np.searchsorted(rows[order], part.rows)]
    in_order = np.argsort(kept)
    return part.images[in_order], kept[in_order], tuple(n for n in read.notices if n.startswith("Left out"))


def ordered_sets(sets: Sequence[GallerySet], first: str | None) -> tuple[GallerySet, ...]:
    """The sets with the named one in front, which the page opens with."""
    return tuple(sorted(sets, key=lambda item: item.name != first))
