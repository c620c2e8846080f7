"""The cache: named by content, made again when damaged."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st

from monosemy.core.cache import Stage, Store, cache_folder, cached_array, fingerprint, is_current


class Counted:
    """A computation that knows how often it ran."""

    def __init__(self, value: np.ndarray) -> None:
        self.value, self.runs = value, 0

    def __call__(self) -> np.ndarray:
        self.runs += 1
        return self.value


ARRAY = np.arange(6, dtype=np.float32).reshape(2, 3)
STAGE = Stage("kind", 1, ("numpy",), "monosemy.seeding")


def test_the_folder_is_the_one_of_the_environment(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder() == cache
    monkeypatch.setenv("MONOSEMY_CACHE", "")
    assert cache_folder().name == "monosemy"
    assert cache_folder() != cache


def test_a_stored_array_is_not_computed_again(cache: Path) -> None:
    compute = Counted(ARRAY)
    first, second = (cached_array(STAGE, ("input",), {"rows": 2}, compute) for _ in range(2))
    assert compute.runs == 1
    np.testing.assert_array_equal(first, ARRAY)
    np.testing.assert_array_equal(second, ARRAY)
    assert second.dtype == np.float32
    (entry,) = Store(cache).entries()
    assert entry.name == STAGE.entry("input")
    assert entry.metadata["rows"] == 2


def test_other_inputs_versions_and_libraries_are_other_entries() -> None:
    stages = [STAGE, replace(STAGE, name="other"), replace(STAGE, version=2), replace(STAGE, packages=())]
    names = [stage.entry(*inputs) for stage in stages for inputs in (("a",), ("b",), ("a", "b"), (("a", "b"),))]
    assert len(set(names)) == len(names)


def test_an_entry_is_current_while_its_stage_and_libraries_are(monkeypatch: pytest.MonkeyPatch) -> None:
    metadata = STAGE.metadata(rows=1)
    assert not is_current(metadata), "the module defines no such stage"
    monkeypatch.setattr("monosemy.seeding.STAGE", STAGE, raising=False)
    assert is_current(metadata)
    assert not is_current(metadata | {"packages": {"numpy": "0.1"}})
    assert not is_current(metadata | {"version": 0})
    assert not is_current(metadata | {"module": "os"})
    assert not is_current(metadata | {"module": "monosemy.gone"})
    assert not is_current({"rows": 1})
    monkeypatch.setattr("monosemy.seeding.STAGE", replace(STAGE, version=2))
    assert not is_current(metadata)


def test_arrays_that_are_not_contiguous_come_back_as_they_were() -> None:
    for _ in range(2):
        np.testing.assert_array_equal(cached_array(STAGE, ("t",), {}, lambda: ARRAY.T), ARRAY.T)


def test_a_failing_computation_stores_nothing(cache: Path) -> None:
    def fail() -> np.ndarray:
        raise RuntimeError("no model")

    with pytest.raises(RuntimeError, match="no model"):
        cached_array(STAGE, ("key",), {}, fail)
    assert Store(cache).entries() == []


def test_fingerprints_tell_apart_what_differs(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("1")
    (tmp_path / "two").write_text("2")
    parts = [
        (ARRAY,), (ARRAY.T,), (ARRAY.ravel(),), (ARRAY.astype(np.float64),), (ARRAY + 1,),
        (("ab", "c"),), (("a", "bc"),), (("abc",),), ((),), (("a", "b"), ("c",)), (("a",), ("b", "c")),
        ("abc",), (1,), ("1",), (None,), (tmp_path / "one",), (tmp_path / "two",), (tmp_path,),
        (("10:a",),), (("a",),), ((b"\x00".decode(), ""),), (("", b"\x00".decode()),),
    ]  # fmt: skip
    prints = [fingerprint(*p) for p in parts]
    assert len(set(prints)) == len(prints)
    assert all(len(p) == 32 and int(p, 16) >= 0 for p in prints)


def test_fingerprints_go_by_content(tmp_path: Path) -> None:
    assert fingerprint(ARRAY) == fingerprint(ARRAY.copy()) == fingerprint(np.asfortranarray(ARRAY))
    for name in ("a", "b"):
        (tmp_path / name / "sub").mkdir(parents=True)
        (tmp_path / name / "sub" / "weights.bin").write_bytes(b"123")
        (tmp_path / name / "config.json").write_text("{}")
    assert fingerprint(tmp_path / "a") == fingerprint(tmp_path / "b"), "wherever the folder lies"
    (tmp_path / "b" / "sub" / "weights.bin").write_bytes(b"124")
    assert fingerprint(tmp_path / "a") != fingerprint(tmp_path / "b")
    (tmp_path / "b" / "sub" / "weights.bin").write_bytes(b"123")
    (tmp_path / "b" / "config.json").rename(tmp_path / "b" / "other.json")
    assert fingerprint(tmp_path / "a") != fingerprint(tmp_path / "b"), "names count"


@given(texts=st.lists(st.text(), max_size=4), others=st.lists(st.text(), max_size=4))
def test_texts_have_equal_fingerprints_only_if_equal(texts: list[str], others: list[str]) -> None:
    assert (fingerprint(tuple(texts)) == fingerprint(tuple(others))) == (texts == others)


def test_texts_that_are_no_valid_unicode_have_one_too() -> None:
    assert fingerprint(("\ud800",)) != fingerprint(("?",))
