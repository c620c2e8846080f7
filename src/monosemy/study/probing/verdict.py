"""The verdict on features and classifiers in words, and whether separability predicts the gains of features."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from monosemy.corruptions import common
from monosemy.report import tables
from monosemy.results import statistics, wording
from monosemy.results.result import StudyResult, Verdict, pair_parts, with_role
from monosemy.sae.config import LEAST_EXPLAINED
from monosemy.study import probing
from monosemy.study.probing import pairs

MOST_DEAD = 0.9
"""Share of silent dimensions above which a feature set counts as collapsed."""
_NOTHING = "No monosemantic feature set was in the study, so there is nothing to say on what such features add."


def probing_verdict(result: StudyResult) -> Verdict:
    """Answer what to use, what monosemantic features add to the best classifier, and what under cross-entropy alone."""
    names = tables.variant_names(result.summary)
    untrained = _untrained(result)
    monosemantic = [name for name in with_role(names, "monosemantic") if pair_parts(name)[0] not in untrained]
    nothing = _nothing_said(untrained)
    single = statistics.single_kinds(result.summary["scenario"])
    sentences: list[str] = []
    shown = [name for name in dict.fromkeys(result.summary["scenario"]) if name not in single and name != "clean"]
    for scenario in shown or ["clean"]:
        sentences += _what_to_use(result, scenario)
        sentences += _what_they_add(result, scenario) if monosemantic else []
        sentences += _under_cross_entropy(result, scenario, monosemantic)
    sentences += [] if monosemantic else [nothing]
    # The headline answers for label noise, or for the first scenario where it was not run.
    first = "label-noise" if "label-noise" in shown else next(iter(shown), "clean")
    headline = [*_what_to_use(result, first), *(_what_they_add(result, first) if monosemantic else [nothing])]
    return Verdict(tuple(sentences), tuple(_warnings(result, monosemantic, untrained)), tuple(headline))


def _untrained(result: StudyResult) -> dict[str, str]:
    """Return the monosemantic sets from which nothing follows, and why: they hold too little of the embeddings."""
    found = {}
    means = result.results.groupby(["variant", "metric"], sort=False)["value"].mean()
    for name in with_role(list(dict.fromkeys(result.results["features"])), "monosemantic"):
        explained, dead = means.get((name, "explained_variance"), np.nan), means.get((name, "dead"), 0.0)
        if explained < LEAST_EXPLAINED:
            found[name] = f"explains {100 * max(explained, 0):.0f} % of the variance of test embeddings"
        elif dead > MOST_DEAD:
            found[name] = f"has {100 * dead:.0f} % of its dimensions silent on train"
    return found


def _nothing_said(untrained: Mapping[str, str]) -> str:
    """Return that the study says nothing about monosemantic features, and why."""
    if not untrained:
        return _NOTHING
    return f"No monosemantic feature set was trained ({', '.join(untrained)}), so nothing follows on what they add."


def _cells(summary: pd.DataFrame, name: str, scenario: str) -> pd.DataFrame:
    """Return the rows of a variant from clean data to the hardest level; clean data alone for that scenario."""
    rows = tables.scenario_table(summary, scenario)
    rows = rows[rows["variant"] == name]
    return rows.assign(level=rows["level"].where(rows["scenario"] != "clean", 0.0))  # as in the results


def recommended(results: pd.DataFrame, scenario: str, level: float) -> str:
    """Return the pair to use in a cell: the simplest within a standard error of the best on noisy validation labels.

    Pairs come in the order of the study, dense features and cross-entropy first; the error is that of the paired
    difference over seeds.
    """
    rows = results[
        (results["metric"] == "validation_accuracy")
        & results["variant"].map(lambda name: bool(pair_parts(name)[1]) and pairs.PAIRS[name].role != "oracle")
    ]
    cell = rows[(rows["scenario"] == scenario) & (rows["level"] == level)]
    cell = rows[rows["scenario"] == "clean"] if cell.empty else cell  # means over kinds test what clean labels trained
    table = cell.pivot(index="seed", columns="variant", values="value")[list(dict.fromkeys(cell["variant"]))]
    behind = -table.sub(table[table.mean().idxmax()], axis=0)
    error = behind.std(ddof=1).fillna(0.0) / np.sqrt(len(behind))
    return str(table.columns[int((behind.mean() <= error).argmax())])


def _what_to_use(result: StudyResult, scenario: str) -> list[str]:
    """Return the recommended pair at every level, and what choosing by noisy validation gains over the baseline."""
    rows = _cells(result.summary, pairs.BASELINE, scenario)
    places = list(rows[["scenario", "level"]].itertuples(index=False, name=None))
    chosen = {place: recommended(result.results, *place) for place in places}
    if set(chosen.values()) == {pairs.BASELINE}:
        return [f"Use {pairs.BASELINE}: noisy validation picks no other pair {_where(places)}."]
    uses = [
        f"{name} {_where([place for place in places if chosen[place] == name])}"
        for name in dict.fromkeys(chosen.values())
    ]
    sentences = [f"Use {'; '.join(uses)}."]
    names = tables.variant_names(result.summary)
    if pairs.SELECTED in names:
        cells = _cells(result.summary, pairs.SELECTED, scenario)
        regret = result.results[(result.results["variant"] == pairs.SELECTED) & (result.results["metric"] == "regret")]
        here = regret[regret["scenario"].isin([scenario, "clean"])]["value"].mean()
        sentences.append(
            f"Choosing the pair by noisy validation in each seed {_by_outcome(cells, pairs.BASELINE)}; it is "
            f"{100 * here:.1f} points below the best pair in hindsight on average."
        )
    return sentences


def _where(places: Sequence[tuple[str, float]]) -> str:
    """Return cells in words: ``on clean labels and under 10 and 20 % label noise``."""
    return " and ".join(
        wording.in_cells(name, [level for scenario, level in places if scenario == name])
        for name in dict.fromkeys(scenario for scenario, _ in places)
    )


def _by_outcome(rows: pd.DataFrame, other: str) -> str:
    """Return how a variant compares with another in cells grouped by outcome, each with its gain and interval."""
    found = []
    for outcome, part in wording.outcomes(rows):
        cells = [
            f"{_where([(scenario, level)])} ({wording.with_interval(gain, low, high)})"
            for scenario, level, gain, low, high in part[
                ["scenario", "level", "gain", "gain_low", "gain_high"]
            ].itertuples(index=False)
        ]
        found.append(f"{wording.VERBS[outcome]} {other} {wording.joined(cells)}")
    return "; it ".join(found)


def _what_they_add(result: StudyResult, scenario: str) -> list[str]:
    """Return the gain of the selected monosemantic pair over the selected classifier on dense features."""
    names = tables.variant_names(result.summary)
    mine, dense = (pairs.best_of(names, rule) for rule in (pairs.SELECTED_MONOSEMANTIC, pairs.SELECTED_DENSE))
    scores = statistics.Scores(result.results, result.tables.get(statistics.TEST_ROWS))
    places = _cells(result.summary, mine, scenario)[["scenario", "level"]].reset_index(drop=True)
    gains = [scores.gain(mine, dense, *place) for place in places.itertuples(index=False, name=None)]
    judged = statistics.judged_gains(gains, [0] * len(gains), [True] * len(gains))
    rows = pd.concat([places, judged], axis=1)
    return [
        "Monosemantic features with their best classifier, against dense features with theirs, each chosen by noisy "
        f"validation: the monosemantic pair {_by_outcome(rows, 'the dense one')}."
    ]


def _under_cross_entropy(result: StudyResult, scenario: str, monosemantic: Sequence[str]) -> list[str]:
    """Return how every monosemantic set compares where all are probed by cross-entropy, the papers' protocol."""
    sentences = []
    controls = with_role(tables.variant_names(result.summary), "control")
    for name in monosemantic:
        level = wording.hardest_level(result.summary, scenario)
        where = "By cross-entropy alone, on clean labels" if scenario == "clean" else ""
        first = wording.compared(result, name, controls if scenario != "clean" else None, scenario, level, where)
        sentences += [first if where else f"By cross-entropy alone, {first[0].lower()}{first[1:]}"]
        sentences += _milder_levels(name, scenario, result.summary)
        sentences += _kinds(name, scenario, result.summary)
    return sentences


