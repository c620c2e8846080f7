"""Figures of trainings from preferences: against the weight, by layer, by model.

A comparison of trainings from preferences: tables in the terminal, and what they say in words.
"""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from rich.console import Console

from monosemy.core.console import outcome_json
from monosemy.core.files import write_text
from monosemy.report.figures import HOUSE_STYLE, write_figures
from monosemy.report.tables import p_text
from monosemy.report.terminal import print_sentences, print_table
from monosemy.results.statistics import mean_interval
from monosemy.results.wording import SIGNIFICANT
from monosemy.study.dpo.plan import BASE, BASELINE, variants
from monosemy.study.dpo.run import AlignmentResult

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


_HEADS = {
    "margin": "margin", "accuracy": "acc., %", "kl": "KL", "perplexity": "perpl.", "unsafe": "unsafe, %",
    "distinct_2": "distinct-2", "feature_decorrelation": "decorr.",
}  # fmt: skip
_PERCENT = ("accuracy", "unsafe", "unsafe_share")
_COMPARED = {"margin": "margin", "kl": "KL to the reference, nats a token", "feature_decorrelation": "decorrelation"}
_SMALL = 10_000_000


def sentences(result: AlignmentResult) -> list[str]:
    """What DPO alone does, what each weight does, the closest control, and what models have to do with it."""
    said = []
    for model in dict.fromkeys(result.summary["model"]):
        where = f"{model}: " if len(result.n_parameters) > 1 else ""
        rows = result.summary[result.summary["model"] == model]
        found = [
            _learned(rows),
            _dpo_alone(rows),
            *_margins(rows, result),
            _decorrelated(rows, result),
            *_price(rows, result),
        ]
        said += [f"{where}{sentence}" for sentence in found if sentence]
    return said + _across_models(result)


def warnings(result: AlignmentResult) -> list[str]:
    """What limits the answer."""
    plan, n = result.plan, result.plan.seeds
    said = []
    if n < 5:
        said.append(f"Only {n} seed{'s' * (n > 1)}: intervals need at least 5 to mean much.")
    if len(plan.weights) > 1:
        said.append("The weights are judged on the same test pairs that one would choose by: the best looks too good.")
    if plan.losses:
        said.append("Losses stretch rewards differently: compare accuracy and KL between losses, not margins.")
    if plan.judge is not None and plan.judge.kind == "toxicity":
        said.append("The judge knows rude words of single sentences alone; its numbers compare models, no more.")
    small = [name for name, size in result.n_parameters.items() if size < _SMALL]
    if small:
        said.append(
            f"Under ten million weights ({', '.join(small)}) show that the method works, not what it does to a large "
            f"model."
        )
    return said


def _row(rows: pd.DataFrame, variant: str, metric: str) -> pd.Series:
    return rows[(rows["variant"] == variant) & (rows["metric"] == metric)].iloc[0]


def _clear(row: pd.Series) -> bool:
    return bool(row["p_holm"] < SIGNIFICANT)


def _verb(row: pd.Series, n_seeds: int) -> str:
    """What a difference to DPO does to a quantity."""
    if n_seeds == 1:
        return "changes, as far as one seed can tell,"
    if not _clear(row):
        return "makes no clear difference to"
    return "raises" if row["gain"] > 0 else "LOWERS"


def _interval(low: float, high: float) -> str:
    return "" if np.isnan(low) else f" [{low:+.3g}, {high:+.3g}]"


def _difference(row: pd.Series) -> str:
    """The gain over DPO with its interval; of shares in points."""
    scale, unit = (100, " points") if row["metric"] in _PERCENT else (1, "")
    return f"{scale * row['gain']:+.3g}{_interval(scale * row['gain_low'], scale * row['gain_high'])}{unit}"


def _learned(rows: pd.DataFrame) -> str:
    """Whether there is anything to compare: DPO against chance."""
    dpo, base = _row(rows, BASELINE, "accuracy"), _row(rows, BASE, "accuracy")
    found = f"{100 * dpo['mean']:.1f} %"
    if not np.isnan(dpo["low"]):
        found += f" [{100 * dpo['low']:.1f}, {100 * dpo['high']:.1f}]"
    constant = np.isnan(base["p"]) and dpo["seeds"] > 1  # every seed gains the same
    if base["gain"] < 0 and (_clear(base) or constant):
        return f"DPO learns to tell the answers of test pairs apart: accuracy {found}."
    return (
        f"DPO itself does not clearly tell the answers of test pairs apart (accuracy {found}), so margins mean little."
    )


def _dpo_alone(rows: pd.DataFrame) -> str:
    row = _row(rows, BASE, "feature_decorrelation")
    change = f"{-row['gain']:+.3g}{_interval(-row['gain_high'], -row['gain_low'])}"
    start = f"(before {row['mean']:.3g})"
    if np.isnan(row["p_holm"]):
        return f"DPO alone changes the layer's feature decorrelation by {change} {start}; one seed cannot tell more."
    if not _clear(row):
        return f"DPO alone makes no clear difference to the layer's feature decorrelation: {change} {start}."
    return f"DPO alone {'raises' if row['gain'] < 0 else 'LOWERS'} the layer's feature decorrelation: {change} {start}."


def _of_kind(result: AlignmentResult, kind: str) -> list[str]:
    return [v.name for v in variants(result.plan) if v.objective is not None and v.role == kind]


