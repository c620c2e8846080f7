"""`monosemy cache`: list, remove, verify."""

import json
from pathlib import Path

import numpy as np
import pytest
import typer

from monosemy.cli.cache import ls, rm, verify
from monosemy.core.cache import Stage, cache as cache_store, cached_array
from monosemy.errors import InputError

NEW = Stage("embeddings", 1, ("numpy",), "monosemy.seeding")
TEXTS = Stage("judgements", 1, (), "monosemy.core.files")


@pytest.fixture(autouse=True)
def three_entries(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("monosemy.seeding.NEW", NEW, raising=False)
    monkeypatch.setattr("monosemy.core.files.TEXTS", TEXTS, raising=False)
    for stage, name in ((NEW, "a"), (NEW, "b"), (TEXTS, "a")):
        cached_array(stage, (name,), {"rows": 1000}, lambda: np.zeros((1000, 250), dtype=np.float32))
    return cache


def listed(capsys: pytest.CaptureFixture[str]) -> dict[str, bool]:
    """Whether each entry is current, by name."""
    capsys.readouterr()
    ls(json=True)
    return {entry["name"]: entry["current"] for entry in json.loads(capsys.readouterr().out)["entries"]}


def test_entries_are_listed_with_what_they_are(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ls()
    said = capsys.readouterr().out
    assert "rows 1000" in said
    assert "3 entries, 3.0 MB" in said
    assert listed(capsys) == {NEW.entry("a"): True, NEW.entry("b"): True, TEXTS.entry("a"): True}


def test_entries_go_by_name_or_stage(capsys: pytest.CaptureFixture[str]) -> None:
    rm([NEW.entry("a")[:20]], all_=False, stale=False)
    assert set(listed(capsys)) == {NEW.entry("b"), TEXTS.entry("a")}
    rm(["judgements"], all_=False, stale=False)
    assert set(listed(capsys)) == {NEW.entry("b")}
    rm([], all_=True, stale=False)
    assert listed(capsys) == {}


def test_stale_entries_are_those_of_other_versions(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    note = cache / NEW.entry("a") / "entry.json"
    note.write_text(note.read_text().replace('"version": 1', '"version": 0'))
    assert listed(capsys) == {NEW.entry("a"): False, NEW.entry("b"): True, TEXTS.entry("a"): True}
    rm([], all_=False, stale=True)
    assert set(listed(capsys)) == {NEW.entry("b"), TEXTS.entry("a")}


@pytest.mark.parametrize(
    ("names", "words"),
    [(["embeddings/xb"], "no entry"), (["embeddings/xa"], "2 entries begin with"), ([], "got nothing to remove")],
)
def test_what_names_nothing_or_too_much_is_refused(
    names: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("embeddings/xa1", "embeddings/xa2"):
        cache_store().put_array(name, {}, np.zeros((1, 1), dtype=np.float32))
    with pytest.raises(InputError, match=words):
        rm(names, all_=False, stale=False)
    assert len(listed(capsys)) == 5


def test_damage_is_found_named_and_mended_at_the_next_use(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verify()
    path = cache / NEW.entry("a") / "array.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-3] ^= 4
    path.write_bytes(raw)
    (cache / TEXTS.entry("a") / "entry.json").unlink()
    (cache / "embeddings" / ".left.by.a.kill").mkdir()
    capsys.readouterr()
    with pytest.raises(typer.Exit) as stop:
        verify()
    assert stop.value.exit_code == 1
    said = capsys.readouterr().out
    assert f"{NEW.entry('a')} (the checksum of array.safetensors differs)" in said
    assert f"{TEXTS.entry('a')} (it has no readable note)" in said
    assert "1 more are being written, or left by killed runs;" in said
    assert "2 damaged" in said
    assert set(listed(capsys)) == {NEW.entry("b")}
    verify()
