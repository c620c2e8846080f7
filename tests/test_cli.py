"""The command as a stranger meets it: output, exit codes, bad input."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits

from monosemy import cli


@pytest.fixture
def embeddings(tmp_path: Path) -> Path:
    digits = load_digits()
    x, y = digits.data.astype(np.float32), digits.target
    path = tmp_path / "digits.npz"
    np.savez(path, X_train=x[:900], y_train=y[:900], X_test=x[900:], y_test=y[900:])
    return path


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    """The exit code of ``monosemy WORDS``."""
    monkeypatch.setattr(sys, "argv", ["monosemy", *map(str, words)])
    try:
        cli.main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


QUICK = (
    "--classifiers", "ce,knn",
    "--features", "dense,sae", "--label-noise", "0.4", "--n-seeds", 2, "--set", "sae.n_latents=64", "--set", "sae.k=4",
)  # fmt: skip


def test_a_study_prints_a_table_a_verdict_and_where_the_report_is(
    embeddings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    out = tmp_path / "run"
    assert run(monkeypatch, "study", "--data", embeddings, "--out", out, *QUICK) == 0
    printed = capsys.readouterr().out
    for said in ("Label noise", "sae", "Verdict", "under 40 % label noise", "Only 2 seeds", "report.html"):
        assert said in printed, said
    assert max(len(line) for line in printed.splitlines() if str(out) not in line) <= 80
    assert (out / "report.html").is_file()
    assert (out / "figures" / "accuracy-label-noise.png").is_file()


def test_json_is_json_and_the_plan_runs_again_to_the_same_numbers(
    embeddings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert run(monkeypatch, "study", "--data", embeddings, "--out", first, "--json", *QUICK) == 0
    assert json.loads(capsys.readouterr().out)["verdict"]
    assert run(monkeypatch, "study", "--plan", first / "plan.yaml", "--out", second, "--quiet") == 0
    assert capsys.readouterr().out == ""
    assert (first / "results.parquet").read_bytes() == (second / "results.parquet").read_bytes()


def _table(path: Path, rows: int = 40, **columns: object) -> Path:
    frame = pd.DataFrame({"text": [f"text {i}" for i in range(rows)], "label": ["a", "b"] * (rows // 2)} | columns)
    frame.to_csv(path, index=False)
    return path


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--data", "missing.csv"), "missing.csv"),
        (("--data", "DATA", "--features", "dense,magic"), "magic"),
        (("--data", "DATA", "--features", "sae"), "dense"),
        (("--data", "DATA", "--features", "dense,ncl"), "ncl"),
        (("--data", "DATA", "--set", "sae.n_latents=4", "--set", "sae.k=8"), "k=8"),
        (("--data", "DATA", "--label-noise", "1.5"), "1.5"),
        (("--data", "DATA", "--label-noise", "0.9"), "0.9"),
        (("--data", "DATA", "--label-noise", "some"), "some"),
        (("--data", "DATA", "--scenario", "weather"), "weather"),
        (("--data", "DATA", "--scenario", "shift"), "data.shifts"),
        (("--data", "DATA", "--scenario", "input-noise"), "input-noise"),
        (("--data", "DATA", "--scenario", "few-labels", "--set", "few_labels.fractions=2"), "few_labels"),
        (("--data", "DATA", "--scenario", "shift", "--set", "data.shifts=nameless"), "nameless"),
        (("--data", "DATA", "--n-seeds", "0"), "n_seeds"),
        (("--data", "DATA", "--encoder", "contrastive"), "contrastive"),
        (("--data", "DATA", "--set", "label_noise.kind=rainbow"), "rainbow"),
        (("--data", "TABLE", "--label-column", "intent"), "intent"),
        (("--data", "TABLE", "--encoder", "./no-such-model", "--label-noise", "0.2"), "no-such-model"),
        (("--plan", "missing.yaml"), "missing.yaml"),
        (("--data", "DATA", "--set", "few_labels.fractions=0.1"), "few-labels"),
        (("--data", "DATA", "--set", "labels_per_class.counts=1"), "labels-per-class"),
        (("--data", "DATA", "--scenario", "labels-per-class", "--set", "labels_per_class.counts=5000"), "5000 exceeds"),
        (("--data", "DATA", "--scenario", "labels-per-class", "--set", "labels_per_class.counts=0"), "counts"),
        (("--data", "DATA", "--scenario", "imbalance", "--set", "imbalance.ratios=0.5"), "imbalance.ratios.0 is '0.5'"),
        (("--data", "DATA", "--label-noise", "0.9", "--set", "label_noise.kind=cluster"), "0.9 is not below"),
        (("--data", "DATA", "--scenario", "label-noise,few-labels", "--set", "data.shifts={a: b}"), "data.shifts"),
        (("--data", "TABLE", "--set", "data.noisy_labels=g.csv"), "given-labels"),
        (("--data", "TABLE", "--scenario", "given-labels", "--set", "data.noisy_labels=g.csv"), "g.csv"),
        (("--data", "TABLE", "--set", "data.classes=c.txt"), "c.txt"),
        (("--data", "TABLE", "--set", "data.on_bad_row=weep"), "weep"),
        (("--data", "TABLE", "--set", "data.image_size=3"), "image_size"),
        (("--data", "none*.parquet"), "none*.parquet"),
        (("--data", "ONE"), "one class"),
        (("--data", "WIDTHS"), "X_train 3, X_test 4"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    words: tuple[str, ...], named: str, embeddings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    table = _table(tmp_path / "texts.csv")
    out = tmp_path / "out"
    one, widths = tmp_path / "one.npz", tmp_path / "widths.npz"
    x = np.ones((20, 3), dtype=np.float32)
    np.savez(one, X_train=x, y_train=np.zeros(20), X_test=x, y_test=np.zeros(20))
    np.savez(widths, X_train=x, y_train=np.arange(20) % 2, X_test=np.ones((4, 4)), y_test=np.arange(4) % 2)
    files = {"DATA": embeddings, "TABLE": table, "ONE": one, "WIDTHS": widths}
    replaced = [str(files.get(word, word)) for word in words]
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert run(monkeypatch, "study", *replaced, "--out", out) == 2
    captured = capsys.readouterr()
    # The data may be described before a later fault is found; nothing else is printed.
    assert captured.out == "" or captured.out.startswith("Data ")
    error = captured.err.strip()
    assert error.startswith("Error: ")
    assert named in error
    assert "\n" not in error
    assert not (out / "results.parquet").exists()


def test_start_is_light() -> None:
    code = (
        "import sys, monosemy, monosemy.cli; print([m for m in ('torch', 'pandas', 'matplotlib') if m in sys.modules])"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


@pytest.mark.parametrize("words", [("--help",), ("study", "--help"), ("toy", "--help"), ("theory", "--help")])
def test_help_teaches(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *words) == 0
    assert "Usage: monosemy" in capsys.readouterr().out
