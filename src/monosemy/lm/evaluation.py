"""Evaluation of language models: perplexity, losses of answers, divergence from a reference, diversity, benchmarks."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from monosemy.core.console import OnCount
from monosemy.encoders.text import MINILM, TextEncoder
from monosemy.errors import InputError, needs_extra, reason
from monosemy.functional.geometry import effective_rank, feature_decorrelation
from monosemy.functional.likelihood import distinct_n, perplexity, sliding_windows, token_kl, token_nll
from monosemy.lm import models, tokenization
from monosemy.lm.prompts import Text


@dataclass(frozen=True)
class TokenLoss:
    """Losses of many tokens."""

    total_nll: float
    """Sum of -ln p over the tokens, in nats."""
    n_tokens: int

    @property
    def mean_nll(self) -> float:
        """Return the mean loss per token, in nats."""
        return self.total_nll / self.n_tokens if self.n_tokens else float("nan")

    @property
    def perplexity(self) -> float:
        """Return exp of the mean loss."""
        return perplexity(self.total_nll, self.n_tokens)


@dataclass(frozen=True)
class AnswerSums:
    """Sums over the tokens of N answers, given their prompts."""

    sums: np.typing.NDArray[np.float64]
    """(N,), the sum over an answer's tokens of -ln p or of a divergence, in nats."""
    n_tokens: np.typing.NDArray[np.int64]
    """(N,)."""

    def total(self) -> TokenLoss:
        """Return the sum over the tokens of all answers."""
        return TokenLoss(float(self.sums.sum()), int(self.n_tokens.sum()))

    @property
    def mean(self) -> float:
        """Return the mean over all tokens, in nats; NaN without tokens."""
        return self.total().mean_nll

    def by_row(self) -> np.typing.NDArray[np.float64]:
        """Return values of the rows (N,) whose mean is the mean over tokens, and whose spread tells its error."""
        return ratio_by_row(self.sums, self.n_tokens)

    def perplexity_by_row(self) -> np.typing.NDArray[np.float64]:
        """Return the same of the perplexity, by the linear part of exp around the mean."""
        return self.total().perplexity * (1 + self.by_row() - self.mean)


@dataclass(frozen=True)
class AnswerLosses(AnswerSums):
    """Losses of N answers, given their prompts."""

    n_right: np.typing.NDArray[np.int64]
    """(N,), tokens that are the most likely ones in their positions; greedy decoding yields an answer whose tokens all
    are."""


def ratio_by_row(
    sums: np.typing.NDArray[np.floating | np.integer], counts: np.typing.NDArray[np.integer]
) -> np.typing.NDArray[np.float64]:
    """Return values (N,) whose mean is the ratio R = sum s / sum n, and whose variance over N is that of R.

    ``R + (s_i - R n_i) / mean(n)``: the linear part of the ratio (delta method; Cochran, Sampling Techniques,
    section 6.3). A mean over tokens varies with the tokens' values, not with the lengths of the rows.
    """
    ratio = float(sums.sum() / counts.sum())
    return np.asarray(ratio + (sums - ratio * counts) / counts.mean(), dtype=np.float64)


class _Window(NamedTuple):
    """Tokens of the row ``row``, of which those from ``scored`` on count."""

    ids: Sequence[int]
    scored: int
    row: int


def measure_perplexity(
    loaded: models.LoadedModel,
    texts: Sequence[str],
    *,
    max_tokens: int | None = None,
    stride: int | None = None,
    batch_size: int = 8,
    on_texts: OnCount | None = None,
) -> TokenLoss:
    """Measure the perplexity of a model on texts, weighted by tokens: the sum of :func:`text_losses`."""
    losses = text_losses(loaded, texts, max_tokens=max_tokens, stride=stride, batch_size=batch_size, on_texts=on_texts)
    return losses.total()


