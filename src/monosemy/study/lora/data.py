"""Data for finetuning language models: labelled texts or instructions, as rows of one condition."""

import json
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from monosemy.core.cache import fingerprint
from monosemy.data.dataset import LabelledData, Split, subsample
from monosemy.data.findings import DataReport
from monosemy.errors import InputError
from monosemy.lm import prompts, tokenization
from monosemy.lm.config import InstructionConfig, Task
from monosemy.lm.instructions import load_instructions
from monosemy.lm.texts import label_words, load_classification, prompt_splits
from monosemy.study import folder, lora

Labels = np.typing.NDArray[np.int64]


@dataclass(frozen=True)
class LoraData:
    """Texts to finetune on: labelled ones, or rows of instructions."""

    name: str
    task: Task
    labelled: LabelledData | None = None
    words: tuple[str, ...] = ()
    """The classes' names where they are generated."""
    template: prompts.PromptTemplate = "plain"
    instructions: dict[str, list[prompts.Row]] = field(default_factory=dict)
    """Train, validation and test, where there are no labels."""
    held_out: tuple[str, ...] = ()
    """Texts for perplexity."""
    notices: tuple[str, ...] = ()

    @property
    def report(self) -> DataReport | None:
        """The findings on labelled data."""
        return None if self.labelled is None else self.labelled.report

    def key(self) -> str:
        """Tells this data from any other."""
        if self.labelled is not None:
            return fingerprint(folder.data_fingerprint(self.labelled), self.task, self.words, self.template)
        return fingerprint(json.dumps(self.instructions, sort_keys=True))

    def rows(self, labels: tuple[Labels, Labels] | None = None) -> dict[str, list[prompts.Row]]:
        """Rows of train, validation and test.

        Args:
            labels: those that are given for train and validation, -1 for a row that is not used.
        """
        if self.labelled is None:
            return self.instructions
        data = self.labelled
        if labels is not None:
            train, validation = (
                Split(split.inputs, given).take(np.flatnonzero(given >= 0))
                for split, given in zip((data.train, data.validation), labels, strict=True)
            )
            data = replace(data, train=train, validation=validation, noisy_labels=None)
        if self.task == "generation":
            return prompt_splits(data, self.words, self.template).splits()
        pairs = {name: zip(part.inputs, part.labels, strict=True) for name, part in data.splits().items()}
        return {name: [{"text": str(t), "label": int(label)} for t, label in part] for name, part in pairs.items()}


def load_lora_data(config: lora.LoraSource, seed: int = 0) -> LoraData:
    """Read texts, split, and take as many rows as were asked for.

    Raises:
        InputError: the source cannot be read, or holds no texts of a known form.
    """
    if config.task != "classification" and not (config.text_column and config.label_column):
        shared = set(InstructionConfig.model_fields) - {"label_words"}
        columns = {"text_column": config.text_column or "text"}
        found = load_instructions(InstructionConfig(**config.model_dump(include=shared) | columns), seed)
        if found.format != "classification":
            rows = _limited({"train": found.train, "validation": found.validation, "test": found.test}, config, seed)
            for name, part in rows.items():
                if not part:
                    raise InputError(f"The {name} split of {found.name} is empty; give more rows.")
            return LoraData(found.name, "generation", instructions=rows, notices=found.notices)
    reading = config.model_dump(include={"label_column", "on_bad_row", "test_fraction", "validation_fraction"})
    data = load_classification(config.source, seed, input_column=config.text_column, **reading)
    limited = _limited(data.splits(), config, seed)
    if len(np.unique(limited["train"].labels)) < 2:
        raise InputError(f"data.max_train={config.max_train} leaves train rows of one class; choose more rows.")
    data = replace(data, **limited)
    task: Task = config.task or "classification"
    words = label_words(data, config.label_words) if task == "generation" else ()
    return LoraData(data.name, task, data, words, config.template, notices=data.notices)


def _limited(splits: dict[str, Any], config: lora.LoraSource, seed: int) -> dict[str, Any]:
    """Return as many rows of train, validation and test as were asked for."""
    return {name: subsample(part, getattr(config, f"max_{name}"), seed) for name, part in splits.items()}


def fitted(data: LoraData, tokenizer: Any, n_tokens: int, on_long: lora.OnLong) -> LoraData:
    """The data with rows that fit into ``n_tokens``, and what was done about the others.

    Raises:
        InputError: a row is longer and ``on_long`` is `stop`, or none fits.
    """
    if data.labelled is not None:
        return _fitted_texts(data, data.labelled, tokenizer, n_tokens, on_long)
    rows, notices = {}, []
    for name, part in data.instructions.items():
        found = tokenization.fit_context(part, tokenizer, n_tokens, "truncate" if on_long == "truncate" else "drop")
        if on_long == "stop" and found.n_dropped:
            raise _too_long(found.n_dropped, name, data.name, n_tokens)
        rows[name] = found.rows
        notices += [f"{name.capitalize()}: {said}" for said in found.warnings(n_tokens)]
    return replace(data, instructions=rows, notices=(*data.notices, *notices))


def _fitted_texts(
    data: LoraData, labelled: LabelledData, tokenizer: Any, n_tokens: int, on_long: lora.OnLong
) -> LoraData:
    # What stands around a text where its class is generated takes some tokens of its own.
    room = n_tokens - (16 if data.task == "generation" else 0)
    parts: dict[str, Any] = {}
    notices = []
    for name, split in labelled.splits().items():
        texts = [str(text) for text in split.inputs]
        lengths = np.array([len(ids) for ids in tokenizer(texts, verbose=False)["input_ids"]])
        n_long = int((lengths > room).sum())
        parts[name] = split
        if not n_long:
            continue
        if on_long == "stop":
            raise _too_long(n_long, name, data.name, room)
        if on_long == "drop":
            parts[name] = split.take(np.flatnonzero(lengths <= room))
        else:
            pairs = zip(texts, lengths, strict=True)
            shortened = [truncate_text(text, tokenizer, room) if length > room else text for text, length in pairs]
            parts[name] = Split(tuple(shortened), split.labels)
        done = "left out" if on_long == "drop" else "cut"
        notices.append(f"{name.capitalize()}: {n_long:,} texts of more than {room} tokens were {done}.")
    return replace(data, labelled=replace(labelled, **parts), notices=(*data.notices, *notices))


def truncate_text(text: str, tokenizer: Any, n_tokens: int) -> str:
    """Return the beginning of a long text that has ``n_tokens`` tokens, including special tokens.

    The tokenizer truncates; the offsets of the remaining tokens give the text.
    """
    side, tokenizer.truncation_side = tokenizer.truncation_side, "right"
    encoded = tokenizer(text, truncation=True, max_length=n_tokens, return_offsets_mapping=True)
    tokenizer.truncation_side = side
    return text[: max(end for _, end in encoded["offset_mapping"])]


def _too_long(n: int, split: str, name: str, n_tokens: int) -> InputError:
    return InputError(
        f"{n:,} {split} rows of {name} are longer than the {n_tokens} tokens that the model reads; leave them out by "
        f"--set data.on_long=drop, or shorten them by --set data.on_long=truncate."
    )
