"""Padding and truncation by the tokenizer against the plain definitions, on tiny and on trained tokenizers."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import tiny_tokenizer

from monosemy.lm.tokenization import padded_batches, tokenize
from monosemy.study.lora.data import truncate_text

TEXTS = [
    "Once upon a time there was a little fox, who was very sad.", "a", "Die Füchsin — ß, ü, 狐 — läuft.  ", "b c d",
    "  spaces before and after, and a longer sentence than most of the others here  ", "x" * 40,
]  # fmt: skip


@pytest.fixture(params=["bytes", "words", "stories"])
def tokenizer(request: Any, shared_data: Path) -> Any:
    if request.param == "stories":
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(shared_data / "stories260k")
    return tiny_tokenizer(("fox", "little", "upon") if request.param == "words" else ())


@pytest.mark.parametrize("side", ["right", "left"])
def test_padding_is_the_plain_one(tokenizer: Any, side: str) -> None:
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.unk_token
    tokens = tokenize(tokenizer, TEXTS)
    counts: list[tuple[int, int]] = []
    loaded: Any = SimpleNamespace(tokenizer=tokenizer, device=torch.device("cpu"))
    seen = []
    for rows, ids, mask in padded_batches(loaded, tokens, 4, lambda *count: counts.append(count), padding_side=side):
        width = max(len(tokens[i]) for i in rows)
        for row, padded, attended in zip(rows, ids.tolist(), mask.tolist(), strict=True):
            pad, ones = [tokenizer.pad_token_id] * (width - len(tokens[row])), [1] * len(tokens[row])
            zeros = [0] * len(pad)
            expected = (tokens[row] + pad, ones + zeros) if side == "right" else (pad + tokens[row], zeros + ones)
            assert (padded, attended) == expected
        seen += rows.tolist()
    assert sorted(seen) == list(range(len(TEXTS)))
    assert np.all(np.diff([len(tokens[i]) for i in seen]) <= 0), "the longest first"
    assert counts == [(4, 6), (6, 6)]


@pytest.mark.parametrize("room", [3, 8, 12])
def test_truncation_keeps_the_tokens_of_the_beginning(tokenizer: Any, room: int) -> None:
    tokenizer.truncation_side = "left"
    for text in TEXTS:
        if len(tokenizer(text)["input_ids"]) <= room:
            continue
        n_special = len(tokenizer("")["input_ids"])
        ends = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        assert truncate_text(text, tokenizer, room) == text[: ends[room - n_special - 1][1]]
    assert tokenizer.truncation_side == "left"
    assert len(tokenizer(TEXTS[0])["input_ids"]) > room, "truncation is not left on"
