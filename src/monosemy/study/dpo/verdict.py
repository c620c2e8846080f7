"""The verdict on trainings from preferences in words, with its tables and figures."""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from monosemy.report.figures import HOUSE_STYLE
from monosemy.report.tables import NOTHING, Section, StudyFigure, Table
from monosemy.results import learning, statistics, wording
from monosemy.results.intervals import FEWEST_SEEDS, MARGIN, RELATIVE_MARGIN, Estimate, Outcome, judge, p_text
from monosemy.results.result import StudyResult, Verdict, register_family
from monosemy.study.dpo import BASE, BASELINE, variants

_PANELS = {
    "margin": "Reward margin",
    "kl": "KL to reference, nats/token",
    "feature_decorrelation": "Feature decorrelation",
}
_BLUE, _GREY = "#0072B2", "#7a7a7a"
_DASHES = ((5, 2), (1.5, 1.5), (6, 1.5, 1.5, 1.5), (3, 1))


@HOUSE_STYLE
def weight_figure(result: StudyResult, model: str) -> Figure:
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
def layers_figure(result: StudyResult, model: str) -> Figure:
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
        wide = rows[rows["variant"] == name].pivot(index="level", columns="seed", values="value")
        ends = np.array([statistics.mean_interval(wide.loc[level].to_numpy()) for level in wide.index])
        depth = wide.index.to_numpy() / max(1, len(wide) - 1)
        colour = "#000000" if number < 2 else shades[number - 2]
        axes.plot(depth, ends[:, 0], color=colour, linewidth=1.8, linestyle=":" if name == BASE else "-", marker="o",
                  markersize=4, label="before" if name == BASE else name)  # fmt: skip
        if not np.isnan(ends[:, 1:]).any():
            axes.fill_between(depth, ends[:, 1], ends[:, 2], color=colour, alpha=0.12, linewidth=0)
    axes.set_title("Feature decorrelation by layer", pad=8)
    axes.set_xlabel("Relative depth")
    axes.set_ylabel("1 - mean cosine of prompts")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper", frameon=False)
    return figure


@HOUSE_STYLE
def models_figure(result: StudyResult) -> Figure:
    """DecPO's gain of margin over DPO by model size, and against the model's decorrelation before."""
    rows = result.summary
    before = rows[(rows["variant"] == BASE) & (rows["metric"] == "feature_decorrelation")].set_index("model")["mean"]
    sizes = pd.Series(_n_parameters(result))
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
_COMPARED = {
    "margin": "margin", "accuracy": "accuracy, points", "kl": "KL to the reference, nats a token",
    "feature_decorrelation": "decorrelation",
}  # fmt: skip
_NOTE = (
    "Differences are to DPO, paired seed by seed: higher or lower where the interval excludes 0, equivalent where it "
    "lies within one point (accuracy, unsafe answers) or within 1 % of DPO's value, else undecided; fewer than three "
    "seeds decide nothing. The intervals of all weights of DecPO hold together at 95 % (Holm); any other stands by "
    "itself. Intervals of margin and accuracy allow for other seeds and other test pairs, those of KL, perplexity and "
    "unsafe answers for other seeds and other answers or texts; decorrelation and distinct-2 are no means over rows, "
    "and their intervals are over seeds alone."
)
_SMALL = 10_000_000


def dpo_verdict(result: StudyResult) -> Verdict:
    """Return what each weight of DecPO changes against DPO, the closest control, and what model size adds.

    Of a model that learned nothing by any training, that alone is said.
    """
    sentences, learned, sizes = [], [], _n_parameters(result)
    for model in sizes:
        where = f"{model}: " if len(sizes) > 1 else ""
        rows = result.summary[result.summary["model"] == model]
        findings = [_nothing_learned(result, model, rows)]
        if not findings[0]:
            learned.append(model)
            findings = [_learned(rows), *_margins(rows, result, model), _dpo_alone(rows), *_changes(rows, result)]
        sentences += [f"{where}{sentence}" for sentence in findings if sentence]
    across = _across_models(result, learned)
    return Verdict((*sentences, *across), tuple(_warnings(result, sizes)), tuple(across[:1]))


def _scores(results: pd.DataFrame, test_rows: pd.DataFrame | None, model: str, metric: str) -> statistics.Scores:
    """Return a metric of every variant of a model; levels are weights, in which variants differ, so all become 0."""
    mine = results[(results["encoder"] == model) & (results["scenario"] == "pairs")].assign(level=0.0)
    known = None if test_rows is None else test_rows[test_rows["encoder"] == model].assign(level=0.0)
    return statistics.Scores(mine, known, metric)


