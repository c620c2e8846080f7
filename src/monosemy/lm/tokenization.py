"""Texts of unequal length through a model: batches of similar lengths, padding that the result does not depend on.

Prompts and answers as the tokens that a model reads.

Rows that are longer than a model's context.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monosemy.core.console import OnCount
from monosemy.errors import InputError
from monosemy.lm.config import OnLong
from monosemy.lm.models import LoadedModel
from monosemy.lm.prompts import Message, Row, Text, as_messages, content_text
from monosemy.lm.texts import is_blank


@contextmanager
def evaluating(*models: Any) -> Iterator[None]:
    """Models without dropout and without gradients within the block; as before after it."""
    before = [model.training for model in models]
    try:
        for model in models:
            model.eval()
        with torch.no_grad():
            yield
    finally:
        for model, training in zip(models, before, strict=True):
            model.train(training)


def length_batches(lengths: Sequence[int], batch_size: int) -> Iterator[NDArray[np.int64]]:
    """Row numbers in batches of similar length, the longest first: a lack of memory shows at once."""
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable")
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def padded(tokens: Sequence[Sequence[int]], pad_id: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Token numbers (B, L), filled up on the right, and their mask (B, L) of ones and zeros."""
    width = max(len(ids) for ids in tokens)
    ids = torch.full((len(tokens), width), pad_id, dtype=torch.long)
    mask = torch.zeros((len(tokens), width), dtype=torch.long)
    for row, own in enumerate(tokens):
        ids[row, : len(own)] = torch.as_tensor(own, dtype=torch.long)
        mask[row, : len(own)] = 1
    return ids.to(device), mask.to(device)


def next_token_logits(
    loaded: LoadedModel,
    tokens: Sequence[Sequence[int]],
    wanted: Sequence[int],
    batch_size: int = 8,
    on_texts: OnCount | None = None,
) -> NDArray[np.float32]:
    """Logits (N, W) of the W wanted tokens after each of N texts.

    Padding stands on the right, so that positions are what they are without it, in every architecture.
    """
    result = np.empty((len(tokens), len(wanted)), dtype=np.float32)
    columns = torch.as_tensor(list(wanted), device=loaded.device)
    done = 0
    for rows in length_batches([len(ids) for ids in tokens], batch_size):
        ids, mask = padded([tokens[i] for i in rows], loaded.tokenizer.pad_token_id, loaded.device)
        last = mask.sum(dim=1) - 1
        # Only the last positions go through the output layer: all of them would fill the memory.
        kept, place = torch.unique(last, return_inverse=True)
        with evaluating(loaded.model):
            logits = loaded.model(input_ids=ids, attention_mask=mask, logits_to_keep=kept).logits
        at_last = logits[torch.arange(len(rows), device=loaded.device), place]
        result[rows] = at_last[:, columns].float().cpu().numpy()
        done += len(rows)
        if on_texts is not None:
            on_texts(done, len(tokens))
    return result


def token_lists(tokenizer: Any, texts: Sequence[str], *, special: bool) -> list[list[int]]:
    """Token numbers of each text, with or without what the tokenizer adds of its own."""
    if not texts:
        return []
    found: list[list[int]] = tokenizer(list(texts), add_special_tokens=special, verbose=False)["input_ids"]
    return found


class Completed(NamedTuple):
    """Tokens of a prompt and its answer; the answer begins at ``start``."""

    ids: list[int]
    start: int


def prompt_text(tokenizer: Any, prompt: Text) -> str:
    """A prompt as the text that an answer follows: a string as it is, messages through the chat template."""
    if isinstance(prompt, str):
        return prompt
    _check_template(tokenizer)
    return str(tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True))


def whole_text(tokenizer: Any, prompt: Text, answer: Text) -> str:
    """A prompt with its answer as text."""
    if isinstance(prompt, str):
        return prompt + content_text(answer)
    _check_template(tokenizer)
    return str(tokenizer.apply_chat_template([*prompt, *as_messages(answer, "assistant")], tokenize=False))


def prompt_tokens(tokenizer: Any, prompts: Sequence[Text]) -> list[list[int]]:
    """Token numbers of prompts; a chat template brings its own special tokens."""
    return [_tokens(tokenizer, prompt_text(tokenizer, prompt), prompt) for prompt in prompts]


def completed_tokens(tokenizer: Any, prompts: Sequence[Text], answers: Sequence[Text]) -> list[Completed]:
    """Tokens of each prompt with its answer, split in one go as a model meets them in training.

    The answer begins where the tokens first differ from the prompt's own.

    Raises:
        InputError: there is not one answer for each prompt.
    """
    if len(prompts) != len(answers):
        raise InputError(f"There are {len(answers)} answers to {len(prompts)} prompts; give one answer for each.")
    found = []
    for prompt, answer in zip(prompts, answers, strict=True):
        own = _tokens(tokenizer, prompt_text(tokenizer, prompt), prompt)
        ids = _tokens(tokenizer, whole_text(tokenizer, prompt, answer), prompt)
        same = (i for i, (one, other) in enumerate(zip(own, ids, strict=False)) if one != other)
        found.append(Completed(ids, next(same, min(len(own), len(ids)))))
    return found


def _tokens(tokenizer: Any, text: str, prompt: Text) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=isinstance(prompt, str), verbose=False)["input_ids"]
    return ids


def _check_template(tokenizer: Any) -> None:
    if not tokenizer.chat_template:
        raise InputError(
            f"The tokenizer of {tokenizer.name_or_path} has no chat template, but the prompts are messages; read the "
            f"data in the form plain or alpaca."
        )


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
