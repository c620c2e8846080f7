"""Instruction data: questions with answers, dialogues and plain texts; and held-out texts for perplexity."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import get_args

from monosemy.data import load, sources, tables
from monosemy.errors import InputError, names
from monosemy.lm import prompts, texts
from monosemy.lm.config import InstructionConfig, InstructionFormat

_COLUMNS: dict[InstructionFormat, tuple[str, ...]] = {
    "dolly": ("instruction", "response"),
    "alpaca": ("instruction", "output"),
    "messages": ("messages",),
    "prompt-completion": ("prompt", "completion"),
    "text": ("text",),
}
"""The columns that a format needs, in the order in which formats are tried."""


def load_instructions(config: InstructionConfig, seed: int = 0) -> texts.TextData:
    """Read instruction data as rows for TRL's SFTTrainer.

    Dolly, Alpaca and prompt/completion data give `prompt` and `completion`; messages stay `messages` with the template
    `chat`, and give the dialogue before the last answer as `prompt` and that answer as `completion` else; plain texts
    give `text`; a classification table gives the prompts of :func:`monosemy.lm.texts.prompt_splits`.
    Rows without an answer or a prompt, and rows that repeat another, are left out and counted.

    Raises:
        InputError: the source cannot be read, has none of the formats, or holds something else than texts.
    """
    table = texts.source_table(config.source)
    chosen = config.format or _recognised(table, config)
    if chosen == "classification":
        data = texts.load_classification(
            config.source, seed, test_fraction=config.test_fraction or 0.1, on_bad_row=config.on_bad_row
        )
        return texts.prompt_splits(data, config.label_words, config.template, seed=seed, max_rows=config.max_rows)
    texts.check_columns(table, _needed(chosen, config), chosen, get_args(InstructionFormat))

    def convert(cells: prompts.Row, where: str) -> Iterator[prompts.Row | str]:
        row = _READERS[chosen](cells, config, where)
        yield _fault(row) or row

    as_messages = chosen == "messages" and config.template == "chat"
    return texts.text_data(
        table,
        config,
        seed,
        convert,
        format=chosen,
        kind="text" if chosen == "text" else "messages" if as_messages else "prompt-completion",
    )


def _recognised(table: tables.Table, config: InstructionConfig) -> InstructionFormat:
    """Return the first format whose columns exist; texts with a label are a classification table."""
    if all(any(name in table.columns for name in sources.USUAL_NAMES[role]) for role in ("label", "text")):
        return "classification"
    for name in _COLUMNS:
        if set(_needed(name, config)) <= set(table.columns):
            return name
    known = "; ".join(f"{name}: {', '.join(_needed(name, config))}" for name in _COLUMNS)
    raise InputError(
        f"{table.where} has the columns {names(table.columns)}, which are of no known format ({known}; "
        f"classification: text or sentence, label); rename them or name the columns of prompt and completion."
    )


def _needed(name: InstructionFormat, config: InstructionConfig) -> tuple[str, ...]:
    if name == "prompt-completion":
        return config.prompt_column, config.completion_column
    return (config.text_column,) if name == "text" else _COLUMNS[name]


def _question(columns: tuple[str, str, str], cells: prompts.Row, config: InstructionConfig, where: str) -> prompts.Row:
    question, context, answer = (prompts.cell_text(cells, column, where) for column in columns)
    return prompts.instruction_row(question, context, answer, config.template)


def _messages(cells: prompts.Row, config: InstructionConfig, where: str) -> prompts.Row:
    messages = prompts.cell(cells, "messages", where)
    if isinstance(messages, str):
        raise InputError(f"{where} holds text in the column messages; give a list of messages.")
    while messages and messages[-1]["role"] != "assistant":  # a question without an answer teaches nothing
        messages = messages[:-1]
    if config.template == "chat":
        return {"messages": messages}
    if not messages:
        return {"prompt": "", "completion": ""}
    return {"prompt": prompts.dialogue_prompt(messages[:-1]), "completion": f" {messages[-1]['content'].strip()}"}


def _pair(cells: prompts.Row, config: InstructionConfig, where: str) -> prompts.Row:
    prompt, completion = (prompts.cell(cells, column, where) for column in _needed("prompt-completion", config))
    return prompts.pair_row(config.template, prompt, completion=completion)


def _plain(cells: prompts.Row, config: InstructionConfig, where: str) -> prompts.Row:
    return {"text": prompts.content_text(prompts.cell(cells, config.text_column, where))}


_READERS: dict[InstructionFormat, Callable[[prompts.Row, InstructionConfig, str], prompts.Row]] = {
    "dolly": partial(_question, ("instruction", "context", "response")),
    "alpaca": partial(_question, ("instruction", "input", "output")),
    "messages": _messages,
    "prompt-completion": _pair,
    "text": _plain,
}


def _fault(row: prompts.Row) -> str | None:
    """Return why a row cannot be trained on; None where it can."""
    if "completion" in row and texts.is_blank(row["prompt"]):
        return "no prompt"
    answer = row.get("completion", row.get("text", row.get("messages")))
    return "empty" if not answer or texts.is_blank(answer) else None


def held_out_texts(source: str) -> list[str]:
    """Read texts that a model was not trained on: the lines of a .txt file, or the column `text` of a table.

    Raises:
        InputError: the source cannot be read or holds no text.
    """
    if sources.classify(source).kind == "text":
        return list(load.read_texts(source))
    data = load_instructions(InstructionConfig(source=source, format="text", test_fraction=0))
    return [str(row["text"]) for rows in data.splits().values() for row in rows]
