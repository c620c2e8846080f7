"""What is worth saying about rows in their splits: classes, copies, groups and scales, as one report."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from monosemy.data import classes, copies, dataset, quality
from monosemy.data.findings import DataReport, Finding, notes
from monosemy.data.splits import Assigned
from monosemy.errors import names

Numbers = np.typing.NDArray[np.int64]
_MOST_NUMBERS = 2**27
"""Numbers of the inputs of arrays up to which they are joined to look for copies."""


def groups_to_keep(rows: dataset.Rows, found: copies.Copies) -> Numbers:
    """Return the groups of rows that a drawn split keeps together: copies, and groups that the user named."""
    together = found.together()
    return together if rows.groups is None else copies.joined_groups(together, named_groups(rows.groups))


def named_groups(groups: Sequence[str]) -> Numbers:
    """Return the first row of each row's group; a row without a group is alone."""
    first: dict[str, int] = {}
    return np.array([first.setdefault(group, i) if group else i for i, group in enumerate(groups)], dtype=np.int64)


def report_on(
    name: str, rows: dataset.Rows, assigned: Assigned, found: copies.Copies, findings: Sequence[Finding] = ()
) -> DataReport:
    """Return the report on rows that have their splits.

    Args:
        findings: what was found before, which comes first.
    """
    parts = {part: assigned.parts[part] for part in ("train", "validation", "test")}
    counts = {
        part: np.bincount(assigned.labels[members], minlength=len(assigned.class_names))
        for part, members in parts.items()
    }
    counted = copies.count_copies(found, parts, assigned.labels)
    every = np.concatenate(list(parts.values()))
    labels = rows.needed_labels()
    return DataReport(
        source=name,
        kind=rows.kind,
        n_rows=len(rows),
        n_used=len(every),
        splits={part: len(members) for part, members in parts.items()},
        drawn=assigned.drawn,
        classes={
            label: sum(int(rows_of[number]) for rows_of in counts.values())
            for number, label in enumerate(assigned.class_names)
        },
        copies=copy_numbers(counted),
        findings=(
            *findings,
            *notes("reading", rows.messages),
            *notes("splits", assigned.notices),
            *classes.label_findings([labels[i] for i in every]),
            *classes.class_findings(counts, assigned.class_names),
            *copy_findings(counted, found.unseen, parts, assigned.drawn),
            *group_findings(rows, parts),
            *input_findings(rows.inputs, parts["train"]),
        ),
    )


def report_on_splits(
    data: dataset.LabelledData, drawn: tuple[str, ...] = (), notices: Sequence[str] = ()
) -> DataReport:
    """Return the report on data that came in its splits.

    Args:
        drawn: splits that were drawn.
        notices: messages about the reading, which come first.
    """
    named = {"train": data.train, "validation": data.validation, "test": data.test}
    ends = np.cumsum([len(split) for split in named.values()])
    parts = {name: np.arange(end - len(split), end) for (name, split), end in zip(named.items(), ends, strict=True)}
    n_rows, n_numbers = int(ends[-1]), sum(getattr(split.inputs, "size", 0) for split in named.values())
    inputs: Any = ()
    if data.kind == "texts":
        inputs = tuple(text for split in named.values() for text in split.inputs)
    elif n_numbers <= _MOST_NUMBERS:
        inputs = np.concatenate([np.asarray(split.inputs) for split in named.values()])
    alone = np.arange(n_rows)
    found = copies.Copies(alone, alone, f"they are looked for among {_MOST_NUMBERS:,} numbers at most")
    if len(inputs):
        found = copies.find_copies(inputs)
    labels = np.concatenate([split.labels for split in named.values()])
    rows = dataset.Rows(data.kind, inputs, [data.class_names[label] for label in labels])
    assigned = Assigned(parts, labels, None, data.class_names, list(notices), drawn)
    return replace(report_on(data.name, rows, assigned, found), n_rows=n_rows)


def report_on_labels(name: str, n_rows: int, labels: Sequence[str] | None, messages: Sequence[str] = ()) -> DataReport:
    """Return the report on rows of numbers that are measured as they are, by their labels where they have any."""
    sizes = Counter(labels or ())
    return DataReport(
        source=name,
        kind="rows",
        n_rows=n_rows,
        n_used=n_rows,
        classes={label: sizes[label] for label in dataset.ordered_classes(sizes)},
        findings=(*notes("reading", messages), *classes.label_findings(labels or ())),
    )


def input_findings(inputs: dataset.Inputs | dataset.EncodedImages, train: Numbers) -> list[Finding]:
    """Return what the scales of embeddings mean; nothing for other inputs."""
    if not isinstance(inputs, np.ndarray) or inputs.ndim != 2 or not len(train):
        return []
    return quality.scale_findings(inputs[train].astype(np.float32, copy=False))


def group_findings(rows: dataset.Rows, parts: Mapping[str, Numbers]) -> list[Finding]:
    """Return a finding where groups that the user named have rows in train and in test."""
    if rows.groups is None:
        return []
    sets = {part: {rows.groups[i] for i in members} - {""} for part, members in parts.items()}
    shared = sorted(sets["test"] & (sets["train"] | sets["validation"]))
    if not shared:
        return []
    return [
        Finding(
            "copies",
            f"{len(shared):,} groups have rows in test and in another split ({names(shared)}); give each group one "
            f"split, or leave the splits out to have them drawn.",
        )
    ]


def copy_numbers(counted: copies.CopyCounts) -> dict[str, Any]:
    """Return the numbers of copies as plain values."""
    across = {where: {"equal": equal, "near": near} for where, (equal, near) in counted.across.items()}
    return {"equal": counted.exact, "near": counted.near, "conflicting": counted.conflicting, "across": across}


def copy_findings(
    counted: copies.CopyCounts, unseen: str, parts: Mapping[str, Numbers], drawn: Sequence[str] = ()
) -> list[Finding]:
    """Return what copies mean: rows of one split that stand in another, and rows that occur more than once."""
    found = []
    n_rows = sum(map(len, parts.values()))
    if counted.exact or counted.near:
        kept = f"; they were kept in one split where {' and '.join(drawn)} {'was' if len(drawn) == 1 else 'were'} drawn"
        found.append(
            Finding(
                "copies",
                f"{counted.exact + counted.near:,} of {n_rows:,} rows are copies of others ({counted.exact:,} equal, "
                f"{counted.near:,} nearly equal){kept if drawn else ''}.",
                "note",
            )
        )
    for where, (equal, near) in counted.across.items():
        later, earlier = where.split(" in ")
        found.append(
            Finding(
                "copies",
                f"{equal + near:,} of {len(parts[later]):,} {later} rows are copies of {earlier} rows ({equal:,} "
                f"equal, {near:,} nearly equal) and give their labels away; remove them from one of the two.",
            )
        )
    if counted.conflicting:
        found.append(
            Finding(
                "copies",
                f"{counted.conflicting:,} rows equal others with another label, so some of these labels are wrong; "
                f"correct them.",
            )
        )
    if unseen:
        found.append(Finding("copies", f"Not all copies were looked for: {unseen}.", "note"))
    return found
