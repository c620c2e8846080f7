"""Instruction data: every format is recognised and gives TRL's rows; bad rows are counted; splits share no prompt."""

import gzip
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from monosemy.lm.config import InstructionConfig
from monosemy.lm.instructions import load_instructions

DOLLY = [
    {"instruction": f"Ask {i}", "context": "A fact." if i % 2 else None, "response": f"Say {i}"} for i in range(20)
]
ALPACA = [{"instruction": f"Ask {i}", "input": "", "output": f"Say {i}"} for i in range(20)]
MESSAGES = [
    {"messages": [{"role": "user", "content": f"Ask {i}"}, {"role": "assistant", "content": f"Say {i}"}]}
    for i in range(20)
]
PAIRS = [{"prompt": f"Ask {i}:", "completion": f" say {i}"} for i in range(20)]
TEXTS = [{"text": f"Story {i}"} for i in range(20)]


def write(rows: list[dict[str, Any]], path: Path) -> str:
    lines = "\n".join(json.dumps(row) for row in rows)
    path.write_bytes(gzip.compress(lines.encode()) if path.suffix == ".gz" else lines.encode())
    return str(path)


def load(rows: list[dict[str, Any]], tmp_path: Path, seed: int = 0, **settings: Any):
    return load_instructions(InstructionConfig(source=write(rows, tmp_path / "rows.jsonl.gz"), **settings), seed)


def all_rows(data) -> list[dict[str, Any]]:
    return [row for rows in data.splits().values() for row in rows]


@pytest.mark.parametrize(
    ("rows", "name", "kind", "row"),
    [
        (DOLLY, "dolly", "prompt-completion", {"prompt": "Ask 3\n\nA fact.\n\n", "completion": "Say 3"}),
        (ALPACA, "alpaca", "prompt-completion", {"prompt": "Ask 3\n\n", "completion": "Say 3"}),
        (
            MESSAGES,
            "messages",
            "prompt-completion",
            {"prompt": "\n\nHuman: Ask 3\n\nAssistant:", "completion": " Say 3"},
        ),
        (PAIRS, "prompt-completion", "prompt-completion", {"prompt": "Ask 3:", "completion": " say 3"}),
        (TEXTS, "text", "text", {"text": "Story 3"}),
    ],
)
def test_formats_are_recognised_by_their_columns(rows, name: str, kind: str, row: dict, tmp_path: Path) -> None:
    data = load(rows, tmp_path)
    assert (data.format, data.kind, data.n_read) == (name, kind, 20)
    assert row in all_rows(data)
    assert {split: len(part) for split, part in data.splits().items()} == {"train": 18, "test": 2}
    assert data.dropped == {}
    assert load(rows, tmp_path, format=name) == data


def test_chat_form_gives_messages(tmp_path: Path) -> None:
    asked = [{"role": "user", "content": "Ask 3\n\nA fact."}]
    said = [{"role": "assistant", "content": "Say 3"}]
    assert {"prompt": asked, "completion": said} in all_rows(load(DOLLY, tmp_path, template="chat"))
    data = load(MESSAGES, tmp_path, template="chat")
    assert data.kind == "messages"
    assert MESSAGES[3] in all_rows(data)
    pairs = [{"prompt": MESSAGES[i]["messages"][:1], "completion": MESSAGES[i]["messages"][1:]} for i in range(20)]
    assert pairs[3] in all_rows(load(pairs, tmp_path, template="chat"))
    assert {"prompt": "\n\nHuman: Ask 3\n\nAssistant:", "completion": " Say 3"} in all_rows(load(pairs, tmp_path))


def test_the_published_alpaca_template(tmp_path: Path) -> None:
    """Recorded from the data card of Stanford Alpaca, with and without an input."""
    rows = [row["prompt"] for row in all_rows(load(DOLLY, tmp_path, template="alpaca"))]
    assert (
        "Below is an instruction that describes a task, paired with an input that provides further context. "
        "Write a response that appropriately completes the request.\n\n"
        "### Instruction:\nAsk 3\n\n### Input:\nA fact.\n\n### Response:\n"
    ) in rows
    assert (
        "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
        "### Instruction:\nAsk 4\n\n### Response:\n"
    ) in rows


def test_share_gpt_turns_and_dialogues_of_several_turns(tmp_path: Path) -> None:
    turns = [
        ("system", "Be kind."),
        ("human", "Hi"),
        ("gpt", "Hello"),
        ("human", "Why?"),
        ("gpt", "So."),
        ("human", "?"),
    ]
    rows = [{"messages": [{"from": role, "value": f"{text}{i}"} for role, text in turns]} for i in range(3)]
    found = all_rows(load(rows, tmp_path))
    prompt = "Be kind.1\n\nHuman: Hi1\n\nAssistant: Hello1\n\nHuman: Why?1\n\nAssistant:"
    assert {"prompt": prompt, "completion": " So.1"} in found, "a question at the end has no answer to learn"
    chat = all_rows(load(rows, tmp_path, template="chat"))
    assert [m["role"] for m in chat[0]["messages"]] == ["system", "user", "assistant", "user", "assistant"]


def test_rows_that_teach_nothing_are_counted(tmp_path: Path) -> None:
    rows = [
        *PAIRS,
        {"prompt": "a", "completion": "  "},
        {"prompt": "b", "completion": None},
        {"prompt": " ", "completion": "c"},
    ]
    data = load([*rows, PAIRS[0], {"prompt": "Ask 0:", "completion": " another"}], tmp_path)
    assert data.n_read == 25
    assert data.dropped == {"empty": 2, "no prompt": 1, "duplicate": 1}
    assert data.notices == (
        "Left out: 2 rows without an answer.",
        "Left out: 1 rows without a prompt.",
        "Left out: 1 rows that repeat another.",
    )
    assert len(all_rows(data)) == 21


