"""Rows of text for language models: splits that share no prompt, and texts with labels."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from monosemy.data import dataset, load, sources, tables
from monosemy.data.config import DataConfig
from monosemy.errors import InputError, names, needs_extra
from monosemy.lm.config import InstructionConfig, PreferenceConfig
from monosemy.lm.prompts import PromptTemplate, Row, Text, content_text, pair_row

Kind = Literal["prompt-completion", "messages", "text", "preference"]

_REASONS = {
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
    """Rows in TRL's formats, split so that no prompt of one split is in another."""

    name: str
    format: str
    """The format that the source was read as."""
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
    """Messages to the user: what was decided and left out on reading."""

    def splits(self) -> dict[str, list[Row]]:
        """Return the splits that have rows, by name."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: rows for name, rows in parts.items() if rows}

    def datasets(self) -> dict[str, Any]:
        """Return the splits as `datasets.Dataset`, as TRL's trainers take them."""
        with needs_extra("lm", "monosemy.lm"):
            from datasets import Dataset

        return {name: Dataset.from_list(rows) for name, rows in self.splits().items()}


def source_table(name: str) -> tables.Table:
    """Read the table of a source of texts."""
    source = sources.classify(name)
    table = load.table_of(source)
    if table is None:
        raise source.unsupported(
            f"a table ({', '.join(sources.TABLE_SUFFIXES)}), or the name of a Hugging Face data set"
        )
    return table


def check_columns(table: tables.Table, columns: Sequence[str], format_name: str, formats: Sequence[str]) -> None:
    """Raise where a table lacks a column that a format needs."""
    for column in columns:
        if column not in table.columns:
            raise InputError(
                f"{table.where} has no column {column!r}, which the format {format_name} needs; its columns are "
                f"{names(table.columns)}; choose another format of {', '.join(formats)}."
            )


def text_data(
    table: tables.Table,
    config: InstructionConfig | PreferenceConfig,
    seed: int,
    convert: Callable[[Row, str], Iterable[Row | str]],
    *,
    format: str,
    kind: Kind,
    roles: dict[str, str] | None = None,
    notices: Sequence[str] = (),
) -> TextData:
    """Convert the rows of a table, split them by their prompts and count what is left out.

    Args:
        convert: yields the rows in TRL's format that a row of the table (and its name in messages) gives; a string is
            the reason for leaving one out. Rows with equal prompts stay in one split.
        roles: names of splits that this source has beside the usual ones.
        notices: messages that precede those about what was left out.
    """
    splits = _table_splits(table, roles)
    parts: dict[str, list[Row]] = {"train": [], "validation": [], "test": [], "": []}
    dropped: Counter[str] = Counter()
    n_read = 0
    for i, cells in enumerate(table.frame.to_dict("records")):
        for row in convert({str(name): value for name, value in cells.items()}, f"Row {i + 1} of {table.where}"):
            n_read += 1
            if isinstance(row, str):
                dropped[row] += 1
            else:
                parts["train" if splits is None else splits[i]].append(row)
    _count(dropped, "other split", len(parts.pop("")))
    parts = _split_rows(parts, config, seed, dropped)
    return TextData(
        name=load.source_name(config.source),
        format=format,
        kind=kind,
        train=dataset.subsample(parts["train"], config.max_rows, seed),
        validation=parts["validation"],
        test=parts["test"],
        n_read=n_read,
        dropped=dict(dropped),
        notices=(*notices, *(f"Left out: {n:,} rows {_REASONS[why]}." for why, n in dropped.items())),
    )


def _table_splits(table: tables.Table, roles: dict[str, str] | None) -> list[str] | None:
    """Return the split of each row by the column `split` or by the files' names; "" for other splits; None without."""
    named = dataset.label_texts(table.frame["split"].fillna("")) if "split" in table.frame else table.splits
    if named is None:
        return None
    known = sources.SPLIT_ROLES | (roles or {})
    return [known.get(name.lower(), "") for name in named]


def prompt_key(text: Text) -> str:
    """Return the words of a prompt, which make two prompts the same whatever the spaces between them."""
    whole = text if isinstance(text, str) else json.dumps([[m["role"], m["content"].split()] for m in text])
    return " ".join(whole.split())


def _key(row: Row) -> str:
    """Return the prompt of a row: all of a text or of the turns before the last."""
    return prompt_key(row["messages"][:-1] if "messages" in row else row["prompt"] if "prompt" in row else row["text"])


