"""Rows of text in train, validation and test, and what was left out on the way."""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from monosemy.data.load import table_of
from monosemy.data.rows import SPLIT_ROLES, label_texts
from monosemy.data.tables import TABLE_SUFFIXES, Table
from monosemy.errors import InputError, needs_extra
from monosemy.lm.prompts import Row, Text, content_text
from monosemy.seeding import numpy_rng

Kind = Literal["prompt-completion", "messages", "text", "preference"]

_SAID = {
    "empty": "without an answer",
    "no prompt": "without a prompt",
    "equal": "whose chosen answer equals the rejected one",
    "no shared prompt": "whose two dialogues share no prompt",
    "no preference": "without a preference",
    "duplicate": "that repeat another",
    "shared prompt": "of train or validation whose prompt is also in a later split",
    "other split": "of splits that are neither train, validation nor test",
}


@dataclass(frozen=True)
class TextData:
    """Rows in TRL's formats, split; no prompt of one split is in another."""

    name: str
    format: str
    """How the source was read."""
    kind: Kind
    """The columns: `prompt` and `completion`; `messages`; `text`; or `prompt`, `chosen` and `rejected`."""
    train: list[Row]
    validation: list[Row]
    test: list[Row]
    n_read: int
    """Rows (or pairs) in the source."""
    dropped: dict[str, int] = field(default_factory=dict)
    """Number of rows left out, by reason."""
    notices: tuple[str, ...] = ()
    """What was decided and left out on reading, said to the user."""

    def splits(self) -> dict[str, list[Row]]:
        """The splits that have rows, by name."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: rows for name, rows in parts.items() if rows}

    def datasets(self) -> dict[str, Any]:
        """The splits as `datasets.Dataset`, as TRL's trainers take them."""
        with needs_extra("lm", "monosemy.lm"):
            from datasets import Dataset

        return {name: Dataset.from_list(rows) for name, rows in self.splits().items()}


def source_table(source: str) -> Table:
    """The table of a source of texts."""
    table = table_of(source)
    if table is None:
        raise InputError(
            f"{source} is no table of texts; give a file that ends in {', '.join(TABLE_SUFFIXES)}, or a data set's id."
        )
    return table


def records(table: Table) -> list[Row]:
    """The rows of a table as dictionaries."""
    return [{str(key): value for key, value in row.items()} for row in table.frame.to_dict("records")]


def table_splits(table: Table, roles: dict[str, str] | None = None) -> list[str] | None:
    """The split of each row by the column `split` or by the files' names; "" for a split of no role; None without.

    Args:
        roles: names of splits that this source has beside the usual ones.
    """
    named = label_texts(table.frame["split"].fillna("")) if "split" in table.frame else table.splits
    if named is None:
        return None
    known = SPLIT_ROLES | (roles or {})
    return [known.get(name.lower(), "") for name in named]


def prompt_key(text: Text) -> str:
    """What makes two prompts the same: their words, whatever the spaces between them."""
    said = text if isinstance(text, str) else json.dumps([[m["role"], m["content"].split()] for m in text])
    return " ".join(said.split())


def split_rows(
    rows: Sequence[Row],
    key: Callable[[Row], str],
    given: Sequence[str] | None,
    *,
    test_fraction: float,
    validation_fraction: float,
    seed: int,
    dropped: dict[str, int],
) -> dict[str, list[Row]]:
    """Rows by split: by the splits that are given, and else by their key.

    A share of the keys (not of the rows) is split off where the source has no such split. The draw depends on the
    seed and on the keys alone, not on their order. Rows of train whose key is in validation or test, and rows of
    validation whose key is in test, are left out and counted in ``dropped``.

    Args:
        given: `train`, `validation`, `test` or "" (left out) for each row; None where all rows are train.
    """
    parts: dict[str, list[Row]] = {"train": [], "validation": [], "test": []}
    for i, row in enumerate(rows):
        split = "train" if given is None else given[i]
        if split:
            parts[split].append(row)
        else:
            count(dropped, "other split")
    parts = {name: list(_without_repeats(part, dropped)) for name, part in parts.items()}
    for name, fraction in (("test", test_fraction), ("validation", validation_fraction)):
        if not parts[name] and fraction > 0:
            off = _drawn(map(key, parts["train"]), fraction, seed, name)
            parts[name] = [row for row in parts["train"] if key(row) in off]
            parts["train"] = [row for row in parts["train"] if key(row) not in off]
    later = {key(row) for row in parts["test"]}
    for name in ("validation", "train"):
        kept = [row for row in parts[name] if key(row) not in later]
        count(dropped, "shared prompt", len(parts[name]) - len(kept))
        parts[name] = kept
        later |= {key(row) for row in kept}
    if not parts["train"]:
        raise InputError("No rows are left to train on; give more rows, or lower the fractions that are split off.")
    return parts


def _drawn(keys: Iterable[str], fraction: float, seed: int, name: str) -> set[str]:
    """A share of the distinct keys: at least one, if there are two."""

    def place(key: str) -> bytes:
        return hashlib.sha256(f"{name} {seed} {key}".encode("utf-8", "surrogatepass")).digest()

    distinct = sorted(set(keys), key=place)
    wanted = min(max(round(fraction * len(distinct)), 1), len(distinct) - 1)
    return set(distinct[: max(wanted, 0)])


def count(dropped: dict[str, int], why: str, n: int = 1) -> None:
    """Add to the number of rows that were left out for a reason."""
    if n:
        dropped[why] = dropped.get(why, 0) + n


def _without_repeats(rows: Iterable[Row], dropped: dict[str, int]) -> Iterable[Row]:
    seen = set()
    for row in rows:
        same = json.dumps(row, sort_keys=True, ensure_ascii=True)
        if same in seen:
            count(dropped, "duplicate")
        else:
            seen.add(same)
            yield row


def dropped_notices(dropped: dict[str, int]) -> tuple[str, ...]:
    """One sentence for each reason that rows were left out for."""
    return tuple(f"Left out: {n:,} rows {_SAID[why]}." for why, n in dropped.items())


def is_blank(text: Text) -> bool:
    """Whether a prompt or a completion has no words."""
    return not content_text(text).strip()


def fewer(rows: list[Row], n_rows: int | None, seed: int) -> list[Row]:
    """At most so many rows, drawn by the seed, in their order; for a seed, a larger number only adds rows."""
    if n_rows is None or n_rows >= len(rows):
        return rows
    drawn = numpy_rng("rows", seed).permutation(len(rows))[:n_rows]
    return [rows[i] for i in sorted(drawn)]
