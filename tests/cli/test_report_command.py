"""`monosemy report`: pages, comparisons and tables from folders of studies."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from monosemy.study.registry import read_study

WORDS = ("--features", "dense,relu", "--label-noise", "0.3", "--n-seeds", "2", "--quiet")


@pytest.fixture(scope="module")
def embeddings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 150)
    rows = rng.normal(size=(150, 4)).astype(np.float32) + 2 * np.eye(3, 4, dtype=np.float32)[labels]
    rows[7] = 0  # a row that a study says something about
    path = tmp_path_factory.mktemp("data") / "toy.npz"
    np.savez(path, embeddings=rows, labels=labels)
    return path


@pytest.fixture
def study(embeddings: Path, tmp_path: Path, monosemy) -> Path:
    made = embeddings.parent / "study"  # once for all tests
    if not made.exists():
        assert monosemy("study", "--data", embeddings, *WORDS, "--out", made) == 0
    shutil.copytree(made, tmp_path / "study")
    return tmp_path / "study"


def test_a_study_is_read_back_as_it_was(study: Path) -> None:
    result = read_study(study)
    verdict = [*result.verdict.sentences, *(f"Warning: {warning}" for warning in result.verdict.warnings)]
    assert (study / "verdict.txt").read_text().splitlines() == verdict
    assert (study / "summary.csv").read_text() == result.summary.to_csv(index=False)


def test_the_page_and_figures_are_made_again(study: Path, monosemy, capsys: pytest.CaptureFixture[str]) -> None:
    before = (study / "report.html").read_bytes()
    assert b'id="costs"' in before
    (study / "report.html").unlink()
    assert monosemy("report", study) == 0
    assert capsys.readouterr().out.strip().endswith("report.html")
    assert (study / "report.html").read_bytes() == before
    kinds = {path.suffix for path in (study / "figures").iterdir()}
    assert kinds == {".png", ".svg", ".pdf"}


def test_tables_are_printed_and_nothing_is_written(study: Path, monosemy, capsys: pytest.CaptureFixture[str]) -> None:
    files = sorted(study.rglob("*"))
    for option, start in (("--markdown", "Label noise"), ("--latex", "\\begin{table}"), ("--csv", "study,variant")):
        assert monosemy("report", study, option) == 0
        assert capsys.readouterr().out.startswith(start)
    assert sorted(study.rglob("*")) == files


def test_several_studies_on_one_page(study: Path, embeddings: Path, tmp_path: Path, monosemy) -> None:
    other = tmp_path / "other" / "study"
    assert monosemy("study", "--data", embeddings, *WORDS, "--out", other) == 0
    assert monosemy("report", study, other, "--out", tmp_path / "both") == 0
    page = (tmp_path / "both" / "comparison.html").read_text()
    assert "other/study" in page
    assert page.count("<figure>") == 2
    assert "<script" not in page
    assert page.count('class="headline"') == 2


def _changed(folder: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    change(pd.read_parquet(folder / "results.parquet")).to_parquet(folder / "results.parquet")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: (path / "plan.yaml").unlink(), "holds no study"),
        (lambda path: (path / "results.parquet").unlink(), "is not finished"),
        (lambda path: (path / "results.parquet").write_bytes(b"PAR1 and nothing"), "cannot be read"),
        (lambda path: (path / "summary.csv").rename(path / "results.parquet"), "cannot be read"),
        (lambda path: _changed(path, lambda rows: pd.concat([rows, rows])), "is not the table of a study"),
        (lambda path: _changed(path, lambda rows: rows.assign(value="a")), "values of another type"),
    ],
)
def test_what_is_no_study(study: Path, damage, said: str, monosemy, capsys: pytest.CaptureFixture[str]) -> None:
    damage(study)
    assert monosemy("report", study) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error


def test_studies_of_two_versions_are_not_compared(
    study: Path, embeddings: Path, tmp_path: Path, monosemy, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    assert monosemy("study", "--data", embeddings, *WORDS, "--out", other) == 0
    environment = json.loads((other / "environment.json").read_text())
    environment["packages"]["monosemy"] = "99.0"
    (other / "environment.json").write_text(json.dumps(environment))
    assert monosemy("report", study, other, "--markdown") == 2
    said = capsys.readouterr()
    assert "different versions" in said.err
    assert said.out.startswith("Label noise")  # of the first study
    assert "Study" not in said.out


def test_what_can_be_shown_is_shown(study: Path, tmp_path: Path, monosemy, capsys: pytest.CaptureFixture[str]) -> None:
    (study / "costs.csv").write_text("nothing")
    (study / "report.html").unlink()
    assert monosemy("report", study, tmp_path / "nowhere") == 2
    said = capsys.readouterr()
    assert "costs.csv cannot be read" in said.err
    assert "nowhere holds no study" in said.err
    assert said.out.strip().endswith("report.html")
    page = (study / "report.html").read_text()
    assert "Label noise" in page
    assert 'id="costs"' not in page


def test_one_format_and_each_study_once(study: Path, monosemy, capsys: pytest.CaptureFixture[str]) -> None:
    assert monosemy("report", study, "--latex", "--csv") == 2
    assert "choose one format" in capsys.readouterr().err
    assert monosemy("report", study, "--json", "--csv") == 2
    assert "choose one format" in capsys.readouterr().err
    assert monosemy("report", study, study) == 2
    assert "given twice" in capsys.readouterr().err


@pytest.mark.parametrize("left", [None, "{", "[]"])
def test_without_its_environment_a_study_has_a_report_but_no_new_gallery(
    study: Path, left: str | None, monosemy, capsys: pytest.CaptureFixture[str]
) -> None:
    (study / "environment.json").unlink()
    if left is not None:
        (study / "environment.json").write_text(left)
    assert (study / "explanations").is_dir()
    (study / "gallery.html").unlink()
    assert monosemy("report", study) == 2
    assert "The gallery was not written" in capsys.readouterr().err
    assert (study / "report.html").is_file()
