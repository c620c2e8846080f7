"""A comparison of adapters: tables in the terminal, figures, units with their texts, and what they say in words."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from rich.console import Console

from monosemy.core.console import outcome_json
from monosemy.core.files import write_text
from monosemy.report import tables
from monosemy.report.figures import HOUSE_STYLE, accuracy_figure, write_figures
from monosemy.report.html import rendered
from monosemy.report.style import ROLES, style_of
from monosemy.report.terminal import print_accuracies, print_gains, print_sentences, print_table
from monosemy.results.statistics import mean_interval, paired_gain, paired_p_value
from monosemy.results.wording import SIGNIFICANT, describe_cell, hardest_level
from monosemy.study.lora.plan import BASELINE, METHODS
from monosemy.study.lora.run import AdapterResult

_UNIT_HEADS = {
    "hidden_zeros": "zeros: units", "update_zeros": "updates",
    "hidden": "consistency: units", "update": "updates",
}  # fmt: skip
_FREE = {"loss": "loss", "exact_match": "exact, %", "held_out_perplexity": "perplexity", "unsafe": "unsafe, %"}
_PERCENT = ("exact_match", "unsafe")
_SMALL_TRAIN = 2_000


def sentences(result: AdapterResult) -> list[str]:
    """Every MonoLoRA against LoRA where it is hardest and clean, and wherever else the two differ clearly; sparsity,
    monosemanticity and what is kept."""
    said = []
    present = list(dict.fromkeys(result.summary["features"]))
    monosemantic = [name for name in present if ROLES[name] == "monosemantic"]
    for scenario in dict.fromkeys([*tables.scenarios(result.summary), "clean"]):
        for name in monosemantic:
            said += [_judge(result, name, scenario, level) for level in _telling_levels(result.summary, name, scenario)]
    said += [_sparsity(result.results, name) for name in monosemantic]
    said += [_consistency(result.results, name) for name in [*monosemantic, BASELINE]]
    said += [_kept(result.results, name) for name in monosemantic]
    said += [_harmless(result.results, name) for name in monosemantic]
    return [sentence for sentence in said if sentence]


def _telling_levels(summary: pd.DataFrame, name: str, scenario: str) -> list[float]:
    """The hardest, and milder ones with a clear win or loss."""
    hardest = hardest_level(summary, scenario)
    rows = summary[(summary["features"] == name) & (summary["scenario"] == scenario) & (summary["level"] != hardest)]
    return [hardest, *rows.loc[rows["p_holm"] < SIGNIFICANT, "level"]]


def warnings(result: AdapterResult) -> list[str]:
    """What limits the answer."""
    plan, n, said = result.plan, result.plan.seeds, []
    if n < 5:
        said.append(f"Only {n} seed{'s' * (n > 1)}: intervals need at least 5 to mean much.")
    if len(plan.learning_rates) == 1:
        said.append(f"The learning rate {plan.learning_rates[0]:g} is given, not chosen on validation for each method.")
    else:
        chosen = result.results[result.results["metric"] == "lr"]
        for end, word in ((min(plan.learning_rates), "smallest"), (max(plan.learning_rates), "largest")):
            at_end = chosen[chosen["value"] == end]
            if len(at_end):
                names = ", ".join(dict.fromkeys(at_end["features"]))
                said.append(f"The {word} learning rate ({end:g}) was chosen {len(at_end)} times ({names}); widen it.")
    if result.data.task == "generation" and result.data.labelled is None:
        said.append("Accuracy is the share of the answers' tokens that are the likeliest at their place.")
    if result.data.task == "generation" and plan.held_out is None:
        said.append("Held-out texts are what the model wrote itself before it was finetuned.")
    if plan.judge is not None and plan.judge.kind == "toxicity":
        said.append("The judge knows rude words of single sentences alone; its numbers compare models, no more.")
    return said


def _clean(results: pd.DataFrame, metric: str) -> pd.DataFrame:
    """A metric of the models trained on clean labels: a row a seed, a column a method."""
    rows = results[(results["metric"] == metric) & (results["scenario"] == "clean")]
    return rows.pivot(index="seed", columns="features", values="value")


def _judge(result: AdapterResult, name: str, scenario: str, level: float) -> str:
    rows = result.summary
    found = rows[(rows["features"] == name) & (rows["scenario"] == scenario) & (rows["level"] == level)]
    if found.empty:
        return ""
    cell = found.iloc[0]
    where = "On clean labels" if scenario == "clean" else f"Under {describe_cell(scenario, level)}"
    if result.data.labelled is None:
        where = f"On answers of {result.data.name}"
    if math.isnan(cell["p_holm"]):
        return f"{where}, {name} stands at {100 * cell['gain']:+.1f} points to LoRA; one seed cannot tell more."
    gain = f"{100 * cell['gain']:+.1f} points [{100 * cell['gain_low']:+.1f}, {100 * cell['gain_high']:+.1f}]"
    verb = "makes no clear difference" if not cell["p_holm"] < SIGNIFICANT else "wins" if cell["gain"] > 0 else "LOSES"
    sentence = f"{where}, {name} {verb}: {gain} to LoRA"
    present = set(rows[(rows["scenario"] == scenario) & (rows["level"] == level)]["features"])
    controls = [other for other in METHODS if other in present and other != "base" and ROLES[other] == "control"]
    if not controls:
        return f"{sentence}; no control was run."
    margins = {control: paired_gain(result.results, name, control, scenario, level) for control in controls}
    closest = min(margins, key=lambda control: margins[control][0])
    margin, low, high = (100 * value for value in margins[closest])
    return f"{sentence}, {margin:+.1f} [{low:+.1f}, {high:+.1f}] to the closest control, {closest}."


def _sparsity(results: pd.DataFrame, name: str) -> str:
    kinds = (("hidden_zeros", "its hidden units"), ("update_zeros", "its updates"))
    parts = []
    for metric, words in kinds:
        wide = _clean(results, metric)
        if name in wide:
            parts.append(f"{100 * wide[name].mean():.0f} % of {words} (LoRA {100 * wide[BASELINE].mean():.0f} %)")
    return f"{name} gives exact zeros in {' and '.join(parts)}." if parts else ""


def _consistency(results: pd.DataFrame, name: str) -> str:
    by = "label" if "hidden_label_consistency" in set(results["metric"]) else "token"
    parts = []
    for kind, words in (("hidden", "hidden units"), ("update", "updates")):
        score, chance = (_clean(results, f"{kind}_{by}_{part}") for part in ("consistency", "chance"))
        if name in score and score[name].notna().any():
            parts.append(f"{score[name].mean():.3f} for {words} (by chance {chance[name].mean():.3f})")
    return f"Consistency of {name} with {by}s: {', '.join(parts)}." if parts else ""


def _difference(wide: pd.DataFrame, name: str) -> tuple[float, float, float, float]:
    difference = (wide[name] - wide[BASELINE]).dropna().to_numpy()
    return *mean_interval(difference), paired_p_value(difference)


def _kept(results: pd.DataFrame, name: str) -> str:
    wide = _clean(results, "held_out_perplexity")
    if name not in wide or BASELINE not in wide:
        return ""
    before = f"before {wide['base'].mean():.3g}, " if "base" in wide else ""
    values = f"{before}LoRA {wide[BASELINE].mean():.3g}, {name} {wide[name].mean():.3g}"
    gain, low, high, p = _difference(wide.map(np.log), name)
    if math.isnan(low):
        return f"Perplexity on held-out texts: {values}; one seed cannot tell more."
    kept = "keeps more than LoRA" if gain < 0 else "keeps LESS than LoRA"
    clear = kept if p < SIGNIFICANT else "makes no clear difference"
    share = f"{100 * math.expm1(gain):+.1f} % [{100 * math.expm1(low):+.1f}, {100 * math.expm1(high):+.1f}]"
    return f"Of what the model could do before, {name} {clear}: perplexity on held-out texts {values}, {share}."


def _harmless(results: pd.DataFrame, name: str) -> str:
    wide = _clean(results, "unsafe")
    if name not in wide or BASELINE not in wide:
        return ""
    before = f"before {100 * wide['base'].mean():.1f} %, " if "base" in wide else ""
    values = f"{before}LoRA {100 * wide[BASELINE].mean():.1f} %, {name} {100 * wide[name].mean():.1f} %"
    _, low, _, p = _difference(wide, name)
    clear = "" if math.isnan(low) else f" ({'clear' if p < SIGNIFICANT else 'no clear'} difference)"
    return f"Mean probability of an unsafe answer: {values}{clear}."


def print_adapters(result: AdapterResult, console: Console) -> None:
    """Print scores, gains over LoRA, units, what is kept, and what they mean."""
    for scenario in tables.scenarios(result.summary):
        table = tables.scenario_table(result.summary, scenario)
        print_accuracies(table, scenario, console)
        print_gains(table, scenario, console, over=BASELINE)
    _print_units(result.results, console)
    _print_abilities(result.results, console)
    print_sentences("Verdict", sentences(result), "bold", console)
    print_sentences("Warnings", warnings(result), "bold yellow", console)
    print_sentences("Notices", result.data.notices, "bold", console)
    console.print(f"\nResults in {result.folder}", highlight=False, markup=False, soft_wrap=True)


def _print_units(results: pd.DataFrame, console: Console) -> None:
    by = "label" if "hidden_label_consistency" in set(results["metric"]) else "token"
    rows = []
    for name in dict.fromkeys(results["features"]):
        if name not in _clean(results, "hidden_zeros"):
            continue
        cells = [tables.points(_clean(results, f"{kind}_zeros")[name].mean()) for kind in ("hidden", "update")]
        for kind in ("hidden", "update"):
            score, chance = (_clean(results, f"{kind}_{by}_{part}") for part in ("consistency", "chance"))
            known = name in score and score[name].notna().any()
            cells.append(f"{score[name].mean():.3f} ({chance[name].mean():.3f})" if known else tables.NOTHING)
        rows.append((name, cells))
    if rows:
        heads = ["zeros A x, %", "zeros update", f"{by}s A x", f"{by}s update"]
        print_table(f"Units: exact zeros, and consistency with {by}s (by chance)", heads, rows, console)


def _print_abilities(results: pd.DataFrame, console: Console) -> None:
    tasks = [metric for metric in dict.fromkeys(results["metric"]) if "/" in metric and "stderr" not in metric]
    metrics = [metric for metric in (*_FREE, *tasks) if metric in set(results["metric"])]
    if not metrics:
        return
    rows = []
    for name in dict.fromkeys(results["features"]):
        cells = []
        for metric in metrics:
            wide = _clean(results, metric)
            cells.append(_value(metric, wide[name].to_numpy()) if name in wide else tables.NOTHING)
        rows.append((name, cells))
    for start in range(0, len(metrics), 4):
        heads = [_FREE.get(metric, metric) for metric in metrics[start : start + 4]]
        part = [(name, cells[start : start + 4]) for name, cells in rows]
        print_table("Answers and what is kept", heads, part, console)


def _value(metric: str, values: Any) -> str:
    mean, low, high = mean_interval(values)
    scale = 100 if metric in _PERCENT else 1
    half = "" if math.isnan(low) else f" ±{scale * (high - low) / 2:.2g}"
    return f"{scale * mean:.4g}{half}"


def adapters_json(result: AdapterResult) -> str:
    """Verdict, warnings, notices, summary, mean metrics and folder as JSON; what is not known is null."""
    keys = ["features", "scenario", "level", "metric"]
    metrics = result.results.groupby(keys, sort=False)["value"].mean().reset_index()
    return outcome_json(
        sentences(result), warnings(result), result.data.notices, result.summary, result.folder, metrics=metrics
    )


def write_adapters(result: AdapterResult) -> list[Path]:
    """Write the verdict, the figures as PNG and SVG, and ``units.html``: units with the texts that activate them."""
    lines = [*sentences(result), *(f"Warning: {warning}" for warning in warnings(result))]
    write_text(result.folder / "verdict.txt", "\n".join(lines) + "\n")
    figures = {f"accuracy-{name}": accuracy_figure(result.summary, name) for name in tables.scenarios(result.summary)}
    if BASELINE in _clean(result.results, "held_out_perplexity"):
        figures["kept"] = kept_figure(result.results)
    return [write_units(result), *write_figures(figures, result.folder)]


@HOUSE_STYLE
def kept_figure(results: pd.DataFrame) -> Figure:
    """Task score against perplexity on held-out texts: right is better at the task, low keeps more of before."""
    figure = Figure(figsize=(5.7, 3.7), layout="constrained")
    axes = figure.add_subplot()
    axes.grid(True, axis="x")
    score, perplexity = _clean(results, "accuracy"), _clean(results, "held_out_perplexity")
    for name in [name for name in dict.fromkeys(results["features"]) if name in score and name in perplexity]:
        style = style_of(name)
        x, y = (mean_interval(wide[name].dropna().to_numpy()) for wide in (100 * score, perplexity))
        for at, (_, low, high) in enumerate((x, y)):
            if not math.isnan(low):
                ends = ([low, high], [y[0]] * 2) if at == 0 else ([x[0]] * 2, [low, high])
                axes.plot(*ends, color=style.colour, linewidth=1.3)
        axes.plot(x[0], y[0], style.marker, color=style.colour, markersize=8, markeredgecolor="white", label=name)
    axes.set_xlabel("Score on the task, %")
    axes.set_ylabel("Perplexity on held-out texts")
    axes.set_title("What is learned, and what is kept", color="#111111", pad=10)
    axes.margins(x=0.12, y=0.12)
    axes.legend(frameon=False, fontsize=9)
    return figure


def write_units(result: AdapterResult) -> Path:
    """Write ``units.html`` for the first seed on clean labels; every text is escaped."""
    methods = []
    for name in dict.fromkeys(result.results["features"]):
        path = result.folder / "units" / f"{name}-clean-0-0.json"
        if not path.is_file():
            continue
        kinds = json.loads(path.read_text(encoding="utf-8"))
        titles = {"hidden": "Hidden units", "update": "Updates"}
        methods.append(
            {
                "name": name,
                "title": METHODS[name].title,
                "kinds": [{"title": titles[kind], "units": units} for kind, units in kinds.items() if units],
            }
        )
    classes = [] if result.data.labelled is None else list(result.data.labelled.class_names)
    path = result.folder / "units.html"
    context = {"data": result.data.name, "model": Path(result.plan.model).name, "methods": methods, "classes": classes}
    write_text(path, rendered("adapter_units.html.j2", context))
    return path