def _split_rows(
    parts: dict[str, list[Row]], config: InstructionConfig | PreferenceConfig, seed: int, dropped: Counter[str]
) -> dict[str, list[Row]]:
    """Return the rows by split without repeated ones, and with the splits that the source has not split off by keys.

    A fraction of the keys (not of the rows) is split off. The draw depends on the seed and on the keys alone, not on
    their order. Rows of train whose key is in validation or test, and rows of validation whose key is in test, are left
    out and counted in ``dropped``.
    """
    for name, rows in parts.items():
        distinct: dict[str, Row] = {}
        for row in rows:
            distinct.setdefault(json.dumps(row, sort_keys=True), row)
        parts[name] = list(distinct.values())
        _count(dropped, "duplicate", len(rows) - len(distinct))
    for name, fraction in (("test", config.test_fraction), ("validation", config.validation_fraction)):
        if not parts[name] and fraction > 0:
            off = _drawn(map(_key, parts["train"]), fraction, seed, name)
            parts[name] = [row for row in parts["train"] if _key(row) in off]
            parts["train"] = [row for row in parts["train"] if _key(row) not in off]
    later = set(map(_key, parts["test"]))
    for name in ("validation", "train"):
        rest = [row for row in parts[name] if _key(row) not in later]
        _count(dropped, "shared prompt", len(parts[name]) - len(rest))
        parts[name] = rest
        later |= set(map(_key, rest))
    if not parts["train"]:
        raise InputError("No rows are left to train on; give more rows, or lower the fractions that are split off.")
    return parts


def _drawn(keys: Iterable[str], fraction: float, seed: int, name: str) -> set[str]:
    """Draw a fraction of the distinct keys: at least one, if there are two."""

    def place(key: str) -> bytes:
        return hashlib.sha256(f"{name} {seed} {key}".encode("utf-8", "surrogatepass")).digest()

    distinct = sorted(set(keys), key=place)
    wanted = min(max(round(fraction * len(distinct)), 1), len(distinct) - 1)
    return set(distinct[: max(wanted, 0)])


def _count(dropped: Counter[str], why: str, n: int) -> None:
    if n:
        dropped[why] += n


def is_blank(text: Text) -> bool:
    """Return whether a prompt or a completion has no words."""
    return not content_text(text).strip()


_SST_WORDS = ("negative", "positive")
PROMPT = "{text}\nSentiment:"
"""The prompt of a text; the completion is a space and the class's word. Published (A): the sentence, then its sentiment
word as the text to generate; the exact wording is not published."""


def load_classification(source: str, seed: int = 0, **settings: Any) -> dataset.LabelledData:
    """Read a table of texts with a label each, split as for a study; no text of test is in train or validation.

    A column `split` with train, validation and test is used; a missing split is split off class by class.

    Args:
        settings: further settings of :class:`DataConfig`.

    Raises:
        InputError: as :func:`monosemy.load_data`, and where the table holds no texts.
    """
    data = load.load_data(DataConfig(source=source, **settings), seed)
    if data.kind != "texts":
        raise InputError(f"{source} holds {data.kind}, not texts; give a table with a column of texts.")
    return _without_shared_texts(data)


def _without_shared_texts(data: dataset.LabelledData) -> dataset.LabelledData:
    validation = _without(data.validation, data.test)
    train = _without(data.train, data.test, validation)
    n_shared = len(data.validation) - len(validation) + len(data.train) - len(train)
    if not n_shared:
        return data
    notice = f"Left out: {n_shared:,} rows of train or validation whose text is also in a later split."
    return replace(data, train=train, validation=validation, noisy_labels=None, notices=(*data.notices, notice))


def _without(split: dataset.Split, *later: dataset.Split) -> dataset.Split:
    texts = {_words(text) for other in later for text in other.inputs}
    return split.take(np.flatnonzero([_words(text) not in texts for text in split.inputs]))


def _words(text: Any) -> str:
    return " ".join(str(text).split())


def label_words(data: dataset.LabelledData, words: Sequence[str] | None = None) -> tuple[str, ...]:
    """Return the words that stand for the classes in an answer: the user's, or the names of the classes.

    The classes "0" and "1" of data whose name begins with `sst` are `negative` and `positive`.
    """
    if words is None:
        known = data.class_names == ("0", "1") and data.name.lower().startswith("sst")
        return _SST_WORDS if known else data.class_names
    if len(words) != data.n_classes or len(set(words)) != len(words) or not all(word.strip() for word in words):
        raise InputError(
            f"The label words {names(words)} do not name the {data.n_classes} classes of {data.name} "
            f"({names(data.class_names)}) apart; give one word for each."
        )
    return tuple(words)


def prompt_splits(
    data: dataset.LabelledData,
    words: Sequence[str] | None = None,
    template: PromptTemplate = "plain",
    *,
    seed: int = 0,
    max_rows: int | None = None,
) -> TextData:
    """Return labelled texts as generation: :data:`PROMPT` as `prompt`, the class's word as `completion`, `label`."""
    completions = label_words(data, words)

    def rows(split: dataset.Split) -> list[Row]:
        texts = [PROMPT.format(text=str(text).strip()) for text in split.inputs]
        return [
            pair_row(template, text, completion=f" {completions[label]}") | {"label": int(label)}
            for text, label in zip(texts, split.labels, strict=True)
        ]

    return TextData(
        name=data.name,
        format="classification",
        kind="prompt-completion",
        train=dataset.subsample(rows(data.train), max_rows, seed),
        validation=rows(data.validation),
        test=rows(data.test),
        n_read=len(data.train) + len(data.validation) + len(data.test),
        notices=data.notices,
    )
