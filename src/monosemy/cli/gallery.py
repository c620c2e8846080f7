"""`monosemy gallery`: what the dimensions of embeddings or codes respond to."""

from pathlib import Path
from typing import Annotated

import typer

from monosemy.cli.shared import Json, Quiet
from monosemy.core.console import make_console


def gallery(
    codes: Annotated[
        str,
        typer.Argument(
            help="Codes or embeddings: .npz (also of scipy.sparse.save_npz), .npy, .safetensors, .parquet or .jsonl."
        ),
    ],
    inputs: Annotated[
        str | None,
        typer.Option(help="What they were made from, row by row: a folder or table of images, or a table of texts."),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="File of labels, where neither codes nor inputs have any.")
    ] = None,
    embeddings: Annotated[
        Path | None, typer.Option(help="What MonoScore takes similarities from; default the codes themselves.")
    ] = None,
    column: Annotated[str | None, typer.Option(help="Column of the codes.")] = None,
    input_column: Annotated[str | None, typer.Option(help="Column of the images or texts.")] = None,
    label_column: Annotated[str | None, typer.Option(help="Column of the labels.")] = None,
    out: Annotated[Path, typer.Option(help="The page.")] = Path("gallery.html"),
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """What does each dimension respond to? Its strongest images or texts, classes and scores, on one page to search.

    **Examples**

    `monosemy gallery codes.npz --inputs photos/` — images in a folder, labelled by their class folders

    `monosemy gallery codes.npz --inputs queries.csv --embeddings embeddings.npy --out queries.html`

    `monosemy gallery both.parquet --column embedding --inputs both.parquet --input-column text`
    """
    from monosemy.commands.gallery import GalleryRequest, execute

    request = GalleryRequest(codes, inputs, labels, embeddings, column, input_column, label_column, out)
    execute(request, make_console(quiet, json), as_json=json)
