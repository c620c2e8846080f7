"""Noise on inputs: pixels of images (N, C, H, W) in [0, 1], and characters and words of texts."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from monosemy.errors import InputError

Images = np.typing.NDArray[np.float32]
Protocol = Literal["default", "paper"]


_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def corrupt_images(
    images: Images,
    kind: Literal["gaussian", "uniform"],
    level: float,
    protocol: Protocol,
    rng: np.random.Generator,
    pixel_std: Images | None = None,
) -> Images:
    """Add noise to images.

    - ``default``: x + N(0, level^2) or x + U[-level/2, level/2], clipped to [0, 1]; centred, so that the mean
      brightness stays; ``level`` in units of the pixel range.
    - ``paper``: noise after pixel normalisation, not clipped, N(0, level^2) or U[0, level]. Normalised pixels are
      (x - m) / pixel_std, so noise of ``level`` there is level * pixel_std here.

    Args:
        pixel_std: (C, 1, 1), standard deviation that the encoder divides each channel by; needed by ``paper`` alone.

    Source: Zhang et al. (arXiv 2410.21331), section 3.1 and its public code, for ``paper``.
    """
    if kind == "gaussian":
        noise = rng.standard_normal(images.shape, dtype=np.float32)
    else:
        noise = rng.random(images.shape, dtype=np.float32)
    if protocol == "paper":
        if pixel_std is None:
            raise InputError("protocol='paper' scales noise by pixel_std=None; give the encoder's standard deviations.")
        return images + level * pixel_std * noise
    return np.clip(images + level * (noise if kind == "gaussian" else noise - 0.5), 0, 1)


def typos(texts: Sequence[str], rate: float, rng: np.random.Generator) -> tuple[str, ...]:
    """Change each character with probability ``rate``: drop it, double it, replace it by a random letter, or swap it
    with the next one, a quarter of the changes each.

    A text never becomes empty: where only blanks would be left, the original stays.
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
    """Drop each whitespace-separated word with probability ``rate``; at least one word stays.

    A text that loses no word keeps its blanks; in others the words are joined by one.
    """
    result = []
    for text in texts:
        words = text.split()
        keep = rng.random(len(words)) >= rate
        if len(words) and not keep.any():
            keep[rng.integers(len(words))] = True
        result.append(text if keep.all() else " ".join(w for w, stays in zip(words, keep, strict=True) if stays))
    return tuple(result)


def corrupt_texts(
    texts: Sequence[str], kind: Literal["typos", "token-drops"], rate: float, rng: np.random.Generator
) -> tuple[str, ...]:
    """Return texts with noise of the given kind and rate."""
    return (typos if kind == "typos" else token_drops)(texts, rate, rng)
