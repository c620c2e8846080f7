"""`monosemy measure`: how monosemantic and how sparse features are."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from annotated_types import Len

from monosemy.cli.options import Json, Out, Quiet, with_settings
from monosemy.core.config import Config, validated
from monosemy.core.console import make_console, print_line, progress
from monosemy.data.config import DataConfig, OnBadRow
from monosemy.errors import InputError, reason

if TYPE_CHECKING:
    from monosemy.data.codes import LoadedCodes
    from monosemy.metrics.names import LatentNames

app = typer.Typer(add_completion=False)
FILE_NAME = "measure.parquet"


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
    on_bad_row: OnBadRow = "stop"
    """Stop at rows without a label or with NaN, or leave them out and report them."""
    separability: bool = False
    """Measure J and d of dimensions, class pairs and classes too."""
    label_noise: Annotated[tuple[float, ...], Len(1)] | None = None
    """Rates of label noise for --separability; by default those of 0.3,0.9 that leave information."""
    embeddings: Path | None = None
    """Embeddings that codes were made from, row by row: for MonoScore, and probed for comparison."""
    reconstruction: Path | None = None
    """Reconstruction of these embeddings from the codes: for explained variance."""
    names: Path | None = None
    """CSV file to write names of the dimensions to: words of --data, or classes of the labels."""
    data: str | None = None
    """Table of the texts that the codes were made from, row by row: for --names."""


@app.command("measure")
@with_settings(
    MeasureConfig,
    {
        "Data": {
            "--labels": "labels",
            "--input-column": "input_column",
            "--label-column": "label_column",
            "--embeddings": "embeddings",
            "--reconstruction": "reconstruction",
            "--on-bad-row": "on_bad_row",
        },
        "Names": {"--names": "names", "--data": "data"},
        "Separability": {"--separability": "separability", "--label-noise": "label_noise"},
    },
    {"file": "source"},
    plan=False,
)
def command(settings: dict[str, Any], out: Out = None, quiet: Quiet = False, json: Json = False) -> None:
    """Measure how monosemantic and how sparse embeddings or codes are, and how well a dimension tells classes apart.

    **Examples**

    `monosemy measure embeddings.npz`

    `monosemy measure codes.npy --labels labels.csv --separability --label-noise 0.3,0.9`

    `monosemy measure codes.npz --labels labels.csv --embeddings embeddings.npy --out runs/measured`

    `monosemy measure codes.npz --data queries.csv --names names.csv`
    """
    config = validated(MeasureConfig, settings, "The command")
    # Imported here: `--help` needs none of them.
    from monosemy.core.environment import write_environment
    from monosemy.core.files import atomic_path
    from monosemy.data.codes import load_codes
    from monosemy.metrics.measurement import measure
    from monosemy.report.data import print_summary
    from monosemy.report.measurement import measurement_json, print_measurement, print_names

    if config.data is not None and config.names is None:
        raise InputError(f"data={config.data!r} is for names, which are not asked for; add --names names.csv.")
    console = make_console(quiet, json)
    reading = config.model_dump(include={"source", "labels", "input_column", "label_column", "on_bad_row"})
    loaded = load_codes(DataConfig(**reading))
    reference, decoded = (
        None if path is None else load_codes(DataConfig(source=str(path))).codes
        for path in (config.embeddings, config.reconstruction)
    )
    if loaded.kept is not None:
        reference, decoded = (None if rows is None else rows[loaded.kept] for rows in (reference, decoded))
    if config.names is not None and config.data is None and loaded.labels is None:
        raise InputError(
            f"{config.source} has no labels, but names are made of classes or words; give labels by --labels, or texts "
            f"by --data."
        )
    if loaded.report is not None and (loaded.report.classes or loaded.report.findings):
        print_summary(loaded.report, console)
    with progress(console) as on_progress:
        measurement = measure(
            loaded.codes, loaded.labels, loaded.class_names, reference_embeddings=reference, reconstruction=decoded,
            source=config.source, separability=config.separability, label_noise=config.label_noise,
            on_rows=partial(on_progress, "Rows"),
        )  # fmt: skip
    names = None if config.names is None else _write_names(config, loaded)
    if out is not None:
        try:
            with atomic_path(out / FILE_NAME) as temporary:
                measurement.dimensions.to_parquet(temporary, index=False)
        except OSError as error:
            raise InputError(f"out={str(out)!r} is not a folder that can be written to; give another.") from error
        write_environment(out, {})  # nothing here is drawn
    if json:
        print(measurement_json(measurement, names))
    print_measurement(measurement, console)
    if names is not None:
        print_names(names, console)
        print_line(console, f"\nEvery name: {config.names}")
    if out is not None:
        print_line(console, f"\nEvery number: {out / FILE_NAME}")


def _write_names(config: MeasureConfig, loaded: "LoadedCodes") -> "LatentNames":
    """Name the dimensions and write the names to their file."""
    from monosemy.core.files import write_text
    from monosemy.data.load import read_rows
    from monosemy.metrics.names import name_latents

    assert config.names is not None
    if config.data is None:
        names = name_latents(loaded.codes, labels=loaded.labels, class_names=loaded.class_names)
    else:
        rows = read_rows(config.data, DataConfig(source=config.data), labelled=False)
        if rows.kind != "texts" or not isinstance(rows.inputs, tuple):
            raise InputError(
                f"{config.data} holds {rows.kind}, but names are made of texts or of labels; omit --data, and give "
                f"labels by --labels."
            )
        texts, kept = rows.inputs, loaded.kept
        if kept is not None and len(texts) > kept[-1]:
            texts = tuple(texts[row] for row in kept)
        names = name_latents(loaded.codes, texts)
    try:
        write_text(config.names, names.to_frame().to_csv(index=False, float_format="%.4f"))
    except OSError as error:
        raise InputError(f"names={str(config.names)!r} cannot be written ({reason(error)}); give another.") from error
    return names
