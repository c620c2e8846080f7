"""Sparse autoencoders side by side, in the terminal and as JSON."""

from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from monosemy.machine_readable import json_text
from monosemy.report.measured import METRIC_NAMES, metric_text

if TYPE_CHECKING:
    from monosemy.metrics.autoencoders import Evaluated, Evaluation

_BESIDE = 4
"""Models in one table of 80 columns."""


def print_evaluation(found: "Evaluation", console: Console) -> None:
    """Print a column for each model; more than four make several tables."""
    # Text, never markup: names may hold square brackets.
    of_classes = f"{len(found.class_names)} classes" if found.class_names else "no labels"
    console.print(Text(f"{found.source}: {found.n_rows} rows, {of_classes}", style="bold"))
    for number, (name, model) in enumerate(found.models.items(), start=1):
        console.print(Text(f"{number}  {name}: {_about(model)}"), soft_wrap=True)
    models = list(found.models.values())
    for first in range(0, len(models), _BESIDE):
        beside = models[first : first + _BESIDE]
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column("model", no_wrap=True)
        for number in range(first, first + len(beside)):
            table.add_column(str(number + 1), justify="right", no_wrap=True)
        for metric, name in METRIC_NAMES.items():
            if metric in beside[0].metrics:
                table.add_row(Text(name), *(metric_text(metric, model.metrics[metric]) for model in beside))
        console.print()
        console.print(table)
    if not found.class_names:
        console.print(Text("\nWithout labels nothing is said of classes; name a file of them by --labels."))


def evaluation_json(found: "Evaluation") -> str:
    """What was found of each model as JSON; what is not known is null."""
    models = [
        {
            "model": name,
            "activation": model.activation,
            "n_inputs": model.n_inputs,
            "n_latents": model.n_latents,
            "k": model.k,
            "metrics": model.metrics,
        }
        for name, model in found.models.items()
    ]
    answer = {"source": found.source, "rows": found.n_rows, "classes": list(found.class_names), "models": models}
    return json_text(answer)


def _about(model: "Evaluated") -> str:
    active = "" if model.k is None else f", k={model.k}"
    return f"{model.activation}{active}, {model.n_latents} latents of {model.n_inputs} numbers"
