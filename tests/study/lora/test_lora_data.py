"""Texts to finetune on: read, shared out, made noisy, and made to fit."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lm.tiny_models import tiny_tokenizer

from monosemy.errors import InputError
from monosemy.study.lora import LoraSource
from monosemy.study.lora.data import LoraData, fitted, load_lora_data


def labelled_file(folder: Path, n: int = 60) -> Path:
    rows = [{"sentence": f"text number {i:02} is here" + " now" * (i % 2), "label": i % 3} for i in range(n)]
    path = folder / "texts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def dolly_file(folder: Path, n: int = 20) -> Path:
    rows = [{"instruction": f"Say {i}", "context": "", "response": "yes " * (i % 7 + 1)} for i in range(n)]
    path = folder / "dolly.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_task_is_known_from_the_columns(tmp_path: Path) -> None:
    labelled = load_lora_data(LoraSource(source=str(labelled_file(tmp_path))))
    assert labelled.task == "classification"
    free = load_lora_data(LoraSource(source=str(dolly_file(tmp_path)), validation_fraction=0.2))
    assert (free.task, free.labelled) == ("generation", None)
    assert {name: len(rows) for name, rows in free.rows().items()} == {"train": 14, "validation": 4, "test": 2}
    as_words = load_lora_data(
        LoraSource(source=str(labelled_file(tmp_path)), task="generation", label_words=("x", "y", "z"))
    )
    rows = as_words.rows()["train"]
    assert all(row["completion"] == f" {'xyz'[row['label']]}" for row in rows)
    assert all(row["prompt"].endswith("\nSentiment:") for row in rows)


def test_limits_draw_rows_and_more_only_adds(tmp_path: Path) -> None:
    source = str(labelled_file(tmp_path))
    few, more = (load_lora_data(LoraSource(source=source, max_train=n, max_test=3)).rows() for n in (6, 12))
    assert (len(few["train"]), len(more["train"]), len(few["test"])) == (6, 12, 3)
    assert {row["text"] for row in few["train"]} < {row["text"] for row in more["train"]}


def test_rows_carry_the_given_labels_and_leave_test_alone(tmp_path: Path) -> None:
    data = load_lora_data(LoraSource(source=str(labelled_file(tmp_path))))
    assert data.labelled is not None
    train, validation = data.labelled.train.labels.copy(), data.labelled.validation.labels.copy()
    train[:5], train[5] = -1, (train[5] + 1) % 3
    rows = data.rows((train, validation))
    assert [row["label"] for row in rows["train"]] == train[5:].tolist()
    assert [row["text"] for row in rows["train"]] == list(data.labelled.train.inputs[5:])
    assert [row["label"] for row in rows["test"]] == data.labelled.test.labels.tolist()


def test_the_key_tells_data_apart(tmp_path: Path) -> None:
    source = LoraSource(source=str(labelled_file(tmp_path)))
    keys = {
        load_lora_data(source).key(),
        load_lora_data(source.model_copy(update={"max_train": 5})).key(),
        load_lora_data(source.model_copy(update={"task": "generation"})).key(),
        load_lora_data(LoraSource(source=str(dolly_file(tmp_path)))).key(),
    }
    assert len(keys) == 4
    assert load_lora_data(source).key() in keys


@pytest.mark.parametrize("kind", ["labelled", "dolly"])
def test_rows_that_are_too_long(tmp_path: Path, kind: str) -> None:
    tokenizer = tiny_tokenizer()  # a token is a byte
    data = load_lora_data(
        LoraSource(source=str(labelled_file(tmp_path) if kind == "labelled" else dolly_file(tmp_path)))
    )
    assert fitted(data, tokenizer, 200, "stop") == data
    n_tokens = 24
    with pytest.raises(InputError, match=r"longer than the 24 tokens .* data\.on_long=drop"):
        fitted(data, tokenizer, n_tokens, "stop")
    with pytest.raises(InputError):
        fitted(data, tokenizer, 5, "drop")
    dropped = fitted(data, tokenizer, n_tokens, "drop")
    assert 0 < len(dropped.rows()["train"]) < len(data.rows()["train"])
    assert any("eft out" in said or "left out" in said for said in dropped.notices)
    assert all(length <= n_tokens for length in lengths(dropped, tokenizer))


def lengths(data: LoraData, tokenizer: Any) -> list[int]:
    texts = [
        row["text"] if "text" in row else row["prompt"] + row["completion"]
        for rows in data.rows().values()
        for row in rows
    ]
    return [len(ids) for ids in tokenizer(texts)["input_ids"]]


def test_long_texts_are_cut_at_a_token(tmp_path: Path) -> None:
    data = load_lora_data(LoraSource(source=str(labelled_file(tmp_path))))
    cut = fitted(data, tiny_tokenizer(), 12, "truncate")
    texts = [row["text"] for row in cut.rows()["train"]]
    assert all(text == "text number" for text in texts), "11 bytes and the token that begins a text"
    assert [row["label"] for row in cut.rows()["train"]] == [row["label"] for row in data.rows()["train"]]
    assert any("were cut" in said for said in cut.notices)


def test_labels_of_validation_are_as_noisy_and_the_same_for_every_method(tmp_path: Path) -> None:
    from monosemy.study.conditions import Training, conditions, training_labels
    from monosemy.study.lora import LoraPlan

    data = load_lora_data(LoraSource(source=str(labelled_file(tmp_path, 300))))
    assert data.labelled is not None
    given = conditions(LoraPlan(model="m", data=LoraSource(source="s")), data.labelled)
    train, validation = training_labels(Training("symmetric", 0.4), given, data.labelled, 1)
    clean = data.labelled
    assert (train != clean.train.labels).sum() == round(0.4 * len(train))
    assert (validation != clean.validation.labels).sum() == round(0.4 * len(validation))
    again = training_labels(Training("symmetric", 0.4), given, data.labelled, 1)
    assert np.array_equal(train, again[0])
