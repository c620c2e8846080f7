"""Figures of the toy model and of separability; Matplotlib's objects, drawn without a display."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from monosemy.core.files import atomic_path
from monosemy.results.statistics import mean_interval
from monosemy.theory.answers import cells_of, sweep_gains, values_by
from monosemy.theory.runs import SweepSetting, ToyRun
from monosemy.theory.simulation import ClassSimulation
from monosemy.theory.toy_study import CODES
from monosemy.theory.two_features import (
    ALWAYS_AHEAD_SPARSITY,
    MONO,
    ScoreMoments,
    overtaking,
    scale_free_separability,
    score_separability,
    two_feature_moments,
)

COLOURS = {"mono": "#D55E00", "poly": "#0072B2", "rotated": "#9a9a9a", "poly-rest": "#009E73"}
_TASK_NAMES = {
    "all": "Largest of ALL features (even-handed)",
    "kept": "Largest of the features mono KEEPS (favours mono)",
}
_RC: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#9a9a9a",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10.5,
    "figure.facecolor": "white",
    "font.size": 9.5,
    "grid.color": "#e4e4e4",
    "legend.frameon": False,
    "savefig.facecolor": "white",
    "svg.fonttype": "path",
    "svg.hashsalt": "monosemy",
}
_styled = matplotlib.rc_context(_RC)


def save(figure: Figure, folder: Path, name: str) -> None:
    """PNG and SVG, each whole or not there."""
    with matplotlib.rc_context(_RC):
        with atomic_path(folder / f"{name}.png") as path:
            figure.savefig(path, format="png", dpi=150)
        with atomic_path(folder / f"{name}.svg") as path:
            figure.savefig(path, format="svg", metadata={"Date": None})  # no date: equal runs, equal files


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


@_styled
def superposition_figure(run: ToyRun) -> Figure:
    """W^T W of the first seed for every pictured sparsity, features sorted so that partners stand together."""
    count = len(run.pictured)
    figure = _figure(2.35 * count + 0.9, 3.3)
    axes = np.atleast_1d(figure.subplots(1, count))
    image = None
    for k, (axis, sparsity) in enumerate(zip(axes, run.pictured, strict=True)):
        weight = run.models.weight[k * run.setting.seeds].numpy()
        gram = weight.T @ weight
        order = _partner_order(gram)
        image = axis.imshow(gram[np.ix_(order, order)], cmap="RdBu_r", vmin=-1.2, vmax=1.2, interpolation="nearest")
        shared = run.superposition.features_per_dimension[k * run.setting.seeds]
        own = " (this run)" if k == 0 else ""
        axis.set_title(f"S = {sparsity:g}{own}\n{shared:.2f} features a dimension")
        axis.set_xticks([])
        axis.set_yticks([])
        axis.set_xlabel("feature")
    axes[0].set_ylabel("feature")
    assert image is not None
    bar = figure.colorbar(image, ax=list(axes), shrink=0.75, pad=0.01, ticks=[-1, 0, 1])
    bar.outline.set_visible(False)
    n, m = run.setting.features, run.setting.dimensions
    figure.suptitle(f"$W^T W$ of the toy model: {n} features in {m} dimensions", x=0.01, ha="left", weight="bold")
    return figure


def _partner_order(gram: np.ndarray) -> list[int]:
    """Each feature followed by the one that interferes with it most."""
    strength = np.abs(gram - np.diag(gram.diagonal()))
    left = list(range(len(gram)))
    order: list[int] = []
    while left:
        first = left.pop(0)
        order.append(first)
        if left:
            partner = max(left, key=lambda j: strength[first, j])
            left.remove(partner)
            order.append(partner)
    return order


@_styled
def accuracy_figure(run: ToyRun) -> Figure:
    """Accuracy bars with 95 % intervals: tasks as panels, noise as groups, codes as colours."""
    accuracy = values_by(run.results, "accuracy", "task", "code", "scenario", "level")
    tasks = [task for task in _TASK_NAMES if any(key[0] == task for key in accuracy)]
    figure = _figure(8.6, 2.9 * len(tasks) + 0.5)
    axes = np.atleast_1d(figure.subplots(len(tasks), 1))
    width = 0.8 / len(CODES)
    for axis, task in zip(axes, tasks, strict=True):
        cells = cells_of(run.results, task)
        for k, code in enumerate(CODES):
            stats = [mean_interval(100 * accuracy[task, code, *cell]) for cell in cells]
            mean = np.array([s[0] for s in stats])
            half = np.nan_to_num(np.array([s[2] - s[0] for s in stats]))
            place = np.arange(len(cells)) + (k - (len(CODES) - 1) / 2) * width
            axis.bar(place, mean, 0.92 * width, yerr=half, color=COLOURS[code], error_kw={"lw": 1.2, "ecolor": "#222"})
            for x, value, error in zip(place, mean, half, strict=True):
                axis.text(x, value + error, f"{value:.0f}", ha="center", va="bottom", fontsize=7.5, color="#444444")
        axis.set_xticks(range(len(cells)), [_cell_name(*cell) for cell in cells])
        axis.tick_params(axis="x", length=0)
        axis.set_ylabel("accuracy, %")
        axis.set_title(_TASK_NAMES[task])
        axis.grid(axis="y")
    names = {"mono": "mono", "poly": "poly (learned)", "rotated": "mono, rotated (control)"}
    handles = [Patch(color=COLOURS[code], label=names[code]) for code in CODES]
    axes[0].legend(handles=handles, ncols=len(CODES), loc="upper right", bbox_to_anchor=(1, 1.02))
    s, n, m = run.setting.sparsity, run.setting.features, run.setting.dimensions
    figure.suptitle(
        f"Linear probes on codes of {m} numbers, {n} features, S = {s:g} ({run.setting.seeds} seeds)",
        x=0.01, ha="left", weight="bold",
    )  # fmt: skip
    return figure


def _cell_name(scenario: str, level: float) -> str:
    names = {"clean": "clean", "label-noise": f"{level:.0%} wrong\nlabels", "input-noise": f"input noise\n{level:g}"}
    return names[scenario]


@_styled
def phase_figure(sweep: pd.DataFrame, setting: SweepSetting) -> Figure:
    """Where mono beats poly: sparsity against m / n, tasks as rows, noise as columns; red for mono."""
    gains = sweep_gains(sweep)
    scenarios = {
        "clean": "clean",
        "label-noise": f"label noise, {setting.label_noise:.0%} of the limit",
        "input-noise": f"input noise {setting.input_noise:g}",
    }
    tasks = {"all": "ALL features\n(even-handed)", "kept": "KEPT features\n(favours mono)"}
    figure = _figure(11.4, 6.6)
    axes = figure.subplots(len(tasks), len(scenarios), sharex=True, sharey=True)
    image = None
    for i, (task, task_name) in enumerate(tasks.items()):
        for j, (scenario, name) in enumerate(scenarios.items()):
            axis: Axes = axes[i, j]
            cell = gains[(gains["task"] == task) & (gains["scenario"] == scenario)]
            tables = [cell.pivot(index="dimensions", columns="sparsity", values=v) for v in ("gain", "low", "high")]
            mean, low, high = (t.reindex(list(setting.dimensions)).to_numpy() for t in tables)
            image = axis.imshow(mean, cmap="RdBu_r", vmin=-40, vmax=40, origin="lower", aspect="auto")
            for (y, x), value in np.ndenumerate(mean):
                clear = low[y, x] > 0 or high[y, x] < 0
                colour = "white" if abs(value) > 26 else "#222222" if clear else "#8a8a8a"
                axis.text(
                    x, y, _signed(value), ha="center", va="center", fontsize=8.5, color=colour,
                    weight="bold" if clear else "normal",
                )  # fmt: skip
            axis.set_xticks(range(len(setting.sparsity)), [f"{s:g}" for s in setting.sparsity])
            axis.set_yticks(range(len(setting.dimensions)), [f"{m / setting.features:g}" for m in setting.dimensions])
            axis.tick_params(length=0)
            axis.spines[:].set_visible(False)
            if i == 0:
                axis.set_title(name)
            else:
                axis.set_xlabel("sparsity S")
            if j == 0:
                axis.set_ylabel(f"{task_name}\n\ndimensions a feature, m / n")
    assert image is not None
    bar = figure.colorbar(image, ax=axes, shrink=0.6, pad=0.01, extend="both")
    bar.set_label("accuracy of mono minus poly, points")
    bar.outline.set_visible(False)
    figure.suptitle(
        f"Where one feature a dimension beats learned superposition (n = {setting.features}, {setting.seeds} seeds; "
        "bold: 95 % interval excludes 0)",
        x=0.01, ha="left", weight="bold",
    )  # fmt: skip
    return figure


def _signed(value: float) -> str:
    return f"{value:+.0f}" if abs(value) >= 0.5 else "0"


@_styled
def noise_figure(sparsities: Sequence[float], weights: tuple[float, float], input_noise: float) -> Figure:
    """J against label noise with the crossing marked, and below it the scale-free form."""
    figure = _figure(2.6 * len(sparsities) + 0.6, 5.0)
    axes = figure.subplots(2, len(sparsities), sharex=True, sharey="row", squeeze=False)
    eta = np.linspace(0, 0.4999, 400)
    forms: list[tuple[str, Callable[[ScoreMoments, np.ndarray], np.ndarray]]] = [
        ("J  (unit: 1 / score)", score_separability), ("scale-free d", scale_free_separability),
    ]  # fmt: skip
    poly_name = f"poly  {_score_name(weights)}"
    for i, (name, form) in enumerate(forms):
        for axis, s in zip(axes[i], sparsities, strict=True):
            mono, poly = (two_feature_moments(s, w, input_noise) for w in (MONO, weights))
            axis.plot(100 * eta, form(poly, eta), color=COLOURS["poly"], lw=2, label=poly_name)
            axis.plot(100 * eta, form(mono, eta), color=COLOURS["mono"], lw=2, label="mono  x1")
            axis.grid()
            axis.set_xlim(0, 50)
            if i == 0:
                _mark_crossings(axis, mono, poly)
                axis.set_title(f"S = {s:g}")
            else:
                axis.set_xlabel("wrong labels, %")
        axes[i, 0].set_ylabel(name)
        axes[i, 0].set_ylim(bottom=min(0, axes[i, 0].get_ylim()[0]))
    axes[1, 0].legend(loc="upper right", fontsize=8.5)
    noise = f", input noise {input_noise:g}" if input_noise else ""
    unit = (
        ": the crossing is there only in J's own unit"
        if _crossing_depends_on_unit(sparsities, weights, input_noise)
        else ""
    )
    figure.suptitle(f"Separability under label noise{noise}{unit}", x=0.01, ha="left", weight="bold")
    return figure


def _crossing_depends_on_unit(sparsities: Sequence[float], weights: tuple[float, float], input_noise: float) -> bool:
    """Whether J crosses for some sparsity, and the scale-free form keeps its order for all of them."""
    eta = np.linspace(0, 0.4999, 400)
    crosses, keeps = False, True
    for s in sparsities:
        mono, poly = (two_feature_moments(s, w, input_noise) for w in (MONO, weights))
        crosses |= bool(overtaking(mono, poly).crossings)
        lead = np.abs(scale_free_separability(mono, eta)) > np.abs(scale_free_separability(poly, eta))
        keeps &= bool(lead.all() or not lead.any())
    return crosses and keeps


def _mark_crossings(axis: Axes, mono: ScoreMoments, poly: ScoreMoments) -> None:
    passing = overtaking(mono, poly)
    for eta in passing.crossings:
        j = abs(float(score_separability(mono, eta)))
        axis.plot(100 * eta, j, "o", color="#222222", ms=6, zorder=5)
        axis.annotate(f"{100 * eta:.1f} %", (100 * eta, j), (7, 7), textcoords="offset points", weight="bold")
    if not passing.crossings:
        words = {"always": "mono ahead\nfrom the start", "never": "no crossing"}[passing.outcome]
        axis.text(0.95, 0.95, words, transform=axis.transAxes, ha="right", va="top", color="#444444")


@_styled
def threshold_figure(sparsities: Sequence[float], simulated: Sequence[ClassSimulation], input_noise: float) -> Figure:
    """Threshold noise against sparsity: for mixtures w2 and, on the right, for input noise."""
    figure = _figure(9.6, 4.4)
    left, right = figure.subplots(1, 2, sharey=True)
    grid = np.linspace(0, 0.995, 300)
    colours = ("#0072B2", "#009E73", "#CC79A7", "#E69F00")
    for w2, colour in zip((1.0, 0.75, 0.5, 0.25), colours, strict=True):
        left.plot(grid, _thresholds(grid, (1.0, w2), input_noise), color=colour, lw=2, label=_score_name((1.0, w2)))
    for s_noise, colour in zip((0.0, 0.1, 0.2, 0.4), ("#0072B2", "#E69F00", "#D55E00", "#7a2b00"), strict=True):
        right.plot(grid, _thresholds(grid, (1.0, 1.0), s_noise), color=colour, lw=2, label=f"input noise {s_noise:g}")
    if input_noise == 0:
        for s, simulation in zip(sparsities, simulated, strict=True):
            mean, low, high = mean_interval(100 * simulation.threshold[:, 0])
            if np.isfinite(mean):
                left.errorbar(s, mean, [[mean - low], [high - mean]], fmt="o", ms=4.5, color="#222222", capsize=3)
        left.plot([], [], "o", ms=4.5, color="#222222", label="simulated, x1 - x2")
        left.axvline(ALWAYS_AHEAD_SPARSITY, color="#9a9a9a", lw=1, ls=(0, (4, 3)))
        left.text(ALWAYS_AHEAD_SPARSITY + 0.01, 30, f"S = {ALWAYS_AHEAD_SPARSITY:.3f}", color="#555555", fontsize=8.5)
    left.set_title("against x1 - w2 x2" + (f", input noise {input_noise:g}" if input_noise else ""))
    right.set_title("against x1 - x2, noise on the inputs too")
    left.set_ylabel("wrong labels from which J(x1) leads, %")
    for axis in (left, right):
        axis.set_xlabel("sparsity S")
        axis.set_xlim(0, 1)
        axis.set_ylim(0, 51)
        axis.grid()
        axis.legend(fontsize=8.5, loc="upper center", ncols=2, bbox_to_anchor=(0.5, -0.16))
    figure.suptitle("The threshold noise, in closed form; 0: x1 leads from the start", x=0.01, ha="left", weight="bold")
    return figure


def _thresholds(grid: np.ndarray, weights: tuple[float, float], input_noise: float) -> np.ndarray:
    return np.array(
        [
            100
            * overtaking(
                two_feature_moments(s, MONO, input_noise), two_feature_moments(s, weights, input_noise)
            ).threshold
            for s in grid
        ]
    )


def _score_name(weights: tuple[float, float]) -> str:
    w1, w2 = weights
    first = "x1" if w1 == 1 else f"{w1:g} x1"
    sign, size = ("-", w2) if w2 >= 0 else ("+", -w2)
    return f"{first} {sign} {'' if size == 1 else f'{size:g} '}x2"


@_styled
def classes_figure(simulated: dict[int, ClassSimulation], sparsity: float) -> Figure:
    """J(x1) over J of each mixture, for two classes among C, against label noise; means and 95 % bands over seeds."""
    figure = _figure(9.6, 3.9)
    axes = figure.subplots(1, 2, sharey=True)
    names = ("x1 - x2", "x1 - mean of all others")
    colours = ("#0072B2", "#009E73", "#E69F00", "#D55E00", "#CC79A7", "#56B4E9")
    for k, (axis, name) in enumerate(zip(axes, names, strict=True), start=1):
        for number, (n_classes, simulation) in enumerate(simulated.items()):
            ratio = simulation.separability[:, 0] / simulation.separability[:, k]
            mean, low, high = np.array([mean_interval(column) for column in ratio.T]).T
            x = simulation.label_noise * n_classes / (n_classes - 1)
            colour = colours[number % len(colours)]
            axis.plot(x, mean, color=colour, lw=2, label=f"{n_classes} classes")
            axis.fill_between(x, low, high, color=colour, alpha=0.25, lw=0)
        axis.axhline(1, color="#222222", lw=1)
        axis.set_title(f"J(x1) / J({name})")
        axis.set_xlabel("wrong labels, as a share of the informative limit")
        axis.set_xlim(0, 1)
        axis.grid()
    axes[0].set_ylabel("above 1: x1 leads")
    axes[0].legend(fontsize=8.5, loc="lower right")
    seeds = len(next(iter(simulated.values())).separability)
    figure.suptitle(
        f"Label = largest of C features, S = {sparsity:g}, simulated ({seeds} seeds, 95 % bands)",
        x=0.01, ha="left", weight="bold",
    )  # fmt: skip
    return figure
