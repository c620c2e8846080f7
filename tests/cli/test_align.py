"""`monosemy align` on tiny random models: what it prints, writes, keeps and refuses."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

pytest.importorskip("trl")

from made_preferences import save_tiny, write_pairs

QUICK = (
    "--pairs", 32, "--lr", 0.01, "--set", "test_pairs=6", "--set", "training.batch_size=8",
    "--set", "measuring.answers=4", "--set", "measuring.max_new_tokens=4",
)  # fmt: skip


@pytest.fixture(autouse=True)
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers would import everything again."""
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("llama", tmp_path_factory.mktemp("models") / "llama")


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("gpt2", tmp_path_factory.mktemp("models") / "gpt2")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("data") / "pairs.jsonl")


def values(folder: Path, variant: str) -> pd.DataFrame:
    results = pd.read_parquet(folder / "results.parquet")
    return results[results["variant"] == variant].drop(columns="variant").reset_index(drop=True)


@pytest.mark.slow
def test_a_comparison_prints_and_writes_what_it_found(
    llama: Path, pairs: Path, tmp_path: Path, monosemy: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    out = tmp_path / "out"
    words = ("--weights", "0,0.01", "--ablations", "l1=0.001", "--set", "losses=ipo", "--n-seeds", 2, *QUICK)
    assert monosemy("align", llama, "--data", pairs, *words, "--out", out) == 0
    said = capsys.readouterr().out
    for sentence in (
        "llama: means over seeds", "difference to dpo, margin", "DPO alone", "reward margin", "Only 2 seeds",
        "Left out: 1 rows whose chosen answer equals the rejected one.", "Left out: 1 rows without an answer.",
    ):  # fmt: skip
        assert sentence in " ".join(said.split()), sentence
    assert max(len(line) for line in said.splitlines() if str(out) not in line) <= 80
    names = ["base", "dpo", "decpo-0", "decpo-0.01", "l1-0.001", "ipo"]
    summary = pd.read_csv(out / "summary.csv")
    assert list(dict.fromkeys(summary["variant"])) == names
    for metric in ("margin", "accuracy", "kl", "perplexity", "distinct_2", "feature_decorrelation", "regulariser"):
        assert (summary["metric"] == metric).sum() == len(names), metric
    results = pd.read_parquet(out / "results.parquet")
    layers = results[(results["scenario"] == "layer") & (results["metric"] == "feature_decorrelation")]
    assert len(layers) == len(names) * 2 * 3, "variants, seeds, layers"

    # Weight 0 is DPO, bit for bit, and so are the weights that are kept.
    pd.testing.assert_frame_equal(values(out, "decpo-0"), values(out, "dpo"), check_exact=True)
    kept = {name: (out / "models" / f"llama-{name}" / "model.safetensors").read_bytes() for name in names[1:]}
    assert kept["decpo-0"] == kept["dpo"]
    assert len(set(kept.values())) == len(kept) - 1
    assert not values(out, "decpo-0.01")["value"].equals(values(out, "dpo")["value"])

    assert len((out / "answers" / "llama-dpo-1.jsonl").read_text().splitlines()) == 4
    for stem in ("weight-llama", "layers-llama"):
        assert (out / "figures" / f"{stem}.png").stat().st_size > 5_000
    assert "DPO alone" in (out / "verdict.txt").read_text()
    assert not (out / "checkpoints").exists()

    # The plan runs again to the same numbers; of a folder that is half done, only the rest.
    (out / "cells" / "llama-ipo-1.parquet").unlink()
    (out / "cells" / "llama-dpo-0.parquet").write_bytes(b"half")
    before = results.copy()
    times = {path: path.stat().st_mtime_ns for path in (out / "cells").iterdir()}
    assert monosemy("align", "--plan", out / "plan.yaml", "--out", out, "--quiet") == 0
    pd.testing.assert_frame_equal(pd.read_parquet(out / "results.parquet"), before, check_exact=True)
    assert sum(path.stat().st_mtime_ns == time for path, time in times.items()) == len(times) - 1


@pytest.mark.slow
def test_adapters_judges_and_a_file_of_held_out_texts(
    gpt2: Path, pairs: Path, tmp_path: Path, monosemy: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    from monosemy.lm.judge import callable_judge
    from monosemy.study.dpo import study

    judge = callable_judge(lambda prompts, answers: [len(answer) % 2 for answer in answers])
    monkeypatch.setattr(study, "make_judge", lambda config: judge)
    study._judge.cache_clear()
    texts = tmp_path / "texts.txt"
    texts.write_text("w1 w2 w3\n\nw4 w5 w6 w7\n", encoding="utf-8")
    words = (
        "--set", "training.method=monolora", "--weights", 0.001, "--ablations", "", "--set", "training.layers=0,-1",
        "--n-seeds", 1,
    )  # fmt: skip
    asked = ("--judge", "toxicity:nothing", "--set", f"held_out={texts}", *QUICK, "--out", tmp_path / "out")
    assert monosemy("align", gpt2, "--data", pairs, *words, *asked) == 0
    assert "unsafe" in capsys.readouterr().out
    kept = tmp_path / "out" / "models" / "gpt2-decpo-0.001"
    assert (kept / "adapter_model.safetensors").is_file()
    assert not (kept / "model.safetensors").exists()
    found = pd.read_parquet(tmp_path / "out" / "results.parquet")
    unsafe = found[found["metric"] == "unsafe"]
    assert len(unsafe) == 3
    assert unsafe["value"].between(0, 1).all()


@pytest.mark.slow
def test_models_of_several_widths(
    llama: Path, pairs: Path, tmp_path: Path, monosemy: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    out = tmp_path / "out"
    words = (
        "--set", "widths=8,16", "--set", "warm_up.epochs=1", "--set", "warm_up.pairs=16", "--weights", "0.001,0.01",
        "--ablations", "", "--n-seeds", 1, *QUICK,
    )  # fmt: skip
    assert monosemy("align", llama, "--data", pairs, *words, "--out", out) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Best weight by the margin, and its gain over DPO: llama-w8 (" in said
    assert "2 models are too few" in said
    assert set(pd.read_csv(out / "summary.csv")["model"]) == {"llama-w8", "llama-w16"}
    assert (out / "references" / "llama-w8" / "model.safetensors").is_file()
    assert (out / "figures" / "models.png").stat().st_size > 5_000


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--set", "training.layers=7"), "layer 7"),
        (("--set", "training.layers=model.layers.1.mlp.up_prj"), "'model.layers.1.mlp.up_proj'"),
        (("--set", "training.layers=some,"), "no such module"),
        (("--weights", "a,b"), "weights.0 is 'a'"),
        (("--weights", "-1"), "weights"),
        (("--weights", "1,1.0000000001"), "named twice"),
        (("--ablations", "l2=3"), "l2=3"),
        (("--ablations", "dropout=1.5"), "below 1"),
        (("--set", "losses=ppo"), "losses"),
        (("--set", "widths=24,32"), "warm_up"),
        (("--set", "widths=20", "--set", "warm_up.epochs=1"), "not a multiple of 8"),
        (("--set", "warm_up=often"), "warm_up is 'often'"),
        (("--set", "training.rank=4"), "training.method=lora"),
        (("--judge", "mother"), "mother"),
        (("--judge", "toxicity"), "toxicity"),
        (("--set", "held_out=nowhere.txt"), "nowhere.txt"),
        (("--set", "training.method=rlhf"), "rlhf"),
        (("--set", "data.format=hh-rlfh"), "closest match: hh-rlhf"),
        (("--set", "data.template=chat"), "chat template"),
        (("--n-seeds", 0), "n_seeds"),
        (("--set", "pares=3"), "closest match: pairs"),
        (("--device", "tpu"), "cpu or cuda"),
        (("--plan", "nowhere.yaml"), "nowhere.yaml"),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence_and_nothing_is_written(
    llama: Path, pairs: Path, tmp_path: Path, monosemy: Any, capsys: Any, words: tuple[object, ...], named: str
) -> None:
    out = tmp_path / "out"
    assert monosemy("align", llama, "--data", pairs, "--out", out, *words) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1, captured.err
    assert captured.err.startswith("Error: ")
    assert named in captured.err
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "named"), [((), "models is missing; give a value"), (("nowhere/",), "data is missing; give a value")]
)
def test_what_is_missing_is_named(monosemy: Any, capsys: Any, words: tuple[str, ...], named: str) -> None:
    assert monosemy("align", *words) == 2
    assert named in capsys.readouterr().err


def test_useless_pairs_and_missing_models(llama: Path, tmp_path: Path, monosemy: Any, capsys: Any) -> None:
    equal = tmp_path / "equal.jsonl"
    equal.write_text('{"prompt": "w1", "chosen": " w2", "rejected": " w2"}\n' * 5, encoding="utf-8")
    assert monosemy("align", llama, "--data", equal) == 2
    assert "No rows are left" in capsys.readouterr().err
    pairs = write_pairs(tmp_path / "pairs.jsonl")
    assert monosemy("align", tmp_path / "gone", "--data", pairs) == 2
    assert "gone" in capsys.readouterr().err
    same = save_tiny("llama", tmp_path / "other" / llama.name)
    assert monosemy("align", f"{llama},{same}", "--data", pairs) == 2
    assert "Two models are called 'llama'" in capsys.readouterr().err


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_and_keeps_what_is_done(
    llama: Path, pairs: Path, tmp_path: Path, monosemy: Any, capsys: Any
) -> None:
    words = ("--weights", "1e38", "--ablations", "", "--n-seeds", 1, *QUICK, "--out", tmp_path / "out", "--quiet")
    assert monosemy("align", llama, "--data", pairs, *words) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "decpo-1e+38 of llama, seed 0" in said
    cells = sorted(path.name for path in (tmp_path / "out" / "cells").iterdir())
    assert cells == ["llama-base-0.parquet", "llama-dpo-0.parquet"]


@pytest.mark.slow
def test_killed_it_goes_on_to_the_same_numbers(llama: Path, pairs: Path, tmp_path: Path, monosemy: Any) -> None:
    words = ("align", llama, "--data", pairs, "--weights", "0.01", "--ablations", "", "--n-seeds", 2, *QUICK, "--quiet")
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert monosemy(*words, "--out", whole) == 0
    command = [sys.executable, "-m", "monosemy", *map(str, words), "--out", str(out)]
    environment = os.environ | {"LOKY_MAX_CPU_COUNT": "1"}
    killed = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        while killed.poll() is None and len(list((out / "cells").glob("*.parquet"))) < 2:
            time.sleep(0.05)
        assert killed.poll() is None, "it ended before it could be killed"
    finally:
        os.killpg(killed.pid, signal.SIGKILL)
        killed.wait()
    assert not (out / "results.parquet").exists()
    assert monosemy(*words, "--out", out) == 0
    pd.testing.assert_frame_equal(
        pd.read_parquet(out / "results.parquet"), pd.read_parquet(whole / "results.parquet"), check_exact=True
    )
    assert yaml.safe_load((out / "plan.yaml").read_text()) == yaml.safe_load((whole / "plan.yaml").read_text())


@pytest.mark.parametrize("training", [{}, {"method": "lora"}, {"method": "monolora", "rank": 4}])
def test_a_written_plan_is_the_plan(training: dict[str, Any]) -> None:
    from monosemy.core.config import validated
    from monosemy.study.dpo import DpoPlan

    values = {"models": ["a", "b"], "data": {"source": "s"}, "ablations": ["l1=0.1"], "training": training}
    plan = validated(DpoPlan, values, "it")
    assert validated(DpoPlan, yaml.safe_load(plan.to_yaml()), "again") == plan