def test_no_prompt_is_in_two_splits_and_the_draw_is_the_seeds(tmp_path: Path) -> None:
    rows = [{"prompt": f"Ask {i % 40}", "completion": f"Say {i}"} for i in range(120)]
    data = load(rows, tmp_path, test_fraction=0.25, validation_fraction=0.2)
    prompts = {split: {row["prompt"] for row in part} for split, part in data.splits().items()}
    assert {split: len(part) for split, part in prompts.items()} == {"train": 24, "validation": 6, "test": 10}
    assert not prompts["train"] & prompts["test"]
    assert not prompts["train"] & prompts["validation"]
    assert len(all_rows(data)) == 120
    turned = load(rows[::-1], tmp_path, test_fraction=0.25, validation_fraction=0.2)
    assert {row["prompt"] for row in turned.test} == prompts["test"], "the rows' order does not matter"
    assert {row["prompt"] for row in load(rows, tmp_path, 1, test_fraction=0.25).test} != prompts["test"]


def test_splits_of_the_source_are_kept_but_for_shared_prompts(tmp_path: Path) -> None:
    rows = [
        row | {"split": split}
        for row, split in zip(PAIRS[:6], ["train", "train", "dev", "test", "test", "odd"], strict=True)
    ]
    rows += [
        {"prompt": "Ask  3:", "completion": "leak", "split": "train"},
        {"prompt": "Ask 2:", "completion": "x", "split": "train"},
    ]
    data = load(rows, tmp_path)
    assert {split: len(part) for split, part in data.splits().items()} == {"train": 2, "validation": 1, "test": 2}
    assert data.dropped == {"other split": 1, "shared prompt": 2}


def test_columns_can_be_named_and_other_files_be_read(tmp_path: Path) -> None:
    frame = pd.DataFrame({"question": [f"q{i}" for i in range(10)], "answer": [f"a{i}" for i in range(10)]})
    for name in ("t.csv", "t.parquet", "t.json"):
        path = tmp_path / name
        if name == "t.json":
            frame.to_json(path, orient="records")
        else:
            (frame.to_csv if name == "t.csv" else frame.to_parquet)(path, index=False)
        config = InstructionConfig(source=str(path), prompt_column="question", completion_column="answer")
        assert {"prompt": "q3", "completion": "a3"} in all_rows(load_instructions(config)), name


def test_parquet_keeps_messages(tmp_path: Path) -> None:
    pd.DataFrame(MESSAGES).to_parquet(tmp_path / "m.parquet")
    data = load_instructions(InstructionConfig(source=str(tmp_path / "m.parquet"), template="chat"))
    assert MESSAGES[5] in all_rows(data)


def test_fewer_rows_are_a_subset(tmp_path: Path) -> None:
    few, more = (load(PAIRS, tmp_path, max_rows=n) for n in (4, 9))
    assert len(few.train) == 4
    assert [row for row in more.train if row in few.train] == few.train
    assert few.test == more.test


def test_datasets_have_the_rows(tmp_path: Path) -> None:
    datasets = load(MESSAGES, tmp_path, template="chat").datasets()
    assert sorted(datasets) == ["test", "train"]
    assert datasets["train"].column_names == ["messages"]
    assert datasets["train"][0]["messages"][0]["role"] == "user"


@pytest.mark.parametrize(
    ("rows", "settings", "named"),
    [
        ([{"a": 1}], {}, ["columns 'a'", "prompt, completion"]),
        (PAIRS, {"format": "dolly"}, ["instruction", "dolly", "'prompt', 'completion'"]),
        ([{"messages": "hello"}], {}, ["Row 1", "messages", "list"]),
        ([{"messages": [{"role": "robot", "content": "x"}]}], {}, ["Row 1", "'robot'", "assistant"]),
        ([{"messages": [{"role": "user", "content": 3}]}], {}, ["Row 1", "int"]),
        ([{"prompt": {"a": 1}, "completion": "b"}], {}, ["Row 1", "prompt", "dict"]),
        ([{"prompt": "a", "completion": ""}], {}, ["No rows are left"]),
        ([{"prompt": "a", "completion": "b", "split": "test"}], {}, ["No rows are left"]),
    ],
)
def test_wrong_data_is_said_in_one_sentence(rows, settings: dict, named: list[str], tmp_path: Path, says) -> None:
    with says(*named):
        load(rows, tmp_path, **settings)


def test_sources_that_are_no_tables(tmp_path: Path, says) -> None:
    with says(str(tmp_path), ".jsonl"):
        load_instructions(InstructionConfig(source=str(tmp_path)))
    with says("no.jsonl", "does not exist"):
        load_instructions(InstructionConfig(source=str(tmp_path / "no.jsonl")))


@pytest.mark.shared_data
def test_real_dolly_rows(shared_data: Path) -> None:
    data = load_instructions(InstructionConfig(source=str(shared_data / "dolly_subset.jsonl.gz")))
    assert (data.format, data.n_read, data.dropped) == ("dolly", 7138, {"duplicate": 20})
    assert (len(data.train), len(data.test)) == (6400, 718)
    assert {"prompt": "Which is a species of fish? Tope or Rope\n\n", "completion": "Tope"} in data.train
    assert not {row["prompt"].strip() for row in data.train} & {row["prompt"].strip() for row in data.test}
