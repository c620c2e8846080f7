"""`monosemy sae eval` and `monosemy sae export`: what a sparse autoencoder is worth, and what is taken out of it."""

from pathlib import Path
from typing import Annotated

import typer

from monosemy.cli.completion import one_of
from monosemy.cli.shared import Json, Quiet
from monosemy.core.console import make_console

_DATA = "Rows: .npy, .npz, .safetensors or .parquet; a folder of them, or 'PATTERN*.npy'."
_COLUMN = "Array or column that holds the rows, where it has an unusual name."


def evaluate(
    models: Annotated[
        list[str],
        typer.Argument(
            help="Model files or folders of monosemy, SAELens or dictionary_learning; or Hugging Face ids.",
            show_default=False,
        ),
    ],
    data: Annotated[str, typer.Argument(help=_DATA, show_default=False)],
    labels: Annotated[
        Path | None, typer.Option(help="File of labels; default those in the file of the rows, if any.")
    ] = None,
    column: Annotated[str | None, typer.Option(help=_COLUMN)] = None,
    label_column: Annotated[str | None, typer.Option(help="Array or column that holds the labels.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for summary.csv and latents.parquet.")] = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """How faithful, how sparse and how monosemantic are sparse autoencoders? Several side by side, in one reading.

    **Examples**

    `monosemy sae eval runs/sae embeddings.npy --labels labels.csv`

    `monosemy sae eval seed0.safetensors saelens-folder/ embeddings.npz --out runs/compared`
    """
    from monosemy.commands.sae_eval import SaeEvalRequest, execute

    request = SaeEvalRequest(models=models, data=data, labels=labels, column=column, label_column=label_column, out=out)
    execute(request, make_console(quiet, json), as_json=json)


def export(
    model: Annotated[
        str,
        typer.Argument(
            help="Model file or folder of monosemy, SAELens or dictionary_learning; or a Hugging Face id.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="For codes a .npz (SciPy CSR), .safetensors or .parquet file; for --to a folder.", show_default=False
        ),
    ],
    data: Annotated[str | None, typer.Argument(help=_DATA, show_default=False)] = None,
    to: Annotated[
        str | None,
        typer.Option(
            help="Write the model itself: saelens, dictionary_learning or monosemy.",
            autocompletion=one_of("monosemy.commands.sae_export", "LAYOUTS"),
        ),
    ] = None,
    column: Annotated[str | None, typer.Option(help=_COLUMN)] = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Write the codes of data, a few rows in memory at a time; or the model in another library's layout.

    **Examples**

    `monosemy sae export model.safetensors embeddings.npy --out codes.npz`

    `monosemy sae export model.safetensors --to saelens --out for-saelens/`
    """
    from monosemy.commands.sae_export import SaeExportRequest, execute

    execute(SaeExportRequest(model=model, data=data, out=out, to=to, column=column), make_console(quiet, json), json)
