"""`monosemy check`: a look at a data set before anything is computed on it."""

from typing import Any

import typer

from monosemy.cli.options import Json, Quiet, with_settings
from monosemy.core.config import Config, validated
from monosemy.core.console import json_text, make_console, progress
from monosemy.data.config import DataConfig

app = typer.Typer(add_completion=False)


class CheckPlan(Config):
    """The data to look at, and the seed of splits that are drawn."""

    data: DataConfig = DataConfig()
    """The source of the data and how it is read."""
    seed: int = 0
    """Seed of the splits, where the source has none."""


@app.command()
@with_settings(
    CheckPlan,
    {
        "Data": {
            "--labels": "data.labels",
            "--input-column": "data.input_column",
            "--label-column": "data.label_column",
            "--split-column": "data.split_column",
            "--group-column": "data.group_column",
            "--noisy-labels": "data.noisy_labels",
            "--on-bad-row": "data.on_bad_row",
            "--seed": "seed",
        }
    },
    {"data": "data.source"},
)
def command(settings: dict[str, Any], quiet: Quiet = False, json: Json = False) -> None:
    """Look at a data set before a study: sizes, classes, splits, missing values, copies, suspicious labels, scales.

    Exits with 0, also where something is worth a warning, and with 2 where no study can run.

    **Examples**

    `monosemy check queries.csv`

    `monosemy check embeddings.npy --labels labels.csv --json`

    `monosemy check photos/ --set data.image_size=64`
    """
    plan = validated(CheckPlan, settings, "The command")
    # Imported here: `--help` needs none of them.
    from monosemy.data.check import check_data
    from monosemy.encoders.text import default_truncation
    from monosemy.report.data import print_report

    console = make_console(quiet, json)
    with progress(console) as on_progress:
        report = check_data(plan.data, plan.seed, on_progress, default_truncation)
    if json:
        print(json_text(report.to_dict()))
    print_report(report, console)
    if not report.can_run:
        raise typer.Exit(2)