def _milder_levels(name: str, scenario: str, summary: pd.DataFrame) -> list[str]:
    """Return the outcomes at milder levels: the hardest level must not mislead readers who have little noise."""
    rows = _cells(summary, name, scenario)
    milder = rows[(rows["level"] != wording.hardest_level(summary, scenario)) & rows["gain"].notna()]
    if milder.empty:
        return []
    parts = []
    for word, chosen in wording.outcomes(milder):
        places = list(chosen[["scenario", "level"]].itertuples(index=False, name=None))
        low, high = chosen["gain"].min(), chosen["gain"].max()
        span = wording.in_points(low) if len(chosen) == 1 else f"{100 * low:+.1f} to {wording.in_points(high)}"
        parts.append(f"{word} {_where(places)} ({span})")
    return [f"Elsewhere, {name} against {pairs.BASELINE}: {'; '.join(parts)}."]


def _kinds(name: str, scenario: str, summary: pd.DataFrame) -> list[str]:
    """Return the outcomes behind a mean over kinds at its hardest level, with the smallest and the largest gain."""
    if not statistics.is_mean(scenario):
        return []
    level = wording.hardest_level(summary, scenario)
    family = statistics.family_of(scenario)
    kinds = [kind for kind in statistics.single_kinds(summary["scenario"]) if statistics.family_of(kind) == family]
    rows = summary[
        (summary["variant"] == name) & summary["scenario"].isin(kinds) & (summary["level"] == level)
    ].sort_values("gain", kind="stable")
    counts = [f"{word} on {len(chosen)}" for word, chosen in wording.outcomes(rows)]
    ends = [
        f"{wording.kind_in_words(row['scenario'])} ({wording.in_points(row['gain'])})"
        for _, row in rows.iloc[[0, -1]].iterrows()
    ]
    return [f"Of the {len(rows)} kinds there, {name}: {', '.join(counts)}; gains run from {ends[0]} to {ends[1]}."]


