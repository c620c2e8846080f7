"""Labelled texts for language models, as classification and as generation."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from monosemy.data.config import DataConfig
from monosemy.data.dataset import LabelledData, Split, subsample
from monosemy.data.load import load_data
from monosemy.errors import InputError
from monosemy.lm.prompts import PromptTemplate, Row, pair_row
from monosemy.lm.texts import TextData

_SST_WORDS = ("negative", "positive")
PROMPT = "{text}\nSentiment:"
"""The prompt of a text; the completion is a space and the class's word. Published (A): the sentence, then its sentiment
word as the text to generate; the exact wording is not published."""


def load_classification(
    source: str,
    seed: int = 0,
    *,
    text_column: str | None = None,
    label_column: str | None = None,
    test_fraction: float = 0.25,
    validation_fraction: float = 0.2,
) -> LabelledData:
    """Read a table of texts with a label each, split as for a study; no text of test is in train or validation.

    A column `split` with train, validation and test is used; a missing split is split off class by class.

    Raises:
        InputError: as :func:`monosemy.load_data`, and where the table holds no texts.
    """
    config = DataConfig(
        source=source,
        input_column=text_column,
        label_column=label_column,
        test_fraction=test_fraction,
        validation_fraction=validation_fraction,
    )
    data = load_data(config, seed)
    if data.kind != "texts":
        raise InputError(f"{source} holds {data.kind}, not texts; give a table with a column of texts.")
    return _without_shared_texts(data)


def _without_shared_texts(data: LabelledData) -> LabelledData:
    later = set(map(_words, data.test.inputs))
    validation = _without(data.validation, later)
    train = _without(data.train, later | set(map(_words, validation.inputs)))
    n_shared = len(data.validation) - len(validation) + len(data.train) - len(train)
    if not n_shared:
        return data
    notice = f"Left out: {n_shared:,} rows of train or validation whose text is also in a later split."
    return replace(data, train=train, validation=validation, noisy_labels=None, notices=(*data.notices, notice))


def _without(split: Split, texts: set[str]) -> Split:
    return split.take(np.flatnonzero([_words(text) not in texts for text in split.inputs]))


def _words(text: Any) -> str:
    return " ".join(str(text).split())


def label_words(data: LabelledData, words: Sequence[str] | None = None) -> tuple[str, ...]:
    """Return the words that stand for the classes in an answer: the user's, or the names of the classes.

    The classes "0" and "1" of data whose name begins with `sst` are `negative` and `positive`.
    """
    if words is None:
        known = data.class_names == ("0", "1") and data.name.lower().startswith("sst")
        return _SST_WORDS if known else data.class_names
    if len(words) != data.n_classes or len(set(words)) != len(words) or not all(word.strip() for word in words):
        raise InputError(
            f"The label words {', '.join(words)} do not name the {data.n_classes} classes of {data.name} "
            f"({', '.join(data.class_names[:5])}{', ...' if data.n_classes > 5 else ''}) apart; give one word for each."
        )
    return tuple(words)


def prompt_splits(
    data: LabelledData,
    words: Sequence[str] | None = None,
    template: PromptTemplate = "plain",
    *,
    seed: int = 0,
    max_rows: int | None = None,
) -> TextData:
    """Return labelled texts as generation: :data:`PROMPT` as `prompt`, the class's word as `completion`, `label`."""
    completions = label_words(data, words)

    def rows(split: Split) -> list[Row]:
        texts = [PROMPT.format(text=str(text).strip()) for text in split.inputs]
        return [
            pair_row(text, f" {completions[label]}", template) | {"label": int(label)}
            for text, label in zip(texts, split.labels, strict=True)
        ]

    return TextData(
        name=data.name,
        format="classification",
        kind="prompt-completion",
        train=subsample(rows(data.train), max_rows, seed),
        validation=rows(data.validation),
        test=rows(data.test),
        n_read=len(data.train) + len(data.validation) + len(data.test),
        notices=data.notices,
    )
