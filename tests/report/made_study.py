"""A small study made by hand: known numbers, hostile names."""

from pathlib import Path

import pandas as pd

import monosemy.study.probing.study  # noqa: F401 - makes the roles of the feature sets known, as every study does
from monosemy.core.config import validated
from monosemy.results.result import StudyResult, Verdict
from monosemy.results.statistics import summarise
from monosemy.study.folder import costs_table
from monosemy.study.probing import ProbingPlan

HOSTILE = "<script>alert(1)</script>"
HEADLINE = ("sae wins over dense.", "It costs a point on clean data.")

SPENT = {"fit_seconds": 2.0, "probe_seconds": 30.0, "seconds": 40.0, "peak_mib": 512.0}

# Accuracy of the first seed on clean data, and what a whole step of hardness costs.
_ACCURACY = {"dense": (0.90, 0.40), "relu": (0.89, 0.30), "sae": (0.88, 0.10), "dense+cleanlab": (0.90, 0.35)}
_CONSISTENCY = {"dense": (0.12, 0.10), "relu": (0.15, 0.11), "sae": (0.60, 0.20)}
_CELLS = (
    ("clean", 0.0, 0.0), ("label-noise", 0.3, 0.3), ("label-noise", 0.6, 0.6), ("given-labels", 0.1734, 0.2),
    ("few-labels", 0.1, 0.8), ("few-labels", 0.5, 0.2), ("input-noise", 0.25, 0.5), ("shift:sketch", 1.0, 0.6),
)  # fmt: skip


def tidy(seeds: int, scenarios: tuple[str, ...] | None, extra: tuple[str, ...], dataset: str) -> pd.DataFrame:
    """Results in the form of a study; ``extra`` names behave like relu."""
    rows = []
    for number, name in enumerate((*_ACCURACY, *extra)):
        clean, slope = _ACCURACY.get(name, _ACCURACY["relu"])
        for seed in range(seeds):
            # Seeds differ, and differ otherwise for every feature set: no interval is empty.
            luck = 0.004 * ((seed * (number + 2)) % 5)
            for scenario, level, hardness in _CELLS:
                if scenarios is None or scenario in (*scenarios, "clean"):
                    rows.append((name, scenario, level, seed, "accuracy", clean - slope * hardness + luck))
            if name in _CONSISTENCY:
                consistency, chance = _CONSISTENCY[name]
                measured = {
                    "semantic_consistency": consistency + luck, "consistency_chance": chance, "l0": 16.0,
                    "n_dimensions": 1024.0, "dead": 0.02, "mono_score": 0.25,
                    "explained_variance": 0.97 if name == "sae" else float("nan"),
                }  # fmt: skip
                rows += [(name, "clean", 0.0, seed, metric, value) for metric, value in measured.items()]
    table = pd.DataFrame(rows, columns=["variant", "scenario", "level", "seed", "metric", "value"])
    table.insert(0, "dataset", dataset)
    table.insert(1, "encoder", "none")
    return table


def _plan(seeds: int, source: str) -> ProbingPlan:
    values = {
        "data": {"source": source}, "encoder": {"name": "none"}, "features": ["dense", "relu", "sae"],
        "scenarios": ["label-noise"], "label_noise": {"levels": [0.3, 0.6]}, "n_seeds": seeds,
    }  # fmt: skip
    return validated(ProbingPlan, values, "test")


def make_result(
    seeds: int = 4,
    scenarios: tuple[str, ...] | None = None,
    extra: tuple[str, ...] = (),
    dataset: str = "toy",
    folder: Path | None = None,
    source: str = "toy.parquet",
    verdict: Verdict | None = None,
) -> StudyResult:
    """A finished study of `toy`; the plan is not consulted for its scenarios."""
    results = tidy(seeds, scenarios, extra, dataset)
    verdict = verdict or Verdict(("Under 60% label noise, sae beats dense.",), ("The warning of the study.",), HEADLINE)
    messages = ("Dropped 3 rows.",)
    costs = costs_table([("dense", 1, SPENT), ("sae", 1, SPENT | {"fit_seconds": 4.0}), ("sae", 1, {})])
    return StudyResult(_plan(seeds, source), results, summarise(results), verdict, messages, costs, folder)
