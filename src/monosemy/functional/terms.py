"""Terms that tell groups of samples apart: words of texts, c-TF-IDF, F1, and the AUC of a term that fits or not.

A term is a word, two neighbouring words, or the name of a class.
"""

import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp
from scipy.stats import beta

from monosemy.functional.consistency import Array

MOST_WORDS = 256
"""Words of a text that are read: text encoders read about as many tokens, so later ones cannot move a latent."""


@cache
def _separators() -> dict[int, str]:
    """Return the characters that separate words, and those that are words by themselves (Chinese, Japanese)."""
    table = {}
    for number in range(0x10000):  # emoji and other later characters count as letters
        character = chr(number)
        if 0x3040 <= number <= 0x30FF or 0x3400 <= number <= 0x4DBF or 0x4E00 <= number <= 0x9FFF:
            table[number] = f" {character} "
        elif unicodedata.category(character)[0] in "PSZC" and character not in "'_":
            table[number] = " "
    return table | {ord("’"): "'"}


def words(text: str) -> list[str]:
    """Return the words of a text in lower case, without punctuation; at most ``MOST_WORDS``."""
    parts = text[: 64 * MOST_WORDS].lower().translate(_separators()).split()[:MOST_WORDS]
    stripped = [part.strip("'_") for part in parts] if "'" in text or "’" in text or "_" in text else parts
    return [word for word in stripped if word]


class TermCounts(NamedTuple):
    """Counts of T terms in each of N samples."""

    counts: sp.csr_array
    """(N, T), int32."""
    terms: tuple[str, ...]
    """(T,), distinct."""


def count_terms(texts: Sequence[str]) -> TermCounts:
    """Count the words and bigrams of N texts that occur in at least two of them."""
    split = [words(text) for text in texts]
    lengths = np.fromiter(map(len, split), dtype=np.int64, count=len(split))
    rows = np.repeat(np.arange(len(split)), lengths)
    numbers, vocabulary = pd.factorize(np.array([word for part in split for word in part], dtype=object))
    numbers, v = numbers.astype(np.int64), len(vocabulary)
    adjacent = np.flatnonzero(np.diff(rows) == 0)
    pair_numbers, pairs = pd.factorize(numbers[adjacent] * v + numbers[adjacent + 1])
    terms = np.concatenate([numbers, v + pair_numbers.astype(np.int64)])
    rows = np.concatenate([rows, rows[adjacent]])
    repeated = np.bincount(terms, minlength=v + len(pairs)) > 1  # single ones are the most by far
    rows, terms = rows[repeated[terms]], terms[repeated[terms]]
    counts = sp.coo_array((np.ones(len(terms), np.int32), (rows, terms)), shape=(len(split), v + len(pairs))).tocsr()
    selected = np.flatnonzero(np.bincount(counts.indices, minlength=counts.shape[1]) > 1)
    singles = selected[selected < v]
    first, second = np.divmod(np.asarray(pairs, dtype=np.int64)[selected[len(singles) :] - v], max(v, 1))
    names = [*vocabulary[singles], *(f"{vocabulary[a]} {vocabulary[b]}" for a, b in zip(first, second, strict=True))]
    return TermCounts(counts[:, selected], tuple(names))


def c_tf_idf(counts: sp.csr_array) -> sp.csr_array:
    """Return W_ct = tf_ct log(1 + A / f_t): how much term t distinguishes group c from the others.

    tf_ct is how often t occurs in the samples of c, f_t = sum_c tf_ct, and A = sum_ct tf_ct / C the mean number of
    terms in a group. A sample may be in several groups, and counts in each.

    Args:
        counts: (C, T), tf.

    Source: Grootendorst, "BERTopic: neural topic modeling with a class-based TF-IDF procedure" (arXiv 2203.05794),
    section 3.3.
    """
    weights = sp.csr_array(counts, dtype=np.float64)
    frequency = np.bincount(weights.indices, weights=weights.data, minlength=weights.shape[1])
    average = frequency.sum() / max(weights.shape[0], 1)
    weights.data *= np.log1p(average / frequency[weights.indices])
    return weights


def f1(both: Array, first: Array, second: Array) -> Array:
    """Return F1 = 2 |A and B| / (|A| + |B|) of two sets, the harmonic mean of precision and recall; 0 for empty."""
    return 2 * both / np.maximum(first + second, 1)


def exact_interval(hits: Array, n: Array, level: float = 0.95) -> tuple[Array, Array]:
    """Return the exact interval of a proportion hits / n: binomial tails beyond either end are (1 - level) / 2.

    Args:
        hits, n: counts, n at least 1.

    Source: Clopper and Pearson, "The use of confidence or fiducial limits illustrated in the case of the binomial"
    (1934).
    """
    tail = (1 - level) / 2
    low = np.where(hits > 0, beta.ppf(tail, np.maximum(hits, 1), n - hits + 1), 0)
    high = np.where(hits < n, beta.ppf(1 - tail, hits + 1, np.maximum(n - hits, 1)), 1)
    return low, high


class Auc(NamedTuple):
    """AUC of yes-or-no predictors with a 95 % interval."""

    auc: Array
    low: Array
    high: Array


def yes_no_auc(true_positives: Array, positives: Array, false_positives: Array, negatives: Array) -> Auc:
    """Return the AUC of predictors that say yes or no, P(yes | positive) - P(yes | negative) brought to [0, 1].

    With p_1 and p_2 these fractions, AUC = P(score of a positive > that of a negative) + P(equal) / 2
    = (1 + p_1 - p_2) / 2. Its interval is that of the difference of two independent proportions from the intervals
    [l, u] of each: p_1 - p_2 is at least p_1 - p_2 - sqrt((p_1 - l_1)^2 + (u_2 - p_2)^2). Exact intervals are used:
    with Wilson's a single hit of a rare term would pass as evidence.

    Args:
        true_positives, positives, false_positives, negatives: (M,), counts; positives and negatives at least 1.

    Source: Zou and Donner, "Construction of confidence limits about effect measures" (Statistics in Medicine 27, 2008);
    with Wilson's intervals it is method 10 of Newcombe (Statistics in Medicine 17, 1998).
    """
    p1, p2 = true_positives / positives, false_positives / negatives
    (l1, u1), (l2, u2) = exact_interval(true_positives, positives), exact_interval(false_positives, negatives)
    low = p1 - p2 - np.hypot(p1 - l1, u2 - p2)
    high = p1 - p2 + np.hypot(u1 - p1, p2 - l2)
    return Auc((1 + p1 - p2) / 2, (1 + low) / 2, (1 + high) / 2)