def _nothing_learned(result: StudyResult, model: str, rows: pd.DataFrame) -> str:
    """Return that no training of a model tells the answers of test pairs apart; empty where one does."""
    test_rows = result.tables.get(statistics.TEST_ROWS)
    margins, accuracies = (_scores(result.results, test_rows, model, metric) for metric in ("margin", "accuracy"))
    names = [name for name in accuracies.names if name != BASE]
    above = [
        learning.any_above([scores.mean(name, "pairs", 0.0) for name in names], chance)
        for scores, chance in ((margins, 0.0), (accuracies, 0.5))
    ]
    if all(above):
        return ""
    best = max(names, key=lambda name: accuracies.mean(name, "pairs", 0.0).mean)
    accuracy, margin = _row(rows, best, "accuracy"), _row(rows, best, "margin")
    return learning.nothing(
        f"the best accuracy on test pairs, {_accuracy(accuracy)} of {best}, and its reward margin, {margin['mean']:.3g}"
        f"{_interval(margin['low'], margin['high'])}, are not both clearly above chance, 50 % and 0"
    )


def _accuracy(row: pd.Series) -> str:
    """Return an accuracy with its interval and the number of test pairs."""
    interval = "" if np.isnan(row["low"]) else f" [{100 * row['low']:.1f}, {100 * row['high']:.1f}]"
    return f"{100 * row['mean']:.1f} %{interval}{_pairs(row)}"


def _pairs(row: pd.Series) -> str:
    return f" ({row['n_test']:,} test pairs)" if row["n_test"] else ""


def _n_parameters(result: StudyResult) -> dict[str, int]:
    """Return the number of parameters of each base model."""
    rows = result.results[result.results["metric"] == "n_parameters"]
    return {str(model): int(value) for model, value in rows.groupby("encoder", sort=False)["value"].first().items()}


def _warnings(result: StudyResult, sizes: dict[str, int]) -> list[str]:
    plan = result.plan
    warnings = wording.few_seeds(plan.n_seeds)
    if len(plan.weights) > 1:
        warnings.append("The weights are compared on the test pairs, so the best of them looks better than it is.")
    if plan.losses:
        warnings.append("Losses scale rewards differently: compare accuracy and KL between losses, not margins.")
    if plan.judge is not None and plan.judge.kind == "toxicity":
        warnings.append("The toxicity judge recognises rude words in single sentences; use it to compare models only.")
    small = [name for name, size in sizes.items() if size < _SMALL]
    if small:
        warnings.append(
            f"Models under ten million weights ({', '.join(small)}) show that the method works, not its effect on "
            f"large models."
        )
    return warnings


def dpo_sections(result: StudyResult) -> list[Section]:
    """Return means, differences to DPO and figures of each model, and a figure across models."""
    sizes = _n_parameters(result)
    # Weights are the plan's, so the names that carry them are known only now.
    register_family({v.name: v for v in variants(result.plan) if v.name not in (BASE, BASELINE)})
    sections = []
    for model in sizes:
        rows = result.summary[result.summary["model"] == model]
        figures = (
            StudyFigure("weight", "", f"weight-{model}", f"Margin, KL and decorrelation of {model} against the weight.",
                        weight_figure(result, model)),
            StudyFigure("layers", "", f"layers-{model}", f"Feature decorrelation of {model} by layer.",
                        layers_figure(result, model)),
        )  # fmt: skip
        sections.append(Section(model, tuple(_tables(model, rows)), figures, _NOTE))
    if len(sizes) > 1 and result.plan.weights:
        alt = "Gain of margin of DecPO over DPO by model size and by decorrelation before."
        figure = StudyFigure("models", "", "models", alt, models_figure(result))
        sections.append(Section("Across models", figures=(figure,)))
    return sections


def _tables(model: str, rows: pd.DataFrame) -> list[Table]:
    heads = {metric: head for metric, head in _HEADS.items() if metric in set(rows["metric"])}
    names = list(dict.fromkeys(rows["variant"]))
    means = tuple((name, tuple(_text(metric, _row(rows, name, metric)["mean"]) for metric in heads)) for name in names)
    count = _pairs(_row(rows, BASELINE, "accuracy")).strip(" ()")
    title = f"{model}: means over seeds{f', {count}' if count else ''}"
    tables = [Table(title, tuple(heads.values()), means)]
    for metric, title in _COMPARED.items():
        lines = []
        for name in [name for name in names if name not in (BASE, BASELINE)]:
            row = _row(rows, name, metric)
            scale = 100 if metric in _PERCENT else 1
            interval = _interval(scale * row["gain_low"], scale * row["gain_high"]).strip() or NOTHING
            lines.append(
                (name, (f"{scale * row['gain']:+.3g}", interval, p_text(float(row["p_holm"])), _direction(row)))
            )
        if lines:
            heading = f"{model}: difference to dpo, {title}"
            tables.append(Table(heading, ("mean", "interval", "Holm p", "outcome"), tuple(lines)))
    return tables


