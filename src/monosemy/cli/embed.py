"""`monosemy embed`: embeddings of texts or images, with their labels and splits, in one file."""

from pathlib import Path
from typing import Annotated, Any

import typer

from monosemy.cli.options import Json, Quiet, with_settings
from monosemy.core.config import Config, validated
from monosemy.core.console import json_text, make_console, print_line, progress
from monosemy.data.config import DataConfig
from monosemy.encoders.config import Layer
from monosemy.errors import InputError

app = typer.Typer(add_completion=False)
FORMAT = ".npz"


class EmbedConfig(Config):
    """Inputs to embed, and the encoder."""

    data: DataConfig
    encoder: str | None = None
    """A text model by name or folder, or an encoder of `monosemy pretrain`. Texts: all-MiniLM-L6-v2 by default."""
    layer: Layer = "features"
    """Layer of an encoder of `monosemy pretrain`: features or backbone."""


@app.command("embed")
@with_settings(
    EmbedConfig,
    {
        "Data": {
            "--input-column": "data.input_column",
            "--label-column": "data.label_column",
            "--on-bad-row": "data.on_bad_row",
        },
        "Encoder": {"--encoder": "encoder", "--layer": "layer"},
    },
    {"data": "data.source"},
)
def command(
    settings: dict[str, Any],
    out: Annotated[Path, typer.Option(help="File of the embeddings, .npz.", rich_help_panel="Output")],
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Embed texts or images; labels and splits of the source go into the same file.

    Rows that were embedded before come from the cache.

    **Examples**

    `monosemy embed queries.csv --out embeddings.npz`

    `monosemy embed photos/ --encoder runs/simclr --out embeddings.npz`

    `monosemy study --data embeddings.npz`
    """
    config = validated(EmbedConfig, settings, "The command")
    if out.suffix.lower() != FORMAT:
        raise InputError(f"--out {str(out)!r} does not end in {FORMAT}; give such a name.")
    # Imported here: `--help` needs none of them.
    import numpy as np

    from monosemy.core.files import atomic_path
    from monosemy.data.load import read_rows
    from monosemy.encoders.rows import embed_rows

    console = make_console(quiet, json)
    rows = read_rows(config.data.source, config.data, labelled=False)
    messages = list(rows.messages)
    with progress(console) as on_progress:
        if rows.kind == "embeddings":
            raise InputError(f"{config.data.source} holds embeddings already; give texts or images.")
        embeddings, kept = embed_rows(rows, config.data, config.encoder, config.layer, messages, on_progress)
    arrays: dict[str, Any] = {"embeddings": embeddings}
    for name, values in (("labels", rows.labels), ("split", rows.splits)):
        if values is not None:
            arrays[name] = np.array([values[i] for i in kept])
    try:
        with atomic_path(out) as temporary:
            np.savez(temporary, **arrays)
    except OSError as error:
        raise InputError(f"out={str(out)!r} cannot be written to ({error.strerror}); give another.") from error
    if json:
        shapes = {name: list(array.shape) for name, array in arrays.items()}
        print(json_text({"out": out, "arrays": shapes, "messages": messages}))
    for message in messages:
        print_line(console, message)
    print_line(console, f"{len(embeddings):,} embeddings of {embeddings.shape[1]:,} dimensions in {out}")
    if "labels" in arrays:
        print_line(console, f"To study them: monosemy study --data {out}")
