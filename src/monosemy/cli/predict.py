"""`monosemy predict`: the classes of rows by a saved classifier."""

from pathlib import Path
from typing import Annotated, Any

import typer

from monosemy.cli.options import Json, Quiet, with_settings
from monosemy.core.config import Config, validated
from monosemy.core.console import json_text, make_console, print_line, progress
from monosemy.data.config import DataConfig
from monosemy.errors import InputError

app = typer.Typer(add_completion=False)
_ROWS = 8192
"""Rows that are predicted and written at a time."""


class PredictConfig(Config):
    """A saved classifier and the rows to predict."""

    model: Path
    """Folder of `monosemy fit`."""
    data: DataConfig
    explain: bool = False
    """Add the features, or the rows, that speak most for each prediction."""


@app.command("predict")
@with_settings(
    PredictConfig,
    {
        "Data": {"--input-column": "data.input_column", "--on-bad-row": "data.on_bad_row"},
        "Prediction": {"--explain": "explain"},
    },
    {"model": "model", "data": "data.source"},
)
def command(
    settings: dict[str, Any],
    out: Annotated[Path, typer.Option(help="Table of the predictions, .csv.", rich_help_panel="Output")],
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Write class and probability of every row; the encoder is the one that the model was fitted with.

    **Examples**

    `monosemy predict model new.csv --out predictions.csv`

    `monosemy predict model embeddings.npy --out predictions.csv --explain`
    """
    config = validated(PredictConfig, settings, "The command")
    if out.suffix.lower() != ".csv":
        raise InputError(f"--out {str(out)!r} does not end in .csv; give such a name.")
    # Imported here: `--help` needs none of them.
    import pandas as pd

    from monosemy.core.files import atomic_path
    from monosemy.data.load import read_rows
    from monosemy.model.data import embedded_rows
    from monosemy.model.robust import RobustClassifier

    console = make_console(quiet, json)
    model = RobustClassifier.load(config.model)
    about = model.about_
    with progress(console) as on_progress:
        rows = read_rows(config.data.source, config.data, labelled=False)
        if rows.kind not in ("embeddings", about.get("kind")):
            raise InputError(
                f"The model {config.model} was fitted to {about.get('kind')}, but {config.data.source} holds "
                f"{rows.kind}; give {about.get('kind')}."
            )
        encoder = None if rows.kind == "embeddings" else about.get("encoder")
        data = embedded_rows(rows, config.data, encoder, about.get("layer", "features"), on_progress)
        X, names, counts = data.embeddings, data.row_names(), dict[str, int]()
        if X.shape[1] != model.n_features_in_:
            raise InputError(
                f"{config.data.source} has {X.shape[1]} dimensions, but the model {config.model} takes "
                f"{model.n_features_in_}; embed the rows with the encoder that it was fitted with."
            )
        try:
            with atomic_path(out) as temporary:
                for start in range(0, len(X), _ROWS):
                    part = X[start : start + _ROWS]
                    shares = model.predict_proba(part)
                    best = shares.argmax(axis=1)
                    table = pd.DataFrame({"row": names[start : start + _ROWS], "class": model.classes_[best],
                                          "probability": shares.max(axis=1)})  # fmt: skip
                    if config.explain:
                        table["because"] = model.explain(part).sentences()
                    table.to_csv(temporary, mode="a", header=start == 0, index=False, float_format="%.6g")
                    for name, count in table["class"].value_counts().items():
                        counts[str(name)] = counts.get(str(name), 0) + int(count)
                    on_progress("Rows", start + len(part), len(X))
        except OSError as error:
            raise InputError(f"out={str(out)!r} cannot be written to ({error.strerror}); give another.") from error
    if json:
        print(json_text({"table": out, "rows": len(X), "classes": counts, "messages": data.messages}))
    for message in data.messages:
        print_line(console, message)
    print_line(console, f"{len(X):,} rows, {len(counts):,} of {len(model.classes_):,} classes predicted: {out}")
