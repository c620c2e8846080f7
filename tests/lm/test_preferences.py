"""Preference data: TRL's formats and the converters; what is no preference is counted."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st
from test_instructions import all_rows, write

from monosemy.lm.config import PreferenceConfig
from monosemy.lm.preferences import load_preferences


def load(rows: list[dict[str, Any]], tmp_path: Path, seed: int = 0, **settings: Any):
    return load_preferences(PreferenceConfig(source=write(rows, tmp_path / "pairs.jsonl.gz"), **settings), seed)


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def assistant(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def triple(prompt: Any, chosen: Any, rejected: Any) -> dict[str, Any]:
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def test_hh_rlhf_dialogues_share_all_but_the_last_answer(tmp_path: Path) -> None:
    start = "\n\nHuman: Hi {}\n\nAssistant: Hello\n\nHuman: Well?\n\nAssistant:"
    rows = [{"chosen": start.format(i) + " Yes, do.", "rejected": start.format(i) + " Yes, don't."} for i in range(10)]
    data = load(rows, tmp_path)
    assert data.format == "hh-rlhf"
    assert triple(start.format(3), " Yes, do.", " Yes, don't.") in all_rows(data)
    chat = load(rows, tmp_path, template="chat")
    turns = [*user("Hi 3"), *assistant("Hello"), *user("Well?")]
    assert triple(turns, assistant("Yes, do."), assistant("Yes, don't.")) in all_rows(chat)


def test_hh_rlhf_rows_that_are_no_pairs(tmp_path: Path) -> None:
    start = "\n\nHuman: Hi\n\nAssistant:"
    rows = [
        {"chosen": f"{start} a", "rejected": f"{start} b"},
        {"chosen": f"{start} a\n\nHuman: c\n\nAssistant: d", "rejected": f"{start} b"},
        {"chosen": f"{start} a", "rejected": f"{start} "},
        {"chosen": f"{start} same", "rejected": f"{start} same"},
        {"chosen": f"{start} same", "rejected": f"{start}  same"},
        {"chosen": "\n\nHuman: 1\n\nAssistant: a", "rejected": "\n\nHuman: 2\n\nAssistant: a"},
    ]
    data = load(rows, tmp_path, test_fraction=0)
    assert data.train == [triple(start, " a", " b")]
    assert data.dropped == {"no shared prompt": 2, "empty": 1, "equal": 2}
    assert data.n_read == 6


def test_paradetox_prefers_each_neutral_rewrite(tmp_path: Path) -> None:
    rows = [{"toxic": f"damn {i} !", "neutral": [f"oh {i}", f"well {i}", f"damn {i} !", None]} for i in range(10)]
    data = load(rows, tmp_path)
    prompt = "Rewrite without rude words: damn 3 !\nRewritten:"
    assert [r for r in all_rows(data) if r["prompt"] == prompt] == [
        triple(prompt, " oh 3", " damn 3 !"),
        triple(prompt, " well 3", " damn 3 !"),
    ]
    assert (data.n_read, data.dropped) == (40, {"equal": 10, "empty": 10})
    assert data.notices[0] == "Preferred: the neutral rewrite, over the toxic sentence itself."
    first = load(rows, tmp_path, rewrites="first")
    assert (first.n_read, len(all_rows(first))) == (10, 10)


def test_sycophancy_prefers_the_answer_that_does_not_please(tmp_path: Path) -> None:
    rows = [
        {
            "question": f"Q{i} (A) or (B)?",
            "answer_matching_behavior": "(A)",
            "answer_not_matching_behavior": " (B)",
            "split": s,
        }
        for i, s in enumerate(["generate", "dpo_pool", "dpo_eval", "test"])
    ]
    data = load(rows, tmp_path)
    assert data.train[0] == triple("Q0 (A) or (B)?\n\nAnswer:", " (B)", " (A)")
    assert [len(part) for part in data.splits().values()] == [2, 1, 1]
    assert "does not agree" in data.notices[0]
    pleasing = load(rows, tmp_path, sycophantic=True)
    assert pleasing.train[0] == triple("Q0 (A) or (B)?\n\nAnswer:", " (A)", " (B)")
    assert "agrees with" in pleasing.notices[0]


def test_pku_saferlhf_by_safety_or_by_help(tmp_path: Path) -> None:
    rows = [
        {
            "prompt": f"P{i}",
            "response_0": "zero",
            "response_1": "one",
            "safer_response_id": i % 2,
            "better_response_id": 0,
        }
        for i in range(10)
    ]
    rows += [
        rows[0] | {"prompt": "none", "safer_response_id": None},
        rows[0] | {"prompt": "odd", "safer_response_id": -1},
    ]
    data = load(rows, tmp_path)
    assert triple("\n\nHuman: P3\n\nAssistant:", " one", " zero") in all_rows(data)
    assert triple("\n\nHuman: P2\n\nAssistant:", " zero", " one") in all_rows(data)
    assert data.dropped == {"no preference": 2}
    chat = all_rows(load(rows, tmp_path, template="chat", safer=False))
    assert triple(user("P3"), assistant("zero"), assistant("one")) in chat


def test_trl_explicit_and_implicit_prompts(tmp_path: Path) -> None:
    explicit = [triple(f"P{i} is", " good", " bad") for i in range(10)]
    data = load(explicit, tmp_path)
    assert (data.format, data.kind) == ("trl", "preference")
    assert explicit[3] in all_rows(data)
    implicit = [{"chosen": f"P{i} is good", "rejected": f"P{i} is bad"} for i in range(10)]
    assert explicit[3] in all_rows(load(implicit, tmp_path))
    turns = [triple(user(f"P{i}"), assistant("good"), assistant("bad")) for i in range(10)]
    assert turns[3] in all_rows(load(turns, tmp_path, template="chat"))
    whole = [{"chosen": t["prompt"] + t["chosen"], "rejected": t["prompt"] + t["rejected"]} for t in turns]
    assert turns[3] in all_rows(load(whole, tmp_path, template="chat"))
    assert triple("\n\nHuman: P3\n\nAssistant:", " good", " bad") in all_rows(load(whole, tmp_path))


@given(prompt=st.text("ab ", max_size=6), chosen=st.text("ab ", max_size=4), rejected=st.text("cd ", max_size=4))
def test_implicit_prompts_end_where_trl_ends_them(
    prompt: str, chosen: str, rejected: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from trl.data_utils import extract_prompt

    row = {"chosen": f"x {prompt}{chosen}e", "rejected": f"x {prompt}{rejected}f"}
    loaded = load([row], tmp_path_factory.mktemp("pair"), test_fraction=0, format="trl")
    assert loaded.train == [extract_prompt(row)]


@pytest.mark.parametrize(
    ("rows", "settings", "named"),
    [
        ([{"a": "b"}], {}, ["columns 'a'", "paradetox: toxic, neutral"]),
        ([{"chosen": "a", "rejected": "b"}], {"format": "paradetox"}, ["'toxic'", "'chosen', 'rejected'"]),
        ([{"chosen": "ab", "rejected": [{"role": "user", "content": "a"}]}], {}, ["Row 1", "one form"]),
        ([triple("p", "a", "a")], {}, ["No rows are left"]),
    ],
)
def test_wrong_preferences_are_said_in_one_sentence(
    rows, settings: dict, named: list[str], tmp_path: Path, says
) -> None:
    with says(*named):
        load(rows, tmp_path, **settings)


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("name", "found", "n_read", "dropped"),
    [
        ("hh_harmless_base_test", "hh-rlhf", 2312, {"empty": 4}),
        ("paradetox_pairs", "paradetox", 19743, {"equal": 126, "duplicate": 512}),
        ("sycophancy_ab", "sycophancy", 3350, {"duplicate": 72, "shared prompt": 13}),
    ],
)
def test_real_pairs(name: str, found: str, n_read: int, dropped: dict[str, int], shared_data: Path) -> None:
    data = load_preferences(PreferenceConfig(source=str(shared_data / f"{name}.jsonl.gz")))
    assert (data.format, data.n_read, data.dropped) == (found, n_read, dropped)
    rows = all_rows(data)
    assert len(rows) == n_read - sum(dropped.values())
    assert all(row["prompt"].strip() and row["chosen"].split() != row["rejected"].split() for row in rows)
    prompts = [{row["prompt"] for row in part} for part in data.splits().values()]
    assert sum(map(len, prompts)) == len(set.union(*prompts)), "no prompt in two splits"


@pytest.mark.parametrize("odd", [None, 3.5, [], [None], [[]]])
def test_rewrites_that_are_none_are_counted(odd: Any, tmp_path: Path) -> None:
    rows = [{"toxic": f"bad {i}", "neutral": [f"good {i}"]} for i in range(10)]
    data = load([*rows, {"toxic": "bad", "neutral": odd}], tmp_path)
    assert data.format == "paradetox"
    assert len(all_rows(data)) == (11 if odd == 3.5 else 10)
