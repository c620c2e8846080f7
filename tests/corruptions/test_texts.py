"""Noise on texts: the given rate, four kinds of typos, and never an empty text."""

import string
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, strategies as st

from monosemy.corruptions.inputs import corrupt_texts

texts_with_letters = st.lists(st.text(max_size=30).filter(str.strip), max_size=5)
KINDS = ["typos", "token-drops"]


def noisy(texts, kind: str, rate: float, seed: int = 0) -> tuple[str, ...]:
    return corrupt_texts(texts, kind, rate, np.random.default_rng(seed))


@pytest.mark.parametrize("kind", KINDS)
@given(texts=texts_with_letters, rate=st.floats(0, 1), seed=st.integers(0, 99))
def test_texts_never_become_empty(kind: str, texts: list[str], rate: float, seed: int) -> None:
    result = noisy(texts, kind, rate, seed)
    assert len(result) == len(texts)
    assert all(text.strip() for text in result)


@pytest.mark.parametrize("kind", KINDS)
@given(texts=st.lists(st.text(max_size=30), max_size=5), seed=st.integers(0, 99))
def test_rate_zero_is_the_identity(kind: str, texts: list[str], seed: int) -> None:
    assert noisy(texts, kind, 0.0, seed) == tuple(texts)


@pytest.mark.parametrize("kind", KINDS)
def test_the_generator_decides(kind: str) -> None:
    texts = ["the quick brown fox jumps over the lazy dog"] * 3
    first = noisy(texts, kind, 0.4)
    assert first == noisy(texts, kind, 0.4)
    assert first != noisy(texts, kind, 0.4, seed=1)
    assert len(set(first)) == 3, "every text gets its own draw"


@given(text=st.text("ab ", min_size=1, max_size=40), rate=st.floats(0, 1), seed=st.integers(0, 99))
def test_kept_words_stand_in_their_order(text: str, rate: float, seed: int) -> None:
    (result,) = noisy([text], "token-drops", rate, seed)
    words = iter(text.split())
    assert all(word in words for word in result.split()), "a subsequence of the words"
    if text.strip():
        assert result.split()


def test_tokens_are_dropped_at_the_given_rate() -> None:
    (result,) = noisy([" ".join(["word"] * 10_000)], "token-drops", 0.3)
    assert len(result.split()) == pytest.approx(7000, abs=200)


def test_one_of_all_dropped_words_stays_at_random() -> None:
    kept = Counter(noisy(["one two three"] * 300, "token-drops", 1.0))
    assert set(kept) == {"one", "two", "three"}
    assert min(kept.values()) > 60


def test_all_four_kinds_of_typos_occur() -> None:
    # Of "aB" with one hit on "a": dropped "B", doubled "aaB", replaced "xB", swapped "Ba".
    seen = Counter(noisy(["aB"] * 4000, "typos", 0.1))
    assert {"B", "aaB", "Ba"} <= set(seen)
    replaced = {text for text in seen if len(text) == 2 and text[1] == "B" and text[0] not in "aB"}
    assert {text[0] for text in replaced} <= set(string.ascii_lowercase)
    assert len(replaced) > 10
    share = 0.1 * 0.9 / 4 * 4000  # one kind of hit on "a", none on "B"
    assert seen["B"] == pytest.approx(share, abs=45)
    assert seen["aaB"] == pytest.approx(share, abs=45)
    # A swap takes the next character with it, whether that is hit or not.
    assert seen["Ba"] == pytest.approx(0.1 / 4 * 4000, abs=45)


def test_typos_hit_at_the_given_rate() -> None:
    # Digits are only replaced by letters, so a letter in the result is one quarter of the hits.
    (result,) = noisy(["0" * 20_000], "typos", 0.2)
    assert sum(c.isalpha() for c in result) == pytest.approx(1000, abs=150)
    assert len(result) == pytest.approx(20_000, abs=300), "as many dropped as doubled"


@given(text=st.text("xyz", min_size=1, max_size=20), seed=st.integers(0, 99))
def test_the_last_character_has_none_to_swap_with(text: str, seed: int) -> None:
    (result,) = noisy([text], "typos", 1.0, seed)
    assert 1 <= len(result) <= 2 * len(text)
