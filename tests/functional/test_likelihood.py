"""Losses, divergences and windows against closed forms and slow loops."""

import math

import pytest
import torch
from hypothesis import given, strategies as st

from monosemy.functional.likelihood import distinct_n, perplexity, sliding_windows, token_kl, token_nll


def test_losses_token_by_token() -> None:
    torch.manual_seed(0)
    logits, tokens = torch.randn(2, 5, 7), torch.randint(7, (2, 5))
    found = token_nll(logits, tokens)
    assert found.shape == (2, 4)
    for b in range(2):
        for t in range(1, 5):
            expected = -math.log(float(logits[b, t - 1].softmax(0)[tokens[b, t]]))
            assert float(found[b, t - 1]) == pytest.approx(expected, rel=1e-5)


def test_divergence_by_hand() -> None:
    p, q = torch.tensor([0.5, 0.25, 0.25]), torch.tensor([0.25, 0.5, 0.25])
    assert float(token_kl(p.log(), q.log())) == pytest.approx(0.5 * math.log(2) - 0.25 * math.log(2))
    assert float(token_kl(p.log(), p.log() + 3)) == pytest.approx(0, abs=1e-6)
    never = torch.tensor([0.0, -math.inf])
    assert float(token_kl(never, torch.zeros(2))) == pytest.approx(math.log(2))
    torch.manual_seed(0)
    a, b = torch.randn(3, 4, 9), torch.randn(3, 4, 9)
    expected = torch.distributions.kl_divergence(*(torch.distributions.Categorical(logits=x) for x in (a, b)))
    torch.testing.assert_close(token_kl(a, b), expected)


def test_perplexity_of_a_uniform_guess() -> None:
    assert perplexity(10 * math.log(50), 10) == pytest.approx(50)
    assert math.isnan(perplexity(0.0, 0))
    assert perplexity(1e6, 1) == math.inf


@given(n=st.integers(0, 60), width=st.integers(2, 20), data=st.data())
def test_windows_score_each_token_once_with_enough_before_it(n: int, width: int, data: st.DataObject) -> None:
    stride = data.draw(st.integers(1, width))
    windows = sliding_windows(n, width, stride)
    scored = [token for window in windows for token in range(window.scored, window.end)]
    assert scored == list(range(1, n))
    assert all(window.start < window.scored < window.end <= window.start + width for window in windows)
    assert all(window.scored - window.start >= max(1, width - stride) for window in windows[1:])
    assert not windows or windows[0].start == 0


def test_windows_by_hand() -> None:
    assert [tuple(w) for w in sliding_windows(20, 8, 4)] == [(0, 8, 1), (4, 12, 8), (8, 16, 12), (12, 20, 16)]
    assert [tuple(w) for w in sliding_windows(20, 8, 8)] == [(0, 8, 1), (7, 15, 8), (14, 20, 15)]
    assert sliding_windows(1, 8, 4) == []


def test_distinct_pairs_by_hand() -> None:
    texts = [["a", "b", "a", "b"], ["a", "b", "c"], ["z"]]
    assert distinct_n(texts, 1) == 4 / 8
    assert distinct_n(texts, 2) == 3 / 5  # ab, ba, bc of ab ba ab, ab bc
    assert math.isnan(distinct_n([["a"]], 2))
