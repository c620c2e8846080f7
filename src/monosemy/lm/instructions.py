"""Instruction data: questions with answers, dialogues and plain texts; and held-out texts for perplexity."""

from collections.abc import Callable, Iterator
from typing import get_args

from monosemy.data.load import read_texts
from monosemy.data.sources import USUAL_NAMES, classify
from monosemy.data.tables import Table
from monosemy.errors import InputError
from monosemy.lm.classification import load_classification, prompt_splits
from monosemy.lm.config import InstructionConfig, InstructionFormat
from monosemy.lm.prompts import (
    Row,
    cell_text,
    checked_text,
    content_text,
    dialogue_prompt,
    instruction_row,
    pair_row,
)
from monosemy.lm.texts import TextData, check_columns, is_blank, prompt_key, source_table, text_data

_COLUMNS: dict[InstructionFormat, tuple[str, ...]] = {
    "dolly": ("instruction", "response"),
    "alpaca": ("instruction", "output"),
    "messages": ("messages",),
    "prompt-completion": ("prompt", "completion"),
    "text": ("text",),
}
"""The columns that a format needs, in the order in which formats are tried."""


def load_instructions(config: InstructionConfig, seed: int = 0) -> TextData:
    """Read instruction data as rows for TRL's SFTTrainer.

    Dolly, Alpaca and prompt/completion data give `prompt` and `completion`; messages stay `messages` with the template
    `chat`, and give the dialogue before the last answer as `prompt` and that answer as `completion` else; plain texts
    give `text`; a classification table gives the prompts of :func:`monosemy.lm.classification.prompt_splits`.
    Rows without an answer or a prompt, and rows that repeat another, are left out and counted.

    Raises:
        InputError: the source cannot be read, has none of the formats, or holds something else than texts.
    """
    table = source_table(config.source)
    chosen = config.format or _recognised(table, config)
    if chosen == "classification":
        data = load_classification(config.source, seed, test_fraction=config.test_fraction or 0.1)
        return prompt_splits(data, config.label_words, config.template, seed=seed, max_rows=config.max_rows)
    check_columns(table, _needed(chosen, config), chosen, get_args(InstructionFormat))

    def convert(cells: Row, where: str) -> Iterator[Row | str]:
        row = _READERS[chosen](cells, config, where)
        yield _fault(row) or row

    as_messages = chosen == "messages" and config.template == "chat"
    return text_data(
        table,
        config.source,
        convert,
        _key,
        format=chosen,
        kind="text" if chosen == "text" else "messages" if as_messages else "prompt-completion",
        test_fraction=config.test_fraction,
        validation_fraction=config.validation_fraction,
        max_rows=config.max_rows,
        seed=seed,
    )


def _recognised(table: Table, config: InstructionConfig) -> InstructionFormat:
    """Return the first format whose columns exist; texts with a label are a classification table."""
    if all(any(name in table.columns for name in USUAL_NAMES[role]) for role in ("label", "text")):
        return "classification"
    for name in _COLUMNS:
        if set(_needed(name, config)) <= set(table.columns):
            return name
    known = "; ".join(f"{name}: {', '.join(_needed(name, config))}" for name in _COLUMNS)
    raise InputError(
        f"{table.where} has the columns {', '.join(table.columns)}, which are of no known format ({known}; "
        f"classification: text or sentence, label); rename them or name the columns of prompt and completion."
    )


def _needed(name: InstructionFormat, config: InstructionConfig) -> tuple[str, ...]:
    if name == "prompt-completion":
        return config.prompt_column, config.completion_column
    return (config.text_column,) if name == "text" else _COLUMNS[name]


def _dolly(cells: Row, config: InstructionConfig, where: str) -> Row:
    question, context, answer = (cell_text(cells, column, where) for column in ("instruction", "context", "response"))
    return instruction_row(question, context, answer, config.template)


def _alpaca(cells: Row, config: InstructionConfig, where: str) -> Row:
    question, context, answer = (cell_text(cells, column, where) for column in ("instruction", "input", "output"))
    return instruction_row(question, context, answer, config.template)


def _messages(cells: Row, config: InstructionConfig, where: str) -> Row:
    messages = checked_text(cells["messages"], f"{where}, messages,")
    if isinstance(messages, str):
        raise InputError(f"{where} holds text in the column messages; give a list of messages.")
    while messages and messages[-1]["role"] != "assistant":  # a question without an answer teaches nothing
        messages = messages[:-1]
    if config.template == "chat":
        return {"messages": messages}
    if not messages:
        return {"prompt": "", "completion": ""}
    return {"prompt": dialogue_prompt(messages[:-1]), "completion": f" {messages[-1]['content'].strip()}"}


def _pair(cells: Row, config: InstructionConfig, where: str) -> Row:
    prompt, completion = (
        checked_text(cells[column], f"{where}, {column},") for column in _needed("prompt-completion", config)
    )
    return pair_row(prompt, completion, config.template)


def _plain(cells: Row, config: InstructionConfig, where: str) -> Row:
    return {"text": content_text(checked_text(cells[config.text_column], f"{where}, {config.text_column},"))}


_READERS: dict[InstructionFormat, Callable[[Row, InstructionConfig, str], Row]] = {
    "dolly": _dolly,
    "alpaca": _alpaca,
    "messages": _messages,
    "prompt-completion": _pair,
    "text": _plain,
}


def _fault(row: Row) -> str | None:
    """Return why a row cannot be trained on; None where it can."""
    if "completion" in row and is_blank(row["prompt"]):
        return "no prompt"
    answer = row.get("completion", row.get("text", row.get("messages")))
    return "empty" if not answer or is_blank(answer) else None


def _key(row: Row) -> str:
    """Return the prompt of a row: all of a text or of the turns before the last."""
    if "messages" in row:
        return prompt_key(row["messages"][:-1])
    return prompt_key(row["prompt"] if "prompt" in row else row["text"])


def held_out_texts(source: str) -> list[str]:
    """Read texts that a model was not trained on: the lines of a .txt file, or the column `text` of a table.

    Raises:
        InputError: the source cannot be read or holds no text.
    """
    if classify(source).kind == "text":
        return list(read_texts(source))
    data = load_instructions(InstructionConfig(source=source, format="text", test_fraction=0))
    return [str(row["text"]) for rows in data.splits().values() for row in rows]
