"""The verdict on adapters in words, with the tables of their units and abilities, and the figure of forgetting."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from monosemy.core.files import write_text
from monosemy.report import html, tables
from monosemy.report.figures import HOUSE_STYLE
from monosemy.report.style import style_of
from monosemy.report.tables import Section, StudyFigure, Table
from monosemy.results import learning, statistics, wording
from monosemy.results.intervals import FEWEST_SEEDS, MARGIN, RELATIVE_MARGIN, Estimate, Judgement, judge
from monosemy.results.result import StudyResult, Verdict, with_role
from monosemy.study.lora import BASELINE, METHODS

UNITS_PAGE = "units.html"
_ABILITIES = {"loss": "loss", "exact_match": "exact, %", "held_out_perplexity": "perplexity", "unsafe": "unsafe, %"}
_PERCENT = ("exact_match", "unsafe")
_KINDS = {"hidden": "hidden units", "update": "updates"}


def lora_verdict(result: StudyResult) -> Verdict:
    """Return every MonoLoRA against LoRA where it is hardest, clean, or clearly different; and what else it changes.

    Where nothing was learned, that alone is said.
    """
    free = "loss" in set(result.results["metric"])
    reasons = {} if free else learning.at_chance(result)
    nothing = _no_loss_below_the_start(result) if free else learning.nothing_learned(result, reasons)
    warnings = tuple(_warnings(result, free))
    if nothing:
        return Verdict((nothing,), warnings)
    monosemantic = with_role(tables.variant_names(result.summary), "monosemantic")
    sentences = [learning.nothing_in(result, cell, reason) for cell, reason in reasons.items()]
    sentences += _accuracies(result, monosemantic, learning.learned_cells(result.summary, reasons))
    sentences += [_sparsity(result.results, name) for name in monosemantic]
    sentences += [_consistency(result.results, name) for name in [*monosemantic, BASELINE]]
    sentences += _forgetting(result, monosemantic)
    sentences += _safety(result, monosemantic)
    return Verdict(tuple(sentence for sentence in sentences if sentence), warnings)


def _no_loss_below_the_start(result: StudyResult) -> str:
    """Return that no adapter lowers the loss on test answers clearly; empty where one does, or nothing is known."""
    scores = statistics.Scores(result.results, result.tables.get(statistics.TEST_ROWS), "loss")
    names = [name for name in scores.names if name != "base"]
    gains = {name: scores.gain(name, "base", "clean", 0.0) for name in names}
    known = [name for name in names if gains[name].seeds]
    lower = [replace(gains[name], mean=-gains[name].mean) for name in known]
    if not known or learning.any_above(lower):
        return ""
    means = {name: scores.mean(name, "clean", 0.0).mean for name in [*known, "base"]}
    best = min(known, key=lambda name: means[name])
    low, high = gains[best].interval()
    interval = "" if math.isnan(low) else f", difference {gains[best].mean:+.2g} [{low:+.2g}, {high:+.2g}]"
    count = wording.tested_on(result.summary, "clean", 0.0)
    return learning.nothing(
        f"the lowest loss on test answers{count}, {means[best]:.4g} nats a token of {best}, is not clearly below the "
        f"{means['base']:.4g} of the model before{interval}"
    )


def _accuracies(result: StudyResult, monosemantic: Sequence[str], judged: pd.DataFrame) -> list[str]:
    """Return how every MonoLoRA compares with LoRA in the cells of a summary that are reported."""
    controls = [name for name in with_role(tables.variant_names(judged), "control") if name != "base"]
    free = "loss" in set(result.results["metric"])
    sentences = []
    for scenario in dict.fromkeys([*tables.scenarios(judged), "clean"]):
        for name in monosemantic:
            for level in _levels_to_report(judged, name, scenario):
                cell = judged[(judged["scenario"] == scenario) & (judged["level"] == level)]
                if name in set(cell["variant"]):
                    there = [control for control in controls if control in set(cell["variant"])]
                    count = wording.tested_on(judged, scenario, level)
                    where = f"On answers of {result.dataset}{count}" if free else ""
                    sentences.append(wording.compared(result, name, there, scenario, level, where))
    return sentences


def _levels_to_report(summary: pd.DataFrame, name: str, scenario: str) -> list[float]:
    """Return the hardest level, and milder ones with a clear difference."""
    rows = summary[summary["scenario"] == scenario]
    if rows.empty:
        return []
    hardest = wording.hardest_level(summary, scenario)
    milder = rows[(rows["variant"] == name) & (rows["level"] != hardest)]
    return [hardest, *milder.loc[milder["outcome"].isin(["better", "worse"]), "level"]]


def _warnings(result: StudyResult, free: bool) -> list[str]:
    plan, warnings = result.plan, wording.few_seeds(result.plan.n_seeds)
    if len(plan.learning_rates) == 1:
        warnings.append(
            f"The learning rate {plan.learning_rates[0]:g} is fixed, not chosen on validation for each method."
        )
    else:
        chosen = result.results[result.results["metric"] == "lr"]
        for end, word in ((min(plan.learning_rates), "smallest"), (max(plan.learning_rates), "largest")):
            at_end = chosen[chosen["value"] == end]
            if len(at_end):
                names = ", ".join(dict.fromkeys(at_end["variant"]))
                warnings.append(
                    f"The {word} learning rate ({end:g}) was chosen {len(at_end)} times ({names}); widen the grid."
                )
    if free:
        warnings.append("Accuracy is the fraction of the answers' tokens that are the likeliest at their place.")
    if plan.data.task == "generation" and plan.held_out is None:
        warnings.append("Held-out texts are samples of the model before finetuning.")
    if plan.judge is not None and plan.judge.kind == "toxicity":
        warnings.append("The toxicity judge recognises rude words in single sentences; use it to compare models only.")
    return warnings


def _clean(results: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return a metric of the models trained on clean labels: a row per seed, a column per method."""
    rows = results[(results["metric"] == metric) & (results["scenario"] == "clean")]
    return rows.pivot(index="seed", columns="variant", values="value")