def _text(metric: str, value: float) -> str:
    return f"{100 * value:.1f}" if metric in _PERCENT else f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def summarise_alignment(results: pd.DataFrame, test_rows: pd.DataFrame | None = None) -> pd.DataFrame:
    """One row a model, variant and metric: its mean, and the paired difference to DPO of the same seed.

    Args:
        results: tidy table with encoder, variant, scenario, level, seed, metric, value; of scenario `pairs` alone.
        test_rows: margins and hits of the single test pairs.

    Returns: columns model, variant, weight, metric, seeds, n_test (0 if unknown), mean, low, high, and the columns of
        :func:`~monosemy.results.statistics.judged_gains`. A gain is the variant less DPO, whether more is better or
        not. Claims are those of DecPO, corrected within each metric, over all weights and models.
    """
    measured = results[results["scenario"] == "pairs"]
    weights = measured.groupby(["variant"], sort=False)["level"].first()
    rows: list[list[Any]] = []
    gains: list[Estimate | None] = []
    margins: list[float | None] = []
    for model, metric in dict.fromkeys(zip(measured["encoder"], measured["metric"], strict=True)):
        scores = _scores(measured, test_rows, model, metric)
        baseline = scores.mean(BASELINE, "pairs", 0.0).mean
        for name in scores.names:
            mean = scores.mean(name, "pairs", 0.0)
            if not mean.seeds:
                continue
            bounds = np.clip(mean.interval(), 0, 1) if metric in _PERCENT else mean.interval()
            rows.append([model, name, weights[name], metric, mean.seeds, mean.rows, mean.mean, *bounds])
            gains.append(None if name == BASELINE else scores.gain(name, BASELINE, "pairs", 0.0))
            margins.append(MARGIN if metric in _PERCENT else RELATIVE_MARGIN * abs(baseline))
    summary = pd.DataFrame(
        rows, columns=["model", "variant", "weight", "metric", "seeds", "n_test", "mean", "low", "high"]
    )
    claims = [name.startswith("decpo-") for name in summary["variant"]]
    return pd.concat([summary, statistics.judged_gains(gains, list(summary["metric"]), claims, margins)], axis=1)


def _row(rows: pd.DataFrame, variant: str, metric: str) -> pd.Series:
    return rows[(rows["variant"] == variant) & (rows["metric"] == metric)].iloc[0]


def _clear(row: pd.Series) -> bool:
    return row["outcome"] in ("better", "worse")


_VERBS: dict[Outcome, str] = {
    "better": "raises",
    "worse": "lowers",
    "equivalent": "keeps, within 1 %,",
    "undecided": "makes no clear difference to",
}


def _direction(row: pd.Series) -> str:
    """Return the outcome in words that do not say whether more is better."""
    directions = {"better": "higher", "worse": "lower"}
    return directions.get(row["outcome"], row["outcome"])


def _verb(row: pd.Series) -> str:
    """Return the verb for a difference to DPO."""
    if row["seeds"] < FEWEST_SEEDS:
        return f"changes ({wording.few(row['seeds'])})"
    return _VERBS[row["outcome"]]


def _interval(low: float, high: float) -> str:
    return "" if np.isnan(low) else f" [{low:+.3g}, {high:+.3g}]"


def _difference(row: pd.Series) -> str:
    """Return the gain over DPO with its interval; fractions in points, others also in per cent of DPO's value."""
    if row["metric"] in _PERCENT:
        return wording.with_interval(row["gain"], row["gain_low"], row["gain_high"])
    before = abs(row["mean"] - row["gain"])
    relative = f", {100 * row['gain'] / before:+.2g} %" if before > 0 else ""
    return f"{row['gain']:+.3g}{_interval(row['gain_low'], row['gain_high'])}{relative}"


def _learned(rows: pd.DataFrame) -> str:
    """Return how well DPO alone tells the answers of test pairs apart."""
    dpo = _row(rows, BASELINE, "accuracy")
    if dpo["low"] > 0.5 or (np.isnan(dpo["low"]) and dpo["mean"] > 0.5):
        return f"DPO learns to tell the answers of test pairs apart: accuracy {_accuracy(dpo)}."
    return f"DPO does not clearly tell the answers of test pairs apart, though another training does: {_accuracy(dpo)}."


def _dpo_alone(rows: pd.DataFrame) -> str:
    row = _row(rows, BASE, "feature_decorrelation")
    change = f"{0.0 - row['gain']:+.3g}{_interval(-row['gain_high'], -row['gain_low'])}"
    start = f"(before {row['mean']:.3g})"
    what = "the layer's feature decorrelation"
    if row["seeds"] < FEWEST_SEEDS:
        return f"DPO alone changes {what} by {change} {start}; {wording.few(row['seeds'])}."
    verbs = _VERBS | {"better": _VERBS["worse"], "worse": _VERBS["better"]}  # the row is that of the model before
    return f"DPO alone {verbs[row['outcome']]} {what}: {change} {start}."


