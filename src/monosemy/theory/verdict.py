"""The verdicts of `monosemy toy` and `monosemy theory` in words, and the comparisons behind them."""

import numpy as np
import pandas as pd

from monosemy.results import statistics, wording
from monosemy.results.result import StudyResult, Verdict
from monosemy.theory import two_features
from monosemy.theory.plan import BASELINE, SeparabilityPlan, ToyPlan

SAME_ACCURACY = 0.005
"""Difference up to which mono and its rotation count as equally accurate."""
LITTLE_SUPERPOSITION = 1.2
"""Features per dimension below which a model hardly superposes features."""


def toy_verdict(result: StudyResult) -> Verdict:
    """Return how much superposition there is, mono against poly in both tasks, the control, and the sweep."""
    plan: ToyPlan = result.plan
    metrics = result.results.groupby("metric")["value"].mean()
    per_dimension = metrics["features_per_dimension"]
    sentences = [
        f"At S = {plan.sparsity:g} the toy model stores {per_dimension:.2f} features per dimension, with an "
        f"interference of {metrics['interference']:.2f} per feature, and explains "
        f"{100 * metrics['variance_explained']:.0f} % of the variance."
    ]
    if per_dimension < LITTLE_SUPERPOSITION:
        sentences.append(
            "That is hardly superposition: the model keeps a blend of all features, as principal components would."
        )
    tasks = {"all features": result.summary}
    if "kept" in result.tables:
        tasks["the features that mono keeps"] = statistics.summarise(result.tables["kept"], BASELINE)
    compared = [
        f"Largest of {name}: {wording.compared_by_outcome(rows[rows['variant'] == 'mono'], 'mono', BASELINE)}."
        for name, rows in tasks.items()
    ]
    sentences += [*compared, _control(pd.concat([result.results, *_optional(result, "kept")]))]
    for sweep in _optional(result, "sweep"):
        sentences += _sweep_sentences(sweep)
    return Verdict(tuple(sentences), tuple(wording.few_seeds(plan.n_seeds)), headline=(sentences[0], compared[0]))


def _optional(result: StudyResult, table: str) -> list[pd.DataFrame]:
    return [result.tables[table]] if table in result.tables else []


def _control(rows: pd.DataFrame) -> str:
    """Return the accuracy and clean J of the rotated code beside those of mono."""
    accuracy = rows[rows["metric"] == "accuracy"].pivot_table(
        index=["task", "scenario", "level"], columns="variant", values="value"
    )
    largest = float((accuracy["mono"] - accuracy["rotated"]).abs().max())
    if largest >= SAME_ACCURACY:
        return f"Control: the accuracy of rotated differs from that of mono by up to {100 * largest:.1f} points."
    clean = rows[(rows["metric"] == "separability") & (rows["scenario"] == "clean")].groupby("variant")["value"].mean()
    return (
        f"Control: rotated mixes the features of mono in every dimension; its J is "
        f"{clean['rotated'] / clean['mono']:.2g} times that of mono, and its accuracy is the same to "
        f"{100 * largest:.1f} points. So mono differs from poly in accuracy by which features it keeps, not by keeping "
        f"one per dimension."
    )


def sweep_gains(sweep: pd.DataFrame) -> pd.DataFrame:
    """Return the paired accuracy difference mono - poly, in points, with its 95 % interval, per cell of a sweep.

    Returns: columns task, scenario, dimensions, sparsity, gain, low, high.
    """
    place = ["task", "scenario", "dimensions", "sparsity"]
    accuracy = sweep[sweep["metric"] == "accuracy"].pivot(index=[*place, "seed"], columns="variant", values="value")
    rows = [
        (*cell, *statistics.mean_interval(100 * (values["mono"] - values["poly"]).to_numpy()))
        for cell, values in accuracy.groupby(place, sort=False)
    ]
    return pd.DataFrame(rows, columns=[*place, "gain", "low", "high"])


