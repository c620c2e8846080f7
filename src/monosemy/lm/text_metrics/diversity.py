"""How diverse a model's answers are."""

from collections.abc import Sequence
from dataclasses import dataclass

from monosemy.encoders.text import MINILM, TextEncoder
from monosemy.errors import InputError
from monosemy.functional.decorrelation import feature_decorrelation
from monosemy.functional.diversity import distinct_n
from monosemy.functional.rank import effective_rank
from monosemy.lm.batches import OnTexts


@dataclass(frozen=True)
class Diversity:
    """Diversity of texts, by words and by meaning; compare equal numbers of texts."""

    distinct_1: float
    """Share of different words among all words."""
    distinct_2: float
    """Share of different pairs of words."""
    decorrelation: float
    """1 - mean cosine of the sentence embeddings of two texts."""
    effective_rank: float
    """Over how many directions the sentence embeddings spread."""
    n_empty: int
    """Answers without a word; they have no embedding."""


def diversity(texts: Sequence[str], encoder: str | TextEncoder = MINILM, on_texts: OnTexts | None = None) -> Diversity:
    """Diversity of answers. Words are what stands between spaces, in lower case.

    Args:
        encoder: of sentences; by name it is loaded anew each time.

    Raises:
        InputError: fewer than two texts have words.
    """
    said = tuple(text for text in texts if text.strip())
    if len(said) < 2:
        raise InputError(f"{len(said)} of {len(texts)} texts have words; give at least two that have.")
    words = [text.lower().split() for text in said]
    embedder = TextEncoder(encoder) if isinstance(encoder, str) else encoder
    embeddings = embedder.encode(said, on_texts)
    return Diversity(
        distinct_1=distinct_n(words, 1),
        distinct_2=distinct_n(words, 2),
        decorrelation=feature_decorrelation(embeddings),
        effective_rank=effective_rank(embeddings),
        n_empty=len(texts) - len(said),
    )
