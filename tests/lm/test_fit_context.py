"""Rows longer than a context: counted, left out or shortened, and what stays really fits."""

from typing import Any

import pytest
from tiny_models import CHAT_TEMPLATE, tiny_tokenizer

from monosemy.errors import InputError
from monosemy.lm.tokenization import fit_context

TOKENIZER = tiny_tokenizer(chat_template=CHAT_TEMPLATE)  # one token a byte, and <s> before all


def row(n_prompt: int, *n_answers: int) -> dict[str, Any]:
    prompt = "".join("abcdefghij"[i % 10] for i in range(n_prompt))
    return {"prompt": prompt} | {name: "z" * n for name, n in zip(("chosen", "rejected"), n_answers, strict=True)}


def test_what_fits_stays_and_the_rest_is_left_out() -> None:
    rows = [row(5, 3, 2), row(14, 4, 1), row(15, 1, 4)]
    fitted = fit_context(rows, TOKENIZER, 20)  # <s> 14 4 </s> fill it
    assert fitted.rows == rows[:2]
    assert (fitted.n_truncated, fitted.n_dropped) == (0, 1)
    assert fitted.warnings(20) == ("Left out: 1 rows that do not fit into 20 tokens.",)


def test_long_prompts_lose_their_beginning() -> None:
    long = row(40, 4, 2)
    fitted = fit_context([long, row(40, 30, 2)], TOKENIZER, 30, "truncate")
    assert fitted.rows == [long | {"prompt": long["prompt"][-24:]}]
    assert (fitted.n_truncated, fitted.n_dropped) == (1, 1), "an answer that fills the context is of no use"
    assert "Truncated: the beginning of 1 prompts" in fitted.warnings(30)[0]


def test_a_chat_loses_its_oldest_turns() -> None:
    def say(role: str, text: str) -> dict[str, str]:
        return {"role": role, "content": text}

    turns = [say("system", "S"), say("user", "old " * 9), say("assistant", "old"), say("user", "new")]
    rows = [{"prompt": turns, "completion": [say("assistant", "yes")]}]
    assert fit_context(rows, TOKENIZER, 200).rows == rows
    fitted = fit_context(rows, TOKENIZER, 62, "truncate")
    assert fitted.rows == [rows[0] | {"prompt": [turns[0], turns[3]]}]
    assert fitted.n_truncated == 1


@pytest.mark.parametrize("answers", [("completion",), ("chosen", "rejected")])
def test_a_chat_that_fills_the_context_stays(answers: tuple[str, ...]) -> None:
    prompt = [{"role": "system", "content": "S"}, {"role": "user", "content": "why"}]
    rows = [{"prompt": prompt} | {name: [{"role": "assistant", "content": name}] for name in answers}]
    # A chat is tokenized as its template writes it; the tokenizer adds no <s> before it.
    longest = max(
        len(TOKENIZER.apply_chat_template([*prompt, *rows[0][name]], tokenize=True)["input_ids"]) for name in answers
    )
    assert fit_context(rows, TOKENIZER, longest).rows == rows
    with pytest.raises(InputError, match="None of 1 rows"):
        fit_context(rows, TOKENIZER, longest - 1)


def test_an_end_of_text_that_stands_there_is_not_counted_again() -> None:
    ended = {"prompt": "abc", "completion": f"de{TOKENIZER.eos_token}"}
    assert fit_context([ended], TOKENIZER, 7).rows == [ended]  # <s> abc de </s>
    assert fit_context([ended | {"completion": "de"}], TOKENIZER, 7).n_dropped == 0


def test_nothing_fits(says) -> None:
    with says("None of 1 rows", "3 tokens"):
        fit_context([row(5, 5, 5)], TOKENIZER, 3)


def test_texts_without_prompts_are_left_to_the_trainer() -> None:
    rows = [{"text": "x" * 500}]
    assert fit_context(rows, TOKENIZER, 10).rows == rows


@pytest.mark.shared_data
def test_real_rows_fit_a_real_model(shared_data) -> None:
    from monosemy.lm.config import PreferenceConfig
    from monosemy.lm.models import load_tokenizer
    from monosemy.lm.preferences import load_preferences

    tokenizer = load_tokenizer(str(shared_data / "stories260k"))
    data = load_preferences(PreferenceConfig(source=str(shared_data / "hh_harmless_base_test.jsonl.gz")))
    dropped, cut = (fit_context(data.train, tokenizer, 512, how) for how in ("drop", "truncate"))
    assert dropped.n_dropped == cut.n_truncated + cut.n_dropped > 500
    for fitted in (dropped, cut):
        texts = [row["prompt"] + row[name] for row in fitted.rows for name in ("chosen", "rejected")]
        assert max(len(ids) for ids in tokenizer(texts)["input_ids"]) + 1 <= 512
    assert all(row["prompt"].endswith("\n\nAssistant:") for row in cut.rows)