def _sweep_sentences(sweep: pd.DataFrame) -> list[str]:
    """Return the number of cells in which mono is clearly better or worse, and how noise changes that."""
    gains = sweep_gains(sweep).set_index(["dimensions", "sparsity"]).sort_index()
    sentences = []
    for task, name in (("all", "all features"), ("kept", "the features that mono keeps")):
        if task not in set(gains["task"]):
            continue
        of_task = gains[gains["task"] == task]
        clean = of_task[of_task["scenario"] == "clean"]
        parts = [f"on clean labels mono improves on poly in {(clean['low'] > 0).sum()} and is worse in "
                 f"{(clean['high'] < 0).sum()}"]  # fmt: skip
        for scenario, words in (("label-noise", "label noise"), ("input-noise", "input noise")):
            noisy = of_task[of_task["scenario"] == scenario]
            parts.append(
                f"under {words} in {(noisy['low'] > 0).sum()} and {(noisy['high'] < 0).sum()} (noise moves the "
                f"difference clearly towards mono in {(noisy['low'] > clean['high']).sum()}, and makes mono better "
                f"where it was worse in {((clean['high'] < 0) & (noisy['low'] > 0)).sum()})"
            )
        sentences.append(
            f"Sweep, largest of {name}, {len(clean)} cells, 95 % intervals without correction: {'; '.join(parts)}."
        )
    return sentences


def moments_of(sparsity: float, plan: SeparabilityPlan) -> tuple[two_features.ScoreMoments, two_features.ScoreMoments]:
    """Return the closed-form moments of mono, x1, and of the plan's polysemantic score."""
    moments = two_features.two_feature_moments
    return moments(sparsity, two_features.MONO, plan.input_noise), moments(sparsity, plan.weights, plan.input_noise)


def score_name(weights: tuple[float, float]) -> str:
    """Return w1 x1 - w2 x2 as it is usually written."""
    w1, w2 = weights
    first = "x1" if w1 == 1 else f"{w1:g} x1"
    sign, size = ("-", w2) if w2 >= 0 else ("+", -w2)
    return f"{first} {sign} {'' if size == 1 else f'{size:g} '}x2"


def lead_words(passing: two_features.Overtaking) -> str:
    """Return the label noise at which the first score leads."""
    rates = [f"{100 * rate:.2f} %" for rate in passing.crossings]
    match passing.outcome:
        case "always" | "never":
            return passing.outcome
        case "crosses":
            return f"from {rates[0]}"
        case "reverses":
            return f"up to {rates[0]}"
        case _ if passing.leads_at_last:
            return f"except {rates[0]} to {rates[1]}"
    return f"{rates[0]} to {rates[1]}"


def separability_verdict(result: StudyResult) -> Verdict:
    """Return where mono leads by J, whether it does in the scale-free form, and the check by simulation."""
    plan: SeparabilityPlan = result.plan
    poly_name = score_name(plan.weights)
    leads = [f"S = {s:g} {lead_words(two_features.overtaking(*moments_of(s, plan)))}" for s in plan.sparsities]
    sentences = [f"Label noise at which J of x1 exceeds J of {poly_name}: {'; '.join(leads)}."]
    if plan.weights == (1.0, 1.0) and plan.input_noise == 0:
        sentences.append(
            f"For x1 - x2 the two cross at every S between 0 and (2 + √11) / 7 = "
            f"{two_features.ALWAYS_AHEAD_SPARSITY:.3f}; beyond it x1 leads without noise, and at S = 0 it never leads."
        )
    eta = np.linspace(0, 0.499, 200)
    scale_free = []
    for s in plan.sparsities:
        mono, poly = (np.abs(two_features.scale_free_separability(moments, eta)) for moments in moments_of(s, plan))
        scale_free += [f"{s:g}"] * bool((mono > poly).any())
    unit = (
        "J has a unit, one over that of the score: halving a score doubles its J. In the scale-free form "
        "d = gap / sqrt(sd0 sd1), x1 leads at "
        + (f"some label noise for S = {', '.join(scale_free)}." if scale_free else "none of these S and label noises.")
    )
    sentences += [unit, _check_sentence(result.results, plan)]
    return Verdict(tuple(sentences), tuple(wording.few_seeds(plan.n_seeds)), headline=(sentences[0], unit))


def _check_sentence(results: pd.DataFrame, plan: SeparabilityPlan) -> str:
    """Return how far the simulated means lie from the closed forms."""
    check = results[results["source"] == "simulated check"]
    deviations = []
    for sparsity in plan.sparsities:
        for score, moments in zip(("mono", "poly"), moments_of(sparsity, plan), strict=True):
            values = check[(check["sparsity"] == sparsity) & (check["variant"] == score)]["value"].to_numpy()
            exact = float(two_features.score_separability(moments))
            deviations.append(abs(values.mean() - exact) / max(abs(exact), 1e-12))
    return (
        f"Simulated J on clean labels is within {100 * max(deviations):.2f} % of the closed form for every S and score."
    )