def text_losses(
    loaded: models.LoadedModel,
    texts: Sequence[str],
    *,
    max_tokens: int | None = None,
    stride: int | None = None,
    batch_size: int = 8,
    on_texts: OnCount | None = None,
) -> AnswerLosses:
    """Measure the losses of N texts.

    Texts longer than ``max_tokens`` (default: the model's context) are read in sliding windows; each token is scored
    once and sees at least ``max_tokens - stride`` tokens before it (default stride: half a window). The first token of
    a text is not scored, because nothing precedes it; it is the tokenizer's own begin-of-text token if there is one.

    Raises:
        InputError: no text has two tokens, or the stride is not between 1 and the window.
    """
    width = min(max_tokens or loaded.context, loaded.context)
    step = stride if stride is not None else max(1, width // 2)
    if width < 2 or not 1 <= step <= width:
        raise InputError(f"The windows have max_tokens={width} and stride={step}; give 1 <= stride <= max_tokens.")
    windows = [
        _Window(ids[window.start : window.end], window.scored - window.start, row)
        for row, ids in enumerate(tokenization.tokenize(loaded.tokenizer, texts))
        for window in sliding_windows(len(ids), width, step)
    ]
    if not windows:
        raise InputError(f"None of {len(texts)} texts has two tokens; give longer ones.")
    return _losses(loaded, windows, len(texts), batch_size, on_texts)


def answer_losses(
    loaded: models.LoadedModel,
    prompts: Sequence[Text],
    answers: Sequence[Text],
    *,
    batch_size: int = 8,
    on_texts: OnCount | None = None,
) -> AnswerLosses:
    """Measure the losses of answers, given their prompts. Prompts that exceed the context lose their beginning."""
    return _losses(loaded, _answer_windows(loaded, prompts, answers), len(prompts), batch_size, on_texts)


def candidate_likelihoods(
    loaded: models.LoadedModel,
    prompts: Sequence[Text],
    candidates: Sequence[Text],
    *,
    batch_size: int = 16,
    on_texts: OnCount | None = None,
) -> np.typing.NDArray[np.float64]:
    """Return the log-likelihood (N, C) of each of C candidates as the answer to each of N prompts."""
    repeated = [prompt for prompt in prompts for _ in candidates]
    losses = answer_losses(loaded, repeated, list(candidates) * len(prompts), batch_size=batch_size, on_texts=on_texts)
    return -losses.sums.reshape(len(prompts), len(candidates))


def _answer_windows(loaded: models.LoadedModel, prompts: Sequence[Text], answers: Sequence[Text]) -> list[_Window]:
    """Return the ends of prompts with answers that fit into the context; the very first token is never scored."""
    windows = []
    for row, (ids, start) in enumerate(tokenization.tokenize_answers(loaded.tokenizer, prompts, answers)):
        cut = max(0, len(ids) - loaded.context)
        windows.append(_Window(ids[cut:], max(1, start - cut), row))
    return windows


def _losses(
    loaded: models.LoadedModel, windows: Sequence[_Window], n_rows: int, batch_size: int, on_texts: OnCount | None
) -> AnswerLosses:
    sums = np.zeros(n_rows, dtype=np.float64)
    counts, right = np.zeros(n_rows, dtype=np.int64), np.zeros(n_rows, dtype=np.int64)
    for numbers, ids, mask in tokenization.padded_batches(
        loaded, [window.ids for window in windows], batch_size, on_texts
    ):
        with tokenization.evaluating(loaded.model):
            logits = loaded.model(input_ids=ids, attention_mask=mask).logits
        for i, number in enumerate(numbers):  # one by one: a second copy of all logits would fill the memory
            window = windows[number]
            row_logits, tokens = logits[i : i + 1, : len(window.ids)], ids[i : i + 1, : len(window.ids)]
            scored = token_nll(row_logits, tokens)[0, window.scored - 1 :]  # position t - 1 has the loss of token t
            sums[window.row] += float(scored.double().sum())
            counts[window.row] += len(scored)
            likeliest = row_logits[0, window.scored - 1 : -1].argmax(dim=-1)
            right[window.row] += int((likeliest == tokens[0, window.scored :]).sum())
    return AnswerLosses(sums, counts, right)


def kl_to_reference(
    loaded: models.LoadedModel,
    reference: models.LoadedModel | None,
    prompts: Sequence[Text],
    answers: Sequence[Text],
    *,
    batch_size: int = 8,
    on_texts: OnCount | None = None,
) -> AnswerSums:
    """Return KL(model || reference) over the whole vocabulary, at each token of the same answers.

    On answers that the model generated, the mean estimates the divergence per token of the model's distribution over
    answers.

    Args:
        reference: a model with the same vocabulary; None for a PEFT model, whose reference is itself with its adapters
            disabled.

    Raises:
        InputError: the vocabularies differ, or there is no adapter to disable.
    """
    if reference is None and not hasattr(loaded.model, "disable_adapter"):
        raise InputError(f"{loaded.name} has no adapter to disable; give the reference model.")
    model = loaded.model if reference is None else reference.model
    windows = _answer_windows(loaded, prompts, answers)
    sums, counts = np.zeros(len(windows)), np.zeros(len(windows), dtype=np.int64)
    for numbers, ids, mask in tokenization.padded_batches(
        loaded, [window.ids for window in windows], batch_size, on_texts
    ):
        with tokenization.evaluating(loaded.model):
            logits = loaded.model(input_ids=ids, attention_mask=mask).logits
        plain = loaded.model.disable_adapter() if reference is None else nullcontext()
        with plain, tokenization.evaluating(model):
            other = model(input_ids=ids.to(model.device), attention_mask=mask.to(model.device)).logits
        if logits.shape != other.shape:
            raise InputError(
                f"The model has {logits.shape[-1]} tokens, its reference {other.shape[-1]}; give its base model."
            )
        for i, number in enumerate(numbers):  # one by one: further copies of all logits would fill the memory
            window = windows[number]
            before = slice(window.scored - 1, len(window.ids) - 1)  # the distribution before each token of the answer
            divergence = token_kl(logits[i, before], other[i, before].to(logits.device))
            sums[window.row], counts[window.row] = float(divergence.double().sum()), len(divergence)
    return AnswerSums(sums, counts)


@dataclass(frozen=True)
class Diversity:
    """Diversity of texts, by words and by meaning; compare equal numbers of texts."""

    distinct_1: float
    """Fraction of distinct words among all words."""
    distinct_2: float
    """Fraction of distinct pairs of adjacent words."""
    decorrelation: float
    """1 - mean cosine between the sentence embeddings of two texts."""
    effective_rank: float
    """Effective rank of the sentence embeddings."""
    n_empty: int
    """Number of texts without a word; they are left out."""


def diversity(texts: Sequence[str], encoder: str | TextEncoder = MINILM, on_texts: OnCount | None = None) -> Diversity:
    """Measure the diversity of texts. Words are separated by spaces and compared in lower case.

    Args:
        encoder: sentence encoder; given by name, it is loaded anew each time.

    Raises:
        InputError: fewer than two texts have words.
    """
    nonempty = tuple(text for text in texts if text.strip())
    if len(nonempty) < 2:
        raise InputError(f"{len(nonempty)} of {len(texts)} texts have words; give at least two that have.")
    words = [text.lower().split() for text in nonempty]
    embedder = TextEncoder(encoder) if isinstance(encoder, str) else encoder
    embeddings = embedder.encode(nonempty, on_texts)
    return Diversity(
        distinct_1=distinct_n(words, 1),
        distinct_2=distinct_n(words, 2),
        decorrelation=feature_decorrelation(embeddings),
        effective_rank=effective_rank(embeddings),
        n_empty=len(texts) - len(nonempty),
    )


def lm_eval(
    loaded: models.LoadedModel,
    tasks: Sequence[str],
    *,
    n_shots: int | None = None,
    limit: int | None = None,
    batch_size: int = 8,
) -> dict[str, dict[str, float]]:
    """Run tasks of the Language Model Evaluation Harness; return its metrics by task and name (`acc`, `acc_norm`, ...).

    Args:
        n_shots: number of examples before each question. Default: the task's.
        limit: maximal number of questions of each task.

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
        evaluation = simple_evaluate(
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
        for task, metrics in evaluation["results"].items()
    }
