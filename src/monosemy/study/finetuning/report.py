"""A comparison of finetuned networks: learning curves, tables in the terminal, and what they say in words."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from rich.console import Console

from monosemy.core.console import outcome_json
from monosemy.core.files import write_text
from monosemy.report import tables
from monosemy.report.figures import HOUSE_STYLE, accuracy_figure, write_figures
from monosemy.report.style import ROLES, style_of
from monosemy.report.terminal import print_accuracies, print_gains, print_sentences
from monosemy.results.statistics import mean_interval, paired_gain
from monosemy.results.wording import SIGNIFICANT, describe_cell, hardest_level
from monosemy.study.finetuning.run import BASELINE, FinetuneResult

_CURVES = {
    "train_accuracy": "Train, given labels",
    "validation_accuracy": "Validation, given labels",
    "accuracy": "Test, true labels",
}


def sentences(result: FinetuneResult) -> list[str]:
    """NCE against CE and against the closest control where it is hardest, and which of the two overfits more."""
    said = []
    present = list(dict.fromkeys(result.summary["features"]))
    controls = [name for name in present if ROLES[name] == "control"]
    for scenario in tables.scenarios(result.summary):
        level = hardest_level(result.summary, scenario)
        for name in [name for name in present if ROLES[name] == "monosemantic"]:
            said.append(_judge(result, name, controls, scenario, level))
        said.append(_overfitting(result, scenario, level))
    return said


def warnings(result: FinetuneResult) -> list[str]:
    """What limits the answer."""
    n, said = result.plan.seeds, []
    if n < 5:
        said.append(f"Only {n} seed{'s' * (n > 1)}: intervals need at least 5 to mean much.")
    if any(ROLES[name] == "control" for name in result.plan.variants):
        said.append("Learning rate, smoothing and weight decay are fixed, not tuned for each variant.")
    return said


def _judge(result: FinetuneResult, name: str, controls: list[str], scenario: str, level: float) -> str:
    rows = result.summary
    cell = rows[(rows["features"] == name) & (rows["scenario"] == scenario) & (rows["level"] == level)].iloc[0]
    where = "On clean labels" if scenario == "clean" else f"Under {describe_cell(scenario, level)}"
    if np.isnan(cell["p_holm"]):
        found = f"{100 * cell['gain']:+.1f} points to plain {BASELINE}"
        return f"{where}, {name} stands at {found}; one seed cannot tell more."
    gain = f"{100 * cell['gain']:+.1f} points [{100 * cell['gain_low']:+.1f}, {100 * cell['gain_high']:+.1f}]"
    verb = "makes no clear difference" if not cell["p_holm"] < SIGNIFICANT else "wins" if cell["gain"] > 0 else "LOSES"
    sentence = f"{where}, {name} {verb}: {gain} to plain {BASELINE}"
    if not controls:
        return f"{sentence}; no control was run."
    margins = {control: paired_gain(result.results, name, control, scenario, level) for control in controls}
    closest = min(margins, key=lambda control: margins[control][0])
    margin, low, high = (100 * value for value in margins[closest])
    return f"{sentence}, {margin:+.1f} [{low:+.1f}, {high:+.1f}] to the closest control, {closest}."


def _overfitting(result: FinetuneResult, scenario: str, level: float) -> str:
    parts = []
    for name in [name for name in ("ce", "nce") if name in set(result.results["features"])]:
        rows = result.results[
            (result.results["features"] == name)
            & (result.results["scenario"] == scenario)
            & (result.results["level"] == level)
        ].pivot(index="seed", columns="metric", values="value")
        gap, low, high = mean_interval((rows["train_accuracy"] - rows["validation_accuracy"]).to_numpy())
        parts.append(f"{name} {100 * gap:.1f}" + ("" if np.isnan(low) else f" [{100 * low:.1f}, {100 * high:.1f}]"))
    where = "on clean labels" if scenario == "clean" else f"under {describe_cell(scenario, level)}"
    return f"Train minus validation accuracy {where}: {', '.join(parts)} points."


def print_finetuning(result: FinetuneResult, console: Console) -> None:
    """Print accuracies, gains over plain cross-entropy, and what they mean."""
    for scenario in tables.scenarios(result.summary):
        table = tables.scenario_table(result.summary, scenario)
        print_accuracies(table, scenario, console)
        print_gains(table, scenario, console, over=BASELINE)
    print_sentences("Verdict", sentences(result), "bold", console)
    print_sentences("Warnings", warnings(result), "bold yellow", console)
    print_sentences("Notices", result.notices, "bold", console)
    console.print(f"\nResults in {result.folder}", highlight=False, markup=False, soft_wrap=True)


def finetuning_json(result: FinetuneResult) -> str:
    """Verdict, warnings, notices, summary and folder as JSON; what is not known is null."""
    return outcome_json(sentences(result), warnings(result), result.notices, result.summary, result.folder)


@HOUSE_STYLE
def curves_figure(curves: pd.DataFrame, scenario: str, level: float) -> Figure:
    """Accuracy after each epoch on train, validation and test: mean over seeds, and every seed thin."""
    cell = curves[(curves["scenario"] == scenario) & (curves["level"] == level)]
    figure = Figure(figsize=(9.6, 3.4), layout="constrained")
    panels = figure.subplots(1, len(_CURVES), sharey=True)
    # Early stopping takes an epoch of a network that has a curve already.
    names = [name for name in dict.fromkeys(cell["features"]) if not name.endswith("-early")]
    for axes, (metric, title) in zip(panels, _CURVES.items(), strict=True):
        for name in names:
            wide = cell[(cell["features"] == name) & (cell["metric"] == metric)].pivot(
                index="epoch", columns="seed", values="value"
            )
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


def write_finetuning(result: FinetuneResult) -> list[Path]:
    """Write the verdict, accuracy against noise and the learning curves of every cell, as PNG and SVG."""
    lines = [*sentences(result), *(f"Warning: {warning}" for warning in warnings(result))]
    write_text(result.folder / "verdict.txt", "\n".join(lines) + "\n")
    figures = {
        f"accuracy-{scenario}": accuracy_figure(result.summary, scenario)
        for scenario in tables.scenarios(result.summary)
    }
    cells = result.summary[["scenario", "level"]].drop_duplicates().itertuples(index=False)
    figures |= {f"curves-{s}-{level:g}": curves_figure(result.curves, s, level) for s, level in cells}
    return write_figures(figures, result.folder)
