"""The tables and figures that the toy model and separability add to their reports."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from monosemy.report import style, tables
from monosemy.report.figures import HOUSE_STYLE, accuracy_figure, gain_figure
from monosemy.report.tables import Section, StudyFigure, Table
from monosemy.results.result import StudyResult
from monosemy.results.statistics import mean_interval, summarise
from monosemy.theory import toy, two_features, verdict
from monosemy.theory.plan import BASELINE, SeparabilityPlan, SweepConfig, ToyPlan

_COLOURS = ("#0072B2", "#009E73", "#CC79A7", "#E69F00", "#D55E00", "#56B4E9")
_TITLE: dict[str, Any] = {"pad": 8, "fontsize": 10.5}


def toy_sections(result: StudyResult) -> list[Section]:
    """Return the task that favours mono, the learned matrices, and the sweep."""
    plan: ToyPlan = result.plan
    sections = []
    if "kept" in result.tables:
        sections.append(_kept_section(summarise(result.tables["kept"], BASELINE), plan))
    alt = "W^T W of the toy model for each sparsity, features that interfere most beside each other."
    figure = superposition_figure(result.tables["weights"], plan)
    note = "Diagonal: features that the model represents. Off the diagonal: features that share a dimension. "
    note += f"n = {plan.n_features}, m = {plan.n_dimensions}."
    pictures = (StudyFigure("heatmap", "", "superposition", alt, figure),)
    sections.append(Section("Superposition", figures=pictures, note=note))
    if "sweep" in result.tables:
        alt = "Accuracy of mono minus poly for each sparsity and number of dimensions, by task and noise."
        figure = phase_figure(result.tables["sweep"], plan.grid)
        note = f"n = {plan.grid.n_features} features, {plan.grid.n_seeds} seeds. Bold: the 95 % interval excludes 0."
        sections.append(Section("Sweep", figures=(StudyFigure("heatmap", "", "sweep", alt, figure),), note=note))
    return sections


def _kept_section(summary: pd.DataFrame, plan: ToyPlan) -> Section:
    """Return accuracies and gains where only the features that mono keeps are candidates."""
    parts, figures = [], []
    for scenario in tables.scenarios(summary):
        table = tables.scenario_table(summary, scenario)
        heads = tuple(tables.level_text(scenario, level) for level in tables.levels(table))
        title = tables.scenario_title(scenario)
        names = tables.variant_names(table)
        cells = {name: list(tables.cells(table[table["variant"] == name])) for name in names}
        accuracies = tuple((name, tuple(map(tables.accuracy_text, cells[name]))) for name in names)
        gains = tuple(
            (name, tuple(tables.points(cell.gain, signed=True) for cell in cells[name]))
            for name in names
            if name != BASELINE
        )
        parts.append(Table(f"{title}, kept features: accuracy, %", heads, accuracies))
        parts.append(Table(f"{title}, kept features: gain over {BASELINE}, points", heads, gains))
        for kind, draw in (("accuracy", accuracy_figure), ("gain", gain_figure)):
            alt = f"{title}, kept features: {kind} of each code by level."
            figures.append(StudyFigure(kind, scenario, f"kept-{kind}-{scenario}", alt, draw(summary, scenario)))
    note = (
        f"Only the {plan.n_dimensions} features that mono keeps are candidates for the largest: the best case for mono."
    )
    return Section("Largest of the kept features", tuple(parts), tuple(figures), note)


@HOUSE_STYLE
def superposition_figure(weights: pd.DataFrame, plan: ToyPlan) -> Figure:
    """Draw W^T W of the first seed for each sparsity, features sorted so that partners stand side by side."""
    first = weights[weights["seed"] == plan.seed]
    figure, axes = _panels(1, len(plan.pictured_sparsities), 2.35 * len(plan.pictured_sparsities) + 0.9, 3.0)
    for number, (axis, sparsity) in enumerate(zip(axes[0], plan.pictured_sparsities, strict=True)):
        entries = first[first["sparsity"] == sparsity]
        weight = entries.pivot(index="row", columns="column", values="value").to_numpy()
        gram = weight.T @ weight
        order = _partner_order(gram)
        image = axis.imshow(gram[np.ix_(order, order)], cmap="RdBu_r", vmin=-1.2, vmax=1.2, interpolation="nearest")
        shared = toy.measure_superposition(torch.tensor(weight)[None]).features_per_dimension[0]
        probed = " (probed)" if number == 0 else ""
        axis.set_title(f"S = {sparsity:g}{probed}\n{shared:.2f} features per dimension", **_TITLE)
        axis.set_xticks([])
        axis.set_yticks([])
        axis.grid(False)
        axis.set_xlabel("Feature")
    axes[0, 0].set_ylabel("Feature")
    bar = figure.colorbar(image, ax=list(axes[0]), shrink=0.75, pad=0.01, ticks=[-1, 0, 1])
    bar.outline.set_visible(False)
    return figure


def _partner_order(gram: np.typing.NDArray[np.float64]) -> list[int]:
    """Return the features, each followed by the one that interferes with it most."""
    strength = np.abs(gram - np.diag(gram.diagonal()))
    left = list(range(len(gram)))
    order: list[int] = []
    while left:
        order.append(left.pop(0))
        if left:
            partner = max(left, key=lambda j: strength[order[-1], j])
            left.remove(partner)
            order.append(partner)
    return order


@HOUSE_STYLE
def phase_figure(sweep: pd.DataFrame, grid: SweepConfig) -> Figure:
    """Draw where mono is better than poly: sparsity against m / n, tasks as rows, noise as columns; blue for mono."""
    gains = verdict.sweep_gains(sweep)
    scenarios = {
        "clean": "Clean labels",
        "label-noise": f"Label noise, {100 * grid.label_noise:.3g} % of the limit",
        "input-noise": f"Input noise {grid.input_noise:g}",
    }
    names = {"all": "All features", "kept": "Kept features"}
    tasks = [task for task in names if task in set(gains["task"])]
    figure, axes = _panels(len(tasks), len(scenarios), 11.4, 3.1 * len(tasks) + 0.4)
    for i, task in enumerate(tasks):
        for j, (scenario, name) in enumerate(scenarios.items()):
            axis: Axes = axes[i, j]
            cell = gains[(gains["task"] == task) & (gains["scenario"] == scenario)]
            wide = [cell.pivot(index="dimensions", columns="sparsity", values=v) for v in ("gain", "low", "high")]
            mean, low, high = (t.reindex(list(grid.dimensions), columns=list(grid.sparsities)).to_numpy() for t in wide)
            image = axis.imshow(mean, cmap="RdBu", vmin=-40, vmax=40, origin="lower", aspect="auto")
            for (y, x), value in np.ndenumerate(mean):
                clear = low[y, x] > 0 or high[y, x] < 0
                axis.text(
                    x, y, "0" if abs(value) < 0.5 else f"{value:+.0f}", ha="center", va="center", fontsize=8.5,
                    color="white" if abs(value) > 26 else "#222222" if clear else "#8a8a8a",
                    weight="bold" if clear else "normal",
                )  # fmt: skip
            axis.set_xticks(range(len(grid.sparsities)), [f"{s:g}" for s in grid.sparsities])
            axis.set_yticks(range(len(grid.dimensions)), [f"{m / grid.n_features:g}" for m in grid.dimensions])
            axis.tick_params(length=0)
            axis.grid(False)
            axis.spines[:].set_visible(False)
            if i == 0:
                axis.set_title(name, **_TITLE)
            if i == len(tasks) - 1:
                axis.set_xlabel("Sparsity S")
        axes[i, 0].set_ylabel(f"{names[task]}\n\nDimensions per feature, m / n")
    bar = figure.colorbar(image, ax=axes, shrink=0.6, pad=0.01, extend="both")
    bar.set_label("Accuracy of mono minus poly, points")
    bar.outline.set_visible(False)
    return figure


def _panels(n_rows: int, n_columns: int, width: float, height: float) -> tuple[Figure, np.typing.NDArray[np.object_]]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(n_rows, n_columns, sharex=True, sharey="row", squeeze=False)


def separability_sections(result: StudyResult) -> list[Section]:
    """Return the closed forms for two features, and the simulations of more classes."""
    plan: SeparabilityPlan = result.plan
    moments = [verdict.moments_of(s, plan) for s in plan.sparsities]
    forms: dict[str, Callable[[two_features.ScoreMoments], np.typing.NDArray[np.float64]]] = {
        "J, clean labels": two_features.score_separability,
        "d, clean labels": two_features.scale_free_separability,
    }
    heads = tuple(f"S = {s:g}" for s in plan.sparsities)
    scores = (("mono", 0), ("poly", 1))
    closed = [
        Table(
            title, heads, tuple((name, tuple(f"{float(form(pair[k])):.3f}" for pair in moments)) for name, k in scores)
        )
        for title, form in forms.items()
    ]
    leads = tuple(verdict.lead_words(two_features.overtaking(*pair)) for pair in moments)
    closed.append(Table("Label noise at which J of mono exceeds J of poly", heads, (("mono", leads),)))
    simulated = tuple(
        (f"{c} classes", tuple(_threshold_text(_thresholds(result.results, c, s)) for s in plan.sparsities))
        for c in plan.classes
    )
    unit = " The lines cross only in the unit of J." if _crossing_depends_on_unit(plan) else ""
    alt = "J and the scale-free d of both scores against label noise, for each sparsity."
    noise = StudyFigure("noise", "", "separability", alt + unit, noise_figure(plan))
    alt = "Label noise from which mono leads against sparsity, for several mixtures and several levels of input noise."
    threshold = StudyFigure("threshold", "", "threshold", alt, threshold_figure(result.results, plan))
    middle = 0.2 if 0.2 in plan.sparsities else plan.sparsities[len(plan.sparsities) // 2]
    alt = f"J of mono over J of two mixtures against label noise, for each number of classes, S = {middle:g}."
    classes = StudyFigure("classes", "", "classes", alt, classes_figure(result.results, plan, middle))
    return [
        Section(
            "Two features, in closed form", tuple(closed), (noise, threshold),
            f"mono is x1, poly is {verdict.score_name(plan.weights)}; input noise {plan.input_noise:g}.{unit}",
        ),
        Section(
            "C features, simulated",
            (Table("Label noise from which J of x1 exceeds J of x1 - x2", heads, simulated),),
            (classes,),
            f"The label is the largest of C features; S = {middle:g} in the figure, bands are 95 % intervals.",
        ),
    ]  # fmt: skip


def _thresholds(results: pd.DataFrame, n_classes: int, sparsity: float) -> np.typing.NDArray[np.float64]:
    """Return the simulated threshold noise of x1 against x1 - x2, seed by seed."""
    rows = results[(results["source"] == "simulation") & (results["metric"] == "threshold")]
    rows = rows[(rows["classes"] == n_classes) & (rows["sparsity"] == sparsity) & (rows["variant"] == "poly")]
    return rows["value"].to_numpy()


def _threshold_text(threshold: np.typing.NDArray[np.float64]) -> str:
    crossed = np.isfinite(threshold)
    if not crossed.all():
        return f"{crossed.sum()} of {len(threshold)} seeds" if crossed.any() else "never"
    if not threshold.any():
        return "from 0 %"
    mean, _, high = mean_interval(100 * threshold)
    return f"{mean:.1f} %" if np.isnan(high) else f"{mean:.1f} ±{high - mean:.1f} %"


@HOUSE_STYLE
def noise_figure(plan: SeparabilityPlan) -> Figure:
    """Draw J against label noise with the crossing marked, and below it the scale-free form."""
    figure, axes = _panels(2, len(plan.sparsities), 2.6 * len(plan.sparsities) + 0.6, 5.0)
    eta = np.linspace(0, 0.4999, 400)
    forms = {
        "J (unit: 1 / score)": two_features.score_separability,
        "d (scale-free)": two_features.scale_free_separability,
    }
    for i, (name, form) in enumerate(forms.items()):
        for axis, s in zip(axes[i], plan.sparsities, strict=True):
            mono, poly = verdict.moments_of(s, plan)
            for moments, code, score in ((poly, "poly", verdict.score_name(plan.weights)), (mono, "mono", "x1")):
                axis.plot(
                    100 * eta, form(moments, eta), color=style.style_of(code).colour, lw=2, label=f"{code}: {score}"
                )  # fmt: skip
            axis.set_xlim(0, 50)
            if i == 0:
                _mark_crossings(axis, mono, poly)
                axis.set_title(f"S = {s:g}", **_TITLE)
            else:
                axis.set_xlabel("Label noise, %")
        axes[i, 0].set_ylabel(name)
        axes[i, 0].set_ylim(bottom=min(0, axes[i, 0].get_ylim()[0]))
    axes[1, 0].legend(loc="upper right", fontsize=8.5, frameon=False)
    return figure


def _mark_crossings(axis: Axes, mono: two_features.ScoreMoments, poly: two_features.ScoreMoments) -> None:
    passing = two_features.overtaking(mono, poly)
    for eta in passing.crossings:
        j = abs(float(two_features.score_separability(mono, eta)))
        axis.plot(100 * eta, j, "o", color="#222222", ms=6, zorder=5)
        axis.annotate(f"{100 * eta:.1f} %", (100 * eta, j), (7, 7), textcoords="offset points", weight="bold")
    if not passing.crossings:
        words = "mono always leads" if passing.outcome == "always" else "mono never leads"
        axis.text(0.95, 0.95, words, transform=axis.transAxes, ha="right", va="top", color="#444444")


def _crossing_depends_on_unit(plan: SeparabilityPlan) -> bool:
    """Return whether J crosses for some sparsity, while the scale-free form keeps its order for all of them."""
    eta = np.linspace(0, 0.4999, 400)
    crosses, keeps = False, True
    for mono, poly in (verdict.moments_of(s, plan) for s in plan.sparsities):
        crosses |= bool(two_features.overtaking(mono, poly).crossings)
        lead = np.abs(two_features.scale_free_separability(mono, eta)) > np.abs(
            two_features.scale_free_separability(poly, eta)
        )
        keeps &= bool(lead.all() or not lead.any())
    return crosses and keeps


@HOUSE_STYLE
def threshold_figure(results: pd.DataFrame, plan: SeparabilityPlan) -> Figure:
    """Draw the threshold noise against sparsity: on the left for mixtures, on the right for input noise."""
    figure, axes = _panels(1, 2, 9.6, 4.4)
    left, right = axes[0]
    grid = np.linspace(0, 0.995, 300)
    for w2, colour in zip((1.0, 0.75, 0.5, 0.25), _COLOURS, strict=False):
        curve = _exact_thresholds(grid, (1.0, w2), plan.input_noise)
        left.plot(grid, curve, color=colour, lw=2, label=verdict.score_name((1.0, w2)))
    for input_noise, colour in zip((0.0, 0.1, 0.2, 0.4), _COLOURS, strict=False):
        curve = _exact_thresholds(grid, two_features.POLY, input_noise)
        right.plot(grid, curve, color=colour, lw=2, label=f"input noise {input_noise:g}")
    if plan.input_noise == 0 and 2 in plan.classes:
        for s in plan.sparsities:
            mean, low, high = mean_interval(100 * _thresholds(results, 2, s))
            if np.isfinite(mean):
                left.errorbar(s, mean, [[mean - low], [high - mean]], fmt="o", ms=4.5, color="#222222", capsize=3)
        left.plot([], [], "o", ms=4.5, color="#222222", label="simulated, x1 - x2")
    if plan.input_noise == 0:
        ahead = two_features.ALWAYS_AHEAD_SPARSITY
        left.axvline(ahead, color="#9a9a9a", lw=1, ls=(0, (4, 3)))
        left.text(ahead + 0.01, 30, f"S = {ahead:.3f}", color="#555555", fontsize=8.5)
    left.set_title("Against x1 - w2 x2" + (f", input noise {plan.input_noise:g}" * (plan.input_noise > 0)), **_TITLE)
    right.set_title("Against x1 - x2, with noise on inputs", **_TITLE)
    left.set_ylabel("Label noise from which J of x1 leads, %")
    for axis in (left, right):
        axis.set_xlabel("Sparsity S")
        axis.set_xlim(0, 1)
        axis.set_ylim(0, 51)
        axis.legend(fontsize=8.5, loc="upper center", ncols=2, bbox_to_anchor=(0.5, -0.16), frameon=False)
    return figure


def _exact_thresholds(grid: Iterable[float], weights: tuple[float, float], input_noise: float) -> list[float]:
    moments = (
        [two_features.two_feature_moments(s, w, input_noise) for w in (two_features.MONO, weights)] for s in grid
    )
    return [100 * two_features.overtaking(*pair).threshold for pair in moments]


@HOUSE_STYLE
def classes_figure(results: pd.DataFrame, plan: SeparabilityPlan, sparsity: float) -> Figure:
    """Draw J of x1 over J of each mixture, for two classes among C: means and 95 % bands over seeds."""
    figure, axes = _panels(1, 2, 9.6, 3.6)
    rows = results[(results["source"] == "simulation") & (results["metric"] == "J") & (results["sparsity"] == sparsity)]
    for axis, (score, name) in zip(
        axes[0], (("poly", "x1 - x2"), ("poly-rest", "x1 - mean of all others")), strict=True
    ):
        for number, n_classes in enumerate(plan.classes):
            wide = rows[rows["classes"] == n_classes].pivot(index="seed", columns=["variant", "level"], values="value")
            ratio = wide["mono"] / wide[score]
            mean, low, high = np.array([mean_interval(column) for column in ratio.to_numpy().T]).T
            x = ratio.columns.to_numpy(dtype=float) * n_classes / (n_classes - 1)
            colour = _COLOURS[number % len(_COLOURS)]
            axis.plot(x, mean, color=colour, lw=2, label=f"{n_classes} classes")
            axis.fill_between(x, low, high, color=colour, alpha=0.25, lw=0)
        axis.axhline(1, color="#222222", lw=1)
        axis.set_title(f"J of x1 / J of {name}", **_TITLE)
        axis.set_xlabel("Label noise as a fraction of the informative limit")
        axis.set_xlim(0, 1)
    axes[0, 0].set_ylabel("Above 1: x1 leads")
    axes[0, 0].legend(fontsize=8.5, loc="lower right", frameon=False)
    return figure
