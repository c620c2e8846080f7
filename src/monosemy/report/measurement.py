"""What was measured in a file, in the terminal and as JSON.

Sparse autoencoders side by side, in the terminal and as JSON.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd
from rich.console import Console
from rich.text import Text

from monosemy.core.console import json_text
from monosemy.report.tables import NOTHING, percent
from monosemy.report.terminal import text_table

if TYPE_CHECKING:
    from monosemy.metrics.measurement import Measurement
    from monosemy.metrics.names import LatentNames
    from monosemy.sae.evaluation import Evaluation

_MOST_ROWS = 10
_MOST_NOISES = 4
_LONGEST_NAME = 12
_LONGEST_TITLE = 46
METRIC_NAMES = {
    "n_dimensions": "Dimensions",
    "dead": "Dead: fire for no row",
    "dense": "Dense: fire for more than 10 % of the rows",
    "l0": "Active a row (L0)",
    "l0_5_percent": "  5 % of the rows have at most",
    "l0_median": "  half of the rows have at most",
    "l0_95_percent": "  95 % of the rows have at most",
    "effective_rank": "Effective rank",
    "semantic_consistency": "Semantic consistency",
    "consistency_chance": "  that chance would give",
    "consistency_dimensions": "  dimensions with enough support",
    "class_purity": "Class purity, weighted by activation",
    "class_entropy": "Class entropy, in nats",
    "mono_score": "MonoScore",
    "explained_variance": "Explained variance of the reconstruction",
    "normalized_mse": "Normalised MSE of the reconstruction",
    "probe_accuracy": "Accuracy of a linear probe",
    "probe_accuracy_of_embeddings": "  of one on the embeddings",
    "probe_recovered": "  share recovered",
    "decoder_cosine": "|Cosine| of decoder rows, mean",
    "decoder_cosine_rms": "  root mean square",
    "decoder_cosine_max": "  largest",
}
_WHOLE = ("n_dimensions", "consistency_dimensions", "l0_5_percent", "l0_median", "l0_95_percent")
_PERCENT = ("dead", "dense", "explained_variance", "probe_accuracy", "probe_accuracy_of_embeddings", "probe_recovered")


def print_measurement(found: "Measurement", console: Console) -> None:
    """Print the metrics, and where it was measured the separability of dimensions and classes, in 80 columns."""
    _print_source(found, console)
    rows = [
        [name, metric_text(metric, found.metrics[metric])]
        for metric, name in METRIC_NAMES.items()
        if metric in found.metrics
    ]
    _print_table("Features", ["", ""], rows, console)
    if not found.class_names:
        console.print(Text("\nWithout labels nothing is said of classes; name a file of them by --labels."))
    if found.separability is None:
        return
    columns = ["label_noise", "separability_d", "separability"]
    means = [
        ["none" if eta == 0 else percent(float(eta)), _number(float(d)), _number(float(j))]
        for eta, d, j in found.separability.means[columns].itertuples(index=False)
    ]
    title = "Separability of the best dimension of a class pair, mean over pairs"
    _print_table(title, ["label noise", "d", "J"], means, console)
    noises = [float(eta) for eta in found.separability.means["label_noise"][:_MOST_NOISES]]
    _print_dimensions(found, noises, console)
    _print_classes(found.separability.classes, noises, console)
    console.print(
        Text("\nd has no unit, and orders the rows; J = d / sqrt(sd sd) has one: compare it at one scale only.")
    )


def _print_source(found: "Measurement | Evaluation", console: Console) -> None:
    # Text, never markup: names may hold square brackets.
    of_classes = f"{len(found.class_names)} classes" if found.class_names else "no labels"
    console.print(Text(f"{found.source}: {found.n_rows} rows, {of_classes}", style="bold"))


def measurement_json(found: "Measurement", names: "LatentNames | None" = None) -> str:
    """Metrics, separability, every class, the best dimensions and all names as JSON; what is not known is null."""
    answer: dict[str, Any] = {
        "source": found.source,
        "rows": found.n_rows,
        "classes": list(found.class_names),
        "metrics": found.metrics,
    }
    if found.separability is not None:
        answer["separability"] = found.separability.means
        answer["best_dimensions"] = _best_dimensions(found).reset_index()
        answer["class_dimensions"] = found.separability.classes
    if names is not None:
        answer["names"] = {"of": names.kind, "tested": names.n_tested, "median_auc": names.median_auc}
        answer["names"]["dimensions"] = names.to_frame()
    return json_text(answer)


def print_names(names: "LatentNames", console: Console) -> None:
    """Print how many dimensions have a name that holds on held-out rows, and the ten surest."""
    best = sorted(names.known, key=lambda name: -name.auc_low)[:_MOST_ROWS]
    rows = [
        [str(n.latent), _short(str(n), _LONGEST_TITLE), f"{n.auc:.2f}", percent(n.confidence), percent(n.chance)]
        for n in best
    ]
    if rows:
        title = f"Names of {names.kind}: the {len(rows)} surest; how often they fit where active, and anywhere"
        _print_table(title, ["dim", "name", "AUC", "active", "all"], rows, console)
    left_out = names.n_tested - len(names.known)
    median = f", median AUC {names.median_auc:.2f}" if names.known else ""
    console.print(
        Text(
            f"\n{len(names.known)} of {len(names)} dimensions have a name{median}; {left_out} names were left out, "
            f"whose AUC is not above 0.5 on the half of the rows that tests."
        )
    )


def _best_dimensions(found: "Measurement") -> pd.DataFrame:
    """The dimensions of largest clean d: the classes they tell apart, d and J clean, d under each noise."""
    assert found.separability is not None
    tidy = found.dimensions[found.dimensions["metric"].str.startswith("separability")]
    wide = tidy.pivot(index="dimension", columns=["metric", "label_noise"], values="value")
    columns = {
        "d_mean": wide["separability_d_mean", 0.0],
        "J_best": wide["separability_best", 0.0],
        "J_mean": wide["separability_mean", 0.0],
    }
    best = {f"d_best_{eta:g}": wide["separability_d_best", eta] for eta in found.separability.means["label_noise"]}
    pairs = found.separability.best_pairs.set_index("dimension")
    table = pd.concat([pairs, pd.DataFrame(best | columns)], axis=1)
    return table.dropna(subset=["d_best_0"]).sort_values("d_best_0", ascending=False, kind="stable").head(_MOST_ROWS)


def _print_dimensions(found: "Measurement", noises: Sequence[float], console: Console) -> None:
    table = _best_dimensions(found)
    rows = [
        [
            str(dimension), _short(str(values["first"])), _short(str(values["second"])),
            *(_number(float(values[f"d_best_{eta:g}"])) for eta in noises),
            _number(float(values["d_mean"])), _number(float(values["J_best"])),
        ]
        for dimension, values in table.iterrows()
    ]  # fmt: skip
    heads = ["dim", "of class", "and class", *(_head(eta) for eta in noises), "mean", "J"]
    _print_table(f"The {len(rows)} dimensions of largest d, for the best pair; mean over pairs", heads, rows, console)


def _print_classes(classes: pd.DataFrame, noises: Sequence[float], console: Console) -> None:
    clean = classes[classes["label_noise"] == 0].set_index("class")
    d = classes.pivot(index="class", columns="label_noise", values="separability_d").rename(columns=_head)
    table = d.assign(dimension=clean["dimension"], J=clean["separability"]).sort_values("clean", kind="stable")
    rows = [
        [
            _short(str(name)), f"{values['dimension']:.0f}",
            *(_number(float(values[_head(eta)])) for eta in noises), _number(float(values["J"])),
        ]
        for name, values in table.head(_MOST_ROWS).iterrows()
    ]  # fmt: skip
    count = f"The {len(rows)} hardest of {len(d)} classes" if len(rows) < len(d) else "Classes, the hardest first"
    title = f"{count}: d of the best dimension, mean over the others"
    _print_table(title, ["class", "dim", *(_head(eta) for eta in noises), "J"], rows, console)


def _print_table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], console: Console) -> None:
    console.print(Text(f"\n{title}", style="bold"))
    console.print(text_table(heads, rows, left=("class", "of class", "and class", "name")))


def metric_text(metric: str, value: float) -> str:
    """Return a metric as text, with the digits that are worth reading."""
    if math.isnan(value):
        return NOTHING
    if metric in _WHOLE:
        return f"{value:.0f}"
    if metric in _PERCENT:
        return f"{100 * value:.1f} %"
    return f"{value:.1f}" if metric in ("l0", "effective_rank") else f"{value:.3f}"


def _head(eta: float) -> str:
    return "clean" if eta == 0 else percent(eta)


def _number(value: float) -> str:
    """Return a number in at most seven characters."""
    if math.isnan(value):
        return NOTHING
    return f"{value:.1e}" if value >= 1000 or 0 < value < 0.001 else f"{value:.3g}"


def _short(name: str, longest: int = _LONGEST_NAME) -> str:
    return name if len(name) <= longest else name[: longest - 3] + "..."


_BESIDE = 4
"""Models in one table of 80 columns."""


def print_evaluation(found: "Evaluation", console: Console) -> None:
    """Print a column for each model; more than four make several tables."""
    _print_source(found, console)
    for number, (name, model) in enumerate(found.models.items(), start=1):
        active = "" if model.k is None else f", k={model.k}"
        about = f"{model.activation}{active}, {model.n_latents} latents of {model.n_inputs} numbers"
        console.print(Text(f"{number}  {name}: {about}"), soft_wrap=True)
    models = list(found.models.values())
    for first in range(0, len(models), _BESIDE):
        beside = models[first : first + _BESIDE]
        rows = [
            [name, *(metric_text(metric, model.metrics[metric]) for model in beside)]
            for metric, name in METRIC_NAMES.items()
            if metric in beside[0].metrics
        ]
        console.print()
        heads = ["model", *(str(first + number + 1) for number in range(len(beside)))]
        console.print(text_table(heads, rows, gap=2))
    if not found.class_names:
        console.print(Text("\nWithout labels nothing is said of classes; name a file of them by --labels."))


def evaluation_json(found: "Evaluation") -> str:
    """Return the evaluation of each model as JSON; unknown values are null."""
    parts = ("activation", "n_inputs", "n_latents", "k", "metrics")
    models = [{"model": name} | {part: getattr(model, part) for part in parts} for name, model in found.models.items()]
    answer = {"source": found.source, "rows": found.n_rows, "classes": list(found.class_names), "models": models}
    return json_text(answer)
