"""The result of a study: variants that were compared, tidy table, summary with intervals, and verdict in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from monosemy.core.config import Plan

if TYPE_CHECKING:
    import pandas as pd

Role = Literal["baseline", "monosemantic", "control", "oracle", "alternative", "selected", "contender"]
"""What a variant is in a comparison: an alternative is neither the method under test nor a control of it; contenders
are selected variants that are compared with each other."""


class Variant(Protocol):
    """A feature set, a way of finetuning, or whatever else a study compares."""

    @property
    def title(self) -> str: ...

    @property
    def role(self) -> Role: ...


_FAMILIES: list[Mapping[Any, Variant]] = []


def register_family(family: Mapping[Any, Variant]) -> None:
    """Make the variants of a kind of study known to tables and figures."""
    _FAMILIES.append(family)


def family_of_variant(name: str) -> Mapping[Any, Variant]:
    """Return the family that a variant belongs to; empty for an unknown name."""
    return next((family for family in _FAMILIES if name in family), {})


def role_of(name: str) -> Role | None:
    """Return the role of a variant; None for an unknown name."""
    family = family_of_variant(name)
    return family[name].role if name in family else None


def title_of(name: str) -> str:
    """Return a variant in words; empty where the words are the name, or for an unknown name."""
    family = family_of_variant(name)
    title = family[name].title if name in family else ""
    return "" if title == name else title


_PLUS = " + "


def pair_name(features: str, classifier: str) -> str:
    """Return the name of the variant that is a feature set with a classifier."""
    return f"{features}{_PLUS}{classifier}"


def pair_parts(name: str) -> tuple[str, str]:
    """Return features and classifier of a pair; any other variant by itself, without a classifier."""
    features, _, classifier = name.partition(_PLUS)
    return features, classifier


def with_role(names: Sequence[str], role: Role) -> list[str]:
    """Return the names that have a role, in their order."""
    return [name for name in names if role_of(name) == role]


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


def _no_rows() -> "pd.DataFrame":
    import pandas as pd  # plans name variants of this chapter, and reading a plan needs no tables

    return pd.DataFrame()


@dataclass(frozen=True)
class StudyResult:
    """A finished study."""

    plan: Any
    """The plan, complete."""
    results: "pd.DataFrame"
    """Tidy: dataset, encoder, variant, scenario, level, seed, metric, value."""
    summary: "pd.DataFrame"
    """Means with intervals, and paired differences to the baseline with intervals and p-values."""
    verdict: Verdict
    messages: tuple[str, ...] = ()
    """What was noticed in the data: dropped rows, shortened texts."""
    costs: "pd.DataFrame" = field(default_factory=_no_rows)
    """One row a job: seconds and memory; they do not repeat as the numbers do."""
    folder: Path | None = None
    tables: "Mapping[str, pd.DataFrame]" = field(default_factory=dict)
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
        variants = ", ".join(dict.fromkeys(map(str, self.results["variant"])))
        place = "" if self.folder is None else f" in {self.folder}"
        lines = [f"{self.kind} study of {self.dataset}: {variants}; {self.plan.n_seeds} seeds{place}"]
        return "\n".join([*lines, *(self.verdict.headline or self.verdict.sentences[:2])])
