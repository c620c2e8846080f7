"""Noise on texts: typos in characters, dropped words."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def typos(texts: Sequence[str], rate: float, rng: np.random.Generator) -> tuple[str, ...]:
    """Each character is hit with probability ``rate``: dropped, doubled, replaced by a random letter, or swapped
    with the next one, each a quarter of the hits.

    A text never becomes empty: where nothing but blanks would be left, the original stays.
    """
    return tuple(_with_typos(text, rate, rng) for text in texts)


def _with_typos(text: str, rate: float, rng: np.random.Generator) -> str:
    hits = rng.random(len(text)) < rate
    kinds = rng.integers(0, 4, len(text))
    letters = rng.integers(0, len(_LETTERS), len(text))
    out: list[str] = []
    i = 0
    while i < len(text):
        char = text[i]
        if not hits[i]:
            out.append(char)
        elif kinds[i] == 1:
            out.append(char + char)
        elif kinds[i] == 2:
            out.append(_LETTERS[letters[i]])
        elif kinds[i] == 3 and i + 1 < len(text):
            out.append(text[i + 1] + char)
            i += 1
        i += 1
    result = "".join(out)
    return result if result.strip() else text


def token_drops(texts: Sequence[str], rate: float, rng: np.random.Generator) -> tuple[str, ...]:
    """Each whitespace-separated word is dropped with probability ``rate``; at least one word stays.

    A text that loses no word keeps its blanks; in others the words are joined by one.
    """
    result = []
    for text in texts:
        words = text.split()
        kept = rng.random(len(words)) >= rate
        if len(words) and not kept.any():
            kept[rng.integers(len(words))] = True
        result.append(text if kept.all() else " ".join(w for w, keep in zip(words, kept, strict=True) if keep))
    return tuple(result)


def corrupt(
    texts: Sequence[str], kind: Literal["typos", "token-drops"], rate: float, rng: np.random.Generator
) -> tuple[str, ...]:
    """Texts with noise of the given kind and rate."""
    return (typos if kind == "typos" else token_drops)(texts, rate, rng)
