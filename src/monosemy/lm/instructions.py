"""Instruction data: questions with answers, dialogues and plain texts, from files and the hub.

Texts that a model was not trained on, for perplexity.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, get_args

from annotated_types import Ge, Gt, Lt
from pydantic import BaseModel, ConfigDict

from monosemy.data.load import source_name
from monosemy.data.tables import LABEL_CANDIDATES, Table
from monosemy.errors import InputError, reason
from monosemy.lm.classification import load_classification, prompt_splits
from monosemy.lm.prompts import (
    Form,
    Row,
    cell_text,
    checked_text,
    content_text,
    dialogue_prompt,
    instruction_row,
    pair_row,
)
from monosemy.lm.texts import (
    Kind,
    TextData,
    count,
    dropped_notices,
    fewer,
    is_blank,
    prompt_key,
    records,
    source_table,
    split_rows,
    table_splits,
)

InstructionFormat = Literal["dolly", "alpaca", "messages", "prompt-completion", "classification", "text"]
_COLUMNS: dict[InstructionFormat, tuple[str, ...]] = {
    "dolly": ("instruction", "response"),
    "alpaca": ("instruction", "output"),
    "messages": ("messages",),
    "prompt-completion": ("prompt", "completion"),
    "text": ("text",),
}
"""The columns that a format needs, in the order in which formats are tried."""


class InstructionConfig(BaseModel):
    """Where instruction data comes from and how it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str
    """A table (JSON lines, JSON, CSV, parquet; gzip too), a pattern of such files, or a data set of the hub."""
    format: InstructionFormat | None = None
    """Recognised by the columns where it is not given."""
    form: Form = "plain"
    prompt_column: str = "prompt"
    completion_column: str = "completion"
    text_column: str = "text"
    label_words: tuple[str, ...] | None = None
    """What each class is called in an answer, in the classes' order; for the format `classification`."""
    test_fraction: Annotated[float, Ge(0), Lt(1)] = 0.1
    """Share of the prompts split off as test, where the source has no test split."""
    validation_fraction: Annotated[float, Ge(0), Lt(1)] = 0.0
    max_rows: Annotated[int, Gt(0)] | None = None
    """At most so many train rows: the first in an order that the seed draws."""


def load_instructions(config: InstructionConfig, seed: int = 0) -> TextData:
    """Read instruction data as rows for TRL's SFTTrainer.

    Dolly, Alpaca and prompt/completion data give `prompt` and `completion`; messages stay `messages` in the form
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
        return prompt_splits(data, config.label_words, config.form, seed=seed, max_rows=config.max_rows)
    _check_columns(table, chosen, config)
    given = table_splits(table)
    dropped: dict[str, int] = {}
    rows: list[Row] = []
    splits: list[str] | None = None if given is None else []
    for i, cells in enumerate(records(table)):
        row = _READERS[chosen](cells, config, f"Row {i + 1} of {table.where}")
        why = _fault(row)
        if why is not None:
            count(dropped, why)
            continue
        rows.append(row)
        if splits is not None and given is not None:
            splits.append(given[i])
    parts = split_rows(
        rows,
        _key,
        splits,
        test_fraction=config.test_fraction,
        validation_fraction=config.validation_fraction,
        seed=seed,
        dropped=dropped,
    )
    kind: Kind = "text" if chosen == "text" else "messages" if "messages" in rows[0] else "prompt-completion"
    return TextData(
        name=source_name(config.source),
        format=chosen,
        kind=kind,
        train=fewer(parts["train"], config.max_rows, seed),
        validation=parts["validation"],
        test=parts["test"],
        n_read=len(table.frame),
        dropped=dropped,
        notices=dropped_notices(dropped),
    )


def _recognised(table: Table, config: InstructionConfig) -> InstructionFormat:
    """The first format whose columns are there; texts with a label are a classification table."""
    if any(name in table.columns for name in LABEL_CANDIDATES) and {"text", "sentence"} & set(table.columns):
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


def _check_columns(table: Table, chosen: InstructionFormat, config: InstructionConfig) -> None:
    for column in _needed(chosen, config):
        if column not in table.columns:
            raise InputError(
                f"{table.where} has no column {column!r}, which the format {chosen} needs; its columns are "
                f"{', '.join(table.columns)}; name another format of {', '.join(get_args(InstructionFormat))}."
            )


def _dolly(cells: Row, config: InstructionConfig, where: str) -> Row:
    question, context, answer = (cell_text(cells, column, where) for column in ("instruction", "context", "response"))
    return instruction_row(question, context, answer, config.form)


def _alpaca(cells: Row, config: InstructionConfig, where: str) -> Row:
    question, context, answer = (cell_text(cells, column, where) for column in ("instruction", "input", "output"))
    return instruction_row(question, context, answer, config.form)


def _messages(cells: Row, config: InstructionConfig, where: str) -> Row:
    messages = checked_text(cells["messages"], f"{where}, messages,")
    if isinstance(messages, str):
        raise InputError(f"{where} holds text in the column messages; give a list of messages.")
    while messages and messages[-1]["role"] != "assistant":  # a question without an answer teaches nothing
        messages = messages[:-1]
    if config.form == "chat":
        return {"messages": messages}
    if not messages:
        return {"prompt": "", "completion": ""}
    return {"prompt": dialogue_prompt(messages[:-1]), "completion": f" {messages[-1]['content'].strip()}"}


def _pair(cells: Row, config: InstructionConfig, where: str) -> Row:
    prompt, completion = (
        checked_text(cells[column], f"{where}, {column},") for column in _needed("prompt-completion", config)
    )
    return pair_row(prompt, completion, config.form)


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
    """Why a row cannot be trained on; None where it can."""
    if "completion" in row and is_blank(row["prompt"]):
        return "no prompt"
    answer = row.get("completion", row.get("text", row.get("messages")))
    return "empty" if not answer or is_blank(answer) else None


def _key(row: Row) -> str:
    """A row's prompt: the whole where there is no answer apart."""
    if "messages" in row:
        return prompt_key(row["messages"][:-1])
    return prompt_key(row["prompt"] if "prompt" in row else row["text"])


def held_out_texts(source: str) -> list[str]:
    """One text a line of a file that ends in .txt; else the column `text` of a table.

    Raises:
        InputError: it cannot be read or holds no text.
    """
    if source.endswith(".txt"):
        try:
            lines = Path(source).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"--held-out {source} cannot be read ({reason(error)}); give a UTF-8 text file."
            ) from error
        texts = [line.strip() for line in lines if line.strip()]
    else:
        found = load_instructions(InstructionConfig(source=source, format="text", test_fraction=0))
        texts = [str(row["text"]) for rows in found.splits().values() for row in rows]
    if not texts:
        raise InputError(f"--held-out {source} holds no text; give one text a line.")
    return texts
