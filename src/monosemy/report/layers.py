"""Layer metrics of language models: in the terminal, as JSON, and as curves over depth."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from rich.text import Text

from monosemy.core.console import json_text
from monosemy.core.files import atomic_path
from monosemy.report import figures, tables
from monosemy.report.terminal import text_table

if TYPE_CHECKING:
    from monosemy.lm.layers import LayerMetrics

_NAMES = {
    "feature_decorrelation": ("Feature decorrelation", "decorr."),
    "effective_rank": ("Effective rank", "rank"),
    "sparsity": ("Sparsity of neurons", "sparsity"),
    "active": ("Neurons active", "active"),
    "mono_score": ("MonoScore of neurons", "MonoScore"),
    "weight_gauge": ("Superposition |w|b", "|w|b"),
    "weight_change": ("Its relative change", "change"),
}
"""Metrics that are shown, in order, as a title and as the head of a column; all others are in the files."""
_COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARKERS = "osD^vPX"
_COLUMNS = 3
_ALL = 0.99


def print_layers(found: "LayerMetrics", console: Console) -> None:
    """A table of the layers of each model, their means, and what was left out."""
    shown = _shown(found.layers)
    for model in found.models:
        layers = found.layers[found.layers["model"] == model.name]
        wide = layers.pivot(index="layer", columns="metric", values="value").reindex(columns=shown)
        about = f"{model.architecture}, {model.n_parameters:,} parameters"
        console.print(Text(f"\n{model.name}: {model.source} ({about})", style="bold"), soft_wrap=True)
        console.print(_table("layer", wide))
    if len(found.models) > 1:
        means = found.layers.groupby(["model", "metric"])["value"].mean().unstack()
        console.print(Text("\nMean over layers", style="bold"))
        console.print(_table("model", means.reindex([model.name for model in found.models], columns=shown)))
    if math.isfinite(found.prompt_similarity):
        console.print(
            Text(f"\nA neuron that does not choose among the prompts has MonoScore {found.prompt_similarity:.4f}.")
        )
    for notice in found.warnings:
        console.print(Text(notice), soft_wrap=True)


def layers_json(found: "LayerMetrics") -> str:
    """Models, and every metric of every layer; what is not known is null."""
    answer = {
        "models": found.models,
        "prompts": found.n_prompts,
        "prompt_similarity": found.prompt_similarity,
        "notices": list(found.warnings),
        "layers": found.layers,
    }
    return json_text(answer)


def write_layers(found: "LayerMetrics", folder: Path) -> list[Path]:
    """Write layers.parquet, layers.csv, layers.png and layers.svg."""
    with atomic_path(folder / "layers.parquet") as path:
        found.layers.to_parquet(path, index=False)
    with atomic_path(folder / "layers.csv") as path:
        found.layers.to_csv(path, index=False)
    figure = layers_figure(found)
    for kind in ("png", "svg"):
        with atomic_path(folder / f"layers.{kind}") as path:
            path.write_bytes(figures.drawn(figure, kind, dpi=160))
    return [folder / f"layers.{suffix}" for suffix in ("parquet", "csv", "png", "svg")]


@figures.HOUSE_STYLE
def layers_figure(found: "LayerMetrics") -> Figure:
    """Each metric as curves over relative depth, one of each model."""
    table = found.layers[found.layers["value"].notna()]
    shown = _shown(table)
    n_columns = min(_COLUMNS, len(shown))
    n_rows = math.ceil(len(shown) / n_columns)
    figure = Figure(figsize=(3.7 * n_columns, 3.0 * n_rows + 0.6), layout="constrained")
    for place, metric in enumerate(shown):
        axes = figure.add_subplot(n_rows, n_columns, place + 1)
        for number, model in enumerate(found.models):
            curve = table[(table["model"] == model.name) & (table["metric"] == metric)].sort_values("depth")
            if len(curve):
                axes.plot(
                    curve["depth"], curve["value"], label=model.name, color=_COLOURS[number % len(_COLOURS)],
                    marker=_MARKERS[number % len(_MARKERS)], markersize=4, linewidth=1.8,
                )  # fmt: skip
        axes.set_title(_NAMES[metric][0], pad=8)
        axes.set_xlim(-0.05, 1.05)
        axes.margins(y=0.12)
        axes.ticklabel_format(useOffset=False)
        if place + n_columns >= len(shown):
            axes.set_xlabel("Relative depth")
        if metric in ("weight_gauge", "weight_change"):
            axes.axhline(0, color="#9a9a9a", linewidth=0.8)
        if metric == "mono_score" and math.isfinite(found.prompt_similarity):
            axes.axhline(found.prompt_similarity, color="#6b6b6b", linewidth=1, dashes=(4, 2))
    wanted = [model.name for model in found.models]
    if len(wanted) > 1:
        lines = [line for axes in figure.axes for line in axes.get_lines() if line.get_label() in wanted]
        first = {str(line.get_label()): line for line in reversed(lines)}
        names = [name for name in wanted if name in first]
        figure.legend(
            [first[name] for name in names], names, loc="outside lower center", ncols=len(names), frameon=False
        )
    return figure


def _shown(layers: pd.DataFrame) -> list[str]:
    """The metrics that say something: smooth activations are hardly ever 0, so that all neurons are active."""
    least = layers.groupby("metric")["value"].min()
    return [name for name in _NAMES if name in least.index and not (name == "active" and least[name] > _ALL)]


def _table(head: str, wide: pd.DataFrame) -> Table:
    rows = [
        [str(name), *(tables.NOTHING if math.isnan(value) else f"{value:.4g}" for value in values)]
        for name, values in zip(wide.index, wide.to_numpy(), strict=True)
    ]
    return text_table([head, *(_NAMES[metric][1] for metric in wide.columns)], rows, gap=2)
