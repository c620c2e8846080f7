"""Texts of unequal length through a model: batches of similar lengths, padding that the result does not depend on."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monosemy.lm.models import LoadedModel

OnTexts = Callable[[int, int], None]
"""Told how many texts of how many are done."""


@contextmanager
def evaluating(*models: Any) -> Iterator[None]:
    """Models without dropout and without gradients within the block; as before after it."""
    before = [model.training for model in models]
    try:
        for model in models:
            model.eval()
        with torch.no_grad():
            yield
    finally:
        for model, training in zip(models, before, strict=True):
            model.train(training)


def length_batches(lengths: Sequence[int], batch_size: int) -> Iterator[NDArray[np.int64]]:
    """Row numbers in batches of similar length, the longest first: a lack of memory shows at once."""
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable")
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def padded(tokens: Sequence[Sequence[int]], pad_id: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Token numbers (B, L), filled up on the right, and their mask (B, L) of ones and zeros."""
    width = max(len(ids) for ids in tokens)
    ids = torch.full((len(tokens), width), pad_id, dtype=torch.long)
    mask = torch.zeros((len(tokens), width), dtype=torch.long)
    for row, own in enumerate(tokens):
        ids[row, : len(own)] = torch.as_tensor(own, dtype=torch.long)
        mask[row, : len(own)] = 1
    return ids.to(device), mask.to(device)


def next_token_logits(
    loaded: LoadedModel,
    tokens: Sequence[Sequence[int]],
    wanted: Sequence[int],
    batch_size: int = 8,
    on_texts: OnTexts | None = None,
) -> NDArray[np.float32]:
    """Logits (N, W) of the W wanted tokens after each of N texts.

    Padding stands on the right, so that positions are what they are without it, in every architecture.
    """
    result = np.empty((len(tokens), len(wanted)), dtype=np.float32)
    columns = torch.as_tensor(list(wanted), device=loaded.device)
    done = 0
    for rows in length_batches([len(ids) for ids in tokens], batch_size):
        ids, mask = padded([tokens[i] for i in rows], loaded.tokenizer.pad_token_id, loaded.device)
        last = mask.sum(dim=1) - 1
        # Only the last positions go through the output layer: all of them would fill the memory.
        kept, place = torch.unique(last, return_inverse=True)
        with evaluating(loaded.model):
            logits = loaded.model(input_ids=ids, attention_mask=mask, logits_to_keep=kept).logits
        at_last = logits[torch.arange(len(rows), device=loaded.device), place]
        result[rows] = at_last[:, columns].float().cpu().numpy()
        done += len(rows)
        if on_texts is not None:
            on_texts(done, len(tokens))
    return result


def token_lists(tokenizer: Any, texts: Sequence[str], *, special: bool) -> list[list[int]]:
    """Token numbers of each text, with or without what the tokenizer adds of its own."""
    if not texts:
        return []
    found: list[list[int]] = tokenizer(list(texts), add_special_tokens=special, verbose=False)["input_ids"]
    return found
