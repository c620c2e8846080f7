"""``monosemy sae eval``: sparse autoencoders measured side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from rich.console import Console

from monosemy.core.console import progress
from monosemy.core.environment import write_environment
from monosemy.core.files import atomic_path
from monosemy.data.labels import stored_labels
from monosemy.data.streams import open_stream
from monosemy.errors import InputError
from monosemy.report.measurement import evaluation_json, print_evaluation
from monosemy.sae.evaluation import Evaluation, check_widths, evaluate
from monosemy.sae.hub import from_pretrained, own_models
from monosemy.sae.module import Autoencoder

SUMMARY, LATENTS = "summary.csv", "latents.parquet"


@dataclass(frozen=True)
class SaeEvalRequest:
    """What the command was asked for."""

    models: Sequence[str]
    data: str
    labels: Path | None = None
    column: str | None = None
    label_column: str | None = None
    out: Path | None = None


def execute(request: SaeEvalRequest, console: Console, *, as_json: bool) -> None:
    """Measure, write what is asked for, and print."""
    if request.out is not None and request.out.exists() and not request.out.is_dir():
        raise InputError(f"out is {str(request.out)!r}, which is no folder one can write to; give another.")
    models = load_models(request.models)
    stream = open_stream(request.data, request.column)
    check_widths(models, stream)  # before labels are read
    found = stored_labels(request.data, request.labels, request.column, request.label_column)
    labels, names = (None, ()) if found is None else found
    with progress(console) as on_progress:
        result = evaluate(models, stream, labels, names, lambda done, total: on_progress("Rows", done, total))
    if request.out is not None:
        write_evaluation(result, request.out)
        write_environment(request.out, {})  # nothing here is drawn
    if as_json:
        print(evaluation_json(result))
    print_evaluation(result, console)
    if request.out is not None:
        console.print(f"\nEvery number: {request.out}", highlight=False, markup=False, soft_wrap=True)


def load_models(sources: Sequence[str]) -> dict[str, Autoencoder]:
    """Models by where they come from, each once; of a folder of `monosemy sae train` all of them."""
    found: dict[str, Autoencoder] = {}
    for source in sources:
        own = own_models(Path(source))
        found |= {name: from_pretrained(name) for name in (map(str, own) if len(own) > 1 else (source,))}
    return found


def write_evaluation(found: Evaluation, folder: Path) -> None:
    """Write summary.csv (model, metric, value) and latents.parquet (model, latent, metric, value)."""
    summary = pd.DataFrame(
        [(name, metric, value) for name, model in found.models.items() for metric, value in model.metrics.items()],
        columns=["model", "metric", "value"],
    )
    tables = [
        model.latents.rename(columns={"dimension": "latent"})[["latent", "metric", "value"]].assign(model=name)
        for name, model in found.models.items()
    ]
    latents = pd.concat(tables, ignore_index=True)[["model", "latent", "metric", "value"]]
    try:
        with atomic_path(folder / SUMMARY) as temporary:
            summary.to_csv(temporary, index=False)
        with atomic_path(folder / LATENTS) as temporary:
            latents.to_parquet(temporary, index=False)
    except OSError as error:
        raise InputError(f"out is {str(folder)!r}, which is no folder one can write to; give another.") from error
