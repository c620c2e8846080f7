"""How far a model has moved from its reference, on answers."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monosemy.errors import InputError
from monosemy.functional.likelihood import token_kl
from monosemy.lm.batches import OnTexts, evaluating, length_batches, padded
from monosemy.lm.data.forms import Text
from monosemy.lm.data.rendering import completed_tokens
from monosemy.lm.models import LoadedModel
from monosemy.lm.text_metrics.losses import answer_pieces


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
    on_texts: OnTexts | None = None,
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