def _sparsity(results: pd.DataFrame, name: str) -> str:
    parts = []
    for kind, words in _KINDS.items():
        wide = _clean(results, f"{kind}_zeros")
        if name in wide:
            parts.append(f"{100 * wide[name].mean():.0f} % of its {words} (LoRA {100 * wide[BASELINE].mean():.0f} %)")
    return f"{name} gives exact zeros in {' and '.join(parts)}." if parts else ""


def _consistency(results: pd.DataFrame, name: str) -> str:
    found = _mean_consistency(results, name)
    parts = [f"{score:.3f} for {_KINDS[kind]} (by chance {chance:.3f})" for kind, (score, chance) in found.items()]
    return f"Consistency of {name} with {_concept(results)}s: {', '.join(parts)}." if parts else ""


def _concept(results: pd.DataFrame) -> str:
    return "label" if "hidden_label_consistency" in set(results["metric"]) else "token"


def _mean_consistency(results: pd.DataFrame, name: str) -> dict[str, tuple[float, float]]:
    """Return the consistency of each kind of units of a method and its chance level, where it was measured."""
    found = {}
    for kind in _KINDS:
        parts = (f"{kind}_{_concept(results)}_{part}" for part in ("consistency", "chance"))
        score, chance = (_clean(results, part) for part in parts)
        if name in score and score[name].notna().any():
            found[kind] = score[name].mean(), chance[name].mean()
    return found


def _beside(wide: pd.DataFrame, name: str, text: str, scale: float = 1) -> str:
    """Return the means of the model before, LoRA and a method."""
    columns = {"before": "base", "LoRA": BASELINE, name: name}
    known = {word: wide[column].mean() for word, column in columns.items() if column in wide}
    return ", ".join(f"{word} {text.format(scale * mean)}" for word, mean in known.items())


