"""Labels that are no classes, or not the classes that were meant: numbers, ids, look-alikes, classes of one row."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from monosemy.data.findings import Finding, Severity
from monosemy.errors import InputError, names, shown

_FEWEST_ROWS = 10
"""Rows below which nothing is concluded from the number of labels."""
_MANY_CLASSES = 20
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_JOINTS = re.compile(r"(?<=\w)[\s_-]+(?=\w)")
_SKEWED = 10
"""Ratio of the largest class to the smallest from which they are named."""
_DOMINANT = 80
"""Percentage of the rows from which a class is named."""


def label_findings(labels: Sequence[str]) -> list[Finding]:
    """Return what is suspicious about the labels of all rows."""
    present = [label for label in labels if label]
    found = [target_finding(present), look_alike_finding(dict.fromkeys(present))]
    return [finding for finding in found if finding is not None]


def target_finding(labels: Sequence[str]) -> Finding | None:
    """Return a finding where the labels look like numbers to predict, or like ids.

    Where most rows have a label of their own, no class could be learned and tested: an error.
    """
    counts = Counter(labels)
    n, n_classes = len(labels), len(counts)
    if n < _FEWEST_ROWS or n_classes < 3:
        return None
    n_single = sum(count == 1 for count in counts.values())
    numeric = all(_NUMBER.fullmatch(label) for label in counts)
    whole = numeric and not any("." in label or "e" in label.lower() for label in counts)
    few_rows = n < (5 if numeric else 3) * n_classes or (numeric and not whole)
    alone = n_single > n / 2
    if not alone and not (few_rows and n_classes > _MANY_CLASSES):
        return None
    what = "different numbers as labels" if numeric else "different labels"
    single = f", {n_single:,} of them in one row only" if n_single else ""
    guess = "a regression target" if numeric else "ids or free text"
    remedy = "bin the numbers, or name the column of classes" if numeric else "name the column of classes"
    sentence = (
        f"{n:,} rows have {n_classes:,} {what} (such as {shown(next(iter(counts)))}){single}, like {guess}, where "
        f"classes are needed; {remedy} with --label-column."
    )
    return Finding("labels", sentence, "error" if alone else "warning")


def check_classes(labels: Sequence[str], name: str) -> None:
    """Raise where most rows have a label of their own, as numbers to predict and ids have."""
    target = target_finding(labels)
    if target is not None and target.severity == "error":
        raise InputError(f"In {name}, {target.message}")


def look_alike_finding(classes: Iterable[str]) -> Finding | None:
    """Return a finding where names of classes differ in case, white space, joints or Unicode form only."""
    groups: dict[str, list[str]] = {}
    for name in classes:
        groups.setdefault(plain_name(name), []).append(name)
    alike = [group for group in groups.values() if len(group) > 1]
    if not alike:
        return None
    written = " and ".join(
        ", ".join(ascii(name) if _hidden(name) else repr(name) for name in group[:3]) for group in alike[:3]
    )
    more = f" (and {len(alike) - 3:,} more such groups)" if len(alike) > 3 else ""
    return Finding(
        "labels",
        f"Labels that look alike are different classes: {written}{more} differ in case, white space or Unicode form "
        f"only; write them alike if they mean one class.",
    )


def plain_name(name: str) -> str:
    """Return the name of a class without what the eye misses: case, kinds of space and joint, forms of a character."""
    text = unicodedata.normalize("NFKC", name).casefold()
    text = "".join(c for c in unicodedata.normalize("NFKC", text) if unicodedata.category(c) != "Cf")
    text = _JOINTS.sub(" ", text.strip())
    return f"{float(text):g}" if _NUMBER.fullmatch(text) and len(text) < 16 else text


def _hidden(name: str) -> bool:
    return (
        unicodedata.normalize("NFC", name) != name
        or not name.isprintable()
        or any(unicodedata.category(c) == "Cf" for c in name)
    )


def class_findings(counts: Mapping[str, np.typing.NDArray[np.int64]], class_names: Sequence[str]) -> list[Finding]:
    """Return what the numbers of rows mean for a study: classes that are never tested, and imbalance.

    Args:
        counts: rows of each class, (C,), by split: train, validation and test.
    """
    train, validation, test = (counts[part] for part in ("train", "validation", "test"))
    every = train + validation + test
    found: list[Finding] = []

    def add(rows: np.typing.NDArray[np.bool_], which: str, one: str, several: str, severity: Severity) -> None:
        n = int(rows.sum())
        if n:
            chosen = names(class_names[int(i)] for i in np.flatnonzero(rows))
            subject = f"{n:,} class{'es' * (n > 1)} {which} ({chosen})"
            found.append(Finding("labels", f"{subject} {several if n > 1 else one}.", severity))

    noise = "in train only and never tested, while label noise turns other labels into"
    add(
        every == 1,
        "with one row",
        f"is {noise} it; merge or remove it, or add rows",
        f"are {noise} them; merge or remove them, or add rows",
        "warning",
    )
    add(
        (test == 0) & (every > 1),
        "without a test row",
        "is never tested; add rows",
        "are never tested; add rows",
        "warning",
    )
    add(
        (validation == 0) & (every > 1),
        "without a validation row",
        "does not count when settings are chosen",
        "do not count when settings are chosen",
        "note",
    )
    found += _imbalance(every, class_names)
    return found


def _imbalance(sizes: np.typing.NDArray[np.int64], class_names: Sequence[str]) -> list[Finding]:
    largest, smallest = (shown(class_names[int(i)]) for i in (sizes.argmax(), sizes.argmin()))
    share = round(100 * float(sizes.max() / max(1, sizes.sum())))
    if share > _DOMINANT:
        return [
            Finding(
                "labels",
                f"The class {largest} has {share} % of the rows, so {share} % are right without any feature; compare "
                f"with that.",
            )
        ]
    if sizes.max() < _SKEWED * max(1, sizes.min()):
        return []
    sentence = f"The classes differ in size: {largest} has {sizes.max():,} rows, {smallest} has {sizes.min():,}."
    return [Finding("labels", sentence, "note")]