def _of_kind(result: StudyResult, kind: str) -> list[str]:
    return [v.name for v in variants(result.plan) if v.objective is not None and v.role == kind]


def _margins(rows: pd.DataFrame, result: StudyResult, model: str) -> list[str]:
    names = _of_kind(result, "monosemantic")
    if not names:
        return ["No weight of DecPO was in the comparison, so there is nothing to compare."]
    groups: dict[str, list[str]] = {}
    for name in names:
        row = _row(rows, name, "margin")
        groups.setdefault(_verb(row), []).append(f"{row['weight']:g} ({_difference(row)})")
    start = f"{_row(rows, BASELINE, 'margin')['mean']:.3g}"
    sentences = [
        f"DecPO {verb} the reward margin (DPO: {start}) at weight {', '.join(parts)}." for verb, parts in groups.items()
    ]
    return [*sentences, *_against_ablations(rows, result, model, names)]


def _against_ablations(rows: pd.DataFrame, result: StudyResult, model: str, names: Sequence[str]) -> list[str]:
    """Return how the best weight compares with the closest ablation by the margin."""
    controls = [v.name for v in variants(result.plan) if v.objective is not None and v.objective.regularizer
                and v.role == "control"]  # fmt: skip
    scores = _scores(result.results, result.tables.get(statistics.TEST_ROWS), model, "margin")
    best = max(names, key=lambda name: _row(rows, name, "margin")["gain"])
    gains = {control: scores.gain(best, control, "pairs", 0.0) for control in controls}
    known = {control: gain for control, gain in gains.items() if gain.seeds}
    if not known:
        return []
    closest = min(known, key=lambda control: known[control].mean)
    gain, start = known[closest], _row(rows, BASELINE, "margin")["mean"]
    (found,) = judge([gain], [False], RELATIVE_MARGIN * abs(start))
    verbs = {
        "better": "has a larger margin than",
        "worse": "has a smaller margin than",
        "equivalent": "has, within 1 %, the margin of",
        "undecided": "has no clearly different margin from",
    }
    verb = verbs[found.outcome] if gain.seeds >= FEWEST_SEEDS else f"({wording.few(gain.seeds)}) differs from"
    return [
        f"Its best weight by the margin, {_row(rows, best, 'margin')['weight']:g}, {verb} the closest ablation, "
        f"{closest}: {gain.mean:+.3g}{_interval(found.low, found.high)}."
    ]


def _changes(rows: pd.DataFrame, result: StudyResult) -> list[str]:
    """Return clear changes in decorrelation, and in what should stay: KL, perplexity, unsafe answers, diversity."""
    sentences: list[str] = []
    names = _of_kind(result, "monosemantic")
    words = {"feature_decorrelation": "the layer's feature decorrelation",
             "kl": "KL to the reference", "perplexity": "perplexity on held-out text", "unsafe": "unsafe answers",
             "distinct_2": "diversity of answers (distinct-2)", "accuracy": "accuracy on pairs"}  # fmt: skip
    for metric, what in words.items():
        changed = [_row(rows, name, metric) for name in names] if metric in set(rows["metric"]) else []
        parts = [f"{row['weight']:g} ({_difference(row)})" for row in changed if _clear(row)]
        if parts:
            sentences.append(f"DecPO changes {what} against DPO at weight {', '.join(parts)}.")
        elif metric == "feature_decorrelation" and names and result.plan.n_seeds >= FEWEST_SEEDS:
            sentences.append(f"At no weight does DecPO clearly change {what} against DPO.")
    return sentences


def _across_models(result: StudyResult, models: Sequence[str]) -> list[str]:
    """Return the gain of margin by model size, of the models that learned something."""
    names = _of_kind(result, "monosemantic")
    if len(models) < 2 or not names:
        return []
    parts, points = [], []
    for model in sorted(models, key=lambda name: _n_parameters(result)[name]):
        rows = result.summary[result.summary["model"] == model]
        best = max((_row(rows, name, "margin") for name in names), key=lambda row: row["gain"])
        before = _row(rows, BASE, "feature_decorrelation")["mean"]
        parts.append(f"{model} ({_n_parameters(result)[model]:,} weights) {best['weight']:g} ({_difference(best)})")
        points.append(f"{before:.3g} -> {best['gain']:+.3g}")
    return [
        f"Best weight by the margin, and its gain over DPO: {'; '.join(parts)}.",
        f"Feature decorrelation of the model before, and that gain: {'; '.join(points)}; {len(models)} models are "
        f"too few to tell a law from chance.",
    ]
