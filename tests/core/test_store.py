"""Entries that are whole or not there, whoever reads and writes at the same time."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from joblib import Parallel, delayed

from monosemy.core.cache import Store

ARRAY = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def put(store: Store, name: str = "stage/key", value: np.ndarray = ARRAY) -> Path:
    store.put_array(name, {"what": "a test"}, value)
    return store.root / name


def never() -> np.ndarray:
    raise AssertionError("computed again")


def test_an_entry_says_what_it_is(store: Store) -> None:
    folder = put(store)
    (entry,) = store.entries()
    assert entry.name == "stage/key"
    assert entry.folder == folder
    assert entry.metadata == {"what": "a test"}
    assert entry.size == (folder / "array.safetensors").stat().st_size
    assert entry.damage() is None
    assert store.unfinished() == []
    np.testing.assert_array_equal(store.array("stage/key", {}, never), ARRAY)


@pytest.mark.parametrize("damage", ["a flipped bit", "truncated", "gone", "no note", "a foreign note"])
def test_a_damaged_entry_is_found_said_and_made_again(
    store: Store, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = put(store)
    path, note = folder / "array.safetensors", folder / "entry.json"
    raw = bytearray(path.read_bytes())
    if damage == "a flipped bit":
        raw[-1] ^= 1  # of the last number: safetensors itself would not notice
        path.write_bytes(raw)
    elif damage == "truncated":
        path.write_bytes(raw[:-5])
    elif damage == "gone":
        path.unlink()
    elif damage == "no note":
        note.unlink()
    else:
        note.write_text(json.dumps({"files": {}}))
    with caplog.at_level(logging.WARNING, "monosemy.core.cache"):
        found = store.array("stage/key", {}, lambda: ARRAY + 1)
    np.testing.assert_array_equal(found, ARRAY + 1)
    (said,) = caplog.messages
    assert str(folder) in said
    assert said.endswith("it is made again.")
    np.testing.assert_array_equal(store.array("stage/key", {}, never), ARRAY + 1)


def test_sizes_alone_are_looked_at_where_checksums_would_cost_too_much(store: Store) -> None:
    path = put(store) / "array.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    assert store.find("stage/key", thorough=False) is not None
    path.write_bytes(raw[:-1])
    assert store.find("stage/key", thorough=False) is None


def test_a_failing_maker_leaves_nothing(store: Store) -> None:
    def make() -> None:
        with store.new("stage/key", {}) as folder:
            (folder / "half").write_text("half")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        make()
    assert list((store.root / "stage").iterdir()) == []


def test_the_first_of_two_makers_wins(store: Store) -> None:
    with store.new("stage/key", {}) as folder:
        put(store)
        (folder / "late").write_text("late")
    np.testing.assert_array_equal(store.array("stage/key", {}, never), ARRAY)
    assert [path.name for path in (store.root / "stage").iterdir()] == ["key"]


def test_what_is_open_can_be_read_after_its_entry_was_removed(store: Store) -> None:
    folder = put(store)
    opened = (folder / "array.safetensors").open("rb")
    store.remove("stage/key")
    store.remove("stage/key")  # of two that remove it, one comes late
    assert len(opened.read()) > ARRAY.nbytes
    assert not folder.exists()
    assert store.entries() == []


def _use(store: Store, seed: int) -> int:
    """Reads, makes, damages and removes a few entries over and over; how often a wrong array was read."""
    logging.getLogger("monosemy.core.cache").setLevel(logging.ERROR)
    rng, wrong = np.random.default_rng(seed), 0
    for _ in range(60):
        key = int(rng.integers(4))
        found = store.array(f"stage/{key}", {}, lambda key=key: np.full((256, 64), key, dtype=np.float32))
        wrong += found.shape != (256, 64) or bool((found != key).any())
        fate = rng.random()
        if fate < 0.2:
            store.remove(f"stage/{key}")
        elif fate < 0.3:
            path = store.root / f"stage/{key}/array.safetensors"
            if path.exists():
                path.unlink(missing_ok=True)
    return wrong


def test_many_processes_at_once_never_read_anything_wrong(store: Store) -> None:
    wrong = Parallel(n_jobs=8)(delayed(_use)(store, seed) for seed in range(8))
    assert wrong == [0] * 8
    assert store.unfinished() == [], "nobody left anything half-made"
    assert all(entry.damage() in (None, "array.safetensors cannot be read: No such file or directory")
               for entry in store.entries())  # fmt: skip


@pytest.mark.parametrize(
    "damage",
    [{"bytes": 1e999}, {"name": "../../outside"}, {"name": "f\0"}, {"text": "[" * 100_000}],
    ids=["infinite", "elsewhere", "nul", "nested"],
)
def test_a_note_that_lies_is_no_note(store: Store, damage: dict) -> None:
    folder = put(store)
    path = folder / "entry.json"
    note = json.loads(path.read_text())
    (file,) = note["files"].values()
    if "bytes" in damage:
        file["bytes"] = damage["bytes"]
    if "name" in damage:
        note["files"] = {damage["name"]: file}
    path.write_text(damage.get("text") or json.dumps(note))
    assert store.entries() == []
    assert store.without_note() == ["stage/key"]
    np.testing.assert_array_equal(store.array("stage/key", {}, lambda: ARRAY + 1), ARRAY + 1)


def test_removing_needs_no_new_folder(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store)
    monkeypatch.setattr("os.mkdir", never)
    store.remove("stage/key")
    assert store.entries() == []
    assert store.unfinished() == []
