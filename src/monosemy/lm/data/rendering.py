"""Prompts and answers as the tokens that a model reads."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from monosemy.errors import InputError
from monosemy.lm.data.forms import Text, as_messages, content_text


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
