"""The verdict on finetuned networks in words, and their learning curves."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from monosemy.report import tables
from monosemy.report.figures import HOUSE_STYLE
from monosemy.report.style import style_of
from monosemy.report.tables import Section, StudyFigure
from monosemy.results.result import StudyResult, Verdict
from monosemy.results.statistics import mean_interval
from monosemy.results.variants import with_role
from monosemy.results.wording import compared, describe_cell, few_seeds, hardest_level

_PANELS = {
    "train_accuracy": "Train, noisy labels",
    "validation_accuracy": "Validation, noisy labels",
    "accuracy": "Test, true labels",
}


def finetuning_verdict(result: StudyResult) -> Verdict:
    """Return NCE against CE and the closest control where it is hardest, and which of the two overfits more."""
    present = tables.feature_names(result.summary)
    controls = with_role(present, "control")
    sentences, warnings = [], few_seeds(result.plan.n_seeds)
    for scenario in tables.scenarios(result.summary):
        level = hardest_level(result.summary, scenario)
        sentences += [compared(result, name, controls, scenario, level) for name in with_role(present, "monosemantic")]
        sentences.append(_overfitting(result.results, scenario, level))
    if controls:
        warnings.append("Learning rate, smoothing and weight decay are fixed, not tuned for each variant.")
    return Verdict(tuple(sentences), tuple(warnings))


def _overfitting(results: pd.DataFrame, scenario: str, level: float) -> str:
    parts = []
    cell = results[(results["scenario"] == scenario) & (results["level"] == level)]
    for name in [name for name in ("ce", "nce") if name in set(results["features"])]:
        rows = cell[cell["features"] == name].pivot(index="seed", columns="metric", values="value")
        gap, low, high = mean_interval((rows["train_accuracy"] - rows["validation_accuracy"]).to_numpy())
        parts.append(f"{name} {100 * gap:.1f}" + ("" if np.isnan(low) else f" [{100 * low:.1f}, {100 * high:.1f}]"))
    where = "on clean labels" if scenario == "clean" else f"under {describe_cell(scenario, level)}"
    return f"Train minus validation accuracy {where}: {', '.join(parts)} points."


def curve_sections(result: StudyResult) -> list[Section]:
    """Return the learning curves of every cell as a part of the report."""
    curves = result.tables["curves"]
    cells = result.summary[["scenario", "level"]].drop_duplicates().itertuples(index=False)
    figures = tuple(
        StudyFigure(
            "curves",
            scenario,
            f"curves-{scenario}-{level:g}",
            f"Accuracy after each epoch on train, validation and test; {scenario}, level {level:g}.",
            curves_figure(curves, scenario, level),
        )
        for scenario, level in cells
    )
    return [Section("Learning curves", figures=figures, note="Mean over seeds; every seed is a thin line.")]


@HOUSE_STYLE
def curves_figure(curves: pd.DataFrame, scenario: str, level: float) -> Figure:
    """Draw the accuracy after each epoch on train, validation and test: mean over seeds, and every seed thin."""
    cell = curves[(curves["scenario"] == scenario) & (curves["level"] == level)]
    figure = Figure(figsize=(9.6, 3.4), layout="constrained")
    panels = figure.subplots(1, len(_PANELS), sharey=True)
    # Early stopping takes an epoch of a network that has a curve already.
    names = [name for name in tables.feature_names(cell) if not name.endswith("-early")]
    for axes, (metric, title) in zip(panels, _PANELS.items(), strict=True):
        for name in names:
            rows = cell[(cell["features"] == name) & (cell["metric"] == metric)]
            wide = rows.pivot(index="epoch", columns="seed", values="value")
            style = style_of(name)
            axes.plot(wide.index, 100 * wide, color=style.colour, linewidth=0.6, alpha=0.35)
            axes.plot(
                wide.index, 100 * wide.mean(axis=1), color=style.colour, linewidth=style.width, label=name,
                dashes=style.dashes or (1, 0),
            )  # fmt: skip
        axes.set_title(title, pad=8)
        axes.set_xlabel("Epoch")
    panels[0].set_ylabel("Accuracy, %")
    panels[0].legend(frameon=False)
    return figure