def _warnings(result: StudyResult, monosemantic: Sequence[str], untrained: Mapping[str, str]) -> list[str]:
    plan: probing.ProbingPlan = result.plan
    warnings = wording.few_seeds(plan.n_seeds)
    warnings += [
        f"{name} was not trained: it {why}, so its accuracy is no loss of monosemantic features; raise sae.k or "
        f"sae.max_steps (--set)."
        for name, why in untrained.items()
    ]
    for name in monosemantic:
        cell = wording.cell_of(result.summary, name, "clean", 0.0)
        if cell["outcome"] == "worse":
            warnings.append(f"{name} loses {-100 * cell['gain']:.1f} points on clean data.")
    means = result.results.groupby(["variant", "metric"], sort=False)["value"].mean()
    for name in with_role(list(dict.fromkeys(result.results["features"])), "monosemantic"):
        explained = means.get((name, "explained_variance"), np.nan)
        if explained < 0.95 and name not in untrained:
            warnings.append(
                f"{name} does not explain {100 * (1 - explained):.0f} % of the variance of test embeddings."
            )
        dead = means.get((name, "dead"), 0.0)
        if dead > 0.01 and name not in untrained:
            warnings.append(f"{100 * dead:.0f} % of the dimensions of {name} never fire on train.")
    if "corruptions" in plan.scenarios and "frost" in (plan.corruptions.kinds or common.KINDS):
        warnings.append(
            "Frost is drawn here, where the published sets show photographs: its accuracy, and so the mean over kinds, "
            "is not comparable with published numbers."
        )
    return warnings
