"""Diversity of answers: said again and again, or each one new."""

import numpy as np
import pytest

from monosemy.encoders import text as text_module
from monosemy.lm.evaluation import diversity


class Letters:
    """Embeds a text by how often it has each letter."""

    def encode(self, texts: list[str], **options) -> np.ndarray:
        return np.array([[text.lower().count(chr(97 + i)) for i in range(6)] for text in texts], dtype=np.float64)


@pytest.fixture(autouse=True)
def encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_module, "_load", lambda path: Letters())


def test_by_hand() -> None:
    found = diversity(["a b", "B A", "", "c d c d"], encoder="fake/encoder")
    assert found.n_empty == 1
    assert found.distinct_1 == 4 / 8
    assert found.distinct_2 == 4 / 5  # a b, b a, c d, d c of five
    assert found.decorrelation == pytest.approx(1 - 1 / 3)  # one equal pair and two orthogonal ones
    assert found.effective_rank == pytest.approx(1.0, abs=1e-6)  # all on one line


def test_one_thing_said_again_and_again() -> None:
    found = diversity(["a b c"] * 10, encoder="fake/encoder")
    assert (found.distinct_1, found.distinct_2) == (3 / 30, 2 / 20)
    assert found.decorrelation == pytest.approx(0, abs=1e-9)


def test_too_few(says) -> None:
    with says("1 of 2 texts"):
        diversity(["a", " "], encoder="fake/encoder")
