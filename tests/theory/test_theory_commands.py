"""`monosemy toy` and `monosemy theory` from options to files."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from monosemy.cli import app
from monosemy.errors import InputError
from monosemy.study.registry import read_study

TOY = (
    "toy", "--n-features", 8, "--n-dimensions", 4, "--n-seeds", 2, "--steps", 30, "--label-noise", 0.5,
    "--input-noise", "0.1,0.4", "--executor", "in-process",
    "--set", "task.n_train=300", "--set", "task.n_validation=200",
    "--set", "task.n_test=300",
)  # fmt: skip
GRID = (
    "--set", "grid.n_features=6", "--set", "grid.dimensions=2,4", "--set", "grid.sparsities=0,0.9",
    "--set", "grid.n_seeds=2",
    "--set", "grid.task.n_train=300", "--set", "grid.task.n_validation=200", "--set", "grid.task.n_test=300",
)  # fmt: skip
THEORY = ("theory", "--executor", "in-process", "--n-seeds", 2, "--n-samples", 1000)


@pytest.fixture
def run():
    def call(*arguments):
        result = CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "80", "TERM": "dumb"})
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return call


def test_theory(run, tmp_path):
    out = tmp_path / "t"
    result = run(
        "theory", "--out", out, "--n-seeds", 3, "--n-samples", 4000, "--classes", "2,4", "--sparsity", "0,0.2,0.8",
        "--executor", "in-process",
    )  # fmt: skip
    assert result.exit_code == 0
    assert max(map(len, result.output.splitlines())) <= 80
    words = " ".join(result.output.split())
    assert re.search(r"mono 6\.000 5\.875 12\.764 poly 12\.000 10\.957 11\.603", words)
    assert "S = 0 never; S = 0.2 from 28.54 %; S = 0.8 always" in words
    assert "halving a score doubles" in words
    assert {path.stem for path in (out / "figures").iterdir()} == {"separability", "threshold", "classes"}
    assert {"plan.yaml", "verdict.txt", "report.html", "summary.csv", "environment.json"} < {
        p.name for p in out.iterdir()
    }
    table = pd.read_parquet(out / "results.parquet")
    thresholds = table[(table["metric"] == "threshold") & (table["source"] == "closed form")]
    assert thresholds.set_index("sparsity")["value"][0.2] == pytest.approx(0.2854, abs=1e-4)
    assert set(table["classes"]) == {2, 4}
    summary = pd.read_csv(out / "summary.csv")
    cell = summary.query("source == 'simulation' and classes == 4 and sparsity == 0.8 and metric == 'threshold'")
    assert list(cell["seeds"]) == [3, 3]


def test_theory_with_other_weights_and_input_noise(run, tmp_path):
    result = run(
        *THEORY, "--out", tmp_path, "--weights", "1,-0.5", "--input-noise", 0.2, "--classes", 3, "--sparsity", 0.5
    )
    assert result.exit_code == 0
    assert "x1 + 0.5 x2" in result.output
    assert (tmp_path / "figures" / "threshold.png").stat().st_size > 5000


def test_toy(run, tmp_path):
    result = run(*TOY, *GRID, "--out", tmp_path)
    assert result.exit_code == 0
    assert max(map(len, result.output.splitlines())) <= 80
    assert "features per dimension" in " ".join(result.output.split())
    assert "rotated" in result.output
    figures = {path.stem for path in (tmp_path / "figures").iterdir()}
    both = {f"{kind}-{scenario}" for kind in ("accuracy", "gain") for scenario in ("label-noise", "input-noise")}
    assert figures == {"superposition", "sweep", *both, *(f"kept-{name}" for name in both)}
    names = {"results", "kept", "sweep", "weights"}
    assert {path.stem for path in tmp_path.glob("*.parquet")} == names
    assert set(pd.read_parquet(tmp_path / "results.parquet").query("scenario == 'input-noise'")["level"]) == {0.1, 0.4}
    assert "Sweep" in (tmp_path / "report.html").read_text()


@pytest.mark.slow
def test_a_finished_folder_gives_the_same_verdict_again(run, tmp_path):
    run(*TOY, *GRID, "--out", tmp_path / "toy")
    run(*THEORY, "--classes", 2, "--out", tmp_path / "theory")
    for name in ("toy", "theory"):
        assert f"{read_study(tmp_path / name).verdict}\n" == (tmp_path / name / "verdict.txt").read_text()


@pytest.mark.slow
def test_a_stopped_run_is_resumed_with_the_same_numbers(run, tmp_path):
    def tables(folder: Path) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in folder.glob("*.parquet")}

    run(*TOY, *GRID, "--out", tmp_path)
    first, page = tables(tmp_path), (tmp_path / "report.html").read_text()
    for job in ("models-4-0.2-1", "sweep-2-0.9"):
        (tmp_path / "cells" / f"{job}.parquet").unlink()
    run(*TOY, *GRID, "--out", tmp_path)
    assert tables(tmp_path) == first
    assert (tmp_path / "report.html").read_text().split("Costs</h2>")[0] == page.split("Costs</h2>")[0]
    with pytest.raises(InputError, match="holds another plan"):
        run(*TOY, "--no-sweep", "--out", tmp_path)


@pytest.mark.slow
def test_a_later_first_seed_gives_other_repetitions(run, tmp_path):
    small = (*THEORY, "--classes", 2, "--sparsity", 0.2)
    run(*small, "--out", tmp_path / "first")
    run(*small, "--set", "seed=1", "--out", tmp_path / "second")
    first, second = (pd.read_parquet(tmp_path / name / "results.parquet") for name in ("first", "second"))
    assert set(second["seed"]) == {-1, 1, 2}
    for table in (first, second):
        table.drop(table[table["seed"] != 1].index, inplace=True)
    pd.testing.assert_frame_equal(first.reset_index(drop=True), second.reset_index(drop=True))


@pytest.mark.slow
def test_quiet_and_json(run, tmp_path):
    arguments = (*THEORY, "--classes", 2, "--sparsity", "0.2,0.5")
    assert run(*arguments, "--out", tmp_path / "quiet", "--quiet").output == ""
    answer = json.loads(run(*arguments, "--out", tmp_path / "json", "--json").stdout)
    assert "S = 0.2 from 28.54 %" in answer["verdict"][0]
    exact = [
        row["value"] for row in answer["metrics"]
        if (row["source"], row["sparsity"], row["metric"]) == ("closed form", 0.5, "threshold")
    ]  # fmt: skip
    assert exact == [pytest.approx(0.1167, abs=1e-4)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("theory", "--sparsity", "1"), r"sparsities(\.\d)? is '1', but .* less than 1"),
        (("theory", "--sparsity", "0.2,x"), r"sparsities(\.\d)? is 'x'"),
        (("theory", "--weights", ""), r"weights\.\d is missing"),
        (("theory", "--weights", "1"), r"weights\.\d is missing"),
        (("theory", "--weights", "1,nan"), r"weights(\.\d)? is \(1, nan\)"),
        (("theory", "--weights", "0,0"), r"weights(\.\d)? is \(0, 0\)"),
        (("theory", "--weights", "1;2"), r"weights(\.\d)? is '1;2'"),
        (("theory", "--input-noise", "-1"), "input_noise is '-1'"),
        (("theory", "--classes", "1"), r"classes(\.\d)? is '1'"),
        (("theory", "--classes", "2.5"), r"classes(\.\d)? is '2\.5'"),
        (("theory", "--n-samples", "10"), "n_samples=10 is too few for 10 classes; give at least 1000"),
        (("theory", "--n-seeds", "0"), "n_seeds is '0'"),
        (("toy", "--n-features", "1"), "n_features is '1'"),
        (("toy", "--sparsity", "1"), "sparsity is '1'"),
        (("toy", "--n-dimensions", "0"), "n_dimensions is '0'"),
        (("toy", "--n-dimensions", "41"), "dimensions is 41, more than the 40 features"),
        (("toy", "--set", "grid.dimensions=2,21"), "dimensions is 21, more than the 20 features"),
        (("toy", "--label-noise", "0.99"), r"label_noise=0\.99 is not below"),
        (("toy", "--label-noise", "much"), r"label_noise(\.\d)? is 'much'"),
        (("toy", "--input-noise", "-1"), r"input_noise(\.\d)? is '-1'"),
        (("toy", "--steps", "0"), r"training\.steps is '0'"),
        (("toy", "--n-seeds", "0"), "n_seeds is '0'"),
        (("toy", "--set", "importance_decay=0"), "importance_decay is '0'"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(run, tmp_path, arguments, words):
    with pytest.raises(InputError, match=words):
        run(*arguments, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_in_the_way(run, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        run(*THEORY, "--out", tmp_path / "file" / "below")


@pytest.mark.slow
def test_the_picture_of_weights_is_of_the_first_seed(run, tmp_path):
    run(*TOY, "--no-sweep", "--set", "pictured=", "--out", tmp_path)
    weights = pd.read_parquet(tmp_path / "weights.parquet")
    assert len(weights) == 2 * 4 * 8
    wide = weights[weights["seed"] == 0].pivot(index="row", columns="column", values="value").to_numpy()
    results = pd.read_parquet(tmp_path / "results.parquet")
    shared = results.query("metric == 'features_per_dimension' and seed == 0")["value"].item()
    assert shared == pytest.approx(np.square(wide).sum() / 4, rel=1e-6)
