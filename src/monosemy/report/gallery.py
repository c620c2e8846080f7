"""The gallery of features: one page of the samples that activate each dimension, with their thumbnails."""

import base64
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from PIL import Image
from scipy.stats import mannwhitneyu

from monosemy.core.console import Progress
from monosemy.core.files import write_text
from monosemy.data.dataset import EncodedImages, Images, Inputs, unit_pixels
from monosemy.data.images import Size, common_size, decode_parts, fit
from monosemy.errors import InputError
from monosemy.metrics.dimensions import MIN_SUPPORT
from monosemy.metrics.explanations import Explanations, Predictions, extreme_classes
from monosemy.report.html import rendered, visible

Pixels = np.typing.NDArray[np.uint8]
_SHEET_SIDE = 1024
_SIDES = (32, 96)
"""Of thumbnails, the smallest and the largest."""
_PIXELS = 52_000_000
"""In all thumbnails together: 50,000 of 32 x 32."""
_LOSSLESS = 1_000_000
"""Pixels up to which nothing need be lost."""
_QUALITIES = (85, 70, 50, 30)


@dataclass(frozen=True)
class Sheets:
    """WebP pictures of equal thumbnails, from left to right and from top to bottom."""

    files: list[bytes]
    size: Size
    """Of one thumbnail."""
    columns: int
    """In every sheet."""
    rows: int
    """In every sheet but the last."""
    last_rows: int


def thumbnail_size(own: Size | None, n_images: int) -> Size:
    """Height and width of a thumbnail: the images' own where they are small, else as large as their number allows.

    Args:
        own: None where the images differ in size; their middle is then cut out as a square.
    """
    side = min(max(math.isqrt(_PIXELS // max(n_images, 1)), _SIDES[0]), _SIDES[1])
    if own is None:
        return side, side
    scale = min(1.0, side / max(own))
    return max(1, round(scale * own[0])), max(1, round(scale * own[1]))


def thumbnails(images: Images, rows: np.typing.NDArray[np.integer], size: Size) -> Pixels:
    """Some images (N, C, H, W) as (n, 3, h, w); those of neither 1 nor 3 channels by the mean of theirs."""
    result = np.empty((len(rows), 3, *size), dtype=np.uint8)
    for place, row in enumerate(rows):
        image = np.round(255 * np.clip(unit_pixels(images[row]), 0, 1)).astype(np.uint8)
        if len(image) not in (1, 3):
            image = image.mean(axis=0, keepdims=True).astype(np.uint8)
        pixels = np.broadcast_to(image, (3, *image.shape[1:]))
        if pixels.shape[1:] != size:
            pixels = np.asarray(fit(Image.fromarray(pixels.transpose(1, 2, 0)), size)).transpose(2, 0, 1)
        result[place] = pixels
    return result


def sprite_sheets(images: Pixels, most_bytes: int) -> Sheets:
    """Thumbnails (n, 3, h, w) as sheets, of the best quality that fits.

    Args:
        most_bytes: of all sheets together; at the lowest quality they may take more.
    """
    n, _, height, width = images.shape
    columns, rows = max(1, _SHEET_SIDE // width), max(1, _SHEET_SIDE // height)
    columns, rows = min(columns, n), min(rows, -(-n // min(columns, n)))
    pictures = [_picture(images[at : at + columns * rows], columns) for at in range(0, n, columns * rows)]
    options: list[dict[str, int | bool]] = [{"quality": quality} for quality in _QUALITIES]
    if n * height * width <= _LOSSLESS:
        options.insert(0, {"lossless": True})
    for option in options:
        first = _webp(pictures[0], option)
        # Sheets are much alike: what the first foretells to be far too much is not tried.
        if len(first) * (len(pictures) - 1) <= 1.2 * most_bytes or option == options[-1]:
            files = [first, *(_webp(picture, option) for picture in pictures[1:])]
            if sum(map(len, files)) <= most_bytes:
                break
    last = n - (len(files) - 1) * columns * rows
    return Sheets(files, (height, width), columns, rows, -(-last // columns))


def _webp(picture: Image.Image, option: dict[str, int | bool]) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "WEBP", method=2, **option)
    return stream.getvalue()


def _picture(images: Pixels, columns: int) -> Image.Image:
    """Images side by side; the last row filled up with black."""
    n, _, height, width = images.shape
    rows = -(-n // columns)
    grid = np.zeros((rows * columns, 3, height, width), dtype=np.uint8)
    grid[:n] = images
    pixels = grid.reshape(rows, columns, 3, height, width).transpose(0, 3, 1, 4, 2)
    return Image.fromarray(np.ascontiguousarray(pixels).reshape(rows * height, columns * width, 3))


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
    arrays = _Arrays()
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
        height, width = shown.sheets.size
        values["sheets"] = {
            "height": height, "width": width, "columns": shown.sheets.columns, "rows": shown.sheets.rows,
            "lastRows": shown.sheets.last_rows, "count": len(shown.sheets.files),
        }  # fmt: skip
    context = {
        "title": gallery.title,
        "about": gallery.about,
        "problems": shown.problems,
        "page": _json(values),
        "texts": _json(shown.texts),
        "arrays": arrays.text(),
        "sheets": [] if shown.sheets is None else [_base64(file) for file in shown.sheets.files],
    }
    write_text(path, rendered("gallery.html.j2", context, ("gallery.js",)))
    return shown.problems


class _Arrays:
    """Numbers of many arrays in one text."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self.size = 0

    def add(self, values: np.typing.NDArray[Any], kind: type[np.generic]) -> list[str | int]:
        """Type, place and number of entries, as the page reads them."""
        stored = np.ascontiguousarray(values, dtype=np.dtype(kind).newbyteorder("<"))
        entry: list[str | int] = [np.dtype(kind).name, self.size, stored.size]
        content = stored.tobytes()
        content += b"\0" * (-len(content) % 4)
        self._parts.append(content)
        self.size += len(content)
        return entry

    def text(self) -> Markup:
        return _base64(b"".join(self._parts))


def _base64(content: bytes) -> Markup:
    return Markup(base64.b64encode(content).decode("ascii"))


def _json(values: Any) -> Markup:
    """JSON that cannot end the element it stands in."""
    return Markup(
        json.dumps(values, ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    )


def _shown_rows(gallery: Gallery) -> Numbers:
    """The samples that are shown, each once: first those of chosen dimensions, then the strongest of every dimension.

    Where there are too many, the weaker ones of the dimensions are left out.
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
    wanted = np.concatenate([*first, rest])
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


def _set_values(item: GallerySet, gallery: Gallery, shown: Numbers, arrays: _Arrays) -> dict[str, Any]:
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
    if item.predictions is not None:
        values["predictions"] = _prediction_values(item.predictions, item.condition, number, shown, arrays)
    return values


def _prediction_values(
    found: Predictions, condition: str, number: Numbers, shown: Numbers, arrays: _Arrays
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
