"""How well a model expects texts and answers: perplexity, losses of answers, and the likeliest of several.

How far a model has moved from its reference, on answers.

How diverse a model's answers are.

Standard benchmarks through the Language Model Evaluation Harness, where it is installed.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from monosemy.core.console import OnCount
from monosemy.encoders.text import MINILM, TextEncoder
from monosemy.errors import InputError, needs_extra, reason
from monosemy.functional.geometry import effective_rank, feature_decorrelation
from monosemy.functional.likelihood import distinct_n, perplexity, sliding_windows, token_kl, token_nll
from monosemy.lm.models import LoadedModel
from monosemy.lm.prompts import Text
from monosemy.lm.tokenization import (
    Completed,
    completed_tokens,
    evaluating,
    length_batches,
    padded,
    token_lists,
)


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
    on_texts: OnCount | None = None,
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
    on_texts: OnCount | None = None,
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
    on_texts: OnCount | None = None,
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
    loaded: LoadedModel, pieces: Sequence[_Piece], n_rows: int, batch_size: int, on_texts: OnCount | None
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


@dataclass(frozen=True)
class AnswerDivergence:
    """KL(model || reference) over the whole vocabulary, at each token of N answers."""

    sums: NDArray[np.float64]
    """(N,), the sum over an answer's tokens, in nats."""
    n_tokens: NDArray[np.int64]
    """(N,)."""

    @property
    def mean(self) -> float:
        """Mean over all tokens, in nats; NaN without tokens."""
        total = int(self.n_tokens.sum())
        return float(self.sums.sum() / total) if total else float("nan")


def kl_to_reference(
    loaded: LoadedModel,
    reference: LoadedModel | None,
    prompts: Sequence[Text],
    answers: Sequence[Text],
    *,
    batch_size: int = 8,
    on_texts: OnCount | None = None,
) -> AnswerDivergence:
    """KL of a model's next-token distributions from a reference's, while both read the same answers.

    On answers that the model wrote itself, the mean estimates the divergence per token that the model's own choices
    lead to; on given answers it says how far the two are apart there.

    Args:
        reference: a model with the same tokens; None for a PEFT model: itself with its adapters switched off.

    Raises:
        InputError: the two have other vocabularies, or there is no adapter to switch off.
    """
    pieces = answer_pieces(loaded, completed_tokens(loaded.tokenizer, prompts, answers))
    sums, counts = np.zeros(len(pieces)), np.zeros(len(pieces), dtype=np.int64)
    done = 0
    for numbers in length_batches([len(piece.ids) for piece in pieces], batch_size):
        batch = [pieces[i] for i in numbers]
        ids, mask = padded([piece.ids for piece in batch], loaded.tokenizer.pad_token_id, loaded.device)
        with evaluating(loaded.model):
            logits = loaded.model(input_ids=ids, attention_mask=mask).logits
        with _reference_model(loaded, reference) as model, evaluating(model):
            other = model(input_ids=ids.to(model.device), attention_mask=mask.to(model.device)).logits
        if logits.shape != other.shape:
            raise InputError(
                f"The model has {logits.shape[-1]} tokens, its reference {other.shape[-1]}; give the model's own base."
            )
        for row, piece in enumerate(batch):  # one by one: further copies of all logits would fill the memory
            places = slice(piece.scored - 1, len(piece.ids) - 1)  # the distribution before each token of the answer
            own = token_kl(logits[row, places], other[row, places].to(logits.device))
            sums[piece.row], counts[piece.row] = float(own.double().sum()), len(own)
        done += len(batch)
        if on_texts is not None:
            on_texts(done, len(pieces))
    return AnswerDivergence(sums, counts)


@contextmanager
def _reference_model(loaded: LoadedModel, reference: LoadedModel | None) -> Iterator[Any]:
    if reference is not None:
        yield reference.model
    elif hasattr(loaded.model, "disable_adapter"):
        with loaded.model.disable_adapter():
            yield loaded.model
    else:
        raise InputError(f"{loaded.name} has no adapter to switch off; give the reference model.")


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


def diversity(texts: Sequence[str], encoder: str | TextEncoder = MINILM, on_texts: OnCount | None = None) -> Diversity:
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


def lm_eval(
    loaded: LoadedModel,
    tasks: Sequence[str],
    *,
    n_shots: int | None = None,
    limit: int | None = None,
    batch_size: int = 8,
) -> dict[str, dict[str, float]]:
    """Metrics of each task, as the harness names them (`acc`, `acc_norm`, `word_perplexity`, ...).

    Args:
        n_shots: examples before each question; the task's own number where it is not given.
        limit: at most so many questions of each task, for a quick look.

    Raises:
        InputError: a task is unknown or cannot be fetched.
        MissingExtraError: the extra `eval` is not installed.
    """
    if not tasks:
        return {}
    with needs_extra("eval", f"Evaluating the tasks {', '.join(tasks)}", alternative="omit them"):
        from lm_eval import simple_evaluate
        from lm_eval.models.huggingface import HFLM
    try:
        found = simple_evaluate(
            model=HFLM(pretrained=loaded.model, tokenizer=loaded.tokenizer, batch_size=batch_size),
            tasks=list(tasks),
            num_fewshot=n_shots,
            limit=limit,
        )
    except Exception as error:  # unknown tasks and data that cannot be fetched come as many types
        raise InputError(
            f"The tasks {', '.join(tasks)} cannot be run ({reason(error)}); check their names and the connection."
        ) from error
    return {
        task: {
            name.removesuffix(",none"): float(value)
            for name, value in metrics.items()
            if isinstance(value, int | float) and not name.startswith("alias")
        }
        for task, metrics in found["results"].items()
    }
