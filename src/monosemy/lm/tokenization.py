"""Tokenization of prompts and answers, padded batches, and rows that exceed the context of a model."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from monosemy.core.console import OnCount
from monosemy.errors import InputError
from monosemy.lm import config, models
from monosemy.lm.prompts import Message, Row, Text, as_messages, content_text
from monosemy.lm.texts import is_blank

_ANSWERS = ("completion", "chosen", "rejected")
_MIN_PROMPT = 16
"""Minimal number of tokens of a truncated prompt: shorter ones ask nothing that could be answered."""


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Run the block without dropout and without gradients; restore the model's mode after it."""
    training = model.training
    try:
        model.eval()
        with torch.no_grad():
            yield
    finally:
        model.train(training)


def padded(loaded: models.LoadedModel, tokens: Sequence[Sequence[int]], padding_side: str = "right") -> Any:
    """Return ``input_ids`` (B, L) and ``attention_mask`` (B, L) of token ids, on the model's device."""
    return loaded.tokenizer.pad(
        {"input_ids": [list(ids) for ids in tokens]}, padding_side=padding_side, return_attention_mask=True,
        return_tensors="pt",
    ).to(loaded.device)  # fmt: skip


def padded_batches(
    loaded: models.LoadedModel,
    tokens: Sequence[Sequence[int]],
    batch_size: int,
    on_texts: OnCount | None = None,
    *,
    padding_side: str = "right",
) -> Iterator[tuple[np.typing.NDArray[np.int64], torch.Tensor, torch.Tensor]]:
    """Yield rows of similar length together, the longest first, so that a lack of memory shows at once.

    Padding on the right leaves the positions of tokens as they are without padding, in every architecture.

    Args:
        on_texts: called after each batch, when the consumer asks for the next.

    Yields: row numbers (B,), token ids (B, L), and their attention mask (B, L).
    """
    order = np.argsort([-len(ids) for ids in tokens], kind="stable")
    for start in range(0, len(tokens), batch_size):
        rows = order[start : start + batch_size]
        batch = padded(loaded, [tokens[i] for i in rows], padding_side)
        yield rows, batch["input_ids"], batch["attention_mask"]
        if on_texts is not None:
            on_texts(start + len(rows), len(tokens))


def next_token_logits(
    loaded: models.LoadedModel,
    tokens: Sequence[Sequence[int]],
    wanted: Sequence[int],
    batch_size: int = 8,
    on_texts: OnCount | None = None,
) -> np.typing.NDArray[np.float32]:
    """Return the logits (N, W) of the W wanted tokens after each of N texts."""
    result = np.empty((len(tokens), len(wanted)), dtype=np.float32)
    columns = torch.as_tensor(list(wanted), device=loaded.device)
    for rows, ids, mask in padded_batches(loaded, tokens, batch_size, on_texts):
        last = mask.sum(dim=1) - 1
        # Only the last positions go through the output layer: all of them would fill the memory.
        positions, place = torch.unique(last, return_inverse=True)
        with evaluating(loaded.model):
            logits = loaded.model(input_ids=ids, attention_mask=mask, logits_to_keep=positions).logits
        at_last = logits[torch.arange(len(rows), device=loaded.device), place]
        result[rows] = at_last[:, columns].float().cpu().numpy()
    return result


def tokenize(tokenizer: Any, texts: Sequence[str], *, special: bool = True) -> list[list[int]]:
    """Return the token ids of each text, with or without the special tokens that the tokenizer adds."""
    if not texts:
        return []
    return tokenizer(list(texts), add_special_tokens=special, verbose=False)["input_ids"]


class PromptAndAnswer(NamedTuple):
    """Token ids of a prompt and its answer; the answer begins at ``start``."""

    ids: list[int]
    start: int


def prompt_text(tokenizer: Any, prompt: Text, answer: Text | None = None) -> str:
    """Return a prompt as the text that an answer follows, or with it: strings joined, messages by the chat template."""
    if isinstance(prompt, str):
        return prompt if answer is None else prompt + content_text(answer)
    if not tokenizer.chat_template:
        raise InputError(
            f"The tokenizer of {tokenizer.name_or_path} has no chat template, but the prompts are messages; read the "
            f"data with the prompt template plain or alpaca."
        )
    messages = prompt if answer is None else [*prompt, *as_messages(answer, "assistant")]
    return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=answer is None))


def tokenize_prompts(tokenizer: Any, prompts: Sequence[Text]) -> list[list[int]]:
    """Return the token ids of prompts; a chat template brings its own special tokens."""
    return [
        tokenize(tokenizer, [prompt_text(tokenizer, prompt)], special=isinstance(prompt, str))[0] for prompt in prompts
    ]


