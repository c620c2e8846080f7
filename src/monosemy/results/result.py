"""The result of a study: its tidy table, the summary with intervals, and the verdict in words."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from monosemy.core.config import Plan


@dataclass(frozen=True)
class Verdict:
    """The answer of a study in sentences."""

    sentences: tuple[str, ...]
    """What the study found, one finding a sentence."""
    warnings: tuple[str, ...] = ()
    """What limits the answer."""
    headline: tuple[str, ...] = ()
    """The answer in one to three sentences; the first sentences where it is empty."""

    def __str__(self) -> str:
        return "\n".join([*self.sentences, *(f"Warning: {warning}" for warning in self.warnings)])


@dataclass(frozen=True)
class StudyResult:
    """A finished study."""

    plan: Any
    """The plan, complete."""
    results: pd.DataFrame
    """Tidy: dataset, encoder, features, scenario, level, seed, metric, value."""
    summary: pd.DataFrame
    """Means with intervals, and paired differences to the baseline with intervals and p-values."""
    verdict: Verdict
    messages: tuple[str, ...] = ()
    """What was noticed in the data: dropped rows, shortened texts."""
    costs: pd.DataFrame = field(default_factory=pd.DataFrame)
    """One row a job: seconds and memory; they do not repeat as the numbers do."""
    folder: Path | None = None
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    """Further tables of the kind of study, such as learning curves."""

    @property
    def kind(self) -> str:
        """The kind of study."""
        plan: Plan = self.plan
        return plan.kind

    @property
    def dataset(self) -> str:
        """The name of the data set."""
        return str(self.results["dataset"].iloc[0])

    def __repr__(self) -> str:
        variants = ", ".join(dict.fromkeys(map(str, self.results["features"])))
        place = "" if self.folder is None else f" in {self.folder}"
        lines = [f"{self.kind} study of {self.dataset}: {variants}; {self.plan.n_seeds} seeds{place}"]
        return "\n".join([*lines, *(self.verdict.headline or self.verdict.sentences[:2])])
