"""Generation of answers to prompts, in batches."""

from collections.abc import Sequence
from typing import Any

import torch

from monosemy.core.console import OnCount
from monosemy.errors import InputError
from monosemy.lm import models, tokenization
from monosemy.lm.config import Decoding
from monosemy.lm.prompts import Text
from monosemy.seeding import derive_seed


def generate(
    loaded: models.LoadedModel,
    prompts: Sequence[Text],
    decoding: Decoding | None = None,
    *,
    seed: int = 0,
    batch_size: int = 16,
    on_texts: OnCount | None = None,
) -> list[str]:
    """Generate an answer to each prompt; return it without the prompt and without special tokens.

    The same seed and batch size give the same answers. Prompts that leave no room for the answer lose their beginning.
    """
    tokens = tokenization.tokenize_prompts(loaded.tokenizer, prompts)
    return generate_from_tokens(loaded, tokens, decoding or Decoding(), seed, batch_size, on_texts)


def generate_from_tokens(
    loaded: models.LoadedModel,
    tokens: Sequence[Sequence[int]],
    decoding: Decoding,
    seed: int = 0,
    batch_size: int = 16,
    on_texts: OnCount | None = None,
) -> list[str]:
    """Generate as :func:`generate`, from the token ids of the prompts."""
    room = loaded.context - decoding.max_new_tokens
    if room < 1:
        raise InputError(
            f"max_new_tokens={decoding.max_new_tokens} fills the context of {loaded.context} tokens; choose fewer."
        )
    # Chat models have several end tokens, beside the tokenizer's.
    ends = loaded.model.generation_config.eos_token_id
    ends = {*(ends if isinstance(ends, list) else [ends]), loaded.tokenizer.eos_token_id} - {None}
    sampled = decoding.temperature > 0
    config = models.transformers_library().GenerationConfig(
        max_new_tokens=decoding.max_new_tokens,
        do_sample=sampled,
        pad_token_id=loaded.tokenizer.pad_token_id,
        eos_token_id=sorted(ends),
        **({"temperature": decoding.temperature, "top_p": decoding.top_p, "top_k": 0} if sampled else {}),
    )
    cut = [list(ids)[-room:] for ids in tokens]
    answers = [""] * len(cut)
    with torch.random.fork_rng(devices=[loaded.device] if loaded.device.type == "cuda" else []):
        torch.manual_seed(derive_seed("generation", seed))
        # Padding stands before the prompts, so that the answer follows the prompt's last token.
        for rows, ids, mask in tokenization.padded_batches(loaded, cut, batch_size, on_texts, padding_side="left"):
            with tokenization.evaluating(loaded.model):
                written = loaded.model.generate(input_ids=ids, attention_mask=mask, generation_config=config)
            for row, new in zip(rows, written[:, ids.shape[1] :].tolist(), strict=True):
                answers[row] = _continuation(loaded.tokenizer, cut[row], new)
    return answers


def _continuation(tokenizer: Any, prompt: list[int], new: list[int]) -> str:
    """Decode new tokens as the text that follows the prompt; decoded alone they would lose a leading space."""
    before = tokenizer.decode(prompt, skip_special_tokens=True)
    whole = tokenizer.decode([*prompt, *new], skip_special_tokens=True)
    return str(whole.removeprefix(before))
