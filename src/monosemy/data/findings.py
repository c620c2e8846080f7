"""The report on a data set: what was found when it was read, as numbers and as sentences."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Severity = Literal["note", "warning", "error"]
"""An error means that no study can run on the data."""
Topic = Literal["missing", "labels", "splits", "copies", "truncation", "scale", "reading"]


@dataclass(frozen=True)
class Finding:
    """One thing that a user should know about the data, in a sentence with the remedy."""

    topic: Topic
    message: str
    severity: Severity = "warning"


def notes(topic: Topic, messages: Iterable[str]) -> list[Finding]:
    """Return messages that need no action as findings."""
    return [Finding(topic, message, "note") for message in messages]


@dataclass(frozen=True)
class DataReport:
    """The findings on a data set, made before anything is computed on it."""

    source: str
    kind: str
    """images, texts or embeddings."""
    n_rows: int
    """Rows as read."""
    n_used: int
    """Rows that are in a split of the study."""
    splits: Mapping[str, int] = field(default_factory=dict)
    """Rows of each split."""
    drawn: tuple[str, ...] = ()
    """Splits that were drawn, because the source has none."""
    classes: Mapping[str, int] = field(default_factory=dict)
    """Rows of each class in all splits, in the order of the classes."""
    missing: Mapping[str, int] = field(default_factory=dict)
    """Rows that cannot be used, by what they lack."""
    copies: Mapping[str, Any] = field(default_factory=dict)
    """Numbers of copies: see :class:`monosemy.data.copies.CopyCounts`."""
    findings: tuple[Finding, ...] = ()

    @property
    def imbalance(self) -> float | None:
        """Rows of the largest class for each of the smallest; None without labels."""
        return max(self.classes.values()) / max(1, min(self.classes.values())) if self.classes else None

    @property
    def can_run(self) -> bool:
        """Return whether a study could run on the data."""
        return all(finding.severity != "error" for finding in self.findings)

    def messages(self, *severities: Severity) -> tuple[str, ...]:
        """Return the sentences of these severities; of all by default."""
        return tuple(found.message for found in self.findings if not severities or found.severity in severities)

    def headline(self) -> str:
        """Return sizes, classes and splits in one line."""
        rows = f"{self.n_rows:,} {self.kind}" + (f", {self.n_used:,} used" if self.n_used != self.n_rows else "")
        classes = ""
        if self.classes:
            largest, smallest = max(self.classes.values()), min(self.classes.values())
            sizes = f"{largest:,} rows each" if largest == smallest else f"{smallest:,} to {largest:,} rows each"
            classes = f"; {len(self.classes):,} classes of {sizes}"
        return f"{self.source}: {rows}{classes}" + (f"; {self.split_sizes()}" if self.splits else "")

    def split_sizes(self) -> str:
        """Return the sizes of the splits in one line."""
        return ", ".join(
            f"{name} {size:,}{' (drawn)' if name in self.drawn else ''}" for name, size in self.splits.items()
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values."""
        return asdict(self) | {"imbalance": self.imbalance, "can_run": self.can_run, "headline": self.headline()}