def _margins(rows: pd.DataFrame, result: AlignmentResult) -> list[str]:
    names = _of_kind(result, "monosemantic")
    if not names:
        return ["No weight of DecPO was in the comparison, so there is nothing to judge."]
    best = max(names, key=lambda name: _row(rows, name, "margin")["gain"])
    groups: dict[str, list[str]] = {}
    for name in names:
        row = _row(rows, name, "margin")
        groups.setdefault(_verb(row, result.plan.seeds), []).append(f"{row['weight']:g} ({_difference(row)})")
    start = f"{_row(rows, BASELINE, 'margin')['mean']:.3g}"
    said = [
        f"DecPO {verb} the reward margin, of DPO {start}, at weight {', '.join(found)}."
        for verb, found in groups.items()
    ]
    controls = [v.name for v in variants(result.plan) if v.objective is not None and v.objective.regularizer
                and v.role == "control"]  # fmt: skip
    if controls:
        first = _row(rows, best, "margin")
        closest = max(controls, key=lambda name: _row(rows, name, "margin")["gain"])
        margin = first["gain"] - _row(rows, closest, "margin")["gain"]
        said.append(
            f"Its best weight by the margin, {first['weight']:g}, stands at {margin:+.3g} to the best ablation, "
            f"{closest}."
        )
    return said


def _decorrelated(rows: pd.DataFrame, result: AlignmentResult) -> str:
    names = _of_kind(result, "monosemantic")
    clear = [_row(rows, name, "feature_decorrelation") for name in names]
    found = [f"{row['weight']:g} ({_difference(row)})" for row in clear if _clear(row)]
    if not names:
        return ""
    if not found:
        if result.plan.seeds == 1:
            return ""
        return "At no weight does DecPO clearly change the layer's feature decorrelation against DPO."
    return f"DecPO changes the layer's feature decorrelation against DPO at weight {', '.join(found)}."


def _price(rows: pd.DataFrame, result: AlignmentResult) -> list[str]:
    """Clear changes in what should stay: KL, perplexity, unsafe answers, diversity."""
    said: list[str] = []
    words = {"kl": "KL to the reference", "perplexity": "perplexity on held-out text", "unsafe": "unsafe answers",
             "distinct_2": "diversity of answers (distinct-2)", "accuracy": "accuracy on pairs"}  # fmt: skip
    for metric, what in words.items():
        if metric not in set(rows["metric"]):
            continue
        changed = [_row(rows, name, metric) for name in _of_kind(result, "monosemantic")]
        found = [f"{row['weight']:g} ({_difference(row)})" for row in changed if _clear(row)]
        if found:
            said.append(f"DecPO changes {what} against DPO at weight {', '.join(found)}.")
    return said


def _across_models(result: AlignmentResult) -> list[str]:
    names, models = _of_kind(result, "monosemantic"), list(result.n_parameters)
    if len(models) < 2 or not names:
        return []
    parts, points = [], []
    for model in sorted(models, key=lambda name: result.n_parameters[name]):
        rows = result.summary[result.summary["model"] == model]
        best = max((_row(rows, name, "margin") for name in names), key=lambda row: row["gain"])
        before = _row(rows, BASE, "feature_decorrelation")["mean"]
        parts.append(f"{model} ({result.n_parameters[model]:,} weights) {best['weight']:g} ({_difference(best)})")
        points.append(f"{before:.3g} -> {best['gain']:+.3g}")
    return [
        f"Best weight by the margin, and its gain over DPO: {'; '.join(parts)}.",
        f"Feature decorrelation of the model before, and that gain: {'; '.join(points)}; {len(models)} models are "
        f"too few to tell a law from chance.",
    ]


def print_alignment(result: AlignmentResult, console: Console) -> None:
    """Print what was measured, the differences to DPO, and what they mean."""
    for model in dict.fromkeys(result.summary["model"]):
        rows = result.summary[result.summary["model"] == model]
        heads = {metric: head for metric, head in _HEADS.items() if metric in set(rows["metric"])}
        names = list(dict.fromkeys(rows["variant"]))
        table = [(name, [_text(metric, _row(rows, name, metric)["mean"]) for metric in heads]) for name in names]
        print_table(f"{model}: means over seeds", list(heads.values()), table, console)
        for metric, title in _COMPARED.items():
            compared = [(name, _row(rows, name, metric)) for name in names if name not in (BASE, BASELINE)]
            lines = [
                (name, [f"{row['gain']:+.3g}", _interval(row["gain_low"], row["gain_high"]).strip(), _p(row)])
                for name, row in compared
            ]
            if lines:
                print_table(f"{model}: difference to dpo, {title}", ["mean", "95 % interval", "Holm p"], lines, console)
    print_sentences("Verdict", sentences(result), "bold", console)
    print_sentences("Warnings", warnings(result), "bold yellow", console)
    print_sentences("Notices", result.notices, "bold", console)
    console.print(f"\nResults in {result.folder}", highlight=False, markup=False, soft_wrap=True)


def alignment_json(result: AlignmentResult) -> str:
    """Verdict, warnings, notices, summary and folder as JSON; what is not known is null."""
    return outcome_json(sentences(result), warnings(result), result.notices, result.summary, result.folder)


def _p(row: pd.Series) -> str:
    return p_text(float(row["p_holm"]))


def _text(metric: str, value: float) -> str:
    return f"{100 * value:.1f}" if metric in _PERCENT else f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def write_alignment(result: AlignmentResult) -> list[Path]:
    """Write the verdict and the figures, as PNG and SVG."""
    lines = [*sentences(result), *(f"Warning: {warning}" for warning in warnings(result))]
    write_text(result.folder / "verdict.txt", "\n".join(lines) + "\n")
    return write_figures(alignment_figures(result), result.folder)