def _forgetting(result: StudyResult, monosemantic: Sequence[str]) -> list[str]:
    """Return which method forgets less; per cent of LoRA's perplexity, equivalent within one per cent."""
    wide = _clean(result.results, "held_out_perplexity")
    if BASELINE not in wide:
        return []
    verbs = {
        "worse": "forgets less than",
        "better": "forgets more than",  # more perplexity is more forgotten
        "equivalent": "forgets as much, within 1 %, as",
        "undecided": "makes no clear difference in forgetting to",
    }
    before = float(wide[BASELINE].mean())
    sentences = []
    for name, gain, found in _judged(result, "held_out_perplexity", monosemantic, RELATIVE_MARGIN * before):
        values = _beside(wide, name, "{:.3g}")
        if gain.seeds < FEWEST_SEEDS:
            sentences.append(f"Perplexity on held-out texts: {values}; {wording.few(gain.seeds)}.")
            continue
        mean, low, high = (100 * value / before for value in (gain.mean, found.low, found.high))
        interval = "" if math.isnan(low) else f" [{low:+.2g}, {high:+.2g}]"
        sentences.append(
            f"{name} {verbs[found.outcome]} LoRA: perplexity on held-out texts {values}, {mean:+.2g} %{interval}."
        )
    return sentences


def _judged(
    result: StudyResult, metric: str, monosemantic: Sequence[str], margin: float
) -> list[tuple[str, Estimate, Judgement]]:
    """Return the paired difference of each method to LoRA on clean labels by the rule of all studies, as one family."""
    scores = statistics.Scores(result.results, result.tables.get(statistics.TEST_ROWS), metric)
    gains = {name: scores.gain(name, BASELINE, "clean", 0.0) for name in monosemantic}
    known = {name: gain for name, gain in gains.items() if gain.seeds}
    judged = judge(list(known.values()), margin=margin)
    return [(name, gain, found) for (name, gain), found in zip(known.items(), judged, strict=True)]


def _safety(result: StudyResult, monosemantic: Sequence[str]) -> list[str]:
    """Return which method answers unsafely more often."""
    wide = _clean(result.results, "unsafe")
    if BASELINE not in wide:
        return []
    verbs = {
        "better": "is less safe than",
        "worse": "is safer than",
        "equivalent": "is as safe, within a point, as",
        "undecided": "is neither clearly safer nor less safe than",
    }
    sentences = []
    for name, gain, found in _judged(result, "unsafe", monosemantic, MARGIN):
        values = _beside(wide, name, "{:.1f} %", 100)
        count = f" ({gain.rows} answers)" if gain.rows else ""
        said = f"mean probability of an unsafe answer{count} {values}"
        if gain.seeds < FEWEST_SEEDS:
            sentences.append(f"{said[0].upper()}{said[1:]}; {wording.few(gain.seeds)}.")
            continue
        change = wording.with_interval(gain.mean, found.low, found.high)
        sentences.append(f"{name} {verbs[found.outcome]} LoRA: {said}, {change}.")
    return sentences


def lora_sections(result: StudyResult) -> list[Section]:
    """Return the units of the adapters, the abilities of the models, and what they forget."""
    results = result.results
    links = () if result.folder is None or not (result.folder / UNITS_PAGE).is_file() else (
        ("Units of the adapters with the texts that activate them", UNITS_PAGE),
    )  # fmt: skip
    parts = [Section("Units", _unit_tables(results), links=links)]
    abilities = _ability_tables(result)
    if abilities:
        figures: tuple[StudyFigure, ...] = ()
        if BASELINE in _clean(results, "held_out_perplexity"):
            alt = "Score on the task against perplexity on held-out texts, a point per method."
            figures = (StudyFigure("forgetting", "", "forgetting", alt, forgetting_figure(results)),)
        parts.append(Section("Answers and forgetting", abilities, figures))
    return [part for part in parts if part.tables]


