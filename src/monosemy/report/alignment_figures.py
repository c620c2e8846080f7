"""Figures of trainings from preferences: against the weight, by layer, by model."""

from collections.abc import Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from monosemy.report.figures import HOUSE_STYLE
from monosemy.study.alignment.plan import BASE, BASELINE, variants
from monosemy.study.alignment.run import AlignmentResult
from monosemy.study.statistics import mean_interval

_PANELS = {
    "margin": "Reward margin",
    "kl": "KL to reference, nats/token",
    "feature_decorrelation": "Feature decorrelation",
}
_BLUE, _GREY = "#0072B2", "#7a7a7a"
_DASHES = ((5, 2), (1.5, 1.5), (6, 1.5, 1.5, 1.5), (3, 1))


def alignment_figures(result: AlignmentResult) -> dict[str, Figure]:
    """Figures by the names of their files."""
    figures = {}
    for model in result.n_parameters:
        figures[f"weight-{model}"] = weight_figure(result, model)
        figures[f"layers-{model}"] = layers_figure(result, model)
    if len(result.n_parameters) > 1 and result.plan.weights:
        figures["models"] = models_figure(result)
    return figures


@HOUSE_STYLE
def weight_figure(result: AlignmentResult, model: str) -> Figure:
    """Margin, KL and decorrelation against DecPO's weight, with 95 % intervals; DPO and the controls as lines."""
    rows = result.summary[result.summary["model"] == model]
    figure = Figure(figsize=(9.6, 3.6), layout="constrained")
    for axes, (metric, title) in zip(figure.subplots(1, len(_PANELS)), _PANELS.items(), strict=True):
        cell = rows[rows["metric"] == metric].set_index("variant")
        _draw_line(axes, cell, BASELINE, BASELINE, "#000000", None)
        if metric == "feature_decorrelation":
            _draw_line(axes, cell, BASE, "before", "#000000", (1, 2))
        controls = [v.name for v in variants(result.plan) if v.role == "control"]
        for number, name in enumerate(controls):
            _draw_line(axes, cell, name, name, _GREY, _DASHES[number % len(_DASHES)])
        decpo = cell[cell.index.str.startswith("decpo-")].sort_values("weight")
        decpo = decpo[decpo["weight"] > 0]
        if len(decpo):
            errors = np.abs(np.nan_to_num(np.array([decpo["mean"] - decpo["low"], decpo["high"] - decpo["mean"]])))
            axes.errorbar(
                decpo["weight"], decpo["mean"], yerr=errors, color=_BLUE, marker="o", linewidth=2.2, capsize=3,
                label="decpo",
            )  # fmt: skip
            _log_axis(axes, decpo["weight"].tolist())
        axes.set_title(title, pad=8, fontsize=11)
        axes.set_xlabel("Weight of the regulariser")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=6, frameon=False)
    return figure


def _draw_line(
    axes: Axes, cell: pd.DataFrame, variant: str, label: str, colour: str, dashes: tuple[float, ...] | None
) -> None:
    mean, low, high = (float(cell[column][variant]) for column in ("mean", "low", "high"))
    style = "-" if dashes is None else (0, dashes)
    axes.axhline(mean, color=colour, linewidth=1.5, linestyle=style, label=label)
    if dashes is None and not np.isnan(low):
        axes.axhspan(low, high, color=colour, alpha=0.08, linewidth=0)


def _log_axis(axes: Axes, values: Sequence[float]) -> None:
    """A logarithmic axis whose marks are the values themselves: the house style writes no powers."""
    axes.set_xscale("log")
    axes.set_xticks(values, [f"{value:g}" if value < 1000 else f"{value / 1000:,.0f}k" for value in values])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.margins(x=0.12)


@HOUSE_STYLE
def layers_figure(result: AlignmentResult, model: str) -> Figure:
    """Feature decorrelation of each measured layer, in their order: before, after DPO, after DecPO at each weight."""
    rows = result.results[
        (result.results["encoder"] == model)
        & (result.results["scenario"] == "layer")
        & (result.results["metric"] == "feature_decorrelation")
    ]
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.subplots()
    names = [v.name for v in variants(result.plan) if v.role != "control"]
    shades = matplotlib.colormaps["viridis_r"](np.linspace(0.15, 0.95, max(1, len(names) - 2)))
    for number, name in enumerate(names):
        wide = rows[rows["features"] == name].pivot(index="level", columns="seed", values="value")
        ends = np.array([mean_interval(wide.loc[level].to_numpy()) for level in wide.index])
        depth = wide.index.to_numpy() / max(1, len(wide) - 1)
        colour = "#000000" if number < 2 else shades[number - 2]
        axes.plot(depth, ends[:, 0], color=colour, linewidth=1.8, linestyle=":" if name == BASE else "-", marker="o",
                  markersize=4, label="before" if name == BASE else name)  # fmt: skip
        if not np.isnan(ends[:, 1:]).any():
            axes.fill_between(depth, ends[:, 1], ends[:, 2], color=colour, alpha=0.12, linewidth=0)
    axes.set_title(f"Feature decorrelation by layer: {model}", pad=8)
    axes.set_xlabel("Relative depth")
    axes.set_ylabel("1 - mean cosine of prompts")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper", frameon=False)
    return figure


@HOUSE_STYLE
def models_figure(result: AlignmentResult) -> Figure:
    """DecPO's gain of margin over DPO by model size, and against the model's decorrelation before."""
    rows = result.summary
    before = rows[(rows["variant"] == BASE) & (rows["metric"] == "feature_decorrelation")].set_index("model")["mean"]
    sizes = pd.Series(result.n_parameters)
    weights = sorted(weight for weight in result.plan.weights if weight > 0)
    figure = Figure(figsize=(9.6, 3.8), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    shades = matplotlib.colormaps["viridis_r"](np.linspace(0.15, 0.95, max(1, len(weights))))
    for weight, colour in zip(weights, shades, strict=True):
        cell = rows[(rows["variant"] == f"decpo-{weight:g}") & (rows["metric"] == "margin")].set_index("model")
        errors = np.abs(np.nan_to_num(np.array([cell["gain"] - cell["gain_low"], cell["gain_high"] - cell["gain"]])))
        for axes, x in zip(panels, (sizes, before), strict=True):
            order = np.argsort(x[cell.index].to_numpy())
            axes.errorbar(x[cell.index].to_numpy()[order], cell["gain"].to_numpy()[order], yerr=errors[:, order],
                          color=colour, marker="o", capsize=3, linewidth=1.6, label=f"weight {weight:g}")  # fmt: skip
    for axes, label in zip(panels, ("Weights of the model", "Feature decorrelation before"), strict=True):
        axes.axhline(0, color="#000000", linewidth=1)
        axes.set_xlabel(label)
    _log_axis(panels[0], sorted(sizes.tolist()))
    panels[0].set_ylabel("Reward margin, DecPO - DPO")
    panels[0].set_title("Gain of margin by model size", pad=8)
    panels[1].set_title("by monosemanticity before", pad=8)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
    return figure
