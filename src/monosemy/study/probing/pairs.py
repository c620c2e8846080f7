"""Pairs of a feature set and a classifier, and the pair that noisy validation selects in each cell.

A pair is a variant of the study under the name ``FEATURES + CLASSIFIER``. Beside them stand variants that choose anew
in every cell and seed: the pair with the highest accuracy on validation rows with labels as noisy as those of train.
Of equals the first is taken, and the simpler ones come first. This is what a user can do who has no clean labels.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from monosemy.classifiers.registry import CLASSIFIERS
from monosemy.features.registry import FEATURE_SETS
from monosemy.report import tables
from monosemy.results import statistics, wording
from monosemy.results.result import Role, StudyResult, pair_name, pair_parts, register_family
from monosemy.study import probing

SELECTED, SELECTED_DENSE, SELECTED_MONOSEMANTIC = "selected", "selected dense", "selected monosemantic"
RULES = (SELECTED, SELECTED_DENSE, SELECTED_MONOSEMANTIC)


@dataclass(frozen=True)
class Pair:
    """A feature set with a classifier, or a rule that selects one."""

    title: str
    role: Role


BASELINE = pair_name(probing.BASELINE, probing.BASELINE_CLASSIFIER)


def _pair(features: str, classifier: str) -> Pair:
    of_features = FEATURE_SETS[features]
    title = f"{of_features.title}, {CLASSIFIERS[classifier].title}"
    if CLASSIFIERS[classifier].oracle:
        return Pair(title, "oracle")
    # Under the papers' protocol only the features differ; with other classifiers pairs are further candidates.
    return Pair(title, of_features.role if classifier == probing.BASELINE_CLASSIFIER else "alternative")


PAIRS: dict[str, Pair] = {
    SELECTED: Pair("the pair that noisy validation picks", "selected"),
    SELECTED_DENSE: Pair("the classifier on dense features that noisy validation picks", "contender"),
    SELECTED_MONOSEMANTIC: Pair("the monosemantic pair that noisy validation picks", "contender"),
} | {
    pair_name(features, classifier): _pair(features, classifier)
    for features in FEATURE_SETS
    for classifier in CLASSIFIERS
}  # fmt: skip
register_family(FEATURE_SETS)
register_family(PAIRS)


def is_monosemantic(name: str) -> bool:
    """Return whether a pair is on monosemantic features."""
    features, classifier = pair_parts(name)
    return bool(classifier) and FEATURE_SETS[features].role == "monosemantic"


def candidates(names: Iterable[str]) -> dict[str, list[str]]:
    """Return the pairs that each rule selects from, in the order of preference; rules without a choice are left out."""
    known = [name for name in names if pair_parts(name)[1] and PAIRS[name].role != "oracle"]
    dense = [name for name in known if pair_parts(name)[0] == probing.BASELINE]
    monosemantic = [name for name in known if is_monosemantic(name)]
    return {
        rule: chosen
        for rule, chosen in ((SELECTED, known), (SELECTED_DENSE, dense), (SELECTED_MONOSEMANTIC, monosemantic))
        if len(chosen) > 1 and (rule == SELECTED or len(chosen) < len(known))
    }


def best_of(names: Sequence[str], rule: str) -> str:
    """Return the variant that stands for the choice of a rule: its own row, or the only pair it could choose.

    Args:
        names: variants of a study; at least one that the rule may choose.
    """
    if rule in names:
        return rule
    if rule == SELECTED_DENSE:
        return next((name for name in (SELECTED,) if name in names and not any(map(is_monosemantic, names))), BASELINE)
    return next((name for name in names if is_monosemantic(name)), BASELINE)


def with_selected(table: pd.DataFrame) -> pd.DataFrame:
    """Return a tidy table with the rows of the selected pairs: scores, test rows, and regret.

    The regret of a seed is the accuracy of the pair that is best in the cell on average over all seeds, in hindsight,
    minus that of the selected pair; oracles do not count. Columns features and classifier name the chosen pair.
    """
    wide = table[table["metric"] == "validation_accuracy"]
    found = [table]
    place = ["scenario", "level", "seed"]
    scores = table[table["metric"].isin(SCORES)]
    for rule, names in candidates(dict.fromkeys(wide["variant"])).items():
        known = wide[wide["variant"].isin(names)]
        known = known.assign(_order=known["variant"].map(names.index))
        best = known.sort_values(["value", "_order"], ascending=[False, True], kind="stable").drop_duplicates(place)
        chosen = best.sort_index()[[*place, "variant"]]
        rows = scores.merge(chosen, on=[*place, "variant"]).assign(variant=rule)
        found += [rows, _regret(table, rows, list(candidates(names).get(SELECTED, names)), rule)]
    return pd.concat(found, ignore_index=True)


SCORES = (
    "accuracy",
    "balanced_accuracy",
    "macro_f1",
    "worst_recall",
    "calibration_error",
    "auc",
    "validation_accuracy",
)
"""Metrics of a classifier in a cell."""


def _regret(table: pd.DataFrame, chosen: pd.DataFrame, names: Sequence[str], rule: str) -> pd.DataFrame:
    place = ["scenario", "level"]
    accuracy = table[(table["metric"] == "accuracy") & table["variant"].isin(names)]
    means = accuracy.groupby([*place, "variant"], sort=False)["value"].mean().reset_index()
    best = means.sort_values("value", ascending=False, kind="stable").drop_duplicates(place)[[*place, "variant"]]
    hindsight = accuracy.merge(best, on=[*place, "variant"])[[*place, "seed", "value"]]
    own = chosen[chosen["metric"] == "accuracy"]
    rows = own.merge(hindsight, on=[*place, "seed"], suffixes=("", "_best"))
    return rows.assign(metric="regret", variant=rule, value=rows["value_best"] - rows["value"])[
        [column for column in table.columns if column not in ("n_test", "row_values")]
    ]


def choice_sections(result: StudyResult) -> list[tables.Section]:
    """Return the section of a report on the choice by noisy validation: pairs that were picked, and regret."""
    rows = result.results[result.results["variant"].isin(RULES)]
    if rows.empty:
        return []
    picked, regrets = [], []
    rules = list(dict.fromkeys(rows["variant"]))
    single = statistics.single_kinds(rows["scenario"])
    places = dict.fromkeys(zip(result.summary["scenario"], result.summary["level"], strict=True))
    for scenario, level in places:
        if scenario in single:
            continue
        cell = rows[(rows["scenario"] == scenario) & (rows["level"] == level)]
        place = "clean labels" if scenario == "clean" else wording.describe_cell(str(scenario), float(level))
        accuracy = cell[cell["metric"] == "accuracy"]
        picked.append((place, tuple(_most_picked(accuracy[accuracy["variant"] == rule]) for rule in rules)))
        means = cell[cell["metric"] == "regret"].groupby("variant")["value"].mean()
        regrets.append((place, tuple(tables.points(float(means.get(rule, math.nan))) for rule in rules)))
    heads = tuple(_HEADS[rule] for rule in rules)
    found = [tables.Table("Pair picked most often, and in how many seeds", heads, tuple(picked), of_variants=False)]
    found.append(
        tables.Table("Regret, points below the best pair in hindsight", heads, tuple(regrets), of_variants=False)
    )
    note = (
        "In every cell and seed the pair with the highest accuracy on validation rows is picked, whose labels are as "
        "noisy as those of train. Regret: accuracy of the pair that is best in the cell on average over the seeds, "
        "minus that of the picked one; each rule is held against the pairs that it chooses from."
    )
    return [tables.Section("Choosing the pair", tuple(found), note=note)]


_HEADS = {SELECTED: "of all pairs", SELECTED_DENSE: "dense", SELECTED_MONOSEMANTIC: "monosemantic"}


def _most_picked(rows: pd.DataFrame) -> str:
    counts = (rows["features"] + rows["classifier"].map(lambda name: pair_name("", name))).value_counts()
    return f"{counts.index[0]} ({counts.iloc[0]}/{len(rows)})" if len(counts) else tables.NOTHING