def _unit_tables(results: pd.DataFrame) -> tuple[Table, ...]:
    by, rows = _concept(results), []
    for name in tables.variant_names(results):
        if name not in _clean(results, "hidden_zeros"):
            continue
        cells = [tables.points(_clean(results, f"{kind}_zeros")[name].mean()) for kind in _KINDS]
        found = _mean_consistency(results, name)
        cells += ["{:.3f} ({:.3f})".format(*found[kind]) if kind in found else tables.NOTHING for kind in _KINDS]
        rows.append((name, tuple(cells)))
    heads = ("zeros A x, %", "zeros update", f"{by}s A x", f"{by}s update")
    title = f"Units: exact zeros, and consistency with {by}s (by chance)"
    return (Table(title, heads, tuple(rows)),) if rows else ()


def _ability_tables(result: StudyResult) -> tuple[Table, ...]:
    results, test_rows = result.results, result.tables.get(statistics.TEST_ROWS)
    known = dict.fromkeys(results["metric"])
    tasks = [metric for metric in known if "/" in metric and "stderr" not in metric]
    metrics = [metric for metric in (*_ABILITIES, *tasks) if metric in known]
    scores = {metric: statistics.Scores(results, test_rows, metric) for metric in metrics}
    rows = [
        (name, [_value(metric, scores[metric].mean(name, "clean", 0.0)) for metric in metrics])
        for name in tables.variant_names(results)
    ]
    count = wording.tested_on(result.summary, "clean", 0.0)
    return tuple(
        Table(
            f"Scores on test answers{count} and held-out texts",
            tuple(_ABILITIES.get(metric, metric) for metric in metrics[start : start + 4]),
            tuple((name, tuple(cells[start : start + 4])) for name, cells in rows),
        )
        for start in range(0, len(metrics), 4)
    )


def _value(metric: str, mean: Estimate) -> str:
    if not mean.seeds:
        return tables.NOTHING
    low, high = mean.interval()
    scale = 100 if metric in _PERCENT else 1
    half = "" if math.isnan(low) else f" ±{scale * (high - low) / 2:.2g}"
    return f"{scale * mean.mean:.4g}{half}"


@HOUSE_STYLE
def forgetting_figure(results: pd.DataFrame) -> Figure:
    """Draw the task score against perplexity on held-out texts: right is better at the task, low forgets less."""
    figure = Figure(figsize=(5.7, 3.7), layout="constrained")
    axes = figure.add_subplot()
    axes.grid(True, axis="x")
    score, perplexity = _clean(results, "accuracy"), _clean(results, "held_out_perplexity")
    for name in [name for name in dict.fromkeys(results["variant"]) if name in score and name in perplexity]:
        style = style_of(name)
        x, y = (statistics.mean_interval(wide[name].dropna().to_numpy()) for wide in (100 * score, perplexity))
        for at, (_, low, high) in enumerate((x, y)):
            if not math.isnan(low):
                ends = ([low, high], [y[0]] * 2) if at == 0 else ([x[0]] * 2, [low, high])
                axes.plot(*ends, color=style.colour, linewidth=1.3)
        axes.plot(x[0], y[0], style.marker, color=style.colour, markersize=8, markeredgecolor="white", label=name)
    axes.set_xlabel("Accuracy on the task, %")
    axes.set_ylabel("Perplexity on held-out texts")
    axes.set_title("Learning and forgetting", color="#111111", pad=10)
    axes.margins(x=0.12, y=0.12)
    axes.legend(frameon=False, fontsize=9)
    return figure


def write_units(result: StudyResult, folder: Path, classes: Sequence[str]) -> Path:
    """Write ``units.html`` for the first seed on clean labels; every text is escaped."""
    methods = []
    for name in dict.fromkeys(result.results["variant"]):
        path = folder / "units" / f"{name}-clean-0-0.json"
        if not path.is_file():
            continue
        kinds = json.loads(path.read_text(encoding="utf-8"))
        shown = [{"title": _KINDS[kind].capitalize(), "units": units} for kind, units in kinds.items() if units]
        methods.append({"name": name, "title": METHODS[name].title, "kinds": shown})
    path, model = folder / UNITS_PAGE, Path(result.plan.model).name
    context = {"data": result.dataset, "model": model, "methods": methods, "classes": list(classes)}
    write_text(path, html.rendered("adapter_units.html.j2", context))
    return path
