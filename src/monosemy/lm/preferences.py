"""Preference data: a prompt with an answer to prefer and one to avoid, from TRL's formats and well-known sources."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, get_args

import numpy as np

from monosemy.data.tables import Table
from monosemy.errors import InputError, names
from monosemy.lm import prompts, texts
from monosemy.lm.config import PreferenceConfig, PreferenceFormat

DETOX_PROMPT = "Rewrite without rude words: {text}\nRewritten:"
"""The prompt of a ParaDetox pair."""
SYCOPHANCY_PROMPT = "{text}\n\nAnswer:"
"""The prompt of a sycophancy question; the answers are (A) and (B)."""
_SYCOPHANCY_SPLITS = {"generate": "train", "dpo_pool": "train", "dpo_eval": "validation"}


class _Pair(NamedTuple):
    prompt: prompts.Text
    chosen: prompts.Text
    rejected: prompts.Text


Converter = Callable[[prompts.Row, PreferenceConfig, str], Iterator["_Pair | str"]]
"""A function that yields the pairs of a row; a string is the reason for leaving one out."""


def load_preferences(config: PreferenceConfig, seed: int = 0) -> texts.TextData:
    """Read preference data as rows for TRL's DPOTrainer: `prompt`, `chosen`, `rejected`.

    Pairs with an empty answer or prompt, with two equal answers, and duplicates are left out and counted.

    Raises:
        InputError: the source cannot be read, has none of the formats, or holds something other than texts.
    """
    table = texts.source_table(config.source)
    chosen = config.format or _recognised(table)
    columns, reader = _FORMATS[chosen]
    texts.check_columns(table, columns, chosen, get_args(PreferenceFormat))

    def convert(cells: prompts.Row, where: str) -> Iterator[prompts.Row | str]:
        for pair in reader(cells, config, where):
            yield pair if isinstance(pair, str) else _fault(pair) or prompts.pair_row(config.template, **pair._asdict())

    return texts.text_data(
        table,
        config,
        seed,
        convert,
        format=chosen,
        kind="preference",
        roles=_SYCOPHANCY_SPLITS if chosen == "sycophancy" else None,
        notices=_decisions(chosen, config),
    )


def _recognised(table: Table) -> PreferenceFormat:
    columns = set(table.columns)
    for name, (needed, _) in _FORMATS.items():
        if name not in ("hh-rlhf", "trl") and set(needed) <= columns:
            return name
    if {"chosen", "rejected"} <= columns:
        first = table.frame["chosen"].iloc[0]
        marked = isinstance(first, str) and first.startswith(prompts.HUMAN) and prompts.ASSISTANT in first
        return "hh-rlhf" if marked and "prompt" not in columns else "trl"
    known = "; ".join(f"{name}: {', '.join(needed)}" for name, (needed, _) in _FORMATS.items())
    raise InputError(
        f"{table.where} has the columns {names(table.columns)}, which belong to no known preference format "
        f"({known}); rename them to prompt, chosen, rejected."
    )


def _decisions(chosen: PreferenceFormat, config: PreferenceConfig) -> tuple[str, ...]:
    preferred: dict[PreferenceFormat, str] = {
        "sycophancy": f"the answer that {'agrees' if config.sycophantic else 'does not agree'} with the user",
        "pku-saferlhf": f"the {'safer' if config.safer else 'better'} answer",
        "paradetox": "the neutral rewrite, over the toxic sentence itself",
    }
    return (f"Preferred: {preferred[chosen]}.",) if chosen in preferred else ()


def _fault(pair: _Pair) -> str | None:
    if texts.is_blank(pair.chosen) or texts.is_blank(pair.rejected):
        return "empty"
    if texts.is_blank(pair.prompt):
        return "no prompt"
    same = prompts.content_text(pair.chosen).split() == prompts.content_text(pair.rejected).split()
    return "equal" if same else None


def _hh_rlhf(cells: prompts.Row, config: PreferenceConfig, where: str) -> Iterator[_Pair | str]:
    """Read two dialogues that share all turns but the last: the prompt ends where their last shared turn does."""
    chosen, rejected = (prompts.content_text(prompts.cell(cells, name, where)) for name in ("chosen", "rejected"))
    end = chosen[: _shared(chosen, rejected)].rfind(prompts.ASSISTANT)
    if chosen == rejected:
        yield "equal"
    elif end < 0 or prompts.HUMAN in chosen[end:] or prompts.HUMAN in rejected[end:]:
        yield "no shared prompt"
    else:
        end += len(prompts.ASSISTANT)
        # Texts stay as they are with the template `plain`; a chat's prompt is the dialogue's turns.
        prompt = prompts.dialogue_messages(chosen[:end]) if config.template == "chat" else chosen[:end]
        yield _Pair(prompt, chosen[end:], rejected[end:])


def _paradetox(cells: prompts.Row, config: PreferenceConfig, where: str) -> Iterator[_Pair | str]:
    toxic, cell = prompts.cell_text(cells, "toxic", where), cells["neutral"]
    rewrites = list(cell) if isinstance(cell, list | tuple | np.ndarray) else [cell]
    for rewrite in rewrites[:1] if config.rewrites == "first" else rewrites:
        neutral = prompts.cell_text({"neutral": rewrite}, "neutral", where)
        yield _Pair(DETOX_PROMPT.format(text=toxic), f" {neutral}", f" {toxic}")


def _sycophancy(cells: prompts.Row, config: PreferenceConfig, where: str) -> Iterator[_Pair | str]:
    matching, other = (
        f" {prompts.cell_text(cells, name, where)}"
        for name in ("answer_matching_behavior", "answer_not_matching_behavior")
    )
    question = prompts.cell_text(cells, "question", where).removesuffix("\n\nAnswer:")
    chosen, rejected = (matching, other) if config.sycophantic else (other, matching)
    yield _Pair(SYCOPHANCY_PROMPT.format(text=question) if question else "", chosen, rejected)


def _pku_saferlhf(cells: prompts.Row, config: PreferenceConfig, where: str) -> Iterator[_Pair | str]:
    column = "safer_response_id" if config.safer else "better_response_id"
    better = cells.get(column)
    if better is None or str(better) not in ("0", "1", "0.0", "1.0"):
        yield "no preference"
        return
    first = int(float(better))
    prompt, *answers = (
        prompts.content_text(prompts.cell(cells, name, where)) for name in ("prompt", "response_0", "response_1")
    )
    if config.template == "chat":
        yield _Pair(prompt, answers[first], answers[1 - first])
    else:
        dialogue = prompts.dialogue_prompt([{"role": "user", "content": prompt.strip()}]) if prompt.strip() else ""
        yield _Pair(dialogue, f" {answers[first].strip()}", f" {answers[1 - first].strip()}")


def _trl(cells: prompts.Row, config: PreferenceConfig, where: str) -> Iterator[_Pair | str]:
    """Read explicit prompts unchanged; an implicit prompt is what both answers begin with."""
    chosen, rejected = (prompts.cell(cells, name, where) for name in ("chosen", "rejected"))
    if isinstance(chosen, str) != isinstance(rejected, str):
        raise InputError(f"{where} mixes text and messages in chosen and rejected; give both in one form.")
    if "prompt" in cells:
        yield _Pair(prompts.cell(cells, "prompt", where), chosen, rejected)
    elif isinstance(chosen, str) and isinstance(rejected, str):
        end = _shared(chosen, rejected)
        end -= chosen[:end].endswith(" ")  # the space belongs to the answer, as in TRL
        yield _Pair(chosen[:end], chosen[end:], rejected[end:]) if end or chosen == rejected else "no shared prompt"
    else:
        end = _shared(chosen, rejected)
        if end == len(chosen) == len(rejected):
            yield "equal"
        else:
            yield _Pair(chosen[:end], chosen[end:], rejected[end:]) if end else "no shared prompt"


def _shared(first: Sequence[object], second: Sequence[object]) -> int:
    """Return the number of characters or messages that two sequences begin with in common."""
    return next(
        (i for i, (one, other) in enumerate(zip(first, second, strict=False)) if one != other),
        min(len(first), len(second)),
    )


_FORMATS: dict[PreferenceFormat, tuple[tuple[str, ...], Converter]] = {
    "pku-saferlhf": (("prompt", "response_0", "response_1"), _pku_saferlhf),
    "paradetox": (("toxic", "neutral"), _paradetox),
    "sycophancy": (("question", "answer_matching_behavior", "answer_not_matching_behavior"), _sycophancy),
    "hh-rlhf": (("chosen", "rejected"), _hh_rlhf),
    "trl": (("chosen", "rejected"), _trl),
}
"""The columns that a format needs and its reader, in the order in which formats are tried."""
