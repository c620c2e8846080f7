"""`monosemy gallery`: what the dimensions of embeddings or codes respond to."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monosemy.cli.options import Json, Quiet
from monosemy.core.config import validated
from monosemy.core.console import json_text, make_console, print_line, progress
from monosemy.data.config import DataConfig
from monosemy.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from rich.console import Console

    from monosemy.data.codes import LoadedCodes
    from monosemy.data.dataset import Rows
    from monosemy.functional.consistency import Codes
    from monosemy.metrics.names import LatentNames

app = typer.Typer(add_completion=False)


@app.command()
def gallery(
    codes: Annotated[
        str,
        typer.Argument(
            help="Codes or embeddings: .npz (also of scipy.sparse.save_npz), .npy, .safetensors, .parquet or .jsonl; "
            "or the folder of a study."
        ),
    ],
    data: Annotated[
        str | None,
        typer.Option(
            help="Images or texts, one per row of the codes: a folder or table of images, or a table of texts."
        ),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="File of labels, if neither the codes nor the data have any.")
    ] = None,
    embeddings: Annotated[
        Path | None, typer.Option(help="Embeddings that MonoScore takes similarities from; by default the codes.")
    ] = None,
    column: Annotated[str | None, typer.Option(help="Column of the codes.")] = None,
    input_column: Annotated[str | None, typer.Option(help="Column of the images or texts.")] = None,
    label_column: Annotated[str | None, typer.Option(help="Column of the labels.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="The page, a .html file; for a study its folder.  [default: gallery.html]")
    ] = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Show what each dimension responds to: its strongest images or texts, classes and scores, on one page to search.

    **Examples**

    `monosemy gallery codes.npz --data photos/` — images in a folder, labelled by their class folders

    `monosemy gallery codes.npz --data queries.csv --embeddings embeddings.npy --out queries.html`

    `monosemy gallery both.parquet --column embedding --data both.parquet --input-column text`

    `monosemy gallery runs/digit-pairs` — the page of a study, again
    """
    from monosemy.data.codes import load_codes
    from monosemy.data.load import source_name
    from monosemy.metrics.explanations import explain
    from monosemy.report.data import print_summary
    from monosemy.report.gallery import Gallery, GallerySet, write_gallery
    from monosemy.report.html import GALLERY

    console = make_console(quiet, json)
    if (Path(codes) / "plan.yaml").is_file():
        _write_again(Path(codes), out, console, json)
        return
    page = out or Path(GALLERY)
    if page.suffix != ".html" or page.is_dir():
        raise InputError(f"--out is {str(page)!r}, which does not name a page; give a name that ends in .html.")
    source = {
        "source": codes, "input_column": column, "labels": labels,
        "label_column": label_column if data is None else None,
    }  # fmt: skip
    loaded = load_codes(validated(DataConfig, source, "The command"))
    if loaded.report is not None and (loaded.report.classes or loaded.report.findings):
        print_summary(loaded.report, console)
    rows = None if data is None else _rows(data, input_column, label_column, codes, loaded.codes.shape[0])
    if loaded.labels is None and rows is not None and rows.labels is not None:
        loaded = _with_labels(loaded, rows, data)
    reference = None if embeddings is None else load_codes(DataConfig(source=str(embeddings))).codes
    class_labels = loaded.labels if len(loaded.class_names) > 1 else None
    if loaded.labels is not None and class_labels is None:
        one_class = f"All rows are of the class {loaded.class_names[0]}, so the page leaves classes out."
        console.print(one_class, highlight=False, markup=False, emoji=False)
    explanations = explain(loaded.codes, class_labels, len(loaded.class_names), reference)
    names = _names(loaded.codes, rows, class_labels, loaded.class_names)
    n_samples, n_dimensions = loaded.codes.shape[0], len(explanations.support)
    of_data = "" if data is None else f" of {source_name(data)}"
    content = Gallery(
        title=source_name(codes),
        about=f"{n_dimensions:,} dimensions on {n_samples:,} samples{of_data}.",
        n_samples=n_samples,
        sets=(GallerySet(source_name(codes), "", explanations, names=names),),
        labels=class_labels,
        class_names=() if class_labels is None else loaded.class_names,
        inputs=None if rows is None else rows.inputs,
    )
    with progress(console) as on_progress:
        problems = write_gallery(content, page, on_progress)
    if json:
        print(json_text({"page": page, "dimensions": n_dimensions, "samples": n_samples, "problems": problems}))
    print_line(console, str(page))
    if problems:
        raise InputError(f"{' '.join(problems)} The page {page} shows the rest.")


def _rows(source: str, input_column: str | None, label_column: str | None, codes: str, n_codes: int) -> "Rows":
    """Return the images or texts, one for each row of the codes."""
    from monosemy.data.load import read_rows

    config = DataConfig(source=source, input_column=input_column, label_column=label_column)
    rows = read_rows(source, config, labelled=False)
    if rows.kind == "embeddings":
        raise InputError(f"{source} holds embeddings, which cannot be shown; give images or texts.")
    if len(rows.inputs) != n_codes:
        raise InputError(
            f"{source} has {len(rows.inputs)} {rows.kind}, but {codes} has {n_codes} rows; give one for each, in the "
            f"same order."
        )
    return rows


def _names(
    codes: "Codes", rows: "Rows | None", labels: "np.typing.NDArray[np.int64] | None", class_names: tuple[str, ...]
) -> "LatentNames | None":
    """Return the names of the dimensions: the words of texts, else classes; None where there are neither."""
    from monosemy.metrics.names import name_latents

    if rows is not None and rows.kind == "texts":
        return name_latents(codes, rows.inputs)
    return None if labels is None else name_latents(codes, labels=labels, class_names=class_names)


def _with_labels(loaded: "LoadedCodes", rows: "Rows", source: str | None) -> "LoadedCodes":
    """Return the codes with the labels of the inputs."""
    from monosemy.data.codes import LoadedCodes
    from monosemy.data.dataset import encode_labels, ordered_classes

    assert rows.labels is not None
    missing = rows.labels.count("")
    if missing:
        raise InputError(f"{source} has {missing} rows without a label; drop these rows.")
    names = ordered_classes(rows.labels, rows.vocabulary)
    return LoadedCodes(loaded.codes, encode_labels(rows.labels, names), names)


def _write_again(study: Path, out: Path | None, console: "Console", json: bool) -> None:
    """Write the gallery of a finished study if it is missing."""
    from monosemy.report.html import GALLERY
    from monosemy.study.registry import read_study, study_kind

    folder, result = out or study, read_study(study)
    with progress(console) as on_progress:
        problem = study_kind(result.kind).restore_files(result, folder, on_progress)
    page = folder / GALLERY
    if problem is not None or not page.is_file():
        raise InputError(problem or f"The study in {study} keeps no explanations of dimensions; run it again.")
    if json:
        print(json_text({"page": page}))
    print_line(console, str(page))
