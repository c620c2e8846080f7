"""`monosemy toy` and `monosemy theory` from options to files."""

import re

import pandas as pd
import pytest
from typer.testing import CliRunner

from monosemy.cli import app
from monosemy.errors import InputError
from monosemy.theory import runs
from monosemy.theory.commands import parse_numbers, parse_weights
from monosemy.theory.toy_study import TaskConfig


@pytest.fixture
def run():
    def call(*arguments):
        result = CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "80", "TERM": "dumb"})
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return call


def test_theory(run, tmp_path):
    result = run(
        "theory",
        "--out",
        tmp_path / "t",
        "--seeds",
        3,
        "--samples",
        4000,
        "--classes",
        "2,4",
        "--sparsity",
        "0,0.2,0.8",
    )
    assert result.exit_code == 0
    assert max(map(len, result.output.splitlines())) <= 80
    assert re.search(r"0\.2 .* 5\.875 .* 10\.957 .* 28\.54 % noise", result.output)
    assert "from the start" in result.output
    assert "never" in result.output
    assert "halving a score doubles" in result.output.replace("\n", " ")
    names = {"answer.txt", "environment.json", "results.parquet"} | {
        f"{n}.{s}" for n in ("separability", "threshold", "classes") for s in ("png", "svg")
    }
    assert {p.name for p in (tmp_path / "t").iterdir()} == names
    table = pd.read_parquet(tmp_path / "t" / "results.parquet")
    thresholds = table[(table["metric"] == "threshold") & (table["source"] == "closed form")]
    assert thresholds.set_index("sparsity")["value"][0.2] == pytest.approx(0.2854, abs=1e-4)
    assert set(table["classes"]) == {2, 4}


def test_theory_with_other_weights_and_input_noise(run, tmp_path):
    result = run(
        "theory", "--out", tmp_path, "--weights", "1,-0.5", "--input-noise", 0.2, "--seeds", 1, "--samples", 2000,
        "--classes", 3, "--sparsity", 0.5,
    )  # fmt: skip
    assert result.exit_code == 0
    assert (tmp_path / "threshold.png").stat().st_size > 5000


def test_toy(run, tmp_path, monkeypatch):
    small = TaskConfig(train=300, validation=200, test=300)
    monkeypatch.setattr(
        "monosemy.theory.toy_study.TaskConfig", lambda **levels: TaskConfig(**{**vars(small), **levels})
    )
    original = runs.SweepSetting
    monkeypatch.setattr(
        runs, "SweepSetting",
        lambda training: original(6, (2, 4), (0.0, 0.9), 2, task=small, training=training),
    )  # fmt: skip
    result = run("toy", "--out", tmp_path, "--features", 8, "--dimensions", 4, "--seeds", 2, "--steps", 30,
                 "--label-noise", "0.5", "--input-noise", "0.1,0.4")  # fmt: skip
    assert result.exit_code == 0
    assert max(map(len, result.output.splitlines())) <= 80
    assert "features a dimension" in result.output
    assert "rotated" in result.output
    figures = {f"{n}.{s}" for n in ("superposition", "accuracy", "phase") for s in ("png", "svg")}
    assert {p.name for p in tmp_path.iterdir()} == {
        "answer.txt", "environment.json", "results.parquet", "sweep.parquet", *figures
    }  # fmt: skip
    assert set(pd.read_parquet(tmp_path / "results.parquet").query("scenario == 'input-noise'")["level"]) == {0.1, 0.4}


def test_quiet(run, tmp_path):
    arguments = ("theory", "--out", tmp_path, "--seeds", 1, "--samples", 500, "--classes", 2, "--sparsity", 0.2)
    assert run(*arguments, "--quiet").output == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("theory", "--sparsity", "1"), "sparsity is 1;"),
        (("theory", "--sparsity", "0.2,x"), "sparsity is '0.2,x'"),
        (("theory", "--weights", ""), "weights has length 0"),
        (("theory", "--weights", "1"), "weights has length 1"),
        (("theory", "--weights", "1,nan"), r"weights is \(1, nan\)"),
        (("theory", "--weights", "1;2"), "weights is '1;2'"),
        (("theory", "--input-noise", "-1"), "input_noise is -1"),
        (("theory", "--classes", "1"), "classes is 1"),
        (("theory", "--classes", "2.5"), r"classes is 2\.5"),
        (("theory", "--samples", "10"), "samples is 10"),
        (("theory", "--seeds", "0"), "seeds is 0"),
        (("toy", "--sparsity", "1"), "sparsity is 1"),
        (("toy", "--dimensions", "0"), "dimensions is 0"),
        (("toy", "--dimensions", "41"), "dimensions is 41, more than the 40 features"),
        (("toy", "--label-noise", "0.99"), r"label_noise=0\.99 is not below"),
        (("toy", "--label-noise", "much"), "label_noise is 'much'"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(run, tmp_path, arguments, words):
    with pytest.raises(InputError, match=words):
        run(*arguments, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_in_the_way(run, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="out is"):
        run("theory", "--out", tmp_path / "file" / "below")


def test_parsing():
    assert parse_numbers("x", "0.3, 0.9,0.3") == (0.3, 0.9)
    assert parse_weights("1, -0.5") == (1.0, -0.5)
