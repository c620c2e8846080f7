"""`monosemy gallery`: what dimensions respond to, on one page; and the same for a study."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from monosemy.core.console import Progress, json_text, progress
from monosemy.data.codes import LoadedCodes, load_codes
from monosemy.data.dataset import DataConfig, LabelledData, Rows, encode_labels, ordered_classes
from monosemy.data.load import load_data, read_rows, source_name
from monosemy.errors import InputError, reason
from monosemy.metrics.explanations import explain
from monosemy.report.gallery import Gallery, GallerySet, ordered_sets, write_gallery
from monosemy.report.html import GALLERY
from monosemy.report.tables import feature_title, level_text, scenario_phrase
from monosemy.study.folder import data_key
from monosemy.study.probing.explanations import SEED, explanation_path, read_explained
from monosemy.study.probing.plan import Plan

_IN_MEMORY = "arrays:"


@dataclass(frozen=True)
class GalleryRequest:
    """What the command was asked for."""

    codes: str
    inputs: str | None = None
    labels: Path | None = None
    embeddings: Path | None = None
    column: str | None = None
    input_column: str | None = None
    label_column: str | None = None
    out: Path = Path(GALLERY)


def execute(request: GalleryRequest, console: Console, *, as_json: bool = False) -> None:
    """Explain the dimensions of a file and write the page.

    Raises:
        InputError: something cannot be read; where it is an image of the inputs, the page is made without it.
    """
    if request.out.suffix != ".html" or request.out.is_dir():
        raise InputError(f"out is {str(request.out)!r}, which is no name of a page; let it end in .html.")
    loaded = load_codes(
        DataConfig(
            source=request.codes,
            input_column=request.column,
            label_column=request.label_column if request.inputs is None else None,
            labels=request.labels,
        )
    )
    rows = None if request.inputs is None else _inputs(request, loaded.codes.shape[0])
    loaded = _with_labels(loaded, rows, request)
    reference_embeddings = (
        None if request.embeddings is None else load_codes(DataConfig(source=str(request.embeddings))).codes
    )
    labels = loaded.labels if len(loaded.class_names) > 1 else None
    if loaded.labels is not None and labels is None:
        console.print(Text(f"All rows are of the class {loaded.class_names[0]}, so nothing is said of classes."))
    name = source_name(request.codes)
    found = explain(loaded.codes, labels, len(loaded.class_names), reference_embeddings)
    gallery = Gallery(
        title=name,
        about=f"{len(found.support):,} dimensions on {loaded.codes.shape[0]:,} samples"
        + ("" if rows is None else f" of {source_name(request.inputs or '')}")
        + ".",
        n_samples=loaded.codes.shape[0],
        sets=(GallerySet(name, "", found),),
        labels=labels,
        class_names=() if labels is None else loaded.class_names,
        inputs=None if rows is None else rows.inputs,
    )
    with progress(console) as on_progress:
        problems = write_gallery(gallery, request.out, on_progress)
    if as_json:
        dimensions = {"dimensions": len(found.support), "samples": gallery.n_samples}
        print(json_text({"page": request.out} | dimensions | {"problems": problems}))
    console.print(Text(str(request.out)), soft_wrap=True)
    if problems:
        raise InputError(f"{' '.join(problems)} The page {request.out} shows the rest.")


def _inputs(request: GalleryRequest, n_codes: int) -> Rows:
    """The images or texts, one for each row of the codes."""
    assert request.inputs is not None
    config = DataConfig(source=request.inputs, input_column=request.input_column, label_column=request.label_column)
    rows = read_rows(request.inputs, config, labelled=False)
    if rows.kind == "embeddings":
        raise InputError(f"{request.inputs} holds embeddings, which nobody can look at; give images or texts.")
    if len(rows.inputs) != n_codes:
        raise InputError(
            f"{request.inputs} has {len(rows.inputs)} {rows.kind}, but {request.codes} {n_codes} rows; give one for "
            f"each, in the same order."
        )
    return rows


def _with_labels(loaded: LoadedCodes, rows: Rows | None, request: GalleryRequest) -> LoadedCodes:
    """Labels of the inputs where the codes have none."""
    if loaded.labels is not None or rows is None or rows.labels is None:
        return loaded
    missing = rows.labels.count("")
    if missing:
        raise InputError(f"{request.inputs} has {missing} rows without a label; drop these rows.")
    names = ordered_classes(rows.labels, rows.vocabulary)
    return LoadedCodes(loaded.codes, encode_labels(rows.labels, names), names)


def write_study_gallery(plan: Plan, data: LabelledData, study: Path, out: Path, on_progress: Progress) -> None:
    """The page of a study's test samples, from the explanations that its folder keeps."""
    sets = []
    for name in plan.features:
        path = explanation_path(study, name)
        if path.is_file():
            kept = read_explained(path)
            condition = f"{scenario_phrase(kept.scenario)} ({level_text(kept.scenario, kept.level)})"
            sets.append(GallerySet(name, feature_title(name), kept.explanations, kept.predictions, condition))
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
    write_gallery(gallery, out / GALLERY, on_progress)


def again(plan: Plan, study: Path, out: Path, on_progress: Progress) -> str | None:
    """Make the gallery of a finished study where it is missing; the data is read again.

    Returns: why there is none though there should be, as a sentence.
    """
    page = study / GALLERY
    if page.is_file():
        if out.resolve() != study.resolve():
            out.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(page, out / GALLERY)
        return None
    kept = any(explanation_path(study, name).is_file() for name in plan.features)
    if not kept or plan.data.source.startswith(_IN_MEMORY):
        return None
    environment = study / "environment.json"
    try:
        known = json.loads(environment.read_text(encoding="utf-8"))["data"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        return f"The gallery was not made: {environment} cannot be read ({reason(error)}); run the study again."
    try:
        data = load_data(plan.data, plan.seed, on_progress)
        if data_key(data, plan.encoder.files) != known:
            return f"The gallery was not made: {plan.data.source} is no longer the data of the study in {study}."
        write_study_gallery(plan, data, study, out, on_progress)
    except InputError as error:
        return f"The gallery was not made: {error}"
    return None
