"""Preference data that nothing can be learned from."""

from typing import Any

from datasets import Dataset

from monosemy.errors import InputError

_ROWS = 1000


def check_answers(dataset: Any, name: str) -> None:
    """Refuse pairs with an empty answer: with an end-of-text token behind it TRL would train on them.

    Data that cannot be looked through beforehand (streams) and data that is tokenised already is left alone.

    Raises:
        InputError: some chosen or rejected answers are empty; they are counted.
    """
    if not isinstance(dataset, Dataset) or not {"chosen", "rejected"} <= set(dataset.column_names):
        return
    pairs = dataset.select_columns(["chosen", "rejected"])  # images, where there are some, stay encoded
    bad = [
        start + row
        for start in range(0, len(pairs), _ROWS)
        for row, pair in enumerate(zip(*pairs[start : start + _ROWS].values(), strict=True))
        if any(is_empty(answer) for answer in pair)
    ]
    if bad:
        raise InputError(
            f"{name} has {len(bad)} of {len(dataset)} pairs with an empty chosen or rejected answer, first in row "
            f"{bad[0]}; drop them."
        )


def is_empty(answer: Any) -> bool:
    """Whether a text, or the last message of a conversation, says nothing."""
    if isinstance(answer, str):
        return not answer.strip()
    if not answer:
        return True
    last = answer[-1]
    return isinstance(last, dict) and not last.get("tool_calls") and _is_silent(last.get("content"))


def _is_silent(content: Any) -> bool:
    if isinstance(content, list):  # parts of a message, which may be images
        return all(part.get("type") == "text" and not (part.get("text") or "").strip() for part in content)
    return not (content or "").strip()
