"""Noise on images whose pixels lie in [0, 1], shape (N, C, H, W).

Noise on texts: typos in characters, dropped words.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.float32]
Protocol = Literal["default", "paper"]


def gaussian_noise(images: Images, std: float, rng: np.random.Generator) -> Images:
    """x + N(0, std^2), clipped to [0, 1]; ``std`` in units of the pixel range."""
    return np.clip(images + std * rng.standard_normal(images.shape, dtype=np.float32), 0, 1)


def uniform_noise(images: Images, width: float, rng: np.random.Generator) -> Images:
    """x + U[-width/2, width/2], clipped to [0, 1]; centred, so that the mean brightness stays."""
    return np.clip(images + width * (rng.random(images.shape, dtype=np.float32) - 0.5), 0, 1)


def gaussian_noise_paper(images: Images, std: float, rng: np.random.Generator, pixel_std: Images) -> Images:
    """The protocol of Zhang et al.: noise after pixel normalisation, not clipped.

    Normalised pixels are (x - m) / pixel_std, so noise of ``std`` there is std * pixel_std here.

    Args:
        pixel_std: (C, 1, 1), standard deviation that the encoder divides each channel by.

    Source: Zhang et al. (arXiv 2410.21331), section 3.1 and its public code.
    """
    return images + std * pixel_std * rng.standard_normal(images.shape, dtype=np.float32)


def uniform_noise_paper(images: Images, width: float, rng: np.random.Generator, pixel_std: Images) -> Images:
    """As :func:`gaussian_noise_paper` with U[0, width], which is not centred."""
    return images + width * pixel_std * rng.random(images.shape, dtype=np.float32)


def corrupt_images(
    images: Images,
    kind: Literal["gaussian", "uniform"],
    level: float,
    protocol: Protocol,
    rng: np.random.Generator,
    pixel_std: Images,
) -> Images:
    """Images with noise of the given kind, level and protocol."""
    if protocol == "paper":
        paper = gaussian_noise_paper if kind == "gaussian" else uniform_noise_paper
        return paper(images, level, rng, pixel_std)
    ours = gaussian_noise if kind == "gaussian" else uniform_noise
    return ours(images, level, rng)


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


def corrupt_texts(
    texts: Sequence[str], kind: Literal["typos", "token-drops"], rate: float, rng: np.random.Generator
) -> tuple[str, ...]:
    """Texts with noise of the given kind and rate."""
    return (typos if kind == "typos" else token_drops)(texts, rate, rng)
