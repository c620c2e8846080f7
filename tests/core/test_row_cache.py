"""The cache of rows: only new rows are computed, in blocks, and damage is made good."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from monosemy.core import row_cache
from monosemy.core.cache import Stage, cache
from monosemy.core.row_cache import RowCache

STAGE = Stage("rows-of-a-test", 1, (), __name__)


class Lengths:
    """Computes (length, first character) of texts, and remembers the positions it was asked for."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts, self.asked = texts, []

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        self.asked.append(rows.tolist())
        return np.array([[len(self.texts[i]), ord((self.texts[i] + "\0")[0])] for i in rows], dtype=np.float32)


def read(texts: Sequence[str], key: str = "key") -> tuple[np.ndarray, list[list[int]]]:
    compute = Lengths(texts)
    return RowCache(STAGE, key).rows(texts, compute, {}), compute.asked


def test_only_new_rows_are_computed() -> None:
    texts = ["a", "bb", "ccc", "a"]
    found, asked = read(texts)
    assert found.tolist() == [[1, 97], [2, 98], [3, 99], [1, 97]]
    assert asked == [[0, 1, 2]], "a copy is not computed"
    assert RowCache(STAGE, "key").missing(["ccc", "dd", "dd"]) == 1
    found, asked = read(["dd", "ccc", "bb"])
    assert found.tolist() == [[2, 100], [3, 99], [2, 98]]
    assert asked == [[0]]
    assert read(["dd", "ccc"])[1] == []
    assert read(["a"], "other key")[1] == [[0]]


def test_rows_of_arrays_are_known_by_type_shape_and_bytes() -> None:
    images = np.arange(12, dtype=np.uint8).reshape(3, 2, 2)
    store = RowCache(STAGE, "arrays")
    assert store.missing(images) == 3
    store.rows(images, lambda rows: images[rows].reshape(len(rows), -1).astype(np.float32), {})
    assert store.missing(images[::-1]) == 0
    assert store.missing(images.reshape(3, 4)) == store.missing(images.astype(np.int8)) == 3


def test_what_is_done_before_a_failure_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_cache, "_BLOCK", 2)
    texts = list("abcde")
    compute = Lengths(texts)

    def failing(rows: np.ndarray) -> np.ndarray:
        if 4 in rows:
            raise KeyboardInterrupt
        return compute(rows)

    with pytest.raises(KeyboardInterrupt):
        RowCache(STAGE, "killed").rows(texts, failing, {})
    found, asked = read(texts, "killed")
    assert asked == [[4]]
    assert found[:, 1].tolist() == [97, 98, 99, 100, 101]


def test_a_damaged_entry_is_computed_again(caplog: pytest.LogCaptureFixture) -> None:
    read(["a", "b"], "damaged")
    (file,) = cache().root.glob(f"{STAGE.entry('rows', 'damaged')}-*/rows.safetensors")
    file.write_bytes(file.read_bytes()[:-1] + b"\xff")
    found, asked = read(["b", "a"], "damaged")
    assert asked == [[0, 1]]
    assert found.tolist() == [[1, 98], [1, 97]]


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.text(max_size=3), min_size=1, max_size=8), st.lists(st.text(max_size=3), min_size=1, max_size=8))
def test_the_cache_returns_what_is_computed(first: list[str], second: list[str]) -> None:
    for texts in (first, second, first + second):
        np.testing.assert_array_equal(read(texts, "random")[0], Lengths(texts)(np.arange(len(texts))))
