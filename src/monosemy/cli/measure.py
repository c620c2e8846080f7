"""`monosemy measure` and `monosemy stability`: how monosemantic features are, and whether they are real."""

from pathlib import Path
from typing import Annotated

import typer

from monosemy.cli.shared import Json, Quiet
from monosemy.core.console import make_console


def measure(
    source: Annotated[
        str,
        typer.Argument(
            help="Embeddings or codes: .npz (also of scipy.sparse.save_npz), .npy, .safetensors, .parquet or .jsonl."
        ),
    ],
    separability: Annotated[
        bool, typer.Option("--separability", help="Also J and d of dimensions, class pairs and classes.")
    ] = False,
    label_noise: Annotated[
        str | None, typer.Option(help="Rates for --separability; default those of 0.3,0.9 that leave information.")
    ] = None,
    input_column: Annotated[str | None, typer.Option(help="Column of the embeddings.")] = None,
    label_column: Annotated[str | None, typer.Option(help="Column of the labels.")] = None,
    labels: Annotated[Path | None, typer.Option(help="File of labels, for a source that has none.")] = None,
    embeddings: Annotated[
        Path | None,
        typer.Option(help="What codes were made from, row by row: for MonoScore, and probed for comparison."),
    ] = None,
    reconstruction: Annotated[
        Path | None, typer.Option(help="These embeddings as the codes give them back: for explained variance.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for every number as measure.parquet.")] = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """How monosemantic and how sparse are embeddings or codes, and how well does one dimension tell classes apart?

    **Examples**

    `monosemy measure embeddings.npz`

    `monosemy measure codes.npy --labels labels.csv --separability --label-noise 0.3,0.9`

    `monosemy measure codes.npz --labels labels.csv --embeddings embeddings.npy`

    `monosemy measure embeddings.parquet --separability --out runs/measured`
    """
    from monosemy.core.console import progress
    from monosemy.core.environment import write_environment
    from monosemy.data.dataset import DataConfig
    from monosemy.metrics.measurement import measure_source, write_measurement
    from monosemy.report.measurement import measurement_json, print_measurement
    from monosemy.theory.commands import parse_numbers

    config = DataConfig(source=source, input_column=input_column, label_column=label_column, labels=labels)
    rates = None if label_noise is None else parse_numbers("label_noise", label_noise)
    console = make_console(quiet, json)
    with progress(console) as on_progress:
        found = measure_source(
            config, separability, rates, embeddings, reconstruction, lambda done, n: on_progress("Rows", done, n)
        )
    path = None
    if out is not None:
        path = write_measurement(found, out)
        write_environment(out, {})
    if json:
        print(measurement_json(found))
    print_measurement(found, console)
    if path is not None:
        console.print(f"\nEvery number: {path}", highlight=False, markup=False, soft_wrap=True)


def stability(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Two or more dictionaries: .safetensors, .npz or .npy, or a folder of `monosemy sae train`; or with "
            "--codes, codes."
        ),
    ],
    codes: Annotated[
        bool, typer.Option("--codes", help="The files are codes of the same rows; compare activations, not directions.")
    ] = False,
    threshold: Annotated[float, typer.Option(help="A latent is found again from this similarity on.")] = 0.7,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Are the features real? Which latents does training with another seed find again?

    **Examples**

    `monosemy stability runs/sae` — all models of one training

    `monosemy stability seed0.safetensors seed1.safetensors seed2.safetensors`

    `monosemy stability --codes codes0.npz codes1.npz`
    """
    from monosemy.commands.stability import execute

    execute(sources, codes, threshold, make_console(quiet, json), as_json=json)
