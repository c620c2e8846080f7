"""Labelled texts: class words, and no text in two splits."""

import json
from pathlib import Path

import pytest

from monosemy.lm.config import InstructionConfig
from monosemy.lm.instructions import load_instructions
from monosemy.lm.texts import label_words, load_classification, prompt_splits


@pytest.fixture
def sst(tmp_path: Path) -> str:
    path = tmp_path / "sst2.jsonl"
    splits = {"train": 200, "validation": 40, "test": 40}
    rows = [
        {"split": split, "sentence": f"{split} sentence {i} ", "label": i % 2}
        for split, n in splits.items()
        for i in range(n)
    ]
    rows += [
        {"split": "train", "sentence": "test  sentence 3", "label": 1},
        {"split": "other", "sentence": "x", "label": 0},
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


def test_splits_are_the_sources_without_shared_texts(sst: str) -> None:
    data = load_classification(sst)
    assert [len(split) for split in (data.train, data.validation, data.test)] == [200, 40, 40]
    assert "1 rows of train or validation whose text is also in a later split" in data.notices[-1]


def test_prompts_for_a_generator(sst: str) -> None:
    data = load_classification(sst)
    prompts = prompt_splits(data)
    assert prompts.test[3] == {"prompt": "test sentence 3\nSentiment:", "completion": " positive", "label": 1}
    assert prompt_splits(data, ("bad", "good")).test[3]["completion"] == " good"
    chat = prompt_splits(data, template="chat").test[3]
    assert chat["completion"] == [{"role": "assistant", "content": "positive"}]
    through = load_instructions(InstructionConfig(source=sst, max_rows=7))
    assert (through.format, len(through.train)) == ("classification", 7)
    assert through.test == prompts.test


def test_label_words(sst: str, tmp_path: Path, says) -> None:
    data = load_classification(sst)
    assert label_words(data) == ("negative", "positive")
    other = tmp_path / "spam.jsonl"
    other.write_text(Path(sst).read_text())
    assert label_words(load_classification(str(other))) == ("0", "1"), "only SST-2 is known by its name"
    for words in (("one",), ("same", "same"), ("a", " ")):
        with says(", ".join(map(repr, words)), "2 classes"):
            label_words(data, words)


@pytest.mark.shared_data
def test_real_sst2(shared_data: Path) -> None:
    data = load_classification(str(shared_data / "sst2.jsonl.gz"))
    assert [len(split) for split in (data.train, data.validation, data.test)] == [67_348, 872, 1_821]
    assert prompt_splits(data).train[0] == {
        "prompt": "hide new secretions from the parental units\nSentiment:",
        "completion": " negative",
        "label": 0,
    }
