"""Implicit rewards: how much more a trained model expects an answer than its reference does."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monosemy.lm.batches import OnTexts
from monosemy.lm.data.forms import Row, Text
from monosemy.lm.models import LoadedModel
from monosemy.lm.text_metrics import answer_losses


@dataclass(frozen=True)
class PairLikelihoods:
    """ln pi(answer | prompt) of both answers of N pairs, in nats; the end of the text is part of an answer."""

    chosen: NDArray[np.float64]
    """(N,)."""
    rejected: NDArray[np.float64]
    """(N,)."""


@dataclass(frozen=True)
class Rewards:
    """beta (ln pi - ln pi_ref) of both answers of N pairs.

    Source: Rafailov et al., "Direct Preference Optimization" (arXiv 2305.18290), equation 5 without its constant.
    """

    chosen: NDArray[np.float64]
    rejected: NDArray[np.float64]

    @property
    def margins(self) -> NDArray[np.float64]:
        """(N,), the chosen answer's reward less the rejected one's."""
        return self.chosen - self.rejected

    @property
    def accuracy(self) -> float:
        """Share of pairs whose chosen answer has the higher reward; equal rewards count half."""
        return float(np.mean((np.sign(self.margins) + 1) / 2))


def pair_likelihoods(
    loaded: LoadedModel, rows: Sequence[Row], *, batch_size: int = 16, on_texts: OnTexts | None = None
) -> PairLikelihoods:
    """How likely a model finds the two answers of each pair, as TRL's trainer scores them."""
    prompts = [row["prompt"] for row in rows]
    answers = [ended(row[name], loaded.tokenizer) for name in ("chosen", "rejected") for row in rows]
    losses = answer_losses(loaded, prompts * 2, answers, batch_size=batch_size, on_texts=on_texts)
    chosen, rejected = np.split(-losses.sums, 2)
    return PairLikelihoods(chosen, rejected)


def implicit_rewards(trained: PairLikelihoods, reference: PairLikelihoods, beta: float) -> Rewards:
    """The rewards of a trained model over its reference, from the likelihoods of the same pairs."""
    return Rewards(beta * (trained.chosen - reference.chosen), beta * (trained.rejected - reference.rejected))


def ended(answer: Text, tokenizer: Any) -> Text:
    """Plain text ends with the end-of-text token, as in TRL; a chat's template brings its own."""
    end = tokenizer.eos_token
    return answer if not isinstance(answer, str) or end is None or answer.endswith(end) else answer + end
