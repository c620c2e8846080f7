"""`monosemy measure`: how monosemantic and how sparse features are."""

from pathlib import Path
from typing import Annotated, Any

import typer
from annotated_types import Len

from monosemy.cli.options import Json, Out, Quiet, with_settings
from monosemy.core.config import Config, validated
from monosemy.core.console import make_console, print_line, progress
from monosemy.data.config import DataConfig

app = typer.Typer(add_completion=False)


class MeasureConfig(Config):
    """Files to measure, and whether separability is measured too."""

    source: str
    """Embeddings or codes: .npz (also of scipy.sparse.save_npz), .npy, .safetensors, .parquet or .jsonl."""
    labels: Path | None = None
    """File of labels, if the source has none."""
    input_column: str | None = None
    """Array or column of the embeddings or codes; by default recognised by its name."""
    label_column: str | None = None
    """Array or column of the labels; by default recognised by its name."""
    separability: bool = False
    """Measure J and d of dimensions, class pairs and classes too."""
    label_noise: Annotated[tuple[float, ...], Len(1)] | None = None
    """Rates of label noise for --separability; by default those of 0.3,0.9 that leave information."""
    embeddings: Path | None = None
    """Embeddings that codes were made from, row by row: for MonoScore, and probed for comparison."""
    reconstruction: Path | None = None
    """Reconstruction of these embeddings from the codes: for explained variance."""


@app.command()
@with_settings(
    MeasureConfig,
    {
        "Data": {
            "--labels": "labels",
            "--input-column": "input_column",
            "--label-column": "label_column",
            "--embeddings": "embeddings",
            "--reconstruction": "reconstruction",
        },
        "Separability": {"--separability": "separability", "--label-noise": "label_noise"},
    },
    {"file": "source"},
    plan=False,
)
def measure(settings: dict[str, Any], out: Out = None, quiet: Quiet = False, json: Json = False) -> None:
    """Measure how monosemantic and how sparse embeddings or codes are, and how well a dimension tells classes apart.

    **Examples**

    `monosemy measure embeddings.npz`

    `monosemy measure codes.npy --labels labels.csv --separability --label-noise 0.3,0.9`

    `monosemy measure codes.npz --labels labels.csv --embeddings embeddings.npy --out runs/measured`
    """
    config = validated(MeasureConfig, settings, "The command")
    # Imported here: `--help` needs none of them.
    from monosemy.core.environment import write_environment
    from monosemy.metrics.measurement import measure_source, write_measurement
    from monosemy.report.measurement import measurement_json, print_measurement

    console = make_console(quiet, json)
    data = DataConfig(
        source=config.source, labels=config.labels, input_column=config.input_column, label_column=config.label_column
    )
    with progress(console) as on_progress:
        measurement = measure_source(
            data, config.separability, config.label_noise, config.embeddings, config.reconstruction,
            lambda done, n: on_progress("Rows", done, n),
        )  # fmt: skip
    path = None
    if out is not None:
        path = write_measurement(measurement, out)
        write_environment(out, {})  # nothing here is drawn
    if json:
        print(measurement_json(measurement))
    print_measurement(measurement, console)
    if path is not None:
        print_line(console, f"\nEvery number: {path}")
