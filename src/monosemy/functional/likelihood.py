"""Texts and the predictions of language models: likelihood, divergence, perplexity, and the diversity of n-grams."""

import math
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import torch
from torch.nn import functional as F


class Window(NamedTuple):
    """A part of a long text: tokens [start, end), of which those from ``scored`` on count."""

    start: int
    end: int
    scored: int


def token_nll(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Return -ln p(x_t | x_<t) in nats (B, L - 1), for t = 1 .. L - 1; the first token has no context and no loss.

    Args:
        logits: (B, L, V), those at position t for the token at t + 1.
        tokens: (B, L), their numbers.
    """
    n_rows, length, width = logits.shape
    losses = F.cross_entropy(logits[:, :-1].reshape(-1, width).float(), tokens[:, 1:].reshape(-1), reduction="none")
    return losses.view(n_rows, length - 1)


def token_kl(logits: torch.Tensor, reference_logits: torch.Tensor) -> torch.Tensor:
    """Return KL(p || q) = sum_v p_v (ln p_v - ln q_v) in nats (...,), over the whole vocabulary.

    Args:
        logits: (..., V) of p, the model.
        reference_logits: (..., V) of q, the reference.
    """
    log_p = logits.float().log_softmax(dim=-1)
    log_q = reference_logits.float().log_softmax(dim=-1)
    terms = torch.where(log_p == -math.inf, 0.0, log_p.exp() * (log_p - log_q))  # 0 ln 0 = 0
    return terms.sum(dim=-1)


def perplexity(total_nll: float, n_tokens: int) -> float:
    """Return exp(mean negative log-likelihood of a token); NaN without tokens, infinite where it is too large for a
    float."""
    if n_tokens == 0:
        return math.nan
    mean = total_nll / n_tokens
    return math.exp(mean) if mean < 709 else math.inf


def sliding_windows(n_tokens: int, width: int, stride: int) -> list[Window]:
    """Return windows over a text in which every token but the first is scored once.

    From the second window on, each scored token sees at least max(1, width - stride) tokens before it.

    Args:
        width: tokens that the model reads at once, at least 2.
        stride: tokens from one window to the next, from 1 to width.
    """
    windows = []
    scored = 1
    while scored < n_tokens:
        start = max(0, scored - max(1, width - stride))
        end = min(start + width, n_tokens)
        windows.append(Window(start, end, scored))
        scored = end
    return windows


def distinct_n(texts: Sequence[Sequence[Hashable]], n: int) -> float:
    """Return the number of different n-grams over that of all n-grams, in all texts together; NaN without n-grams.

    It falls with the amount of text: compare equal numbers of texts of equal length.

    Args:
        texts: words or tokens of each text.

    Source: Li et al., "A diversity-promoting objective function" (NAACL 2016), section 5.
    """
    grams = [tuple(text[i : i + n]) for text in texts for i in range(len(text) - n + 1)]
    return len(set(grams)) / len(grams) if grams else float("nan")
