"""How well a model expects texts and answers: perplexity, losses of answers, and the likeliest of several."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from monosemy.errors import InputError
from monosemy.functional.likelihood import perplexity, sliding_windows, token_nll
from monosemy.lm.batches import OnTexts, evaluating, length_batches, padded, token_lists
from monosemy.lm.data.forms import Text
from monosemy.lm.data.rendering import Completed, completed_tokens
from monosemy.lm.models import LoadedModel


@dataclass(frozen=True)
class TokenLoss:
    """Losses of many tokens."""

    total_nll: float
    """Sum of -ln p over the tokens, in nats."""
    n_tokens: int

    @property
    def mean_nll(self) -> float:
        """Loss of a token, in nats; every token weighs the same."""
        return self.total_nll / self.n_tokens if self.n_tokens else float("nan")

    @property
    def perplexity(self) -> float:
        """exp of the mean loss."""
        return perplexity(self.total_nll, self.n_tokens)


@dataclass(frozen=True)
class AnswerLosses:
    """Losses of N answers, given their prompts."""

    sums: NDArray[np.float64]
    """(N,), the sum over an answer's tokens of -ln p, in nats."""
    n_tokens: NDArray[np.int64]
    """(N,)."""
    n_right: NDArray[np.int64]
    """(N,), tokens that are the likeliest at their place; greedy decoding writes an answer that is right throughout."""

    def together(self) -> TokenLoss:
        """The losses of all answers' tokens."""
        return TokenLoss(float(self.sums.sum()), int(self.n_tokens.sum()))


class _Piece(NamedTuple):
    """Tokens of which those from ``scored`` on count, for the row ``row``."""

    ids: Sequence[int]
    scored: int
    row: int


def measure_perplexity(
    loaded: LoadedModel,
    texts: Sequence[str],
    *,
    max_tokens: int | None = None,
    stride: int | None = None,
    batch_size: int = 8,
    on_texts: OnTexts | None = None,
) -> TokenLoss:
    """Perplexity of a model on texts, weighted by tokens.

    Texts that are longer than ``max_tokens`` (the model's context where it is not given) are read in windows; each
    token is scored once and sees at least ``max_tokens - stride`` tokens before it (half of them, where no stride is
    given). A text's first token is not scored: nothing comes before it, unless the tokenizer begins texts itself.

    Raises:
        InputError: no text has two tokens, or the stride is no part of a window.
    """
    width = min(max_tokens or loaded.context, loaded.context)
    step = stride if stride is not None else max(1, width // 2)
    if width < 2 or not 1 <= step <= width:
        raise InputError(f"The windows have max_tokens={width} and stride={step}; give 1 <= stride <= max_tokens.")
    tokens = token_lists(loaded.tokenizer, texts, special=True)
    pieces = [
        _Piece(ids[window.start : window.end], window.scored - window.start, row)
        for row, ids in enumerate(tokens)
        for window in sliding_windows(len(ids), width, step)
    ]
    if not pieces:
        raise InputError(f"None of {len(texts)} texts has two tokens; give longer ones.")
    losses = _losses(loaded, pieces, len(texts), batch_size, on_texts).together()
    return losses


def answer_losses(
    loaded: LoadedModel,
    prompts: Sequence[Text],
    answers: Sequence[Text],
    *,
    batch_size: int = 8,
    on_texts: OnTexts | None = None,
) -> AnswerLosses:
    """Losses of answers, given their prompts. A prompt that does not fit into the context loses its beginning."""
    pieces = answer_pieces(loaded, completed_tokens(loaded.tokenizer, prompts, answers))
    return _losses(loaded, pieces, len(prompts), batch_size, on_texts)


def choose(
    loaded: LoadedModel,
    prompts: Sequence[Text],
    candidates: Sequence[Text],
    *,
    batch_size: int = 16,
    on_texts: OnTexts | None = None,
) -> NDArray[np.float64]:
    """Log-likelihood (N, C) of each of C candidates as the answer to each of N prompts; the largest is the choice."""
    asked = [prompt for prompt in prompts for _ in candidates]
    losses = answer_losses(loaded, asked, list(candidates) * len(prompts), batch_size=batch_size, on_texts=on_texts)
    return -losses.sums.reshape(len(prompts), len(candidates))


def answer_pieces(loaded: LoadedModel, completed: Sequence[Completed]) -> list[_Piece]:
    """The ends of prompts and answers that fit into the context; the first token of all is never scored."""
    pieces = []
    for row, (ids, start) in enumerate(completed):
        cut = max(0, len(ids) - loaded.context)
        pieces.append(_Piece(ids[cut:], max(1, start - cut), row))
    return pieces


def _losses(
    loaded: LoadedModel, pieces: Sequence[_Piece], n_rows: int, batch_size: int, on_texts: OnTexts | None
) -> AnswerLosses:
    sums = np.zeros(n_rows, dtype=np.float64)
    counts, right = np.zeros(n_rows, dtype=np.int64), np.zeros(n_rows, dtype=np.int64)
    done = 0
    for numbers in length_batches([len(piece.ids) for piece in pieces], batch_size):
        batch = [pieces[i] for i in numbers]
        ids, mask = padded([piece.ids for piece in batch], loaded.tokenizer.pad_token_id, loaded.device)
        with evaluating(loaded.model):
            logits = loaded.model(input_ids=ids, attention_mask=mask).logits
        for row, piece in enumerate(batch):  # one by one: a second copy of all logits would fill the memory
            own, tokens = logits[row : row + 1, : len(piece.ids)], ids[row : row + 1, : len(piece.ids)]
            scored = token_nll(own, tokens)[0, piece.scored - 1 :]  # position t - 1 has the loss of token t
            sums[piece.row] += float(scored.double().sum())
            counts[piece.row] += len(scored)
            likeliest = own[0, piece.scored - 1 : -1].argmax(dim=-1)
            right[piece.row] += int((likeliest == tokens[0, piece.scored :]).sum())
        done += len(batch)
        if on_texts is not None:
            on_texts(done, len(pieces))
    return AnswerLosses(sums, counts, right)
