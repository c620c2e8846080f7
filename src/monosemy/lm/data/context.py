"""Rows that are longer than a model's context."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from monosemy.errors import InputError
from monosemy.lm.data.forms import Message, Row, Text
from monosemy.lm.data.rendering import prompt_text, whole_text
from monosemy.lm.data.rows import is_blank

OnLong = Literal["drop", "truncate"]
_ANSWERS = ("completion", "chosen", "rejected")
_SHORTEST = 16
"""Tokens of a shortened prompt: with fewer there is nothing left that an answer could answer."""


@dataclass(frozen=True)
class Fitted:
    """Rows that fit, and how many did not."""

    rows: list[Row]
    n_truncated: int
    """Rows whose prompt lost its beginning."""
    n_dropped: int
    """Rows left out: too long, and not to be truncated or with an answer that leaves no room for a prompt."""

    def notices(self, n_tokens: int) -> tuple[str, ...]:
        """What to say to the user."""
        said = []
        if self.n_truncated:
            said.append(f"Shortened: {self.n_truncated:,} prompts lost their beginning to fit into {n_tokens} tokens.")
        if self.n_dropped:
            said.append(f"Left out: {self.n_dropped:,} rows that do not fit into {n_tokens} tokens.")
        return tuple(said)


def fit_context(rows: Sequence[Row], tokenizer: Any, n_tokens: int, on_long: OnLong = "drop") -> Fitted:
    """Rows whose prompt and longest answer fit into ``n_tokens``, special tokens and one end-of-text included.

    A long prompt is left out with its row, or loses its beginning (a chat: its oldest turns after the system's).
    Rows without a prompt (`text`, `messages`) are kept as they are: trainers cut or pack them.

    Raises:
        InputError: no row fits.
    """
    if not rows or "prompt" not in rows[0]:
        return Fitted(list(rows), 0, 0)
    prompts = _lengths([prompt_text(tokenizer, row["prompt"]) for row in rows], tokenizer)
    wholes = [
        _lengths([whole_text(tokenizer, row["prompt"], row[name]) for row in rows], tokenizer)
        for name in _ANSWERS
        if name in rows[0]
    ]
    needed = [max(lengths) + 1 for lengths in zip(*wholes, strict=True)]  # one more token ends the text
    kept, n_truncated, n_dropped = [], 0, 0
    for row, prompt, whole in zip(rows, prompts, needed, strict=True):
        if whole <= n_tokens:
            kept.append(row)
            continue
        shorter = _shortened(row["prompt"], tokenizer, n_tokens - (whole - prompt)) if on_long == "truncate" else None
        if shorter is None:
            n_dropped += 1
        else:
            n_truncated += 1
            kept.append(row | {"prompt": shorter})
    if not kept:
        raise InputError(
            f"None of {len(rows)} rows fits into {n_tokens} tokens; raise the limit or give shorter texts."
        )
    return Fitted(kept, n_truncated, n_dropped)


def _lengths(texts: Sequence[str], tokenizer: Any) -> list[int]:
    return [len(ids) for ids in tokenizer(list(texts), verbose=False)["input_ids"]]


def _shortened(prompt: Text, tokenizer: Any, room: int) -> Text | None:
    """The end of a prompt that has at most ``room`` tokens; None where too little is left."""
    if isinstance(prompt, str):
        return _cut(prompt, tokenizer, room)
    system: list[Message] = [message for message in prompt if message["role"] == "system"]
    turns = [message for message in prompt if message["role"] != "system"]
    while len(turns) > 1:
        turns = turns[1:]
        text = prompt_text(tokenizer, [*system, *turns])
        if turns[0]["role"] == "user" and _lengths([text], tokenizer)[0] <= room:
            return [*system, *turns]
    return None


def _cut(prompt: str, tokenizer: Any, room: int) -> str | None:
    encoded = tokenizer(prompt, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    starts = [start for start, _ in encoded["offset_mapping"]]
    n_special = _lengths([prompt], tokenizer)[0] - len(starts)
    n_kept = room - n_special
    while _SHORTEST <= n_kept < len(starts):
        rest = prompt[starts[-n_kept] :]
        if _lengths([rest], tokenizer)[0] <= room:  # a cut inside a word can make more tokens of it
            return None if is_blank(rest) else rest
        n_kept -= 1
    return None
