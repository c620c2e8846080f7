"""Words and bigrams, c-TF-IDF, F1 and the AUC of what fits or not, by hand and against the slow way."""

from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, strategies as st
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.metrics import f1_score, roc_auc_score
from statsmodels.stats.proportion import proportion_confint

from monosemy.functional.terms import MOST_WORDS, c_tf_idf, count_terms, exact_interval, f1, words, yes_no_auc


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't STOP!", ["don't", "stop"]),
        ("'quoted' and snake_case (x)", ["quoted", "and", "snake_case", "x"]),
        ("what’s s'il vous plaît", ["what's", "s'il", "vous", "plaît"]),
        ("天气好", ["天", "气", "好"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("a\tb\x00c\n", ["a", "b", "c"]),
        ("... '' _ !", []),
        ("", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_a_long_text_is_read_up_to_its_first_words() -> None:
    assert words("word " * 10_000) == ["word"] * MOST_WORDS
    assert len(words("x" * 10**6)) == 1


@given(st.lists(st.text("ab ", max_size=12), max_size=8))
def test_terms_are_counted_as_by_the_slow_way(texts: list[str]) -> None:
    counts, terms = count_terms(texts)
    assert len(set(terms)) == len(terms) == counts.shape[1]
    slow = [w + [f"{a} {b}" for a, b in pairwise(w)] for w in map(words, texts)]
    expected = {term for line in slow for term in line if sum(term in other for other in slow) > 1}
    assert set(terms) == expected
    for row, line in zip(counts.toarray(), slow, strict=True):
        assert dict(zip(terms, row, strict=True)) == {term: line.count(term) for term in terms}


def test_terms_of_plain_texts_are_those_of_scikit_learn() -> None:
    texts = ["the cat sat on the mat", "the dog sat on the cat", "a dog and a cat", "one more"]
    counts, terms = count_terms(texts)
    theirs = CountVectorizer(ngram_range=(1, 2), token_pattern=r"\w+", min_df=2).fit(texts)
    order = theirs.get_feature_names_out().tolist()
    assert sorted(terms) == order
    np.testing.assert_array_equal(
        counts.toarray()[:, [terms.index(t) for t in order]], theirs.transform(texts).toarray()
    )


def test_c_tf_idf_by_hand() -> None:
    # Group 0 has term 0 three times and term 1 once, group 1 term 1 once and term 2 twice: A = 7 / 2, f = (3, 2, 2).
    counts = sp.csr_array(np.array([[3, 1, 0], [0, 1, 2]]))
    expected = [[3 * np.log(1 + 3.5 / 3), np.log(1 + 3.5 / 2), 0], [0, np.log(1 + 3.5 / 2), 2 * np.log(1 + 3.5 / 2)]]
    np.testing.assert_allclose(c_tf_idf(counts).toarray(), expected)
    assert counts.dtype.kind == "i"  # the input is not changed
    assert c_tf_idf(sp.csr_array((2, 0))).shape == (2, 0)


yes_no = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40)


@given(yes_no)
def test_f1_and_auc_are_those_of_scikit_learn(pairs: list[tuple[bool, bool]]) -> None:
    truth, said = (np.array(side) for side in zip(*pairs, strict=True))
    both, n_true, n_said = (np.array([float(x.sum())]) for x in (truth & said, truth, said))
    assert f1(both, n_said, n_true)[0] == pytest.approx(f1_score(truth, said, zero_division=0))
    if 0 < truth.sum() < len(truth):
        auc = yes_no_auc(both, n_true, n_said - both, len(truth) - n_true)
        assert auc.auc[0] == pytest.approx(roc_auc_score(truth, said))
        assert 0 <= auc.low[0] <= auc.auc[0] <= auc.high[0] <= 1


def test_exact_intervals_are_those_of_statsmodels() -> None:
    hits, n = np.array([0.0, 1, 5, 9, 10, 0]), np.array([10.0, 10, 10, 10, 10, 1])
    low, high = exact_interval(hits, n)
    theirs = proportion_confint(hits, n, method="beta")
    np.testing.assert_allclose(low, np.nan_to_num(theirs[0], nan=0.0))
    np.testing.assert_allclose(high, np.nan_to_num(theirs[1], nan=1.0))


@pytest.mark.parametrize(("p1", "p2", "positives"), [(0.3, 0.3, 8), (0.02, 0.02, 10), (0.7, 0.1, 12), (0.95, 0.05, 40)])
def test_the_interval_of_an_auc_covers(p1: float, p2: float, positives: int) -> None:
    """10,000 draws: at least 95 % of the intervals hold the true AUC, and below its lower end it is in at most 2.5 %.

    A standard error of a fraction of 95 % of the draws is 0.2 points, of one of 2.5 % 0.16 points.
    """
    rng, n, negatives = np.random.default_rng(0), 10_000, 500
    hits, wrong = rng.binomial(positives, p1, n).astype(float), rng.binomial(negatives, p2, n).astype(float)
    auc = yes_no_auc(hits, np.full(n, float(positives)), wrong, np.full(n, float(negatives)))
    true = (1 + p1 - p2) / 2
    assert ((auc.low <= true) & (true <= auc.high)).mean() > 0.945
    assert (auc.low > true).mean() < 0.03