def tokenize_answers(tokenizer: Any, prompts: Sequence[Text], answers: Sequence[Text]) -> list[PromptAndAnswer]:
    """Return the token ids of each prompt with its answer, tokenized together as in training.

    The answer begins where the tokens first differ from the prompt's own.

    Raises:
        InputError: the numbers of prompts and answers differ.
    """
    if len(prompts) != len(answers):
        raise InputError(f"There are {len(answers)} answers to {len(prompts)} prompts; give one answer for each.")
    pairs = []
    for alone, prompt, answer in zip(tokenize_prompts(tokenizer, prompts), prompts, answers, strict=True):
        text = prompt_text(tokenizer, prompt, answer)
        ids = tokenize(tokenizer, [text], special=isinstance(prompt, str))[0]
        differing = (i for i, (one, other) in enumerate(zip(alone, ids, strict=False)) if one != other)
        pairs.append(PromptAndAnswer(ids, next(differing, min(len(alone), len(ids)))))
    return pairs


@dataclass(frozen=True)
class FittedRows:
    """Rows that fit into a context."""

    rows: list[Row]
    n_truncated: int
    """Rows whose prompt lost its beginning."""
    n_dropped: int
    """Rows that were dropped: too long, and not to be truncated or with an answer that leaves no room for a prompt."""

    def warnings(self, n_tokens: int) -> tuple[str, ...]:
        """Return a sentence for each change of the rows."""
        truncated = f"Truncated: the beginning of {self.n_truncated:,} prompts, to fit into {n_tokens} tokens."
        dropped = f"Left out: {self.n_dropped:,} rows that do not fit into {n_tokens} tokens."
        return (truncated,) * (self.n_truncated > 0) + (dropped,) * (self.n_dropped > 0)


def fit_context(rows: Sequence[Row], tokenizer: Any, n_tokens: int, on_long: config.OnLong = "drop") -> FittedRows:
    """Select the rows whose prompt and longest answer fit into ``n_tokens``, with all tokens that trainers add.

    A chat template brings its own special tokens. Behind a plain answer trainers put the end-of-text, unless it stands
    there. A row with a longer prompt is dropped, or its prompt loses its beginning (a chat: its oldest turns after the
    system's). Rows without a prompt (`text`, `messages`) stay unchanged: trainers truncate or pack them.

    Raises:
        InputError: no row fits.
    """
    if not rows or "prompt" not in rows[0]:
        return FittedRows(list(rows), 0, 0)

    def lengths(answer: str) -> list[int]:
        counts = []
        for row in rows:
            text, plain = prompt_text(tokenizer, row["prompt"], row[answer]), isinstance(row["prompt"], str)
            ended = not plain or bool(tokenizer.eos_token and text.endswith(tokenizer.eos_token))
            counts.append(len(tokenize(tokenizer, [text], special=plain)[0]) + (not ended))
        return counts

    with_answers = [lengths(name) for name in _ANSWERS if name in rows[0]]
    prompts = [len(ids) for ids in tokenize_prompts(tokenizer, [row["prompt"] for row in rows])]
    fitted, n_truncated = [], 0
    for row, prompt, *wholes in zip(rows, prompts, *with_answers, strict=True):
        whole = max(wholes)
        if whole <= n_tokens:
            fitted.append(row)
        elif on_long == "truncate":
            shorter = _truncated(row["prompt"], tokenizer, n_tokens - (whole - prompt))
            if shorter is not None:
                n_truncated += 1
                fitted.append(row | {"prompt": shorter})
    if not fitted:
        raise InputError(f"None of {len(rows)} rows fits into {n_tokens} tokens; raise the limit or shorten the texts.")
    return FittedRows(fitted, n_truncated, len(rows) - len(fitted))


def _truncated(prompt: Text, tokenizer: Any, room: int) -> Text | None:
    """Return the end of a prompt that has at most ``room`` tokens; None if fewer than the minimum would be left.

    The tokenizer's own truncation drops ids, but rows are texts that trainers tokenize again: a cut inside a word can
    yield more tokens than the ids that it kept. The length of each candidate is therefore measured again.
    """
    if isinstance(prompt, str):
        encoded = tokenizer(prompt, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        starts = [start for start, _ in encoded["offset_mapping"]]
        n_left = room - (len(tokenize(tokenizer, [prompt])[0]) - len(starts))
        while _MIN_PROMPT <= n_left < len(starts):
            rest = prompt[starts[-n_left] :]
            if len(tokenize(tokenizer, [rest])[0]) <= room:
                return None if is_blank(rest) else rest
            n_left -= 1
        return None
    system: list[Message] = [message for message in prompt if message["role"] == "system"]
    turns = [message for message in prompt if message["role"] != "system"]
    while len(turns) > 1:
        turns = turns[1:]
        if turns[0]["role"] == "user" and len(tokenize_prompts(tokenizer, [[*system, *turns]])[0]) <= room:
            return [*system, *turns]
    return None
